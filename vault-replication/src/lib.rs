//! Copies of segments on several nodes, and the catalogue that all of them share.

pub mod consensus;
