//! How an answer leaves the program: stdout, stderr, files, the exit code.
//!
//! - `outcome`: how a command ends, its exit code, what stderr is told of an error.
//! - `output`: answers to stdout, as a table or as data.
//! - `table`: columns of text.
//! - `human`: numbers, sizes, times and foreign text for people.
//! - `yaml`: data as YAML.
//! - `progress`: a bar on stderr.
//! - `file_sink`: entries into a file or stdout.

pub(crate) mod file_sink;
pub(crate) mod human;
pub(crate) mod outcome;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod yaml;
