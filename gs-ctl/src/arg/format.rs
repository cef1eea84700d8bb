//! The format of an answer, as the command line names it.

/// The format of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// A table for people whose lists cut nothing off
    Wide,
    /// JSON for programs
    Json,
    /// YAML for programs and people
    Yaml,
}
