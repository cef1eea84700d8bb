//! The vault against a model: whatever is appended, closed, crashed and reopened, with a file operation failing at any
//! place (feature `failpoints`) or the catalogue refusing or fencing it, everything that was acknowledged is there, in
//! order and bit-identical, and nothing else than what was appended.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gophership_vault::ids::Lsn;
use gophership_vault::ledger::Ledger;
use gophership_vault::{AppendError, DataDir, SegmentState, ShardSeam, ShardWriter, Vault, VaultOptions};
use proptest::prelude::*;
use support::*;

/// Every failpoint of the crate that stands for a failing operation.
const FAILPOINTS: [&str; 8] = [
    "file.sync",
    "dir.sync",
    "file.rename",
    "file.remove",
    "wal.sync",
    "wal.header.write",
    "wal.allocate",
    "segment.write",
];

#[derive(Clone, Debug)]
enum Fault {
    Point { name: &'static str, skip: u8, always: bool },
    Ledger(Mood),
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    WaitAcked,
    Tick,
    Arm(Fault),
    /// Another boot takes over: the vault finds out sooner or later, and takes an epoch of its own.
    Fence,
    /// Ends the vault, cleanly or not, and opens it again, with a fault that is there from the start where one is
    /// given.
    Reopen {
        clean: bool,
        fault: Option<Fault>,
    },
}

/// Serialises the cases, since failpoints belong to the process.
static ONE: Mutex<()> = Mutex::new(());

#[cfg(feature = "failpoints")]
fn arm(name: &str, skip: u8, always: bool) {
    let action = if always { "return" } else { "1*return->off" };
    fail::cfg(name, &format!("{skip}*off->{action}")).unwrap();
}

#[cfg(not(feature = "failpoints"))]
fn arm(_: &str, _: u8, _: bool) {}

#[cfg(feature = "failpoints")]
fn disarm() {
    FAILPOINTS.iter().for_each(fail::remove);
}

#[cfg(not(feature = "failpoints"))]
fn disarm() {}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => (prop::sample::select(&FAILPOINTS[..]), 0..6u8, any::<bool>())
            .prop_map(|(name, skip, always)| Fault::Point { name, skip, always }),
        1 => prop::sample::select(&[Mood::Refusing, Mood::Unheard][..]).prop_map(Fault::Ledger),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop_oneof![0..200usize, 2_000..9_000usize, Just(50_000)].prop_map(Op::Append),
        3 => Just(Op::WaitAcked),
        2 => Just(Op::Tick),
        2 => fault().prop_map(Op::Arm),
        1 => Just(Op::Fence),
        3 => (any::<bool>(), prop::option::weighted(0.3, fault()))
            .prop_map(|(clean, fault)| Op::Reopen { clean, fault }),
    ]
}

struct Run {
    dir: tempfile::TempDir,
    ledger: Arc<FaultyLedger>,
    vault: Option<(Vault, ShardWriter)>,
    /// Entries that were appended and may be there.
    appended: BTreeMap<Lsn, Vec<u8>>,
    /// Entries that must be there.
    kept: BTreeMap<Lsn, Vec<u8>>,
    /// What was refused after it was appended, since its epoch was fenced: the watermark says nothing of it.
    refused: BTreeSet<Lsn>,
    made: u64,
}

fn small() -> VaultOptions {
    VaultOptions {
        spares: 1,
        ..options(1)
    }
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Self {
            dir,
            ledger: Arc::default(),
            vault: None,
            appended: BTreeMap::new(),
            kept: BTreeMap::new(),
            refused: BTreeSet::new(),
            made: 0,
        };
        run.open();
        assert!(run.vault.is_some());
        run
    }

    fn open(&mut self) {
        let Ok(data) = DataDir::open(self.dir.path(), true) else {
            return;
        };
        let seams = vec![ShardSeam::alone(Box::new(|| {}))];
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        if let Ok((vault, mut writers)) = Vault::open(data, &small(), self.ledger.next_epoch(), ledger, seams) {
            self.vault = Some((vault, writers.remove(0)));
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(len) => self.append(*len),
            Op::WaitAcked => self.wait_acked(),
            Op::Tick => {
                self.renew();
                if let Some((_, writer)) = &mut self.vault {
                    writer.must_tick();
                }
            }
            Op::Arm(fault) => self.arm(fault),
            Op::Fence => drop(self.ledger.next_epoch()),
            Op::Reopen { clean, fault } => {
                self.end(*clean);
                disarm();
                self.ledger.be(Mood::Willing);
                if let Some(fault) = fault {
                    self.arm(fault);
                    self.open();
                    self.end(*clean);
                    disarm();
                    self.ledger.be(Mood::Willing);
                }
                self.open();
                self.check();
            }
        }
    }

    fn arm(&self, fault: &Fault) {
        match fault {
            Fault::Point { name, skip, always } => arm(name, *skip, *always),
            Fault::Ledger(mood) => self.ledger.be(*mood),
        }
    }

    fn append(&mut self, len: usize) {
        self.made += 1;
        let payload = payload(self.made, len);
        let patience = Instant::now() + Duration::from_millis(40);
        loop {
            self.renew();
            let Some((vault, writer)) = &mut self.vault else { return };
            match writer.must_append(&meta(self.made), payload.len(), std::iter::once(&payload[..])) {
                Ok(lsn) => {
                    assert!(
                        self.appended.last_key_value().is_none_or(|(last, _)| *last < lsn),
                        "an Lsn went back"
                    );
                    self.appended.insert(lsn, payload);
                    return;
                }
                Err(AppendError::NoSpare | AppendError::DiskFull | AppendError::Fenced)
                    if Instant::now() < patience =>
                {
                    std::thread::sleep(Duration::from_millis(1))
                }
                Err(AppendError::NoSpare | AppendError::DiskFull | AppendError::Fenced) => return,
                Err(AppendError::Failed) => {
                    let why = vault.failure().expect("a failed append has its reason");
                    assert!(!why.contains("panicked"), "{why}");
                    let acked = writer.watermark().acked();
                    std::thread::sleep(Duration::from_millis(2));
                    assert_eq!(
                        writer.watermark().acked(),
                        acked,
                        "a failed shard acknowledges nothing more"
                    );
                    return;
                }
                Err(AppendError::TooLarge) => panic!("it would have fit"),
            }
        }
    }

    fn wait_acked(&self) {
        let Some((_, writer)) = &self.vault else { return };
        let mark = writer.watermark();
        wait("an ack or a failure", || {
            mark.failed() || mark.fenced().is_some() || mark.acked() >= writer.last_written()
        });
    }

    /// Goes on in a new epoch where the vault's is fenced, once everybody is answered.
    fn renew(&mut self) {
        let Some((_, writer)) = &self.vault else { return };
        let mark = writer.watermark();
        if mark.fenced().is_none() {
            return;
        }
        self.keep_up_to(mark.acked());
        let kept = &self.kept;
        self.refused
            .extend(self.appended.keys().filter(|lsn| !kept.contains_key(lsn)));
        if let Some((_, writer)) = &mut self.vault {
            writer.must_renew();
        }
    }

    /// What was acknowledged must be there from now on.
    fn keep_up_to(&mut self, acked: Option<Lsn>) {
        let refused = &self.refused;
        let acked = self
            .appended
            .iter()
            .filter(|(lsn, _)| Some(**lsn) <= acked && !refused.contains(lsn));
        self.kept.extend(acked.map(|(lsn, p)| (*lsn, p.clone())));
    }

    fn end(&mut self, clean: bool) {
        let Some((vault, writer)) = self.vault.take() else {
            return;
        };
        let mark = writer.watermark();
        let (acked, written) = (mark.acked(), writer.last_written());
        if clean {
            vault.close(vec![writer]);
            let may_lack = mark.failed() || mark.fenced().is_some();
            assert!(may_lack || mark.acked() >= written, "a clean end syncs everything");
        } else {
            drop(vault);
            drop(writer);
        }
        self.keep_up_to(acked.max(mark.acked()));
    }

    /// Checks the vault, with nothing failing any more.
    fn check(&mut self) {
        let (vault, _) = self.vault.as_ref().expect("without a fault it opens");
        wait_recovered(vault);
        for (id, state) in vault.segments() {
            assert!(!matches!(state, SegmentState::Unreadable(_)), "{id} {state:?}");
        }
        let (entries, faults) = read(vault, 0);
        assert_eq!(faults, []);
        assert_eq!(vault.quarantined(), [], "nothing was damaged");
        let there: BTreeMap<Lsn, Vec<u8>> = entries.iter().map(|e| (e.lsn, e.payload.clone())).collect();
        assert!(entries.is_sorted_by(|a, b| a.lsn < b.lsn), "in order, each once");
        for (lsn, payload) in &self.kept {
            assert!(
                there.get(lsn) == Some(payload),
                "{lsn} was acknowledged, and is not there as it was"
            );
        }
        for (lsn, payload) in &there {
            assert!(self.appended.get(lsn) == Some(payload), "{lsn} was never appended so");
        }
        // An entry that is there now is sealed, and stays. One that is not there is void, and must not come back.
        self.appended = there.clone();
        self.kept = there;
        self.refused.clear();
    }
}

/// Number of cases: some ten seconds' worth, unless PROPTEST_CASES says otherwise.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_there_whatever_fails(ops in prop::collection::vec(op(), 1..40)) {
        let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        disarm();
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
        }
        run.apply(&Op::Reopen { clean: false, fault: None });
        run.end(true);
    }
}
