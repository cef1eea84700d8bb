//! A node without a cluster: it is provisioned, or joins the cluster that others have.
//!
//! **Invariants**:
//! - I1: it accepts one invitation, which it keeps, and no other until it is told to forget it.
//! - I2: it begins a cluster only when a majority of the nodes of its list has accepted its invitation.
//! - I3: a node with data joins nobody.
//! - I4: it settles once.
//!
//! **Not here**: the choice of the first node (`plan.rs`); what becomes of the folder.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use gophership_catalogue::restore::RestoreOrigin;
use gophership_vault::ids::{ClusterId, NodeId};
use tokio::sync::watch;
use uuid::Uuid;

use super::client::JoinClient;
use super::error::JoinError;
use super::invitation::Invitation;
use super::limits::SEEK_INTERVAL;
use super::plan::{Plan, Provisioned, Standing, Who, plan};
use super::restoring::Restoring;
use super::service::JoinHandler;
use super::setup::JoinSetup;
use crate::consensus::network::Pending;
use crate::consensus::raft_types::Member;

/// How a candidate came to a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// It begins the cluster.
    First {
        /// The cluster.
        cluster: ClusterId,
        /// Its number.
        node: NodeId,
    },
    /// It was admitted by a cluster.
    Joined {
        /// The cluster.
        cluster: ClusterId,
        /// Its number.
        node: NodeId,
    },
}

struct State {
    /// Empty or single.
    standing: Standing,
    invitation: Option<Invitation>,
    /// The reason for which no member has admitted this node yet.
    not_admitted: Option<String>,
}

/// A node without a cluster.
pub struct Candidate {
    setup: Arc<JoinSetup>,
    client: JoinClient,
    folder: PathBuf,
    failure_domain: String,
    state: Mutex<State>,
    settled: watch::Sender<Option<Settled>>,
    /// Held by the wish to provision that is under way.
    turn: tokio::sync::Mutex<()>,
}

impl Candidate {
    /// The candidate whose folder, which is there, has this standing.
    ///
    /// # Errors
    /// The invitation that the folder has cannot be read.
    pub fn new(
        setup: Arc<JoinSetup>,
        folder: PathBuf,
        standing: Standing,
        failure_domain: &str,
    ) -> Result<Arc<Self>, JoinError> {
        let invitation = Invitation::load(&folder, &setup.cluster)?;
        Ok(Arc::new(Self {
            client: JoinClient::new(Arc::clone(&setup)),
            setup,
            folder,
            failure_domain: failure_domain.to_owned(),
            state: Mutex::new(State {
                standing,
                invitation,
                not_admitted: None,
            }),
            settled: watch::Sender::new(None),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Waits until this node is provisioned or admitted. A candidate with data waits for the former only.
    ///
    /// # Errors
    /// [`JoinError::OwnData`]: the others have a cluster, and this node has data of its own.
    pub async fn settle(&self, storage: Uuid) -> Result<Settled, JoinError> {
        let mut settled = self.settled.subscribe();
        tokio::select! {
            found = settled.wait_for(Option::is_some) => {
                let found = found.ok().and_then(|found| *found);
                Ok(found.expect("the sender is in self, and was waited for"))
            }
            sought = self.seek(storage) => sought,
        }
    }

    /// The reason for which no member of the cluster that is there has admitted this node yet, if one was given.
    pub fn not_admitted(&self) -> Option<String> {
        self.state().not_admitted.clone()
    }

    /// Provisions the cluster, for an operator: at this node, or at the one that is to be the first. It takes in an
    /// archive if one is named.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn provision(&self, restore: Option<&Restoring>) -> Result<Provisioned, JoinError> {
        let _turn = self.turn.lock().await;
        let answers = self.ask_all().await;
        nothing_to_keep(&answers, restore)?;
        match plan(&answers)? {
            Plan::Already { cluster, member } => Ok(Provisioned {
                cluster,
                first: member,
                already: true,
            }),
            Plan::First { first } if first == self.setup.name => self.invite_all(restore).await,
            Plan::First { first } => match self.setup.peer(&first) {
                Some(to) => self.client.provision(to, restore).await,
                None => Err(JoinError::NotFirst { first }),
            },
        }
    }

    /// Forgets the invitation that this node has accepted. Returns whether there was one.
    ///
    /// # Errors
    /// The cluster is there; the file cannot be removed.
    pub async fn abort(self: &Arc<Self>) -> Result<bool, JoinError> {
        let _turn = self.turn.lock().await;
        if let Plan::Already { cluster, member } = plan(&self.ask_all().await)? {
            let name = member;
            return Err(JoinError::IsMember { name, cluster });
        }
        let this = Arc::clone(self);
        blocking(move || {
            let mut state = this.state();
            Invitation::remove(&this.folder)?;
            Ok(state.invitation.take().is_some())
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this node is, with what all others that answer are.
    async fn ask_all(&self) -> Vec<(String, Who)> {
        let others: Vec<&Member> = self.setup.others().collect();
        let asked = join_all(others.iter().map(|to| self.client.who(to))).await;
        let mut answers = vec![(self.setup.name.clone(), self.who(""))];
        for (to, answer) in others.into_iter().zip(asked) {
            match answer {
                Ok(who) => answers.push((to.name.clone(), who)),
                Err(error) => tracing::debug!(peer = to.name, %error, "join.peer.silent"),
            }
        }
        answers
    }

    /// Begins the cluster here, once a majority has accepted this node's invitation.
    async fn invite_all(&self, restore: Option<&Restoring>) -> Result<Provisioned, JoinError> {
        let own = self.own_invitation(restore)?;
        let others: Vec<&Member> = self.setup.others().collect();
        let invited = join_all(others.into_iter().map(|to| self.client.invite(to, &own))).await;
        let refusals: Vec<String> = invited
            .iter()
            .filter_map(|answer| answer.as_ref().err().map(ToString::to_string))
            .collect();
        let (accepted, of) = (1 + invited.len() - refusals.len(), self.setup.peers.len());
        let needed = of / 2 + 1;
        if accepted < needed {
            return Err(JoinError::NoMajority {
                accepted,
                needed,
                of,
                refusals,
            });
        }
        let node = match self.state().standing {
            Standing::Single { node, .. } | Standing::Member { node, .. } => node,
            Standing::Empty => own.restore.as_ref().map_or(NodeId::FIRST, |origin| origin.first_node),
        };
        let cluster = own.cluster;
        match self.settle_as(Settled::First { cluster, node }) {
            Settled::First { .. } => Ok(Provisioned {
                cluster,
                first: self.setup.name.clone(),
                already: false,
            }),
            Settled::Joined { cluster, .. } => Err(JoinError::IsMember {
                name: self.setup.name.clone(),
                cluster,
            }),
        }
    }

    /// The invitation to the cluster that this node begins: the one that it keeps, or a new one. One that is kept has
    /// its restore, and goes on with no other.
    fn own_invitation(&self, restore: Option<&Restoring>) -> Result<Invitation, JoinError> {
        let (kept, standing) = {
            let state = self.state();
            (state.invitation.clone(), state.standing)
        };
        let own = kept.filter(|kept| kept.first == self.setup.name);
        let own = match (own, restore) {
            (Some(own), Some(restore)) => Some(going_on(own, restore)?),
            (own, _) => own,
        };
        let own = own.unwrap_or_else(|| Invitation {
            cluster: match (restore, standing) {
                (Some(restore), _) => restore.cluster,
                (None, Standing::Single { cluster, .. } | Standing::Member { cluster, .. }) => cluster,
                (None, Standing::Empty) => ClusterId(Uuid::new_v4()),
            },
            request: Uuid::new_v4(),
            first: self.setup.name.clone(),
            restore: restore.map(|restore| restore.origin.clone()),
        });
        self.accept(&own)?;
        Ok(own)
    }

    /// Accepts an invitation, unless this node has accepted another or is settled.
    fn accept(&self, invitation: &Invitation) -> Result<(), JoinError> {
        let mut state = self.state();
        let name = || self.setup.name.clone();
        if let Some(Settled::First { cluster, .. } | Settled::Joined { cluster, .. }) = *self.settled.borrow() {
            let name = name();
            return Err(JoinError::IsMember { name, cluster });
        }
        match &state.invitation {
            Some(kept) if kept == invitation => return Ok(()),
            // Its first node goes on with it, and may have looked at the archive anew.
            Some(kept) if kept.is_continued_by(invitation) => {}
            Some(kept) => {
                return Err(JoinError::Invited {
                    name: name(),
                    first: kept.first.clone(),
                });
            }
            None => {}
        }
        if matches!(state.standing, Standing::Single { .. }) && invitation.first != self.setup.name {
            return Err(JoinError::HasData {
                name: name(),
                first: invitation.first.clone(),
            });
        }
        invitation.save(&self.folder, &self.setup.cluster)?;
        tracing::info!(first = invitation.first, cluster = %invitation.cluster.0, "join.invitation.accepted");
        state.invitation = Some(invitation.clone());
        Ok(())
    }

    /// Settles, unless it did before. Returns what stands.
    fn settle_as(&self, new: Settled) -> Settled {
        // So that no invitation is accepted in between.
        let _state = self.state();
        let mut stands = new;
        self.settled.send_if_modified(|settled| match *settled {
            Some(before) => {
                stands = before;
                false
            }
            None => {
                *settled = Some(new);
                true
            }
        });
        stands
    }

    /// Asks for admission until a cluster grants it.
    async fn seek(&self, storage: Uuid) -> Result<Settled, JoinError> {
        loop {
            let refused = match self.seek_once(storage).await {
                Ok(Some(settled)) => return Ok(settled),
                Ok(None) => None,
                Err(error @ JoinError::OwnData { .. }) => return Err(error),
                Err(error) => Some(error.to_string()),
            };
            let before = std::mem::replace(&mut self.state().not_admitted, refused.clone());
            if let Some(error) = refused.filter(|error| before.as_ref() != Some(error)) {
                tracing::warn!(error, "join.admission.none");
            }
            tokio::time::sleep(SEEK_INTERVAL).await;
        }
    }

    async fn seek_once(&self, storage: Uuid) -> Result<Option<Settled>, JoinError> {
        let mut answers = self.ask_all().await;
        // This node itself may be about to begin.
        let others = answers.split_off(1);
        if others.is_empty() {
            return Ok(None);
        }
        let is_member = |who: &Who| matches!(who.standing, Standing::Member { .. });
        let members: Vec<(String, Who)> = others.into_iter().filter(|(_, who)| is_member(who)).collect();
        if members.is_empty() {
            return Ok(None);
        }
        let Plan::Already { cluster, member } = plan(&members)? else {
            return Ok(None);
        };
        if self.state().standing != Standing::Empty {
            return Err(JoinError::OwnData { member, cluster });
        }
        let mut refused = None;
        for to in members.iter().filter_map(|(name, _)| self.setup.peer(name)) {
            match self.client.admit(to, storage, &self.failure_domain).await {
                Ok((cluster, node)) => return Ok(Some(self.settle_as(Settled::Joined { cluster, node }))),
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(None), Err)
    }
}

/// The invitation that is kept, with what was read of the same archive since. It stays the same restore.
fn going_on(own: Invitation, restore: &Restoring) -> Result<Invitation, JoinError> {
    let known = own
        .restore
        .filter(|known| (own.cluster, known.store) == (restore.cluster, restore.origin.store));
    let known = known.ok_or_else(|| JoinError::OtherRestore {
        name: own.first.clone(),
    })?;
    let origin = RestoreOrigin {
        id: known.id,
        first_node: known.first_node.max(restore.origin.first_node),
        ..restore.origin.clone()
    };
    Ok(Invitation {
        restore: Some(origin),
        ..own
    })
}

/// Refuses a restore where a node has data: what it would take in has the same numbers as that may have.
fn nothing_to_keep(answers: &[(String, Who)], restore: Option<&Restoring>) -> Result<(), JoinError> {
    let has_data = |(_, who): &&(String, Who)| matches!(who.standing, Standing::Single { .. });
    match answers.iter().find(has_data).filter(|_| restore.is_some()) {
        Some((name, _)) => Err(JoinError::NotEmptyForRestore { name: name.clone() }),
        None => Ok(()),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JoinError> + Send + 'static,
) -> Result<T, JoinError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(JoinError::Panicked { why: e.to_string() }))
}

impl JoinHandler for Candidate {
    fn who(&self, _: &str) -> Who {
        let state = self.state();
        let standing = match *self.settled.borrow() {
            Some(Settled::First { cluster, node } | Settled::Joined { cluster, node }) => {
                Standing::Member { cluster, node }
            }
            None => state.standing,
        };
        Who {
            standing,
            invitation: state.invitation.clone(),
            caller: None,
            removed: None,
        }
    }

    fn invite(self: Arc<Self>, invitation: Invitation) -> Pending<'static, Result<(), JoinError>> {
        Box::pin(blocking(move || self.accept(&invitation)))
    }

    fn begin(self: Arc<Self>, restore: Option<Restoring>) -> Pending<'static, Result<Provisioned, JoinError>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            let answers = self.ask_all().await;
            nothing_to_keep(&answers, restore.as_ref())?;
            match plan(&answers)? {
                Plan::Already { cluster, member } => Ok(Provisioned {
                    cluster,
                    first: member,
                    already: true,
                }),
                Plan::First { first } if first == self.setup.name => self.invite_all(restore.as_ref()).await,
                // It is not passed on a second time.
                Plan::First { first } => Err(JoinError::NotFirst { first }),
            }
        })
    }

    fn admit(
        self: Arc<Self>,
        _: String,
        _: Uuid,
        _: String,
    ) -> Pending<'static, Result<(ClusterId, NodeId), JoinError>> {
        let name = self.setup.name.clone();
        Box::pin(async move { Err(JoinError::NoMember { name }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_that_was_begun_goes_on_as_the_same_one_and_with_no_other_archive() {
        let id = |n: u8| Uuid::from_bytes([n; 16]);
        let restoring = |restore: u8, store: u8, first: u32| Restoring {
            cluster: ClusterId(id(1)),
            origin: RestoreOrigin {
                id: id(restore),
                store: id(store),
                url: "s3://logs".to_owned(),
                first_node: NodeId::new(first).unwrap(),
                generation: 1,
            },
        };
        let kept = |restore: Option<Restoring>| Invitation {
            cluster: ClusterId(id(1)),
            request: id(9),
            first: "a".to_owned(),
            restore: restore.map(|restore| restore.origin),
        };
        // The archive has a node more by now.
        let own = going_on(kept(Some(restoring(2, 4, 5))), &restoring(3, 4, 6)).unwrap();
        assert_eq!(own, kept(Some(restoring(2, 4, 6))));
        assert!(kept(Some(restoring(2, 4, 5))).is_continued_by(&own));
        assert!(!kept(Some(restoring(3, 4, 5))).is_continued_by(&own));
        assert!(!kept(None).is_continued_by(&own));
        // It never goes back.
        let own = going_on(kept(Some(restoring(2, 4, 5))), &restoring(3, 4, 3)).unwrap();
        assert_eq!(own, kept(Some(restoring(2, 4, 5))));
        for other in [kept(None), kept(Some(restoring(2, 5, 5)))] {
            let refused = going_on(other, &restoring(3, 4, 6)).unwrap_err().to_string();
            assert!(refused.contains("--abort"), "{refused}");
        }
        let of_another = Restoring {
            cluster: ClusterId(id(8)),
            ..restoring(3, 4, 6)
        };
        assert!(going_on(kept(Some(restoring(2, 4, 5))), &of_another).is_err());
    }
}
