//! Cost for the reflex path of an exporter that has fallen behind: appends with a live ring that takes everything, and
//! with one that is full.

use std::path::Path;
use std::time::{Duration, Instant};

use gophership::buffer::LiveRing;
use gophership_vault::ids::Lsn;
use gophership_vault::{AppendError, AppendFault, ShardWriter};

use crate::table::{median, row};
use crate::vault::{loglike, meta, open};

const ENTRIES: usize = 200_000;
/// Number of entries that one turn of a worker writes. Turns alternate between the two rings, so that the disk treats
/// both alike.
const TURN: usize = 32;
const PAYLOAD: usize = 2000;
const PIVOTS: usize = 500;

/// Measures p50 and p99 of an append with its hand-over, for both rings; and the push that pivots, alone.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(dir)?;
    let (vault, mut writers) = open(dir.path(), 1)?;
    let payload = loglike(PAYLOAD);
    let (empty, full) = (LiveRing::default(), LiveRing::default());
    empty.open();
    full.open();
    while full.must_try_push(any_lsn()) {}
    let mut took = [Vec::with_capacity(ENTRIES), Vec::with_capacity(ENTRIES)];
    for n in 0..ENTRIES {
        let which = n / TURN % 2;
        let ring = [&empty, &full][which];
        took[which].push(reflex(&mut writers[0], &payload, ring, n)?.as_nanos() as f64);
        if n.is_multiple_of(TURN) {
            // An exporter would do this.
            let _ = empty.take();
        }
    }
    vault.close(writers);
    let [mut empty_ns, mut full_ns] = took;
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let (empty, full) = (quantile(&mut empty_ns, part), quantile(&mut full_ns, part));
        let what = format!("append and hand-over, 2 KB, ring full, {name}");
        row(&what, full, "ns", Some(("ring empty", empty)));
    }
    row("the push that pivots", pivot(), "ns", None);
    Ok(())
}

/// One entry: it is appended, written together with the others of its turn, and handed over.
fn reflex(writer: &mut ShardWriter, payload: &[u8], ring: &LiveRing, n: usize) -> anyhow::Result<Duration> {
    loop {
        let began = Instant::now();
        match writer.must_append_with(payload.len(), std::iter::once(payload), |_| Ok::<_, ()>(meta(1))) {
            Ok(lsn) => {
                if n.is_multiple_of(TURN) {
                    writer.must_flush()?;
                }
                ring.must_try_push(lsn);
                return Ok(began.elapsed());
            }
            Err(error) => assert_eq!(error, AppendFault::Append(AppendError::NoSpare), "the bench has room"),
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn any_lsn() -> Lsn {
    Lsn::from_u64(1 << 32 | 1).expect("an epoch and a number above 0")
}

fn pivot() -> f64 {
    let ring = LiveRing::default();
    let mut took = Vec::new();
    for _ in 0..PIVOTS {
        ring.open();
        while ring.fill() < 1.0 {
            ring.must_try_push(any_lsn());
        }
        let began = Instant::now();
        ring.must_try_push(any_lsn());
        took.push(began.elapsed().as_nanos() as f64);
    }
    median(took)
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() as f64 * part) as usize]
}
