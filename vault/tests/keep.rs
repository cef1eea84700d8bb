//! Work that goes on while the ledger does not answer: the disk tiers, the ballast, and the removal of segments that
//! are on record as trimmed.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::sync::{Arc, Condvar, Mutex};

use gophership_vault::ids::{Epoch, SegmentId, SegmentIndex, ShardId};
use gophership_vault::ledger::{KeptClock, KnownSegment, Ledger, LedgerError, OpenRecord, SealRecord, TrimReason};
use gophership_vault::{DataDir, DiskTier, ShardSeam, Vault, VaultOptions, start_bytes};
use support::{FaultyLedger, append, open, options, payload, sealed, wait, wait_acked};

/// A ledger that does not answer while its gate is closed, as a cluster's ledger without a majority.
struct Silent {
    inner: Arc<FaultyLedger>,
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Silent {
    fn pass(&self) -> &FaultyLedger {
        let closed = self.closed.lock().unwrap();
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
        &self.inner
    }

    fn close(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.opened.notify_all();
    }
}

struct AnswersAtLast(Arc<Silent>);

impl Drop for AnswersAtLast {
    fn drop(&mut self) {
        self.0.close(false);
    }
}

impl Ledger for Silent {
    fn known(&self) -> Vec<KnownSegment> {
        self.inner.known()
    }

    fn next_index(&self, shard: ShardId) -> SegmentIndex {
        self.inner.next_index(shard)
    }

    fn roll(&self, seal: Option<&SealRecord>, open: &OpenRecord) -> Result<(), LedgerError> {
        self.pass().roll(seal, open)
    }

    fn seal_segment(&self, seal: &SealRecord) -> Result<(), LedgerError> {
        self.pass().seal_segment(seal)
    }

    fn trim_segment(&self, id: SegmentId, why: TrimReason) -> Result<(), LedgerError> {
        self.pass().trim_segment(id, why)
    }

    fn holds_copy(&self, id: SegmentId, digest: [u8; 32]) -> Result<(), LedgerError> {
        self.pass().holds_copy(id, digest)
    }

    fn unlinked(&self, segments: &[SegmentId]) -> Result<(), LedgerError> {
        self.pass().unlinked(segments)
    }

    fn new_epoch(&self, seen: Epoch) -> Result<Epoch, LedgerError> {
        self.pass().new_epoch(seen)
    }

    fn segment_lost(&self, id: SegmentId) -> Result<(), LedgerError> {
        self.pass().segment_lost(id)
    }

    fn clock(&self) -> Option<KeptClock> {
        self.inner.clock()
    }

    fn keep_clock(&self, mark: KeptClock) -> Result<(), LedgerError> {
        self.pass().keep_clock(mark)
    }
}

#[test]
fn a_ledger_that_does_not_answer_stops_no_housekeeping() {
    let dir = tempfile::tempdir().unwrap();
    let inner: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &inner, &options(1));
    let mut n = 0;
    wait("some seals", || {
        n += 1;
        let lsn = append(&mut writers[0], n, &payload(n, 1000));
        wait_acked(&writers[0], lsn);
        sealed(&vault).len() >= 3
    });
    let first = sealed(&vault)[0].id;
    let file = vault.segment_file(first);
    vault.close(writers);
    // A crash came between the record of the trim and the removal of the file.
    inner.trim_segment(first, TrimReason::Retention).unwrap();

    let epoch: Epoch = inner.next_epoch();
    let ledger = Arc::new(Silent {
        inner,
        closed: Mutex::new(false),
        opened: Condvar::new(),
    });
    let options = VaultOptions {
        // With the ballast it is nearly full.
        disk_limit: (start_bytes(1, 64 * 1024) + 4 * 64 * 1024) * 10 / 9,
        ..options(1)
    };
    let data = DataDir::open(dir.path(), true).unwrap();
    let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
    let seams = vec![ShardSeam::alone(Box::new(|| {}))];
    let (vault, writers) = Vault::open(data, &options, epoch, shared, seams).unwrap();
    // Where this test fails, the threads that wait for the ledger must nevertheless end.
    let _answers = AnswersAtLast(Arc::clone(&ledger));
    ledger.close(true);
    wait("the file of the trimmed segment to go", || !file.exists());
    wait("the ballast", || vault.status().ballast_bytes > 0);
    wait("another tier", || vault.tier() != DiskTier::Normal);
    ledger.close(false);
    wait("the confirmation", || ledger.inner.records_of(first.index).is_none());
    vault.close(writers);
}

#[test]
fn a_segment_is_sealed_and_the_next_spare_opened_in_one_step() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    wait("the spares", || ledger.rolls().len() == 3);
    let mut n = 0;
    for rolled in 1..=4 {
        wait("a seal", || {
            if sealed(&vault).len() < rolled {
                n += 1;
                let lsn = append(&mut writers[0], n, &payload(n, 1000));
                wait_acked(&writers[0], lsn);
                return false;
            }
            ledger.rolls().len() >= 3 + rolled
        });
    }
    let index = |id: SegmentId| id.index.get();
    let rolls: Vec<_> = ledger
        .rolls()
        .into_iter()
        .map(|(s, o)| (s.map(index), index(o)))
        .collect();
    assert_eq!(rolls[..3], [(None, 1), (None, 2), (None, 3)]);
    let with_a_seal = rolls.iter().filter(|(sealed, _)| sealed.is_some()).count();
    assert!(
        with_a_seal > 0 && rolls.is_sorted_by_key(|(_, opened)| *opened),
        "{rolls:?}"
    );
    vault.close(writers);
}

#[test]
fn a_seal_that_does_not_come_holds_up_no_spare_but_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let (vault, mut writers) = open(dir.path(), &ledger, &options(1));
    ledger.seal_only(Some(0));
    let mut n = 0;
    // No segment is sealed; the writer goes on through more files than are ever ready at once.
    wait("many files", || {
        n += 1;
        let lsn = append(&mut writers[0], n, &payload(n, 1000));
        wait_acked(&writers[0], lsn);
        lsn.index().get() > 6
    });
    assert_eq!(sealed(&vault).len(), 0);
    ledger.seal_only(None);
    wait("the seals", || sealed(&vault).len() >= 6);
    vault.close(writers);
}
