//! Effects of the zone on the path to the log, and on the hand-over behind it.

use std::sync::Arc;

use gophership::buffer::LiveRing;
use gophership_somatic::Zone;
use gophership_vault::entry::{Encoding, EntryState};

use crate::client::{export, frames, message};
use crate::harness::{Server, Settings};
use crate::payloads::{gzip, logs, zstd};
use crate::run;

fn status(server: &Server, headers: &[(&str, &str)], flag: u8, content: &[u8]) -> Option<String> {
    let answer = run(export(server.grpc, headers, frames([message(flag, content)])));
    answer.grpc().map(str::to_owned)
}

#[test]
fn in_red_a_compressed_message_is_kept_as_received_and_a_plain_one_is_looked_at() {
    let server = Server::start(Settings {
        zone: Some(Zone::Red),
        ..Settings::default()
    });
    let plain = logs(3, 100);
    let (zipped, zst) = (gzip(&logs(4, 100)), zstd(&logs(5, 100)));
    assert_eq!(status(&server, &[], 0, &plain).as_deref(), Some("0"));
    assert_eq!(
        status(&server, &[("grpc-encoding", "gzip")], 1, &zipped).as_deref(),
        Some("0")
    );
    assert_eq!(
        status(&server, &[("grpc-encoding", "zstd")], 1, &zst).as_deref(),
        Some("0")
    );
    // The content is not read now; a later reader finds the fault.
    assert_eq!(
        status(&server, &[("grpc-encoding", "gzip")], 1, b"not gzip").as_deref(),
        Some("0")
    );
    assert_eq!(
        status(&server, &[], 0, b"\xff\xff").as_deref(),
        Some("3"),
        "plain ones are still validated"
    );
    assert_eq!(
        status(&server, &[("grpc-encoding", "gzip")], 1, b"").as_deref(),
        Some("0"),
        "an empty request, of which nothing is kept"
    );
    let stored: Vec<_> = server.stored();
    let seen: Vec<_> = stored
        .iter()
        .map(|(m, p)| (m.state, m.encoding, m.record_count, p.clone()))
        .collect();
    assert_eq!(
        seen,
        [
            (EntryState::PLAIN, Encoding::Identity, 3, plain),
            (EntryState::DEFERRED, Encoding::Gzip, 0, zipped),
            (EntryState::DEFERRED, Encoding::Zstd, 0, zst),
            (EntryState::DEFERRED, Encoding::Gzip, 0, b"not gzip".to_vec()),
        ]
    );
    let counted = &server.counted()[0];
    assert_eq!((counted.entries, counted.records, counted.deferred), (4, 3, 3));
    server.stop();
}

#[test]
fn in_green_what_is_acknowledged_is_handed_over_and_elsewhere_the_live_path_closes() {
    for (zone, open) in [(Zone::Green, true), (Zone::Yellow, false)] {
        let ring: Arc<LiveRing> = Arc::default();
        ring.open();
        let server = Server::start(Settings {
            zone: Some(zone),
            rings: vec![Arc::clone(&ring)].into(),
            ..Settings::default()
        });
        for _ in 0..3 {
            assert_eq!(status(&server, &[], 0, &logs(1, 10)).as_deref(), Some("0"));
        }
        assert_eq!(ring.is_open(), open, "{zone}");
        let handed_over = ring.take();
        assert_eq!(handed_over.is_some_and(|lsn| lsn.number().get() == 3), open, "{zone}");
        assert_eq!(ring.pivots(), u64::from(!open));
        server.stop();
    }
}
