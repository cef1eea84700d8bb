//! A catalogue in memory: the pure transition over a state, for tests and benches of every crate.
//!
//! **Invariants**:
//! - I1: it answers as every other catalogue does; only the end of its process makes it forget.

use std::sync::{PoisonError, RwLock};

use gophership_vault::Identity;

use crate::apply::{apply, apply_request};
use crate::catalogue::Catalogue;
use crate::command::{Command, Reply, Request};
use crate::error::CatalogueError;
use crate::state::State;

/// A catalogue that keeps nothing on a disk.
#[derive(Debug)]
pub struct MemoryCatalogue {
    identity: Identity,
    state: RwLock<State>,
}

impl MemoryCatalogue {
    /// A catalogue that knows its own node and nothing else.
    ///
    /// # Panics
    ///
    /// `identity` is not that of node 1: other numbers are granted by an existing catalogue.
    pub fn new(identity: Identity) -> Self {
        let mut state = State::default();
        let register = Command::RegisterNode {
            storage_uuid: identity.storage_uuid,
            at_ns: 0,
        };
        let granted = apply(&mut state, &register);
        let own = Ok(Reply::Registered(identity.node_id));
        assert_eq!(granted, own, "a catalogue in memory begins with node 1");
        Self::with_state(identity, state)
    }

    /// A catalogue with this state.
    pub fn with_state(identity: Identity, state: State) -> Self {
        Self {
            identity,
            state: RwLock::new(state),
        }
    }
}

impl Catalogue for MemoryCatalogue {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn commit(&self, request: Request) -> Result<Reply, CatalogueError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        Ok(apply_request(&mut state, &request)?)
    }

    fn view(&self, f: &mut dyn FnMut(&State)) {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use gophership_vault::ids::ClusterId;

    use super::*;
    use crate::testkit::{node, uuid};

    #[test]
    #[should_panic(expected = "a catalogue in memory begins with node 1")]
    fn a_catalogue_that_begins_with_another_node_is_a_bug_of_the_caller() {
        MemoryCatalogue::new(Identity {
            cluster_id: ClusterId(uuid(1)),
            node_id: node(2),
            storage_uuid: uuid(2),
        });
    }
}
