//! Segments that another node writes, and that this one keeps a copy of.

pub(crate) mod replica;
