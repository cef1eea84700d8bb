//! The command line: commands and their options.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::archive::Archive;
use super::format::Format;
use super::letter_name::LetterName;
use super::replay::Replay;
use super::restore::RestoreArgs;
use super::schema_name::SchemaName;
use super::seek_to::SeekTo;
use super::segment_name::SegmentName;
use super::when::{Interval, Patience, When};

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed: the node refused, or waits for its cluster, or something did not work, or a replay job did not deliver
     everything
  2  the command line is wrong
  3  no node could be reached, or it went silent
  4  damage was found, or what was written down is not everything
  5  gave up: nothing moved for the time of --timeout
  gs-ctl check has codes of its own";

const CHECK_CODES: &str = "Exit codes, those of plugins of monitoring systems:
  0  OK: nothing is wrong
  1  WARNING: something is wrong that bears waiting
  2  CRITICAL: somebody has to look now; or the command line is wrong
  3  UNKNOWN: the node did not answer";

/// Query and control a GopherShip node
#[derive(Debug, Parser)]
#[command(name = "gs-ctl", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The node's control socket, gophership.sock in its data folder; else the one that GS_SOCKET names. Where none is
    /// named, it is looked for in ./data and in /var/lib/gophership
    // clap's own `env` would show it as required in usage lines.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Format of the answer; json and yaml hold bytes as numbers, and times as RFC 3339 and in nanoseconds; `gs-ctl
    /// schema` describes them
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the state of the node
    Status,
    /// Say in a line whether something is wrong with the cluster, and what, for a monitoring system. It asks this node
    #[command(after_help = CHECK_CODES)]
    Check,
    /// The cluster; a single node answers as a cluster of one
    #[command(subcommand)]
    Cluster(Cluster),
    /// The nodes of the cluster
    #[command(subcommand)]
    Node(Node),
    /// Consensus, by which the nodes of a cluster keep one catalogue
    #[command(subcommand)]
    Raft(Raft),
    /// Show what changed the state of the cluster: who did what to what, and when, oldest first. The newest 10,000
    /// events are kept, on every node
    Events(Events),
    /// Watch the node: zone, rates, latencies, debt, exporters; in a cluster its copies and the other nodes. Lines
    /// instead of a screen where stdout is no terminal
    Top(Top),
    /// Watch records as they are received and durable, until Ctrl-C
    Tail(Tail),
    /// Settings: what is in force on the node, and what counts for all nodes of its cluster
    #[command(subcommand)]
    Config(Config),
    /// Exporters, through which the node sends the entries that it has accepted
    #[command(subcommand)]
    Exporter(Exporter),
    /// Dead letters: entries that a sink refused because of their content
    #[command(subcommand)]
    DeadLetter(DeadLetter),
    /// Force a zone until it is cleared, or let the node choose again
    Override(Override),
    /// Segments: the files that hold entries
    #[command(subcommand)]
    Segment(Segment),
    /// Replays: entries of the vault, sent or written again, bit for bit
    #[command(subcommand)]
    Replay(Replay),
    /// The archive: how it fares, and its objects, on record, in files, or in a store
    #[command(subcommand)]
    Archive(Archive),
    /// Write-ahead log files, read without a node
    #[command(subcommand)]
    Wal(Wal),
    /// Print the JSON Schema of a command's answer with -o json
    Schema {
        /// The command, its words joined by hyphens. exporter is for describe, pause, resume and seek; config-set also
        /// for exporter set and remove; segment-list for
        /// list, seal and forget; node-change for drain, undrain, remove, stop and can-stop; replay-job for start,
        /// status and cancel; replay-file for start to a file; archive-verify for files, archive-verify-store for a URL
        #[arg(value_enum)]
        name: SchemaName,
    },
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages, one for each command
    Man {
        /// The folder to write to
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Show what is wrong with the cluster and what to do about it, and how each node fares. -o wide adds addresses
    Status,
    /// Make one cluster of the nodes of the configuration, once they all run. The first is the one with data, of which
    /// there may be one; the others join by themselves. Where the cluster is there already, it stays as it is
    Provision {
        /// Let this node forget the invitation that it has accepted, so that it accepts another
        #[arg(long, conflicts_with = "restore_from")]
        abort: bool,
        #[command(flatten)]
        restore: RestoreArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List the nodes: state, boot, part in consensus, failure domain, address
    List,
    /// Let a node leave: it takes no more logs and gets no more copies, and the others make up for those that it has
    Drain {
        #[command(flatten)]
        node: NodeChange,
    },
    /// Take a node back that is being drained
    Undrain {
        #[command(flatten)]
        node: NodeChange,
    },
    /// Remove a node for good, once it is stopped and nothing needs it. Its name is free then; with an empty folder it
    /// may join again, under another number. Of a node that is removed already it says so, and succeeds
    Remove {
        #[command(flatten)]
        node: NodeChange,
        /// Remove it though acknowledged entries may be lost by it: those that only it has
        #[arg(long)]
        accept_loss: bool,
    },
    /// Stop this node, as SIGTERM does, where can-stop has nothing against it; it hands the lead on first. For a hook
    /// that runs before a container or a service is stopped
    Stop {
        /// Wait until nothing is against it. Whoever ends the wait has changed nothing
        #[arg(long)]
        wait: bool,
        /// Give up the wait after this long: 30s, 10m. Exit code 5
        #[arg(long, value_name = "TIME", default_value = "5m", requires = "wait")]
        timeout: Patience,
    },
    /// Say whether a node can be stopped now: 0 where the others go on without it and have everything, 1 where not
    CanStop {
        /// Its name or number
        node: String,
    },
}

/// A change of a node.
#[derive(Debug, Args)]
pub(crate) struct NodeChange {
    /// Its name or number
    pub(crate) node: String,
    /// Change nothing, and say what would come of it
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// In a cluster its settings are on record, and stand in place of what each node's own file says; the rest is a node's
/// own. On a single node all are in its file.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show the settings of the node: the value of each, where that is from, and why it is not in force where it is not
    Get {
        /// Only this one, or those below it: vault.retention, cluster, exporter.backend
        key: Option<String>,
    },
    /// Change a setting of the cluster, or several at once, on all nodes. Refused where the node that is asked cannot
    /// have the values, or where one was changed since it was looked at; of several all are changed or none. A value
    /// that is optional is taken back with none
    Set {
        /// The setting and its new value, as in a configuration file; or several, each as KEY=VALUE
        #[arg(required = true, value_name = "KEY VALUE|KEY=VALUE")]
        settings: Vec<String>,
        #[command(flatten)]
        change: SettingChange,
    },
    /// Show what the nodes' own files say otherwise than the cluster, whose settings count
    Diff,
}

/// A change of a setting.
#[derive(Debug, Args)]
pub(crate) struct SettingChange {
    /// Change nothing, and show the old value and the new one
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Change it only where this is still its version, as config get shows it (0: there is none)
    #[arg(long, value_name = "VERSION")]
    pub(crate) seen: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Raft {
    /// Show consensus, as the node that answers sees it
    Status,
}

/// What operators asked for, where it changed something, and changes of nodes, of the leader and of recoveries.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only events of this time or later: RFC 3339, Unix seconds or nanoseconds, or back from now as in -15m
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) since: Option<When>,
    /// Go on with those that come, until Ctrl-C: a line an event, with -o json a JSON object a line
    #[arg(long)]
    pub(crate) follow: bool,
}

/// On a terminal q, Esc and Ctrl-C leave. Elsewhere there is a line an interval (with -o json one JSON object a line,
/// with -o yaml one document), the first after the first interval.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Interval of queries: 500ms, 1s, 1m; 100ms at least
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub(crate) interval: Interval,
    /// End after so many intervals
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

/// A line a record: its time, severity, service and body. With -o json a line of OTLP/JSON an entry, as `replay start
/// --sink -` writes them.
///
/// It shows a busy node in part only, so that nothing waits for it: at most about 1,000 entries a second, none in a red
/// zone, and no entry that the reader is too slow for. Entries left out are counted, and the count is printed on
/// stderr. The node logs that somebody watches.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Begin with the newest N entries of each shard
    #[arg(
        short = 'n', long = "last", value_name = "N", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=1000)
    )]
    pub(crate) last: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Exporter {
    /// List the exporters
    List,
    /// Show one of them with all its counts. Sent counts the entries and records in requests that the sink accepted,
    /// including records that it rejected in them
    Describe {
        /// The exporter's name in the configuration
        name: String,
    },
    /// Send nothing more, over restarts too, until resumed. In a cluster all nodes follow
    Pause {
        /// The exporter's name in the configuration
        name: String,
    },
    /// Go on where it was, and at once
    Resume {
        /// The exporter's name in the configuration
        name: String,
    },
    /// Set an exporter of the cluster, a new one or a changed one: on all nodes, at once
    Set {
        /// A file with its description in YAML, as an element of `export` in a configuration; - is standard input.
        /// Header values are references, ${env:NAME} or ${file:PATH}, which each node resolves for itself
        file: PathBuf,
        #[command(flatten)]
        change: SettingChange,
    },
    /// Remove an exporter from the cluster's settings: no node sends for it any more. Its cursors and what it has not
    /// got are kept until it is forgotten
    Remove {
        /// The exporter's name
        name: String,
        #[command(flatten)]
        change: SettingChange,
    },
    /// Remove the records of an exporter that is not configured any more: its cursors and dead letters. Until then
    /// segments are kept for it
    Forget {
        /// The name that it had in the configuration
        name: String,
        /// Accept the loss of the entries of its debt and of its dead letters
        #[arg(long)]
        accept_loss: bool,
    },
    /// Move the cursor. Forward, the entries passed over are not sent; back, entries are sent again
    Seek {
        /// The exporter's name in the configuration
        name: String,
        /// now (after every acknowledged entry), oldest, or a received time: RFC 3339, Unix seconds or nanoseconds, or
        /// back from now as in -15m
        #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
        to: SeekTo,
        /// Accept that entries of its debt are passed over: they are never sent
        #[arg(long)]
        accept_loss: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetter {
    /// List dead letters
    List {
        /// Only those of this exporter
        #[arg(long, value_name = "NAME")]
        exporter: Option<String>,
        /// At most this many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Show the content of a dead letter, as a line of OTLP/JSON; content that is not logs, and strings that are not
    /// UTF-8 (x-gophership-not-utf8-hex), in hexadecimal; with -o json or yaml the letter and both. The node logs this
    Show {
        /// The exporter it belongs to
        exporter: String,
        /// The letter: node/shard/segment:number, as the list shows it
        #[arg(value_name = "LETTER")]
        letter: LetterName,
    },
    /// Send dead letters to their sink again. This ends at an answer that refuses not the data but the moment or the
    /// exporter; letters behind that one, and unreadable ones, are not tried. Exit code 1 when any of them is still a
    /// dead letter afterwards
    Replay(Letters),
    /// Give dead letters up: they are never sent, and no longer hold their segments
    Drop {
        #[command(flatten)]
        letters: Letters,
        /// Accept that they are lost for this exporter
        #[arg(long)]
        accept_loss: bool,
    },
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
pub(crate) struct Letters {
    /// The exporter they belong to
    pub(crate) exporter: String,
    /// The letters: node/shard/segment:number, as the list shows them
    #[arg(value_name = "LETTER", group = "which")]
    pub(crate) refs: Vec<LetterName>,
    /// All letters of the exporter
    #[arg(long, group = "which")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Override {
    /// The zone to force. The memory budget and the disk tiers hold all the same
    #[arg(long, value_enum, requires = "reason", required_unless_present = "clear")]
    pub(crate) zone: Option<ForcedZone>,
    /// Reason, shown until the override is cleared
    #[arg(long, value_name = "TEXT", requires = "zone", value_parser = reason)]
    pub(crate) reason: Option<String>,
    /// Let the node choose its zone again
    #[arg(long, conflicts_with_all = ["zone", "reason"])]
    pub(crate) clear: bool,
}

/// A zone that can be forced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum ForcedZone {
    /// All background work; messages are inflated and checked
    Green,
    /// Exporters read the vault, background work is slowed
    Yellow,
    /// Compressed messages are kept as received, background work is paused
    Red,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why: it is shown until the override is cleared".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Segment {
    /// List the segments: in a cluster all that are on record, with the nodes that hold each and whether they have it
    List {
        /// Only this shard
        #[arg(long, value_name = "N")]
        shard: Option<u32>,
        /// Only sealed segments with fewer copies on live nodes than there should be
        #[arg(long)]
        lacking: bool,
    },
    /// Show one segment, its holders and its blocks, from this node's file or from that of another holder
    Describe {
        /// node/shard/index, as the list shows it
        segment: SegmentName,
    },
    /// Seal the segments that take entries now, and wait until they are sealed: their entries can then be verified, and
    /// copied as files. The node goes on in new ones, and logs this
    Seal {
        /// Only this shard
        #[arg(long, value_name = "N")]
        shard: Option<u32>,
    },
    /// Accept the loss of a segment that cannot be read, so that exporters and replays pass it. Its files stay where
    /// they are; of a sealed segment what can be read goes once its retention is over, or the disk fills, also where it
    /// is not archived. A segment of a replaced node whose recovery nothing else ends is sealed from what is left of it
    Forget {
        /// node/shard/index, as the list shows it
        segment: SegmentName,
        /// Accept the loss of its entries
        #[arg(long)]
        accept_loss: bool,
    },
    /// Have every holder read all of its copy from the disk and check every byte. Exit code 4 when one is damaged, 1
    /// when one could not be verified
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Verify {
        /// node/shard/index, as the list shows it
        #[arg(group = "which")]
        segment: Option<SegmentName>,
        /// A segment file, checked here and without a node
        #[arg(long, value_name = "PATH", group = "which")]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Wal {
    /// Show the content of a WAL file: its header, every valid entry, and missing entries
    Dump {
        /// The file: wal/NODE/SHARD/INDEX.wal in the data folder, or a copy
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_may_begin_with_a_hyphen_and_so_may_the_sink() {
        let words = [
            "gs-ctl", "replay", "start", "--from", "-15m", "--to", "now", "--sink", "-",
        ];
        assert!(Cli::try_parse_from(words).is_ok());
    }

    #[test]
    fn all_is_said_and_never_meant_by_silence() {
        for verb in ["replay", "drop"] {
            let parse =
                |words: &[&str]| Cli::try_parse_from([&["gs-ctl", "dead-letter", verb, "backend"], words].concat());
            assert!(parse(&["--all"]).is_ok());
            assert!(parse(&["1/0/1:1", "1/0/1:2"]).is_ok());
            assert!(parse(&[]).is_err());
            assert!(parse(&["--all", "1/0/1:1"]).is_err());
        }
    }

    #[test]
    fn an_override_is_forced_with_a_reason_or_cleared() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["gs-ctl", "override"], words].concat());
        assert!(parse(&["--zone", "red", "--reason", "drill"]).is_ok());
        assert!(parse(&["--clear"]).is_ok());
        for bad in [
            &[][..],
            &["--zone", "red"],
            &["--zone", "red", "--reason", " "],
            &["--zone", "blue", "--reason", "x"],
            &["--reason", "x"],
            &["--clear", "--zone", "red", "--reason", "x"],
            &["--clear", "--reason", "x"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn verify_takes_a_segment_or_a_file() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["gs-ctl", "segment", "verify"], words].concat());
        assert!(parse(&["1/0/1"]).is_ok());
        assert!(parse(&["--file", "x.seg"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["1/0/1", "--file", "x.seg"]).is_err());
    }
}
