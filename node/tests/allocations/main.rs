//! Allocations of the whole server for each request during real gRPC load, printed. The reflex path itself allocates
//! nothing (`no_alloc` in the vault's tests); the remaining ones are of HTTP/2, and, behind the ack, of the cutter.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests
#![allow(unsafe_code)] // the counting allocator
#![allow(dead_code)] // of the modules shared with the ingest tests a part is used here

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

#[path = "../ingest/client.rs"]
mod client;
#[path = "../ingest/harness.rs"]
mod harness;
#[path = "../ingest/payloads.rs"]
mod payloads;

use client::{Http2, export_request, frames, message};
use harness::{Server, Settings};

thread_local! {
    /// True on the thread of the client. It needs neither memory nor a destructor.
    static CLIENT: Cell<bool> = const { Cell::new(false) };
}

static SERVER: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn count() {
    if !CLIENT.try_with(Cell::get).unwrap_or(true) {
        SERVER.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
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

/// Runs a test's own part.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Allocations of the server over `requests` requests on one connection, one after the other.
async fn allocations(connection: &mut Http2, payload: &[u8], requests: u64) -> u64 {
    let body = message(0, payload);
    let before = SERVER.load(Ordering::Relaxed);
    for _ in 0..requests {
        let answer = connection
            .send(export_request(&[], frames([body.clone()])))
            .await
            .unwrap();
        assert_eq!(answer.grpc(), Some("0"));
    }
    SERVER.load(Ordering::Relaxed) - before
}

#[test]
fn the_servers_allocations_per_request_are_few_and_do_not_grow_with_its_records() {
    const REQUESTS: u64 = 500;
    CLIENT.set(true);
    let server = Server::start(Settings::default());
    let per_request = run(async {
        let mut connection = Http2::connect(server.grpc).await;
        let mut per_request = Vec::new();
        for records in [1, 50] {
            let payload = payloads::logs(records, 100);
            allocations(&mut connection, &payload, REQUESTS).await;
            let counted = allocations(&mut connection, &payload, REQUESTS).await;
            println!(
                "{records} records a request: {:.1} allocations of the whole server per request",
                counted as f64 / REQUESTS as f64
            );
            per_request.push(counted / REQUESTS);
        }
        per_request
    });
    assert!(per_request[0] > 0, "the counter sees what HTTP/2 allocates");
    assert!(
        per_request[1] < per_request[0] + 10,
        "decoding records would allocate for each"
    );
    server.stop();
}
