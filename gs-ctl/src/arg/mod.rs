//! The command line and its values, read from text. Nothing here connects to a node.
//!
//! - `cli`: the commands and their options; `replay`, `archive`, `restore`: those of a replay, of the archive, and of a
//!   restore from one.
//! - `help`: the command line with an example for every verb, and the completions of shells.
//! - `format`: the format of an answer.
//! - `when`: points in time and intervals.
//! - `rate`: bytes a second.
//! - `sink`: the destination of a replay.
//! - `segment_name`, `letter_name`: names of segments and of dead letters.
//! - `seek_to`: the destination of a cursor.
//! - `schema_name`: the schemas that can be printed.

pub(crate) mod archive;
pub(crate) mod cli;
pub(crate) mod format;
pub(crate) mod help;
pub(crate) mod letter_name;
pub(crate) mod rate;
pub(crate) mod replay;
pub(crate) mod restore;
pub(crate) mod schema_name;
pub(crate) mod seek_to;
pub(crate) mod segment_name;
pub(crate) mod sink;
pub(crate) mod when;
