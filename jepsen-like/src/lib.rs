//! Fault injection for GopherShip. It drives the real binaries from outside, as a client and an operator do, breaks
//! what is under them, and checks what they promised: no acknowledged entry lost, no phantom, bounded duplicates,
//! order.
//!
//! - [`payload`], [`client`], [`load`]: OTLP traffic whose every request can be told apart. [`offer`]: such traffic at
//!   a fixed rate.
//! - [`sink`]: the receiver of a node's exporters, which behaves as well or badly as a scenario wants.
//! - [`history`], [`check`]: what clients saw, and the pure function that compares it with what a replay returned.
//! - [`node`], [`cluster`], [`replay`], [`ctl`]: the processes under test. [`loopback`]: addresses for them.
//! - [`workdir`], [`mount`], [`fs_shutdown`], [`damage`], [`network`]: folders, file systems, links, and ways to break
//!   them.
//! - [`scenario`]: one file for each kind of fault. [`report`]: the findings of a run.
//!
//! **Not here**: any code of the node or the vault. [`damage`] has a small parser of its own for stored files.

pub mod check;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod ctl;
pub mod damage;
pub mod fingerprint;
pub mod fs_shutdown;
pub mod history;
pub mod load;
pub mod loopback;
pub mod mount;
pub mod network;
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
pub mod slow_disk;
mod tool;
pub mod workdir;
