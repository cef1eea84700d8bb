//! Output of the program: stdout, stderr, files, the exit code.
//!
//! - `outcome`: the outcome of a command, its exit code, and the text of an error on stderr.
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
