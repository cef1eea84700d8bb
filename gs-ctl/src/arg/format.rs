//! How an answer is written, as the command line names it.

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For people; in lists nothing is cut
    Wide,
    /// For programs
    Json,
    /// For both
    Yaml,
}
