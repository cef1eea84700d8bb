//! Views that several commands share, for people and as data.
//!
//! - `archive`: the debt of the archive.
//! - `zone`: the zone and its readings.
//! - `cluster`: the cluster, its nodes, consensus.
//! - `exporters`: exporters, one and all.
//! - `letters`: dead letters.
//! - `jobs`: replay jobs.

pub(crate) mod archive;
pub(crate) mod cluster;
pub(crate) mod exporters;
pub(crate) mod jobs;
pub(crate) mod letters;
pub(crate) mod zone;
