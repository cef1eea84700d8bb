//! The submitters of commands.

use std::fmt;

use crate::limits::ACTOR_BYTES_MAX;

/// The submitter of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Actor {
    /// A node's vault, for its segments.
    Vault,
    /// A node itself, for its exporters, its jobs, its start.
    Node,
    /// A person or program that asked a node for it.
    Operator {
        /// The name that nodes use.
        name: String,
        /// The time at which it was asked for, nanoseconds since the Unix epoch; 0 before it is submitted, and in a
        /// command of before.
        at_ns: u64,
    },
}

impl Actor {
    /// An operator of this name, which is cut to [`ACTOR_BYTES_MAX`] bytes.
    pub fn operator(name: &str) -> Self {
        let name = name[..name.floor_char_boundary(ACTOR_BYTES_MAX)].to_owned();
        Self::Operator { name, at_ns: 0 }
    }

    /// The same actor, asking at this time, nanoseconds since the Unix epoch. Only an operator has one.
    #[must_use]
    pub fn asking_at(self, at_ns: u64) -> Self {
        match self {
            Self::Operator { name, .. } => Self::Operator { name, at_ns },
            Self::Vault | Self::Node => self,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault => "vault",
            Self::Node => "node",
            Self::Operator { name, .. } => name,
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
