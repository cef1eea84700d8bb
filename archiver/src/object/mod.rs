//! An object: sealed segments as one seekable Zstandard file.
//!
//! - `frame`: skippable frames. `seek_table`: the last of them. `index`: members and blocks, in the one before it.
//! - `writer`: segments into an object. `block`: one block, decoded. `reader`: an object, by ranges of its bytes.
//!
//! A *member* is a segment in an object.

mod block;
mod frame;
mod index;
mod reader;
mod seek_table;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

pub use block::{Block, ObjectEntry};
pub use index::{BlockRow, Member};
pub use reader::{MemberVerdict, ObjectIndex, Opening, Verdict, Verifier, read_index, verify};
pub use writer::ObjectWriter;
