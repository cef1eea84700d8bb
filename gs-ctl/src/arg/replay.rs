//! The command line of `gs-ctl replay`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gophership_proto::control::v1::ReplaySource;
use uuid::Uuid;

use super::rate::Rate;
use super::sink::Sink;
use super::when::{Patience, When};

#[derive(Debug, Subcommand)]
pub(crate) enum Replay {
    /// Replay a range of time to a sink
    Start(ReplayStart),
    /// List the replay jobs, newest first
    List,
    /// Show one job
    Status {
        /// Number of the job
        job: String,
    },
    /// Stop a job. One that has ended stays as it is
    Cancel {
        /// Number of the job
        job: String,
    },
}

/// Where a replay reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Source {
    Auto,
    Vault,
    Archive,
}

impl From<Source> for ReplaySource {
    fn from(source: Source) -> Self {
        match source {
            Source::Auto => Self::Auto,
            Source::Vault => Self::Vault,
            Source::Archive => Self::Archive,
        }
    }
}

/// Replays every payload that holds a record of the range, whole, as it was received: a batch that a client sent may
/// hold records from outside too. Without --from it begins with the oldest, without --to it ends with the newest entry
/// acknowledged now.
///
/// The node sends to a sink exporter:NAME or otlp-..., as a job that survives this command. This command writes a file
/// or standard output.
///
/// On a terminal a bar shows the progress, elsewhere a line on stderr every few seconds.
#[derive(Debug, Args)]
pub(crate) struct ReplayStart {
    /// The first event time wanted: RFC 3339, Unix seconds or nanoseconds, `now`, or back from now as in -15m (units s,
    /// m, h, d)
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) from: Option<When>,
    /// The first event time no longer wanted, in the same forms
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) to: Option<When>,
    /// Where to read: auto (from the nodes, and what they do not have from the archive), vault (from the nodes only),
    /// or archive (what is archived, from the archive only; all else is named as missing)
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t = Source::Auto)]
    pub(crate) source: Source,
    /// exporter:NAME (the sink of that exporter, with its TLS and headers), otlp-grpc://HOST:PORT or
    /// otlp-http://HOST:PORT[/PATH] (in plaintext), otlp-grpcs://HOST:PORT or otlp-https://HOST:PORT[/PATH] (over
    /// TLS), - (JSON lines), or file:PATH ending in .binpb (plain concatenation), .lenpb (each payload behind its
    /// 4-byte big-endian length) or .jsonl, and .zst after any of them
    #[arg(long, value_name = "SINK", allow_hyphen_values = true)]
    pub(crate) sink: Sink,
    /// Payload bytes a second at most, as in 10MiB (1024) or 10MB (1000)
    #[arg(long, value_name = "BYTES")]
    pub(crate) rate: Option<Rate>,
    /// PEM file with the authorities that the certificate of an otlp-grpcs:// or otlp-https:// sink is checked against;
    /// without it, those of the node's system
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Give up when nothing was delivered for this long, for whatever reason: 30s, 10m. A job is then cancelled; the
    /// part of a file that is written stays. Exit code 5
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<Patience>,
    /// The id of an earlier try that was not answered, as that has printed it: the job that it began, if it did, is
    /// followed, and no second one begins
    #[arg(long, value_name = "UUID")]
    pub(crate) request: Option<Uuid>,
    /// Do not follow the job (only where the node sends)
    #[arg(long)]
    pub(crate) detach: bool,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Send in plaintext to another machine
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Send even to the node itself, which stores everything once more
    #[arg(long)]
    pub(crate) into_self: bool,
}
