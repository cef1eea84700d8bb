//! The write-ahead log: one file per segment, a single writer, one sync for all that was appended meanwhile.

pub(crate) mod file;
pub(crate) mod header;
pub(crate) mod scan;
pub(crate) mod syncer;
pub(crate) mod tail;
pub(crate) mod writer;
