//! The WAL: one file for each segment, a single writer, one sync for all that was appended meanwhile.
//!
//! - `header`, `file`: a WAL file: its header; its making, naming and reuse.
//! - `map`: its bytes in memory, as the writer and its readers share them.
//! - `writer`: appends. `syncer`: the group commit. `sync_stats`: latencies of syncs.
//! - `watermark`, `commit_point`: the entries that are durable here and on peers, and so may be acknowledged.
//! - `shard`: state that the threads of one shard share.
//! - `scan`: reads a file of an earlier boot. `open_wal`: reads one that is being written.

pub mod commit_point;
pub(crate) mod file;
pub(crate) mod header;
pub(crate) mod map;
pub(crate) mod open_wal;
pub(crate) mod scan;
pub(crate) mod shard;
pub(crate) mod sync_stats;
pub(crate) mod syncer;
pub(crate) mod watermark;
pub(crate) mod writer;
