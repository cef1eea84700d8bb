//! What [`Core`] knows of the promises of peers, and they of its own.
//!
//! **Not here**: what a promise is, and what contradicts one (`promise.rs`).

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use gophership_catalogue::CatalogueError;
use gophership_catalogue::local::StoreTransaction;
use tokio::sync::watch;

use super::{Core, HEARD};
use crate::consensus::heard::Heard;
use crate::consensus::promise::Promise;
use crate::consensus::standing::Standing;
use crate::consensus::wire::versioned;

impl Core {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest promise of a peer.
    pub(crate) fn heard_of(&self, peer: u64) -> Option<Promise> {
        self.heard().of(peer)
    }

    /// Notes the promise of a peer. It is on the disk with the next commit: of an entry, that is the one that applies
    /// it.
    pub(crate) fn note_heard(&self, peer: u64, promise: Promise) {
        self.heard().note(peer, promise);
    }

    pub(super) fn keep_heard(&self, txn: &StoreTransaction<'_>) -> Result<(), redb::Error> {
        txn.keep(HEARD, &versioned(|w| self.heard().write(w)))
    }

    /// The peers of which something came since the start.
    pub(crate) fn heard_from(&self) -> BTreeSet<u64> {
        let from = self.heard_from.lock().unwrap_or_else(PoisonError::into_inner);
        from.clone()
    }

    /// Takes what a peer has heard of this node.
    ///
    /// # Errors
    /// This node has promised more than it knows, as this peer or another says.
    pub(crate) fn take_promise(&self, peer: u64, heard: Option<Promise>) -> Result<(), CatalogueError> {
        if let Some(promise) = heard {
            // In this order: entries are cut off only after a later vote.
            let last = self.log.borrow().last.max(self.applied.borrow().last);
            if let Some((held, promised)) = promise.behind(self.vote(), last) {
                self.find_forgetful(peer, promise, held, promised);
            }
        }
        let mut from = self.heard_from.lock().unwrap_or_else(PoisonError::into_inner);
        from.insert(peer);
        drop(from);
        self.check_standing()
    }

    fn find_forgetful(&self, peer: u64, promise: Promise, held: String, promised: String) {
        self.standing.send_if_modified(|standing| {
            if matches!(standing, Standing::Forgetful(..)) {
                return false;
            }
            let error = CatalogueError::OlderCopy {
                path: self.path.clone(),
                held,
                promised,
            };
            tracing::error!(peer_id = peer, %error, "consensus.promise.forgotten");
            *standing = Standing::Forgetful(promise, error);
            true
        });
    }

    /// Notes what this node had forgotten in its mark, so that the next start refuses the catalogue without a peer.
    pub(super) fn keep_forgotten(&self) {
        let Standing::Forgetful(promise, _) = *self.standing.borrow() else {
            return;
        };
        let kept = self.write(|inner| {
            inner.promise(|mark| {
                if mark.vote < Some(promise.vote) {
                    mark.vote = Some(promise.vote);
                }
                mark.last = mark.last.max(promise.last);
            })
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "consensus.promise.not_noted");
        }
    }

    /// How this node stands to its peers.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Lets this node take part.
    pub(crate) fn vouch(&self) {
        self.standing.send_if_modified(|standing| {
            let is_new = matches!(standing, Standing::New);
            if is_new {
                *standing = Standing::Vouched;
            }
            is_new
        });
    }

    /// True from the moment on from which this node takes part.
    pub(crate) fn takes_part(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Vouched)
    }

    /// # Errors
    /// This node has promised more than it knows.
    pub(crate) fn check_standing(&self) -> Result<(), CatalogueError> {
        match &*self.standing.borrow() {
            Standing::New | Standing::Vouched => Ok(()),
            Standing::Forgetful(_, error) => Err(error.clone()),
        }
    }
}
