//! A sealed segment is a valid `.lz4` file: the real `lz4` program prints the plain payloads, and they are one protobuf
//! message with every record.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gophership_vault::VaultOptions;
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use prost::Message;
use support::*;

/// True where the program exists. Otherwise this prints that, past the capture of test output. With `NO_SKIP` a missing
/// program is a failure.
#[allow(clippy::explicit_write)]
fn have_lz4() -> bool {
    let found = Command::new("lz4")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !found {
        let why = "SKIPPED: there is no lz4 program here (Debian: apt-get install lz4)";
        assert!(std::env::var_os("NO_SKIP").is_none(), "{why}");
        writeln!(std::io::stderr(), "{why}").unwrap();
    }
    found
}

/// The output of `lz4` with `flag` for a file, once it has ended well.
fn lz4(flag: &str, path: &Path) -> Vec<u8> {
    let out = Command::new("lz4")
        .arg(flag)
        .stdin(std::fs::File::open(path).unwrap())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "lz4 {flag} {}: {}",
        path.display(),
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

/// A request of `records` records whose bodies can be told apart.
fn request(n: u64, records: u64) -> Vec<u8> {
    let record = |r| LogRecord {
        time_unix_nano: n * 1000 + r,
        body: Some(AnyValue {
            value: Some(Value::StringValue(format!("request {n} record {r}"))),
        }),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: (0..records).map(record).collect(),
        ..ScopeLogs::default()
    }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs,
            ..ResourceLogs::default()
        }],
    }
    .encode_to_vec()
}

/// A request with a body that is not UTF-8, as some SDKs send them.
fn not_utf8(n: u64) -> Vec<u8> {
    let mut bytes = request(n, 1);
    let at = bytes.windows(7).position(|w| w == b"request").unwrap();
    bytes[at] = 0xFF;
    assert!(
        LogsData::decode(&bytes[..]).is_err(),
        "one of these among the others would spoil them all"
    );
    bytes
}

fn state_of(state: EntryState) -> EntryMeta {
    EntryMeta { state, ..meta(1) }
}

/// Appends these entries, seals the segment, and checks the program's output: the payloads of the plain entries, whole.
fn check(entries: &[(EntryMeta, Vec<u8>)], records: &[(u64, u64)]) {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<FaultyLedger> = Arc::default();
    let options = VaultOptions {
        segment_size: 16 << 20,
        segment_age: Duration::ZERO,
        ..options(1)
    };
    let (vault, mut writers) = open(dir.path(), &ledger, &options);
    for (meta, payload) in entries {
        append_as(&mut writers[0], meta, payload);
    }
    wait("the seal", || {
        writers[0].must_tick();
        !sealed(&vault).is_empty()
    });
    let path = vault.segment_file(sealed(&vault)[0].id);
    let printed = lz4("-dc", &path);
    let plain: Vec<u8> = entries
        .iter()
        .filter(|(m, _)| m.state == EntryState::PLAIN)
        .flat_map(|(_, p)| p.clone())
        .collect();
    assert!(printed == plain, "lz4 -dc prints the plain payloads");
    lz4("-t", &path);
    let logs = LogsData::decode(&printed[..]).unwrap();
    let bodies: Vec<String> = logs
        .resource_logs
        .iter()
        .flat_map(|r| &r.scope_logs)
        .flat_map(|s| &s.log_records)
        .map(|r| match &r.body.as_ref().unwrap().value {
            Some(Value::StringValue(text)) => text.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let wanted: Vec<String> = records
        .iter()
        .flat_map(|(n, count)| (0..*count).map(move |r| format!("request {n} record {r}")))
        .collect();
    assert_eq!(bodies, wanted, "every record, in order");
    let got: Vec<(EntryMeta, Vec<u8>)> = read(&vault, 0).0.into_iter().map(|e| (e.meta, e.payload)).collect();
    assert!(got == entries, "and the vault gives back all of it");
    vault.close(writers);
}

#[test]
fn the_lz4_program_prints_every_plain_record_and_nothing_else() {
    if !have_lz4() {
        return;
    }
    // One block, many blocks, a payload above an LZ4 block's 4 MiB.
    check(&[(meta(1), request(1, 3))], &[(1, 3)]);
    let many: Vec<(u64, u64)> = (0..400).map(|n| (n, n % 90 + 1)).collect();
    let entries: Vec<_> = many.iter().map(|(n, r)| (meta(1), request(*n, *r))).collect();
    check(&entries, &many);
    check(
        &[
            (meta(1), request(1, 2)),
            (meta(1), request(2, 150_000)),
            (meta(1), request(3, 1)),
        ],
        &[(1, 2), (2, 150_000), (3, 1)],
    );
}

#[test]
fn what_is_set_apart_changes_nothing_of_what_is_printed() {
    if !have_lz4() {
        return;
    }
    let apart = |n| (state_of(EntryState::NOT_UTF8), not_utf8(n));
    let deferred = (
        EntryMeta {
            encoding: Encoding::Gzip,
            ..state_of(EntryState::DEFERRED)
        },
        vec![0x1F, 0x8B, 8, 0, 1, 2, 3],
    );
    let origin = (state_of(EntryState::ORIGIN), [vec![1u8; 24], request(9, 1)].concat());
    let plain = |n| (meta(1), request(n, 2));
    check(&[apart(0), plain(1), plain(2)], &[(1, 2), (2, 2)]);
    check(
        &[plain(1), apart(0), deferred.clone(), origin.clone(), plain(2)],
        &[(1, 2), (2, 2)],
    );
    check(&[plain(1), plain(2), apart(0)], &[(1, 2), (2, 2)]);
    check(&[apart(0), deferred, origin], &[]);
}

#[test]
fn an_empty_segment_is_a_valid_lz4_file_of_nothing() {
    if !have_lz4() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1/000000000043.seg");
    assert_eq!(lz4("-dc", &path), b"");
    lz4("-t", &path);
}
