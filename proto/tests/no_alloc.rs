//! The reflex path in this crate allocates nothing once it is warm; a counting allocator proves it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

use gophership_proto::otlp::inflate::{Compression, Inflater};
use gophership_proto::otlp::skim::must_skim;

thread_local! {
    // Counts the test's own thread only: the test harness allocates in others.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to `System` unchanged; counting touches a constant-initialised thread local, which does not
// allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// A record with a body that is not ASCII, an unknown group, and an attribute.
const PAYLOAD: &[u8] =
    b"\x0a\x1a\x12\x18\x12\x16\x2a\x04\x0a\x02\xc3\xa9\x32\x0a\x0a\x01k\x12\x05\x0a\x03abc\x6b\x08\x01\x6c";

#[test]
fn the_counter_notices_an_allocation() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 1);
}

#[test]
fn i3_the_skim_allocates_nothing_whether_it_accepts_or_refuses() {
    assert_eq!(must_skim(PAYLOAD, 1).unwrap().records, 1);
    for len in 0..=PAYLOAD.len() {
        assert_eq!(
            allocations(|| _ = std::hint::black_box(must_skim(&PAYLOAD[..len], 1))),
            0,
            "{len} bytes"
        );
    }
}

#[test]
fn a_warm_inflater_allocates_nothing() {
    let data = PAYLOAD.repeat(10_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&data).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::bulk::compress(&data, 3).unwrap();

    let mut inflater = Inflater::new();
    let mut out = Vec::with_capacity(data.len());
    for (compression, compressed) in [(Compression::Gzip, &gzip), (Compression::Zstd, &zstd)] {
        let count = allocations(|| {
            for _ in 0..100 {
                inflater.inflate(compression, compressed, &mut out, data.len()).unwrap();
            }
        });
        assert_eq!((count, out == data), (0, true), "{compression:?}");
    }
}
