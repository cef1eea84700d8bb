//! A catalogue of nodes, for tests.

use gophership_catalogue::{Command, State, apply};
use gophership_vault::ids::NodeId;
use uuid::Uuid;

pub(crate) fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("numbers begin with 1")
}

/// Nodes with these names, numbered from 1.
pub(crate) fn nodes(names: &[&str]) -> State {
    let mut state = State::default();
    for (id, name) in (1..).zip(names) {
        let register = Command::RegisterNode {
            storage_uuid: Uuid::from_u128(id.into()),
            at_ns: 1,
        };
        let describe = Command::DescribeNode {
            node: node(id),
            name: (*name).to_owned(),
            address: format!("{name}:9097"),
            failure_domain: String::new(),
            replaces: None,
        };
        for command in [register, describe] {
            apply(&mut state, &command).expect("the names differ");
        }
    }
    state
}
