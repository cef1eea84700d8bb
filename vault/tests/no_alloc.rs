//! The reflex path allocates nothing: from payload bytes to the ack watermark, counted over the thread that appends and
//! the one that syncs and notifies. The cutter and the threads of `keep` are behind the ack, and allocate.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests
#![allow(unsafe_code)] // the counting allocator

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gophership_vault::ids::Lsn;
use gophership_vault::ledger::Ledger;
use gophership_vault::{AppendError, AppendFault, DataDir, ShardSeam, ShardWriter, Vault, VaultOptions};
use support::*;

const OTHER: usize = 0;
const WRITER: usize = 1;
const SYNCER: usize = 2;

thread_local! {
    /// The role of this thread. It needs neither memory nor a destructor.
    static ROLE: Cell<usize> = const { Cell::new(OTHER) };
}

static COUNTS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

struct Counting;

fn count() {
    let role = ROLE.try_with(Cell::get).unwrap_or(OTHER);
    COUNTS[role].fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Serialises the measurements, since the counters belong to the process.
static ONE: Mutex<()> = Mutex::new(());

/// Number of parts of a payload of 512 records of some 300 bytes, as an SDK's batch is.
const PARTS: usize = 10;
const PART: usize = 512 * 300 / PARTS;

fn append_one(writer: &mut ShardWriter, n: u64, part: &[u8], allocate: bool) -> Lsn {
    loop {
        let parts = std::iter::repeat_n(part, PARTS);
        let appended = writer.must_append_with(PARTS * PART, parts, |seen| {
            assert_eq!(seen.len(), PARTS * PART);
            if allocate {
                drop(std::hint::black_box(Box::new(n)));
            }
            Ok::<_, ()>(meta(n))
        });
        match appended {
            Ok(lsn) => return lsn,
            Err(AppendFault::Append(AppendError::NoSpare)) => std::thread::sleep(Duration::from_micros(200)),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Appends `entries` after a warm-up of some files, and waits for the last ack. Returns the allocations of the writer
/// and of the syncer.
fn measure(entries: u64, allocate_in_writer: bool, allocate_in_notify: bool) -> (u64, u64) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let options = VaultOptions {
        segment_size: 16 << 20,
        retention: Duration::ZERO,
        release: gophership_vault::Release::AtRetention,
        on_full: gophership_vault::OnFull::Refuse,
        recovery: gophership_vault::RecoveryBy::Itself,
        ..options(1)
    };
    let measuring = Arc::new(AtomicBool::new(false));
    let notify = {
        let measuring = Arc::clone(&measuring);
        Box::new(move || {
            // Only the syncer moves this watermark.
            ROLE.with(|role| role.set(SYNCER));
            if allocate_in_notify && measuring.load(Ordering::Relaxed) {
                drop(std::hint::black_box(Box::new(1u64)));
            }
        })
    };
    let data = DataDir::open(dir.path(), true).unwrap();
    let (vault, mut writers) = Vault::open(
        data,
        &options,
        ledger.next_epoch(),
        ledger as Arc<dyn Ledger>,
        vec![ShardSeam::alone(notify)],
    )
    .unwrap();
    let part = payload(7, PART);
    for n in 0..300 {
        append_one(&mut writers[0], n, &part, false);
    }
    wait_acked(&writers[0], writers[0].last_written().unwrap());
    let watermark = writers[0].watermark();
    let before = [WRITER, SYNCER].map(|role| COUNTS[role].load(Ordering::SeqCst));
    measuring.store(true, Ordering::SeqCst);
    ROLE.with(|role| role.set(WRITER));
    let mut last = None;
    for n in 0..entries {
        last = Some(append_one(&mut writers[0], n, &part, allocate_in_writer));
        if n % 1000 == 0 {
            writers[0].must_tick();
        }
    }
    while watermark.acked() < last {
        std::thread::yield_now();
    }
    ROLE.with(|role| role.set(OTHER));
    measuring.store(false, Ordering::SeqCst);
    let after = [WRITER, SYNCER].map(|role| COUNTS[role].load(Ordering::SeqCst));
    assert!(
        writers[0].last_written().unwrap().index().get() > 3,
        "files were rolled"
    );
    vault.close(writers);
    (after[0] - before[0], after[1] - before[1])
}

#[test]
fn ten_thousand_batches_allocate_nothing_up_to_the_watermark() {
    assert_eq!(
        measure(10_000, false, false),
        (0, 0),
        "allocations of the writer and of the syncer"
    );
}

#[test]
fn an_allocation_on_either_thread_would_be_noticed() {
    let (writer, syncer) = measure(200, true, false);
    assert!(writer >= 200, "{writer}");
    assert_eq!(syncer, 0);
    let (writer, syncer) = measure(200, false, true);
    assert_eq!(writer, 0);
    assert!(syncer >= 1, "{syncer}");
}
