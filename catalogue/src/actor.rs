//! Who has the catalogue change something.

use std::fmt;

use crate::limits::ACTOR_BYTES_MAX;

/// The one who submits a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Actor {
    /// A node's vault, about its segments.
    Vault,
    /// A node by itself: its exporters, its jobs, its start.
    Node,
    /// A person or program that asked a node for it, as the node calls them.
    Operator(String),
}

impl Actor {
    /// An operator of this name, of which at most [`ACTOR_BYTES_MAX`] bytes are kept.
    pub fn operator(name: &str) -> Self {
        Self::Operator(name[..name.floor_char_boundary(ACTOR_BYTES_MAX)].to_owned())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault => "vault",
            Self::Node => "node",
            Self::Operator(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_has_a_name_within_the_bound_and_no_half_a_character() {
        assert_eq!(Actor::operator("uid 1000").to_string(), "uid 1000");
        let long = "ä".repeat(ACTOR_BYTES_MAX);
        assert_eq!(
            Actor::operator(&format!("-{long}")).to_string().len(),
            ACTOR_BYTES_MAX - 1
        );
    }
}
