//! The cutting of the log: its moments and its extent, by entries and by bytes.
//!
//! **Invariants**:
//! - I1: only entries that a snapshot has are cut.
//! - I2: the newest entries stay, as many as fit the limits, so that a follower that was away for a moment needs no
//!   snapshot.
//!
//! **Not here**: the snapshot (`snapshot.rs`).

use std::sync::Arc;

use gophership_catalogue::CatalogueError;

use super::core::{LogStatus, stopped};
use super::limits::{CHANGE_TIMEOUT, LOG_BYTES_KEPT, LOG_BYTES_MAX, LOG_ENTRIES_KEPT, LOG_ENTRIES_MAX};
use super::node::{RaftNode, fatal};

/// The bounds of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLimits {
    /// Entries before it is cut.
    pub entries_max: u64,
    /// Bytes before it is cut.
    pub bytes_max: u64,
    /// Entries that stay.
    pub entries_kept: u64,
    /// Bytes that stay.
    pub bytes_kept: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            entries_max: LOG_ENTRIES_MAX,
            bytes_max: LOG_BYTES_MAX,
            entries_kept: LOG_ENTRIES_KEPT,
            bytes_kept: LOG_BYTES_KEPT,
        }
    }
}

impl LogLimits {
    fn is_due(&self, log: LogStatus) -> bool {
        log.entries > self.entries_max || log.bytes > self.bytes_max
    }
}

/// A search for the last entry to be cut off, by the sizes of the newest entries.
struct Cut {
    limits: LogLimits,
    entries: u64,
    bytes: u64,
    upto: Option<u64>,
}

impl Cut {
    fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            entries: 0,
            bytes: 0,
            upto: None,
        }
    }

    /// Takes the next older entry; returns false where that is the first that goes.
    fn take(&mut self, index: u64, bytes: u64) -> bool {
        self.entries += 1;
        self.bytes += bytes;
        if self.entries > self.limits.entries_kept || self.bytes > self.limits.bytes_kept {
            self.upto = Some(index);
        }
        self.upto.is_none()
    }
}

/// Cuts the log whenever it is too large, until the node ends.
pub(crate) async fn run(node: Arc<RaftNode>, limits: LogLimits) {
    let mut log = node.core.log();
    loop {
        let due = log.wait_for(|log| limits.is_due(*log)).await.is_ok();
        if !due || node.check().is_err() {
            return;
        }
        if let Err(e) = cut(&node, limits).await {
            tracing::warn!(error = %e, "consensus.log.cut_failed");
        }
        // However large it still is: what is not applied yet cannot go.
        tokio::time::sleep(node.timing.heartbeat).await;
    }
}

async fn cut(node: &Arc<RaftNode>, limits: LogLimits) -> Result<(), CatalogueError> {
    let core = Arc::clone(&node.core);
    let sizes = tokio::task::spawn_blocking(move || {
        let mut cut = Cut::new(limits);
        core.entry_sizes_from_newest(|index, bytes| cut.take(index, bytes))?;
        Ok(cut.upto)
    });
    let found = sizes.await.unwrap_or_else(|e| Err(stopped(&e.to_string())))?;
    let applied = node.core.applied().borrow().last.map(|id| id.index);
    let Some(upto) = found.min(applied) else { return Ok(()) };
    let covered = |index: Option<u64>| index.is_some_and(|index| index >= upto);
    if !covered(node.metrics().snapshot.map(|id| id.index)) {
        node.limited("a snapshot", node.raft.trigger().snapshot())
            .await?
            .map_err(|e| fatal(&e))?;
        let built = node.wait_for(CHANGE_TIMEOUT, |m| covered(m.snapshot.map(|id| id.index)).then_some(()));
        if built.await?.is_none() {
            return Ok(());
        }
    }
    node.limited("a cut of the log", node.raft.trigger().purge_log(upto))
        .await?
        .map_err(|e| fatal(&e))?;
    node.wait_for(CHANGE_TIMEOUT, |m| covered(m.purged.map(|id| id.index)).then_some(()))
        .await?;
    tracing::info!(upto, "consensus.log.cut");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LogLimits = LogLimits {
        entries_max: 10,
        bytes_max: 1_000,
        entries_kept: 3,
        bytes_kept: 100,
    };

    #[test]
    fn a_log_is_cut_for_its_entries_or_for_its_bytes() {
        for (entries, bytes, due) in [(10, 1_000, false), (11, 1, true), (1, 1_001, true), (0, 0, false)] {
            let log = LogStatus {
                entries,
                bytes,
                ..LogStatus::default()
            };
            assert_eq!(LIMITS.is_due(log), due);
        }
    }

    #[test]
    fn i2_the_newest_entries_stay_as_far_as_both_limits_allow() {
        let cases: [(&[u64], Option<u64>); 5] = [
            (&[10, 10, 10, 10, 10], Some(2)),
            (&[10, 10, 10], None),
            (&[10, 10, 60, 60], Some(3)),
            (&[10, 10, 10, 101], Some(4)),
            (&[], None),
        ];
        for (sizes, expected) in cases {
            let mut cut = Cut::new(LIMITS);
            let newest_first = sizes.iter().enumerate().rev();
            let _first_that_goes = newest_first
                .map(|(at, bytes)| cut.take(at as u64 + 1, *bytes))
                .find(|more| !more);
            assert_eq!(cut.upto, expected, "{sizes:?}");
        }
    }
}
