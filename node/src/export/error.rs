//! Errors of exporters.

use gophership_catalogue::CatalogueError;
use gophership_catalogue::exporter::EntryId;
use gophership_vault::ids::ShardId;
use thiserror::Error;

/// An error of an exporter.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The exporter does not exist.
    #[error("there is no exporter {0:?}; `gs-ctl exporter list` shows them")]
    Unknown(String),
    /// It is on record, and does not run.
    #[error(
        "exporter {0:?} is not configured, so it does nothing: put it into `export` again, or forget it (`gs-ctl \
         exporter forget {0}`)"
    )]
    NotConfigured(String),
    /// It is to run, and cannot on this node.
    #[error("exporter {name:?} does not run on this node, and what it would send is kept: {why}")]
    Refused {
        /// The exporter.
        name: String,
        /// The reason.
        why: String,
    },
    /// The catalogue has no room for its record.
    #[error(
        "exporter {name:?}: there is no room, {limit} exporters are on record: forget one that is not configured any \
         more (`gs-ctl exporter forget NAME`)"
    )]
    NoRoom {
        /// The exporter.
        name: String,
        /// Limit of exporters on record.
        limit: usize,
    },
    /// Its sink cannot be made from its settings.
    #[error("exporter {name:?}: {why}")]
    Sink {
        /// The exporter.
        name: String,
        /// The fault, in words.
        why: String,
    },
    /// Its thread cannot be started.
    #[error("exporter {name:?} cannot start: {source}")]
    Thread {
        /// The exporter.
        name: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A seek to a time in the future.
    #[error("a cursor cannot go to a time to come: `now` is behind everything that is acknowledged")]
    TimeToCome,
    /// The shard that a seek would read is being recovered.
    #[error(
        "shard {shard} is being recovered after a restart, and its entries are not all there yet: say it again later, \
         or see `gs-ctl segment list`"
    )]
    Recovering {
        /// The shard.
        shard: ShardId,
    },
    /// A seek would pass over entries.
    #[error(
        "exporter {name:?} would never send {entries} entries ({bytes} bytes) that it owes: if they may be lost for \
         it, say --accept-loss"
    )]
    SeekLoses {
        /// The exporter.
        name: String,
        /// Number of its unsent entries that would be passed over.
        entries: u64,
        /// Payload bytes of those entries.
        bytes: u64,
    },
    /// Forgetting it would lose something.
    #[error(
        "exporter {name:?} owes {} entries ({} bytes) and has {} dead letters: if they may be lost for it, say \
         --accept-loss",
        lost.debt_entries, lost.debt_bytes, lost.dead_letters
    )]
    ForgetLoses {
        /// The exporter.
        name: String,
        /// The losses.
        lost: Forgotten,
    },
    /// It is not known what nodes owe an exporter that is to be forgotten.
    #[error(
        "{} may owe exporter {name:?} entries, and does not answer: start it, or if they may be lost for it, say \
         --accept-loss",
        nodes.join(" and ")
    )]
    DebtUnknown {
        /// The exporter.
        name: String,
        /// The nodes, for a person.
        nodes: Vec<String>,
    },
    /// The catalogue refused the command.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The named entry is no dead letter.
    #[error("entry {2} of {0}/{1} is no dead letter of this exporter", entry.0, entry.1, entry.2)]
    NoSuchLetter {
        /// The entry.
        entry: EntryId,
    },
    /// The entry of a dead letter cannot be read at this node.
    #[error(
        "the entry of dead letter {}/{}/{} cannot be read at this node now: ask {} (gs-ctl at that node, while it \
         runs)",
        entry.0, entry.1, entry.2, holders.join(" or ")
    )]
    LetterElsewhere {
        /// The entry.
        entry: EntryId,
        /// The nodes that have it by the record, each with its name and number.
        holders: Vec<String>,
    },
}

/// The losses that come with forgetting an exporter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forgotten {
    /// Number of entries that it had still to send.
    pub debt_entries: u64,
    /// Payload bytes of those entries.
    pub debt_bytes: u64,
    /// Number of its dead letters.
    pub dead_letters: u64,
}
