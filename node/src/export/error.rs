//! What goes wrong with an exporter.

use gophership_catalogue::CatalogueError;
use gophership_catalogue::exporter::EntryKey;
use gophership_vault::ids::ShardId;
use thiserror::Error;

/// What went wrong with an exporter.
#[derive(Debug, Error)]
pub enum ExportError {
    /// There is no such exporter.
    #[error("there is no exporter {0:?}; `gs-ctl exporter list` shows them")]
    Unknown(String),
    /// It is on record, and does not run.
    #[error(
        "exporter {0:?} is not configured, so it does nothing: put it into `export` again, or forget it (`gs-ctl exporter forget {0}`)"
    )]
    NotConfigured(String),
    /// Its sink cannot be made of its settings.
    #[error("exporter {name:?}: {why}")]
    Sink {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Its thread cannot be started.
    #[error("exporter {name:?} cannot start: {source}")]
    Thread {
        /// Which.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A seek to a time that is not yet.
    #[error("a cursor cannot go to a time to come: `now` is behind everything that is acknowledged")]
    TimeToCome,
    /// What would be sought through is being recovered.
    #[error(
        "shard {shard} is being recovered after a restart, and its entries are not all there yet: say it again later, or see `gs-ctl segment list`"
    )]
    Recovering {
        /// The shard.
        shard: ShardId,
    },
    /// A seek would pass entries over.
    #[error(
        "exporter {name:?} would never send {entries} entries ({bytes} bytes) that it owes: if they may be lost for it, say --accept-loss"
    )]
    SeekLoses {
        /// Which.
        name: String,
        /// What it owes of what would be passed over.
        entries: u64,
        /// Payload bytes of it.
        bytes: u64,
    },
    /// Forgetting it would lose something.
    #[error(
        "exporter {name:?} owes {} entries ({} bytes) and has {} dead letters: if they may be lost for it, say --accept-loss",
        lost.debt_entries, lost.debt_bytes, lost.dead_letters
    )]
    ForgetLoses {
        /// Which.
        name: String,
        /// What would be lost.
        lost: Forgotten,
    },
    /// The catalogue did not take it.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A dead letter that was named is none.
    #[error("entry {2} of {0}/{1} is no dead letter of this exporter", entry.0, entry.1, entry.2)]
    NoSuchLetter {
        /// Which entry.
        entry: EntryKey,
    },
}

/// What was forgotten with an exporter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Forgotten {
    /// Entries that it owed.
    pub debt_entries: u64,
    /// Payload bytes of them.
    pub debt_bytes: u64,
    /// Dead letters that it had.
    pub dead_letters: u64,
}
