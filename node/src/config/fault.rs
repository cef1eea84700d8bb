//! Faults of a configuration, and their texts for an operator.
//!
//! **Owns**: [`Fault`], [`Faults`], [`Problem`], [`Origin`].
//!
//! **Invariants**:
//! - I1: a fault names the place, the path of the key, the text that was seen, and the values that are accepted.
//!
//! **Not here**: finding faults (`tree.rs`, `reader.rs`, `check.rs`).

use std::fmt;
use std::path::PathBuf;

use gophership_proto::size;

/// A line and a column of the configuration file, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
}

/// The source of a value. The order is that in which faults are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The configuration file.
    File(Place),
    /// An environment variable.
    Environment(String),
    /// The settings of the cluster.
    Cluster,
    /// No source: the value is the default.
    Default,
}

/// One fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The path of the key or section, such as `vault.segment_size`; empty for the file as a whole.
    pub path: String,
    /// The source of the value.
    pub origin: Origin,
    /// The text that was found there.
    pub seen: Option<String>,
    /// The fault itself, and the accepted values.
    pub problem: Problem,
}

/// A property of the machine that keeps a node from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The path of the key concerned.
    pub path: String,
    /// The fault, and the remedy.
    pub reason: String,
}

/// The kinds of fault, with the accepted values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file could not be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// The system's error.
        reason: String,
    },
    /// The file is larger than any configuration.
    #[error("is larger than {limit} bytes: this is no configuration of ours")]
    FileTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is not YAML.
    #[error("is not YAML: {reason}")]
    Syntax {
        /// The parser's error.
        reason: String,
    },
    /// The file is nested too deeply.
    #[error("is nested deeper than {limit} levels; ours needs five")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// The file has too many elements.
    #[error("has more than {limit} keys and values")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The file holds more than one document.
    #[error("is a second YAML document (`---`); accepted: one")]
    SecondDocument,
    /// The file uses an anchor, alias or tag.
    #[error("is a YAML {what}, which is not accepted; write the value out")]
    Feature {
        /// `anchor`, `alias` or `tag`.
        what: &'static str,
    },
    /// A key that is a list or a mapping.
    #[error("has a key that is not a plain word")]
    KeyNotText,
    /// A key that was set above.
    #[error("is set a second time; the first is in line {first}; accepted: once")]
    Duplicate {
        /// The line of the first occurrence.
        first: usize,
    },
    /// A key that does not exist.
    #[error("is not a key{}; accepted here: {known}", .suggestion.as_ref().map(|name| format!(" (did you mean \
        `{name}`?)")).unwrap_or_default())]
    UnknownKey {
        /// The key that may have been meant.
        suggestion: Option<String>,
        /// The keys of its section.
        known: String,
    },
    /// A section whose value is a scalar or a list.
    #[error("is a section; accepted: a mapping with {known}")]
    NotASection {
        /// The keys of the section.
        known: String,
    },
    /// A list whose value is a scalar or a mapping.
    #[error("is a list; accepted: {accepted}")]
    NotAList {
        /// The accepted values.
        accepted: String,
    },
    /// A list with too many elements.
    #[error("has {found} elements; accepted: at most {limit}")]
    TooManyElements {
        /// Number of elements found.
        found: usize,
        /// Limit of elements.
        limit: usize,
    },
    /// A key that must be set and is not.
    #[error("is missing; accepted: {accepted}")]
    Missing {
        /// The accepted values.
        accepted: String,
    },
    /// The name of another element of the list.
    #[error("is the name of {other} already; accepted: another name")]
    NameTaken {
        /// The path of the other element.
        other: String,
    },
    /// An exporter without a target, or with two.
    #[error("has {}; accepted: exactly one of otlp_grpc and otlp_http", if *.both { "both otlp_grpc and \
        otlp_http" } else { "neither otlp_grpc nor otlp_http" })]
    NotOneTarget {
        /// True for two targets, false for none.
        both: bool,
    },
    /// A plaintext sink on another machine.
    #[error(
        "is plaintext to another machine; accepted: https://, a loopback host, or `insecure: true` where the network \
         is trusted"
    )]
    PlaintextSink,
    /// `tls` for a sink without TLS.
    #[error("is set, but the endpoint is http://; accepted: one with https://, or no `tls`")]
    TlsWithoutHttps,
    /// `insecure` for a sink with TLS.
    #[error("is set, but the endpoint is https://; accepted: one with http://, or no `insecure`")]
    InsecureWithHttps,
    /// A budget of which the exporters would take more than half.
    #[error(
        "is too small for the exporters, which need {need}: each holds a batch three times (batch_bytes: its entries, \
         put together, compressed) and a message (ingest.max_message); accepted: {least} or more, smaller batches, or \
         fewer exporters"
    )]
    BudgetBelowExporters {
        /// Bytes that the exporters need.
        need: String,
        /// The smallest budget.
        least: String,
    },
    /// Yellow that does not begin before Red.
    #[error("is not less than zones.red ({red}); accepted: a smaller fraction, or a larger zones.red")]
    ZonesOutOfOrder {
        /// The threshold of Red, as it is written.
        red: String,
    },
    /// A value that is a list or a mapping.
    #[error("takes one value, not a {found}; accepted: {accepted}")]
    NotAValue {
        /// `list` or `mapping`.
        found: &'static str,
        /// The accepted values.
        accepted: String,
    },
    /// A value of another kind or out of bounds.
    #[error("is not accepted; accepted: {accepted}")]
    NotAccepted {
        /// The accepted values.
        accepted: String,
    },
    /// `${env:NAME}` of a variable that is not set.
    #[error("refers to the environment variable {name}, which is not set")]
    VariableMissing {
        /// The variable.
        name: String,
    },
    /// A variable that is not UTF-8.
    #[error("takes its value from the environment variable {name}, which is not UTF-8")]
    VariableNotText {
        /// The variable.
        name: String,
    },
    /// `${file:PATH}` of a file that cannot be read.
    #[error("refers to the file {path:?}, which {reason}")]
    FileUnreadable {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A `${` that does not begin a reference.
    #[error("has a `${{` that is not `${{env:NAME}}` or `${{file:PATH}}`; only that is expanded")]
    BadReference,
    /// The value of a header of a cluster's exporter.
    #[error(
        "is written out, and the exporters of a cluster are on record and shown; accepted: a reference, \
         `${{env:NAME}}` or `${{file:PATH}}`, which each node resolves for itself"
    )]
    SecretWrittenOut,
    /// `cluster.name` is set for the cluster.
    #[error("stays what it was when the cluster was provisioned: the folder of each node has it")]
    NameStays,
    /// A key that is a node's own is set for the cluster.
    #[error("is a node's own: change it in the configuration of {of}")]
    NodesOwn {
        /// The nodes whose configuration is to be changed, and what is to be done then.
        of: &'static str,
    },
    /// A `GS_` variable without a key.
    #[error("is an environment variable that sets nothing{}; accepted: GS_ and a key's path in capitals, such as \
        GS_NODE_NAME", .suggestion.as_ref().map(|name| format!(" (did you mean {name}?)")).unwrap_or_default())]
    UnknownVariable {
        /// The variable that may have been meant.
        suggestion: Option<String>,
    },
    /// Plaintext on a port that other machines can reach.
    #[error(
        "is not loopback and has no TLS; accepted: a loopback address, `tls` with cert and key, or `insecure: true` \
         where the network is trusted"
    )]
    PlaintextExposed,
    /// `insecure` beside `tls`.
    #[error("is set beside `tls`; accepted: one of them")]
    InsecureWithTls,
    /// A TLS section without its certificate or key.
    #[error("is missing; accepted: a PEM file (`tls` needs both cert and key)")]
    TlsFileMissing,
    /// Two listeners on one address.
    #[error("is taken by {other} already; accepted: another port or address")]
    AddressTaken {
        /// The path of the other listener.
        other: &'static str,
    },
    /// Two peers at one address.
    #[error("is the address of {other} already; accepted: another port or host")]
    PeerAddressTaken {
        /// The path of the other peer.
        other: String,
    },
    /// Plaintext between peers.
    #[error(
        "has no TLS; accepted: `tls` with cert, key and client_ca, or `insecure: true` on a loopback address (peers \
         talk without TLS on one machine only)"
    )]
    PlaintextPeers,
    /// A setting of a cluster's node on a single one.
    #[error("is set, but `cluster` is not; accepted: both or neither")]
    OnlyInCluster,
    /// A node that its own list of peers does not have.
    #[error("is no name in cluster.peers ({names}); accepted: one of them")]
    NotAPeer {
        /// The names of the list.
        names: String,
    },
    /// More copies than nodes, or too few nodes.
    #[error(
        "needs {needed} peers, and cluster.peers has {found}; accepted: fewer replicas (2 at least), or more peers"
    )]
    TooFewPeers {
        /// Nodes needed.
        needed: u16,
        /// Nodes in the list.
        found: usize,
    },
    /// A segment size that is not whole pages.
    #[error("is not a multiple of {step}; accepted: whole pages, such as {nearest}")]
    NotWholePages {
        /// The page size in bytes.
        step: u64,
        /// The next multiple, as it is written.
        nearest: String,
    },
    /// A segment that cannot take a message.
    #[error(
        "cannot hold one message of ingest.max_message ({max_message}); accepted: at least {least}, or a smaller \
         ingest.max_message"
    )]
    SegmentTooSmall {
        /// The largest message, as it is written.
        max_message: String,
        /// The smallest segment size for it.
        least: String,
    },
    /// A disk limit that does not hold the segments needed.
    #[error(
        "is too small for {shards} shards with {spares} spares of {segment_size} each; accepted: at least {least}, or \
         fewer shards or spares, or a smaller vault.segment_size"
    )]
    DiskLimitTooSmall {
        /// Number of ingest workers.
        shards: u16,
        /// Number of spare WAL files of each shard.
        spares: u16,
        /// The segment size, as it is written.
        segment_size: String,
        /// The smallest limit.
        least: String,
    },
    /// A value that cannot be used on this machine.
    #[error("cannot be used here: {reason}")]
    Unusable {
        /// The fault, and the remedy.
        reason: String,
    },
    /// A memory budget whose share of one worker is too small for a message.
    #[error(
        "is too small for {shards} shards that each take a message of {max_message} as sent and as inflated; accepted: \
         at least {least}, or fewer shards, or a smaller ingest.max_message"
    )]
    BudgetTooSmall {
        /// Number of ingest workers.
        shards: u16,
        /// The largest message, as it is written.
        max_message: String,
        /// The smallest budget.
        least: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File(place) => write!(f, "line {}, column {}: ", place.line, place.column)?,
            Origin::Environment(name) if *name != self.path => write!(f, "environment variable {name}: ")?,
            Origin::Environment(_) => {}
            Origin::Default if self.seen.is_some() => write!(f, "default: ")?,
            Origin::Cluster | Origin::Default => {}
        }
        f.write_str(if self.path.is_empty() { "the file" } else { &self.path })?;
        if let Some(seen) = &self.seen {
            write!(f, ": {}", quoted(seen))?;
        }
        write!(f, " {}", self.problem)?;
        match (&self.problem, self.seen.as_deref().and_then(size::hint)) {
            (Problem::NotAccepted { accepted }, Some(hint)) if accepted.contains(size::FORM) => write!(f, "; {hint}"),
            _ => Ok(()),
        }
    }
}

/// The text that was seen, in quotes, on one line and not longer than a line.
fn quoted(seen: &str) -> String {
    const SHOWN_MAX: usize = 80;
    if seen.chars().count() <= SHOWN_MAX {
        return format!("{seen:?}");
    }
    format!("{:?}...", seen.chars().take(SHOWN_MAX).collect::<String>())
}

/// All faults of a configuration, of which there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The file, where there was one.
    pub file: Option<PathBuf>,
    /// The faults in order: those of the file, those of the environment, those of defaults.
    pub list: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        write!(
            f,
            "{count} fault{} in the configuration",
            if count == 1 { "" } else { "s" }
        )?;
        if let Some(file) = &self.file {
            write!(f, " {}", file.display())?;
        }
        for fault in &self.list {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
