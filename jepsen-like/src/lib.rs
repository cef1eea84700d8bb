//! Fault injection for GopherShip. It drives the real binaries from outside, as a client and an operator do, breaks what
//! is under them, and checks what they promised: no acknowledged entry lost, no phantom, bounded duplicates, order.
//!
//! - [`payload`], [`client`], [`load`]: OTLP traffic whose every request can be told apart.
//! - [`history`], [`check`]: what clients saw, and the pure judgement of it against what a replay gave back.
//! - [`node`], [`replay`]: the processes under test.
//! - [`workdir`], [`mount`], [`fs_shutdown`], [`damage`]: places, file systems and ways to break them.
//! - [`scenario`]: one file for each kind of fault. [`report`]: what came of it.
//!
//! Not here: anything of the node's or the vault's code. Stored files are read by [`damage`]'s own small parser.

pub mod check;
pub mod cli;
pub mod client;
pub mod damage;
pub mod fs_shutdown;
pub mod history;
pub mod load;
pub mod mount;
pub mod node;
pub mod payload;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod workdir;
