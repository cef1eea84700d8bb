//! The peers' port: how the nodes of a cluster talk to each other, over gRPC and TLS 1.3 with certificates on both
//! sides.
//!
//! - `identity`: who is who: this node, its peers by name, and what each call must say of its caller.
//! - `tls`: certificates. `connect`: a connection to a peer. `listen`: connections of peers.
//! - `setup`: what both ends of the port go by. `server`: the port. `admission`: who may call. `consensus_service`,
//!   `tail_service`, `recovery_service`, `replay_service`, `operate_service`: what it answers; `handlers`: to whom the
//!   work is given.
//! - `client`: calls to peers. `transport`: messages of consensus; `tail_client`, `recovery_client`, `replay_client`,
//!   `operate_client`: the rest.
//! - `heartbeats`: hellos to all peers, and which of them are alive.
//! - `wire`: our values as messages. `error`, `limits`: errors and bounds.
//!
//! **Key terms.** A *peer* is another node of the cluster. Its *name* is in its certificate and in this node's list;
//! its *number* is what the catalogue granted to that name.

mod admission;
pub(crate) mod client;
mod connect;
mod consensus_service;
mod error;
mod handlers;
mod heartbeats;
pub(crate) mod identity;
pub mod limits;
pub(crate) mod listen;
mod operate_client;
mod operate_service;
mod recovery_client;
mod recovery_service;
mod replay_client;
mod replay_service;
pub(crate) mod server;
mod setup;
mod tail_client;
mod tail_service;
mod tls;
mod transport;
pub mod wire;

pub use client::{PeerClient, PeerHello};
pub use error::{PeerError, PeerStartError};
pub use handlers::{
    Handlers, OperateHandler, RecoveryHandler, ReplayFound, ReplayHandler, ReplayReading, TailHandler, Verification,
};
pub use heartbeats::{Heartbeats, Members, PeerLife};
pub use identity::{LocalNode, PeerList};
pub use operate_client::PeerVerify;
pub use replay_client::ReplayFinds;
pub use server::PeerServer;
pub use setup::PeerSetup;
pub use tail_client::{TailAnswers, TailFrames};
pub use tls::{PeerCertificate, PeerSecurity, PeerTls};
