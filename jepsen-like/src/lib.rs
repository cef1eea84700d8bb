//! Fault injection for GopherShip. It drives the real binaries from outside, as a client and an operator do, breaks what
//! is under them, and checks what they promised: no acknowledged entry lost, no phantom, bounded duplicates, order.
//!
//! - [`payload`], [`client`], [`load`]: OTLP traffic whose every request can be told apart. [`offer`]: the same at a rate of its own.
//! - [`sink`]: where a node's exporters send, as well or badly as a scenario wants it.
//! - [`history`], [`check`]: what clients saw, and the pure judgement of it against what a replay gave back.
//! - [`node`], [`replay`], [`ctl`]: the processes under test.
//! - [`workdir`], [`mount`], [`fs_shutdown`], [`damage`]: places, file systems and ways to break them.
//! - [`scenario`]: one file for each kind of fault. [`report`]: what came of it.
//!
//! Not here: anything of the node's or the vault's code. Stored files are read by [`damage`]'s own small parser.

pub mod check;
pub mod cli;
pub mod client;
pub mod ctl;
pub mod damage;
pub mod fingerprint;
pub mod fs_shutdown;
pub mod history;
pub mod load;
pub mod mount;
pub mod node;
pub mod offer;
pub mod offer_cli;
pub mod payload;
pub mod replay;
pub mod report;
mod retry_info;
pub mod scenario;
pub mod sink;
pub mod sink_cli;
pub mod workdir;
