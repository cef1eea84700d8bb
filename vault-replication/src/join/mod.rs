//! How nodes of one configuration become a cluster, and how a node joins one.
//!
//! A node whose folder belongs to no cluster is a *candidate*. An operator asks any candidate to *provision*: one of
//! them becomes the *first*, invites the others, and begins the cluster once a majority of the list has accepted. The
//! others ask the members for admission by themselves; a member has the catalogue grant a number to their storage.
//!
//! - `plan`: what an operator's wish leads to, as a pure function over what all peers say of themselves.
//! - `invitation`: the invitation that a candidate accepted, on disk.
//! - `candidate`: a node without a cluster. `member`: a member that admits others.
//! - `setup`: this node and its peers, by name. `service`, `client`, `wire`: the calls. `port`: the peers' port of a
//!   candidate. `restoring`: the wish to take in an archive.
//! - `error`: what can go wrong, with the way out. `limits`: the bounds.
//!
//! **Not here**: the beginning of consensus (`consensus/bootstrap.rs`), and the members that vote
//! (`consensus/tend.rs`); the data folder.

mod candidate;
mod client;
mod error;
mod invitation;
mod limits;
mod member;
mod plan;
mod port;
mod restoring;
mod service;
mod setup;
mod wire;

pub use candidate::{Candidate, Settled};
pub use client::JoinClient;
pub use error::JoinError;
pub use invitation::Invitation;
pub use member::{MemberJoin, known_peers};
pub use plan::{Provisioned, Standing, Who};
pub use port::JoinPort;
pub use restoring::Restoring;
pub use service::{JoinHandler, JoinService};
pub use setup::JoinSetup;
