//! A member of a cluster, as nodes that are not see it: it admits empty storages.
//!
//! Any member does: its commands go through the leader's log. That the new node is told of the log, and when it votes,
//! is the leader's work (`consensus/tend.rs`), which goes by the facts in the catalogue.
//!
//! **Invariants**:
//! - I1: one storage gets one number, however often it asks.
//! - I2: a name that a live node has is given to nobody.
//! - I3: the name of a node that is away is given only to a process at the address that the peers have for that name: a
//!   second process of one name, elsewhere, does not take it while the first restarts.

use std::sync::Arc;

use gophership_catalogue::{Actor, Catalogue, Command, NodeFacts, Reply, State};
use gophership_vault::ids::{ClusterId, NodeId};
use gophership_vault::time::now_unix_nano;
use uuid::Uuid;

use super::candidate::blocking;
use super::client::JoinClient;
use super::error::JoinError;
use super::invitation::Invitation;
use super::limits::HEARD_TIMEOUT;
use super::plan::{Provisioned, Standing, Who};
use super::restoring::Restoring;
use super::service::JoinHandler;
use super::setup::JoinSetup;
use crate::consensus::network::Pending;
use crate::consensus::raft_types::Member;
use crate::peer::PeerClient;

/// The peers of the configuration, each with its number: what a [`PeerList`](crate::peer::PeerList) goes by.
///
/// That is the number of its name on record, or a later one with which a node of that name was `discovered`: this
/// record may be behind, and numbers are granted in order. A number that is on record for another name is nobody
/// else's.
pub fn known_peers(peers: &[Member], state: &State, discovered: &[(NodeId, Member)]) -> Vec<(String, Option<NodeId>)> {
    let known = |peer: &Member| {
        let is_its = |(id, member): &&(NodeId, Member)| {
            let on_record = state.facts(*id).map_or(&member.name, |facts| &facts.name);
            member.name.eq_ignore_ascii_case(&peer.name) && on_record.eq_ignore_ascii_case(&peer.name)
        };
        let newest = discovered.iter().filter(is_its).map(|(id, _)| *id).max();
        (peer.name.clone(), state.node_named(&peer.name).max(newest))
    };
    peers.iter().map(known).collect()
}

/// A member that admits others.
pub struct MemberJoin {
    setup: Arc<JoinSetup>,
    catalogue: Arc<dyn Catalogue>,
    peers: PeerClient,
}

/// The latest number under which a node of this name was removed.
fn removed(state: &State, name: &str) -> Option<NodeId> {
    let removed =
        |(id, facts): &(NodeId, &NodeFacts)| facts.moved_to == Some(*id) && facts.name.eq_ignore_ascii_case(name);
    state.all_facts().filter(removed).map(|(id, _)| id).max()
}

/// The node that has a name.
struct Holder {
    node: NodeId,
    storage: Option<Uuid>,
    facts: NodeFacts,
}

impl MemberJoin {
    /// The member with this catalogue.
    pub fn new(setup: Arc<JoinSetup>, catalogue: Arc<dyn Catalogue>, peers: PeerClient) -> Arc<Self> {
        Arc::new(Self {
            setup,
            catalogue,
            peers,
        })
    }

    async fn holder(self: &Arc<Self>, name: &str) -> Result<Option<Holder>, JoinError> {
        let (this, name) = (Arc::clone(self), name.to_owned());
        let read = move |state: &State| {
            let node = state.node_named(&name)?;
            Some(Holder {
                node,
                storage: state.node(node).map(|record| record.storage_uuid),
                facts: state.facts(node)?.clone(),
            })
        };
        blocking(move || Ok(this.catalogue.read_latest(read)?)).await
    }

    /// The node whose name a storage may take; `None` where nobody has it.
    async fn replaced(&self, holder: Option<Holder>) -> Result<Option<NodeId>, JoinError> {
        let Some(Holder { node, facts, .. }) = holder else {
            return Ok(None);
        };
        let member = Member {
            name: facts.name.clone(),
            address: facts.address.clone(),
        };
        match self.peers.hello(node, &member, HEARD_TIMEOUT).await {
            Ok(_) => Err(JoinError::NameHeld {
                name: facts.name,
                holder: node,
                address: facts.address,
            }),
            Err(error) => {
                self.check_there(&facts.name).await?;
                tracing::warn!(node_id = %node, name = facts.name, %error, "join.name.free");
                Ok(Some(node))
            }
        }
    }

    /// Checks that a process which is to join answers at the address that this node has for a name.
    async fn check_there(&self, name: &str) -> Result<(), JoinError> {
        let Some(peer) = self.setup.peer(name) else {
            unreachable!("the service answers names of the list only")
        };
        let not_there = |why: String| JoinError::NotThere {
            name: peer.name.clone(),
            address: peer.address.clone(),
            why,
        };
        let asked = JoinClient::new(Arc::clone(&self.setup)).who(peer).await;
        match asked.map_err(|error| not_there(error.to_string()))?.standing {
            Standing::Empty | Standing::Single { .. } => Ok(()),
            Standing::Member { node, .. } => Err(not_there(format!("it is node {node} of a cluster"))),
        }
    }

    fn register(&self, storage: Uuid) -> Result<NodeId, JoinError> {
        let command = Command::RegisterNode {
            storage_uuid: storage,
            at_ns: now_unix_nano(),
        };
        match self.catalogue.submit(Actor::Node, command)? {
            Reply::Registered(node) => Ok(node),
            other @ (Reply::Done | Reply::Up(_) | Reply::Job(_) | Reply::Recovering(_)) => {
                unreachable!("RegisterNode is answered with a node, not {other:?}")
            }
        }
    }
}

impl JoinHandler for MemberJoin {
    fn who(&self, caller: &str) -> Who {
        let identity = self.catalogue.identity();
        Who {
            standing: Standing::Member {
                cluster: identity.cluster_id,
                node: identity.node_id,
            },
            invitation: None,
            caller: self.catalogue.read(|state| state.node_named(caller)),
            removed: self.catalogue.read(|state| removed(state, caller)),
        }
    }

    fn invite(self: Arc<Self>, _: Invitation) -> Pending<'static, Result<(), JoinError>> {
        let (name, cluster) = (self.setup.name.clone(), self.catalogue.identity().cluster_id);
        Box::pin(async move { Err(JoinError::IsMember { name, cluster }) })
    }

    fn begin(self: Arc<Self>, _: Option<Restoring>) -> Pending<'static, Result<Provisioned, JoinError>> {
        let there = Provisioned {
            cluster: self.catalogue.identity().cluster_id,
            first: self.setup.name.clone(),
            already: true,
        };
        Box::pin(async move { Ok(there) })
    }

    fn admit(
        self: Arc<Self>,
        caller: String,
        storage: Uuid,
        failure_domain: String,
    ) -> Pending<'static, Result<(ClusterId, NodeId), JoinError>> {
        Box::pin(async move {
            let cluster = self.catalogue.identity().cluster_id;
            let holder = self.holder(&caller).await?;
            if let Some(holder) = holder.as_ref().filter(|holder| holder.storage == Some(storage)) {
                return Ok((cluster, holder.node));
            }
            let replaces = self.replaced(holder).await?;
            let Some(address) = self.setup.peer(&caller).map(|peer| peer.address.clone()) else {
                unreachable!("the service answers names of the list only")
            };
            let node = blocking(move || {
                let node = self.register(storage)?;
                let command = Command::DescribeNode {
                    node,
                    name: caller,
                    address,
                    failure_domain,
                    replaces,
                };
                self.catalogue.submit(Actor::Node, command)?;
                Ok(node)
            })
            .await?;
            tracing::info!(node_id = %node, ?replaces, "join.node.admitted");
            Ok((cluster, node))
        })
    }
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::apply;

    use super::*;

    #[test]
    fn a_peer_has_the_number_of_its_name_on_record_or_a_later_one_by_which_it_was_met_and_never_that_of_another_name() {
        let id = |number| NodeId::new(number).unwrap();
        let member = |name: &str| Member {
            name: name.to_owned(),
            address: String::new(),
        };
        let mut state = State::default();
        for (number, name) in [(1, "a"), (2, "b"), (3, "c")] {
            let register = Command::RegisterNode {
                storage_uuid: Uuid::from_u128(number.into()),
                at_ns: 1,
            };
            let describe = Command::DescribeNode {
                node: id(number),
                name: name.to_owned(),
                address: String::new(),
                failure_domain: String::new(),
                replaces: None,
            };
            for command in [register, describe] {
                apply(&mut state, &command).unwrap();
            }
        }
        for (name, discovered, expected) in [
            ("b", vec![], Some(2)),
            ("b", vec![(2, "b")], Some(2)),
            ("b", vec![(5, "B")], Some(5)),
            ("b", vec![(5, "b"), (4, "b")], Some(5)),
            ("b", vec![(1, "b")], Some(2)),
            ("b", vec![(3, "b")], Some(2)),
            ("b", vec![(5, "c")], Some(2)),
            ("d", vec![], None),
            ("d", vec![(5, "d")], Some(5)),
        ] {
            let known: Vec<_> = discovered
                .iter()
                .map(|(number, name)| (id(*number), member(name)))
                .collect();
            let expected = [(name.to_owned(), expected.map(id))];
            assert_eq!(
                known_peers(&[member(name)], &state, &known),
                expected,
                "{name} {discovered:?}"
            );
        }
    }
}
