//! `gs-ctl` as a process, against a node's control service with a real vault and catalogue behind it.
#![allow(clippy::unwrap_used)] // the helpers are of the tests

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use gophership::config::Config;
use gophership::context::{IngestSnapshot, Latencies, NodeContext};
use gophership::control::{SOCKET_NAME, listen, serve};
use gophership::export::{Cursors, ExportParts, Exporters};
use gophership::settings::Settings;
use gophership::stochastic::{EnvironmentReader, Sensor};
use gophership_catalogue::{Catalogue, LocalCatalogue};
use gophership_somatic::{Thresholds, Throttle, ZoneCell};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::TenantId;
use gophership_vault::{DataDir, OpenError, SegmentState, ShardSeam, ShardWriter, Vault, VaultOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use uuid::Uuid;

struct Node {
    vault: Vault,
    writers: Vec<ShardWriter>,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    dir: TempDir,
}

impl Node {
    /// A node with `payloads` in one shard, the first half in sealed segments.
    fn with(payloads: &[Vec<u8>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = payloads.split_at(payloads.len() / 2);
        let (vault, mut writers, _) = open(dir.path());
        append(&mut writers[0], before, 1);
        vault.close(writers);
        let (vault, mut writers, catalogue) = open(dir.path());
        wait("recovery", || vault.status().recovering_segments == 0);
        append(&mut writers[0], after, 1 + before.len() as u64);
        let zone = Arc::new(ZoneCell::new(Instant::now()));
        let exporters = Exporters::start(ExportParts {
            configs: Vec::new(),
            vault: vault.clone(),
            cursors: Cursors::new(Arc::clone(&catalogue)),
            throttle: Throttle::new(Arc::clone(&zone)),
            zone: Arc::clone(&zone),
            memory: 0,
            archive: None,
            max_message: 1 << 20,
            lost: None,
        })
        .unwrap();
        let thresholds = Thresholds::default();
        let reader = EnvironmentReader::new(dir.path());
        let context = NodeContext {
            archiver: Default::default(),
            archive: None,
            vault: vault.clone(),
            catalogue,
            exporters,
            environment: Sensor::new(Vec::new(), Arc::clone(&zone), thresholds, reader).environment(),
            zone,
            thresholds,
            throttle: Throttle::new(Arc::new(ZoneCell::new(Instant::now()))),
            max_message: 1 << 20,
            end: Arc::default(),
            settings: Settings::single(&Config::default(), None),
            peers: None,
            node_name: "test".to_owned(),
            started_unix_nano: 1,
            own_addresses: Vec::new(),
            cluster: None,
            ingest: Arc::new(|| IngestSnapshot {
                shards: Vec::new(),
                refused: Vec::new(),
                budget_bytes: 1 << 20,
                held_bytes: 0,
                acks: Latencies::default(),
                appends: Latencies::default(),
                ready: Err("starting".to_owned()),
            }),
        };
        let listener = listen(dir.path()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(serve(listener, context, async move { drop(stopped.await) }));
        Self {
            vault,
            writers,
            runtime,
            stop,
            dir,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ctl(&self, words: &[&str]) -> Run {
        ctl(&self.path(SOCKET_NAME), words)
    }

    /// The first sealed segment's name and file.
    fn sealed(&self) -> (String, PathBuf) {
        let all = self.vault.segments();
        let (id, _) = all
            .iter()
            .find(|(_, state)| matches!(state, SegmentState::Sealed(_)))
            .unwrap();
        (id.to_string(), self.vault.segment_file(*id))
    }

    fn end(self) {
        self.stop.send(()).unwrap();
        self.vault.close(self.writers);
        self.runtime.shutdown_timeout(Duration::from_secs(30));
    }
}

/// Takes a data directory. A `gs-ctl` that another test is just starting holds a copy of every open file between its
/// fork and its exec, and therefore a lock that was released a moment ago.
fn take(path: &Path) -> DataDir {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match DataDir::open(path, true) {
            Err(OpenError::InUse { .. }) if Instant::now() < patience => std::thread::sleep(Duration::from_millis(5)),
            other => return other.unwrap(),
        }
    }
}

fn open(path: &Path) -> (Vault, Vec<ShardWriter>, Arc<dyn Catalogue>) {
    let data = take(path);
    let catalogue: Arc<dyn Catalogue> =
        Arc::new(LocalCatalogue::open(&path.join("catalogue.redb"), data.identity()).unwrap());
    let epoch = catalogue.node_up(Uuid::new_v4(), None).unwrap();
    let options = VaultOptions {
        shards: 1,
        segment_size: 64 * 1024,
        segment_age: Duration::from_secs(3600),
        spares: 1,
        disk_limit: 1 << 40,
        retention: Duration::from_secs(3600),
        release: gophership_vault::Release::AtRetention,
        on_full: gophership_vault::OnFull::Refuse,
        recovery: gophership_vault::RecoveryBy::Itself,
    };
    let seams = vec![ShardSeam::alone(Box::new(|| {}))];
    let (vault, writers) = Vault::open(data, &options, epoch, catalogue.ledger(), seams).unwrap();
    (vault, writers, catalogue)
}

/// Appends one entry for each nanosecond, each of one record.
fn append(writer: &mut ShardWriter, payloads: &[Vec<u8>], first_at: u64) {
    for (at, payload) in (first_at..).zip(payloads) {
        let meta = EntryMeta {
            received_ns: at,
            min_event_ns: at,
            max_event_ns: at,
            record_count: 1,
            tenant: TenantId::DEFAULT,
            encoding: Encoding::Identity,
            state: EntryState::PLAIN,
        };
        let mut lsn = None;
        wait("room", || {
            lsn = writer
                .must_append(&meta, payload.len(), std::iter::once(payload.as_slice()))
                .ok();
            lsn.is_some()
        });
        wait("an ack", || writer.watermark().acked() >= lsn);
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `ExportLogsServiceRequest`s that differ in a schema URL.
fn payloads(n: u8) -> Vec<Vec<u8>> {
    (0..n)
        .map(|i| {
            vec![
                0x0a,
                0x05,
                0x1a,
                0x03,
                b'0' + i / 100,
                b'0' + i / 10 % 10,
                b'0' + i % 10,
            ]
        })
        .collect()
}

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn ctl(socket: &Path, words: &[&str]) -> Run {
    let run = Command::cargo_bin("gs-ctl")
        .unwrap()
        .env_remove("GS_SOCKET")
        .arg("--socket")
        .arg(socket)
        .args(words)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run {
        code: run.status.code().unwrap(),
        out: text(run.stdout),
        err: text(run.stderr),
    }
}

/// The payloads of a `.lenpb` file.
fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let (payload, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        out.push(payload.to_vec());
        bytes = rest;
    }
    out
}

#[test]
fn status_is_a_table_for_people_and_data_for_programs() {
    let node = Node::with(&payloads(4));
    let table = node.ctl(&["status"]);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    assert!(table.out.contains("NOT READY: starting"), "{}", table.out);
    assert!(table.out.lines().all(|l| l.chars().count() <= 100), "{}", table.out);
    let json = node.ctl(&["status", "-o", "json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (
            &json["node"]["name"],
            &json["node"]["ready"],
            &json["memory"]["budget_bytes"]
        ),
        (&"test".into(), &false.into(), &(1u64 << 20).into())
    );
    let cluster = node.ctl(&["cluster", "status"]);
    assert!(
        cluster.out.contains("a single node") && cluster.out.contains("with 1 of 1 copies"),
        "{}",
        cluster.out
    );
    for words in [
        &["raft", "status"][..],
        &["cluster", "provision"],
        &["cluster", "provision", "--abort"],
    ] {
        let refused = node.ctl(words);
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{words:?}");
        assert!(refused.err.contains("single node"), "{words:?}: {}", refused.err);
    }
    let yaml = node.ctl(&["status", "-o", "yaml"]).out;
    assert!(yaml.contains("\n  budget_bytes: 1048576\n"), "{yaml}");
    node.end();
}

#[test]
fn what_a_real_node_answers_is_as_the_schemas_say() {
    let node = Node::with(&payloads(6));
    let (sealed, _) = node.sealed();
    let out = node.dir.path().join("all.lenpb");
    let sink = format!("file:{}", out.display());
    for (schema, words) in [
        ("status", &["status"][..]),
        ("check", &["check"]),
        ("cluster-status", &["cluster", "status"]),
        ("node-list", &["node", "list"]),
        ("segment-list", &["segment", "list"]),
        ("segment-describe", &["segment", "describe", &sealed]),
        ("segment-verify", &["segment", "verify", &sealed]),
        ("replay-file", &["replay", "start", "--from", "2", "--sink", &sink]),
        ("replay-list", &["replay", "list"]),
        ("exporter-list", &["exporter", "list"]),
        ("dead-letter-list", &["dead-letter", "list"]),
        ("top", &["top", "--count", "1", "--interval", "100ms"]),
    ] {
        let run = node.ctl(&[words, &["-o", "json"]].concat());
        // The parts of a node are here, and it takes no logs: that is critical.
        let code = if schema == "check" { 2 } else { 0 };
        assert_eq!(run.code, code, "{words:?}: {} {}", run.out, run.err);
        support::fits(schema, &serde_json::from_str(&run.out).unwrap());
    }
    node.end();
}

#[test]
fn every_format_of_a_replay_holds_every_payload() {
    let payloads = payloads(9);
    let node = Node::with(&payloads);
    let written = |name: &str, more: &[&str]| {
        let path = node.path(name);
        let sink = format!("file:{}", path.display());
        let run = node.ctl(&[&["replay", "start", "-o", "json", "--sink", &sink], more].concat());
        assert_eq!(run.code, 0, "{}", run.err);
        let summary: Value = serde_json::from_str(&run.out).unwrap();
        assert_eq!(summary["missing"], Value::Null);
        assert!(!node.path(&format!("{name}.part")).exists());
        (fs::read(path).unwrap(), summary)
    };
    let (lenpb, summary) = written("x.lenpb", &[]);
    assert_eq!(split(&lenpb), payloads);
    assert_eq!((&summary["entries"], &summary["bytes"]), (&9.into(), &63.into()));
    assert_eq!(written("x.binpb", &[]).0, payloads.concat());
    assert_eq!(
        zstd::decode_all(written("x.binpb.zst", &[]).0.as_slice()).unwrap(),
        payloads.concat()
    );
    assert_eq!(
        split(
            &written(
                "some.lenpb",
                &[
                    "--from",
                    "1970-01-01T00:00:00.000000003Z",
                    "--to",
                    "1970-01-01T00:00:00.000000006Z"
                ]
            )
            .0
        ),
        payloads[2..5]
    );
    let lines = node.ctl(&["replay", "start", "--sink", "-"]);
    assert_eq!(
        (lines.code, lines.out.lines().count()),
        (0, 9),
        "the summary is not on stdout"
    );
    let last: Value = serde_json::from_str(lines.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["resourceLogs"][0]["schemaUrl"], "008");
    assert!(lines.err.contains("Records"), "{}", lines.err);
    node.end();
}

#[test]
fn a_replay_to_a_sink_that_is_not_there_says_so_and_gives_up_when_asked() {
    let node = Node::with(&payloads(4));
    // Nothing listens on port 1.
    let began = Instant::now();
    let run = node.ctl(&[
        "replay",
        "start",
        "--sink",
        "otlp-grpc://127.0.0.1:1",
        "--timeout",
        "10s",
    ]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(began.elapsed() >= Duration::from_secs(10), "{}", run.err);
    for said in [
        "gs-ctl: job 1: waiting for the sink: transport error: 127.0.0.1:1: Connection refused (os error 111): nobody \
         listens there: is the sink running, and is this its port? (since 20",
        "`gs-ctl replay cancel 1` stops it",
        "gs-ctl: job 1: 0 entries, 0 B of about 30 B (0 %); waiting for the sink: ",
        "gs-ctl: giving up on job 1: nothing was delivered for ",
    ] {
        assert!(run.err.contains(said), "{said}\n{}", run.err);
    }
    assert!(run.out.contains("cancelled"), "{}", run.out);
    for wrong in [
        &["--ca", "ca.pem", "--sink", "otlp-grpc://127.0.0.1:1"][..],
        &["--insecure", "--sink", "otlp-grpcs://a:1"],
        &["--detach", "--timeout", "4s", "--sink", "otlp-grpc://127.0.0.1:1"],
    ] {
        assert_eq!(node.ctl(&[&["replay", "start"], wrong].concat()).code, 2, "{wrong:?}");
    }
    node.end();
}

#[test]
fn open_segments_are_sealed_when_an_operator_asks_for_it() {
    let mut node = Node::with(&payloads(4));
    let socket = node.path(SOCKET_NAME);
    let seal = |more: &[&str], writer: &mut ShardWriter| {
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ctl(&socket, &[&["segment", "seal", "-o", "json"], more].concat()));
            // In a node an ingest worker does this.
            while !asking.is_finished() {
                writer.must_tick();
                std::thread::sleep(Duration::from_millis(5));
            }
            asking.join().unwrap()
        })
    };
    let sealed = seal(&[], &mut node.writers[0]);
    assert_eq!(sealed.code, 0, "{}", sealed.err);
    let list: Value = serde_json::from_str(&sealed.out).unwrap();
    support::fits("segment-list", &list);
    let rows: Vec<_> = list["segments"].as_array().unwrap().iter().collect();
    assert_eq!(rows.len(), 1, "the spare files are not sealed: {list:#}");
    assert_eq!((&rows[0]["state"], &rows[0]["entries"]), (&"sealed".into(), &2.into()));
    let name = rows[0]["segment"].as_str().unwrap();
    assert_eq!(node.ctl(&["segment", "verify", name]).code, 0);

    let again = seal(&["--shard", "0"], &mut node.writers[0]);
    assert!(
        again.code == 0 && again.err.contains("nothing to seal"),
        "{}",
        again.err
    );
    append(&mut node.writers[0], &payloads(1), 9);
    assert_eq!(
        node.vault.marks()[0].1.unwrap().number().get(),
        1,
        "the shard goes on in a new one"
    );
    let unknown = node.ctl(&["segment", "seal", "--shard", "7"]);
    assert!(
        unknown.code == 1 && unknown.err.contains("no shard 7"),
        "{}",
        unknown.err
    );
    node.end();
}

#[test]
fn a_tail_shows_what_is_received_and_ends_with_its_reader() {
    let mut node = Node::with(&payloads(4));
    let mut tail = std::process::Command::new(assert_cmd::cargo::cargo_bin("gs-ctl"))
        .args([
            "--socket",
            node.path(SOCKET_NAME).to_str().unwrap(),
            "tail",
            "-n",
            "1",
            "-o",
            "json",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let last = next();
    assert_eq!(last["resourceLogs"][0]["schemaUrl"], "003", "{last}");
    append(&mut node.writers[0], &payloads(1), 9);
    let new = next();
    assert_eq!(new["resourceLogs"][0]["schemaUrl"], "000");
    let newest = node.vault.marks()[0].1.unwrap();
    let name = format!("1/0/{}:{},1", newest.index(), newest.number());
    assert_eq!(new["x-gophership-entry"], name.as_str());
    // The reader has gone: the command ends when it has something to write, and not as a failure.
    drop(lines);
    append(&mut node.writers[0], &payloads(1), 10);
    assert!(tail.wait().unwrap().success());
    node.end();
}

#[test]
fn a_file_that_exists_is_replaced_only_when_forced() {
    let payloads = payloads(2);
    let node = Node::with(&payloads);
    let path = node.path("x.binpb");
    fs::write(&path, "precious").unwrap();
    let sink = format!("file:{}", path.display());
    let refused = node.ctl(&["replay", "start", "--sink", &sink]);
    assert_eq!((refused.code, fs::read(&path).unwrap()), (1, b"precious".to_vec()));
    assert!(refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(node.ctl(&["replay", "start", "--sink", &sink, "--force"]).code, 0);
    assert_eq!(fs::read(&path).unwrap(), payloads.concat());
    node.end();
}

#[test]
fn damage_has_an_exit_code_of_its_own_and_is_said() {
    let node = Node::with(&payloads(8));
    let (name, file) = node.sealed();
    let listed = node.ctl(&["segment", "list"]);
    assert!(
        listed.out.contains(&name) && listed.out.lines().all(|l| l.chars().count() <= 120),
        "{}",
        listed.out
    );
    assert_eq!(node.ctl(&["segment", "describe", &name]).code, 0);
    let whole = node.ctl(&["segment", "verify", &name, "-o", "json"]);
    assert_eq!(whole.code, 0, "{}", whole.err);
    let here = ctl(
        Path::new("/nonexistent"),
        &["segment", "verify", "-o", "json", "--file", file.to_str().unwrap()],
    );
    let of = |run: &Run| serde_json::from_str::<Value>(&run.out).unwrap();
    let (mut by_node, without) = (of(&whole), of(&here));
    let copies = by_node["copies"].take();
    assert_eq!(
        (&copies[0]["ok"], copies.as_array().map(Vec::len)),
        (&true.into(), Some(1))
    );
    by_node["copies"] = Value::Array(Vec::new());
    assert_eq!((here.code, without), (0, by_node), "with a node and without");

    let block = match node.vault.segments()[0] {
        (id, SegmentState::Sealed(_)) => node.vault.describe(id).unwrap().blocks[0],
        ref other => panic!("{other:?}"),
    };
    let mut bytes = fs::read(&file).unwrap();
    bytes[(block.offset + block.stored_bytes - 12) as usize] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(node.ctl(&["segment", "verify", &name]).code, 4);
    assert_eq!(
        ctl(
            Path::new("/nonexistent"),
            &["segment", "verify", "--file", file.to_str().unwrap()]
        )
        .code,
        4
    );
    let sink = format!("file:{}", node.path("x.lenpb").display());
    let replayed = node.ctl(&["replay", "start", "-o", "json", "--sink", &sink]);
    assert_eq!(replayed.code, 4, "{}", replayed.err);
    let summary: Value = serde_json::from_str(&replayed.out).unwrap();
    assert_eq!(
        (&summary["entries"], &summary["unreadable_entries"]),
        (&4.into(), &4.into())
    );
    assert!(
        replayed.err.contains(&format!("segment {name}, entries 1 to 4")),
        "{}",
        replayed.err
    );
    assert_eq!(
        split(&fs::read(node.path("x.lenpb")).unwrap()),
        payloads(8)[4..],
        "what can be read is there"
    );

    // A segment whose file is gone can be forgotten by name.
    assert_ne!(
        node.ctl(&["segment", "forget", &name, "--accept-loss"]).code,
        0,
        "it can be read"
    );
    fs::remove_file(&file).unwrap();
    let lost = node.ctl(&["segment", "verify", &name]);
    assert_eq!(lost.code, 4, "{}", lost.err);
    let other = format!("file:{}", node.path("y.lenpb").display());
    assert_eq!(node.ctl(&["replay", "start", "--sink", &other]).code, 4);
    let refused = node.ctl(&["segment", "forget", &name]);
    assert!(
        refused.code != 0 && refused.err.contains("--accept-loss"),
        "{}",
        refused.err
    );
    let forgotten = node.ctl(&["segment", "forget", &name, "--accept-loss", "-o", "json"]);
    assert_eq!(forgotten.code, 0, "{}", forgotten.err);
    let list: Value = serde_json::from_str(&forgotten.out).unwrap();
    assert_eq!(list["segments"][0]["state"], "lost");
    node.end();
}

#[test]
fn a_wal_file_is_shown_without_a_node() {
    let node = Node::with(&payloads(4));
    let wal = fs::read_dir(node.path("wal/0000000001/0000"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .min()
        .unwrap();
    let copy = node.path("copy.wal");
    fs::copy(wal, &copy).unwrap();
    node.vault.segments();
    let shown = ctl(
        Path::new("/nonexistent"),
        &["wal", "dump", "-o", "json", copy.to_str().unwrap()],
    );
    assert_eq!(shown.code, 0, "{}", shown.err);
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["entries"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&shown["entries"][1]["records"], &shown["entries"][1]["durable_lsn"]),
        (&1.into(), &shown["entries"][0]["lsn"])
    );
    let other = node.path("node.json");
    let other = other.to_str().unwrap();
    for (words, wanted) in [
        (["wal", "dump", other].as_slice(), "is no WAL file"),
        (&["segment", "verify", "--file", other], "is no segment file"),
    ] {
        let run = ctl(Path::new("/nonexistent"), words);
        assert_eq!(run.code, 1, "{}", run.err);
        assert!(run.err.contains(wanted), "{}", run.err);
    }
    // The second entry carries the mark that the first was durable; without that the loss would be no damage.
    let mut bytes = fs::read(&copy).unwrap();
    bytes[4096 + 64] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let damaged = ctl(Path::new("/nonexistent"), &["wal", "dump", copy.to_str().unwrap()]);
    assert_eq!(damaged.code, 4, "{}", damaged.out);
    assert!(damaged.out.contains("Missing"), "{}", damaged.out);
    node.end();
}

#[test]
fn jobs_are_started_listed_shown_and_cancelled() {
    let node = Node::with(&payloads(2));
    // Nobody listens there, and the job waits.
    let free = "127.0.0.1:1";
    let started = node.ctl(&[
        "replay",
        "start",
        "--detach",
        "-o",
        "json",
        "--sink",
        &format!("otlp-http://{free}"),
    ]);
    assert_eq!(started.code, 0, "{}", started.err);
    let started: Value = serde_json::from_str(&started.out).unwrap();
    assert_eq!((&started["id"], &started["state"]), (&1.into(), &"running".into()));
    assert!(node.ctl(&["replay", "list"]).out.contains(free));
    assert!(node.ctl(&["replay", "status", "1"]).out.contains("running"));
    let cancelled: Value = serde_json::from_str(&node.ctl(&["replay", "cancel", "1", "-o", "json"]).out).unwrap();
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(node.ctl(&["replay", "status", "7"]).code, 1);
    node.end();
}

#[test]
fn what_cannot_be_is_told_from_what_failed_and_from_a_node_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("no.sock");
    for words in [
        &["nonsense"][..],
        &["replay", "start", "--sink", "file:x"],
        &["replay", "start", "--sink", "-", "--detach"],
        &["replay", "start", "--sink", "-", "--from", "yesterday"],
        &["replay", "start", "--sink", "-", "--from", "now", "--to", "-1h"],
        &["replay", "start", "--sink", "-", "--from", "2500-01-01T00:00:00Z"],
        &["segment", "describe", "1"],
    ] {
        assert_eq!(ctl(&nowhere, words).code, 2, "{words:?}");
    }
    let missing = ctl(&nowhere, &["status"]);
    assert_eq!((missing.code, missing.out.as_str()), (3, ""));
    assert!(
        missing.err.contains("no.sock") && missing.err.contains("--socket"),
        "{}",
        missing.err
    );
    drop(std::os::unix::net::UnixListener::bind(&nowhere).unwrap());
    let dead = ctl(&nowhere, &["status"]);
    assert_eq!(dead.code, 3);
    assert!(dead.err.contains("no node runs on this folder"), "{}", dead.err);
    let man = dir.path().join("share/man1");
    assert_eq!(ctl(&nowhere, &["man", man.to_str().unwrap()]).code, 0);
    assert!(man.join("gs-ctl.1").is_file());
    let completions = ctl(&nowhere, &["completions", "bash"]);
    assert_eq!(completions.code, 0);
    assert!(completions.out.contains("complete -F") && completions.out.contains("--detach"));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let node = Node::with(&payloads(4));
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("gs-ctl"))
        .arg("--socket")
        .arg(node.path(SOCKET_NAME))
        .args(["replay", "start", "--sink", "-"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    node.end();
}

#[test]
fn the_socket_is_for_its_owner_only() {
    let node = Node::with(&[]);
    assert_eq!(
        fs::metadata(node.path(SOCKET_NAME)).unwrap().permissions().mode() & 0o777,
        0o600
    );
    node.end();
}
