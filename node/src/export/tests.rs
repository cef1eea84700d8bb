//! Exporters over a real vault and catalogue, against the stub sink.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use gophership_catalogue::{Actor, Catalogue, Command};
use gophership_somatic::{Throttle, ZoneCell};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentId, SegmentIndex, ShardId, TenantId};
use gophership_vault::ledger::{SealRecord, TrimReason};
use gophership_vault::{Readers, SegmentState};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use tokio::sync::watch;
use tonic::Code;
use uuid::Uuid;

use super::ToldDebts;
use super::limits::LIVE_GAP;
use super::source::Source;
use super::{Cursors, ExportError, ExportParts, ExporterView, Exporters, LaneState, LostNodes, Refused, SeekTo};
use crate::config::{Environment, Export, load_text};
use crate::control::testkit::{TestNode, payload};
use crate::machine::Machine;
use crate::sink::stub::{Reply, Stub};

pub(super) const SHARD: ShardId = ShardId::new(0);

/// Exporters with the settings of this configuration.
fn configured(list: &str) -> Vec<Export> {
    let machine = Machine {
        cores: 2,
        memory: 8 << 30,
    };
    load_text(&format!("export:\n{list}"), &Environment::default(), &machine)
        .unwrap()
        .export
}

pub(super) fn to(stub: &Stub, name: &str, more: &str) -> String {
    format!(
        "  - {{ name: {name}, otlp_http: {{ endpoint: \"http://{}\", compression: none }}, start: oldest {more} }}\n",
        stub.address
    )
}

pub(super) fn to_grpc(stub: &Stub, name: &str) -> String {
    format!(
        "  - {{ name: {name}, otlp_grpc: {{ endpoint: \"http://{}\", compression: none }}, start: oldest }}\n",
        stub.address
    )
}

/// The cursors of the exporters of a catalogue, none of which runs, once these names are configured.
fn cursors(catalogue: &Arc<dyn Catalogue>, names: &[&str]) -> Arc<Cursors> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let node = Some(NodeId::FIRST);
    let configured = catalogue.submit(Actor::Node, Command::ConfigureExporters { node, names });
    configured.unwrap();
    Cursors::new(Arc::clone(catalogue))
}

pub(super) struct Running {
    pub(super) exporters: Arc<Exporters>,
    stop: watch::Sender<bool>,
    cursors: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(super) fn start(node: &TestNode, list: &str) -> Self {
        Self::start_with(node, list, Cursors::new(Arc::clone(&node.catalogue)))
    }

    fn start_with(node: &TestNode, list: &str, cursors: Arc<Cursors>) -> Self {
        Self::start_of(node, list, cursors, None)
    }

    pub(super) fn start_of(node: &TestNode, list: &str, cursors: Arc<Cursors>, lost: Option<LostNodes>) -> Self {
        let zone = Arc::new(ZoneCell::new(Instant::now()));
        let exporters = Exporters::start(ExportParts {
            configs: configured(list),
            vault: node.vault.clone(),
            cursors,
            throttle: Throttle::new(Arc::clone(&zone)),
            zone,
            // Each exporter has room for one batch.
            memory: 0,
            archive: None,
            max_message: 1 << 20,
            lost,
        })
        .unwrap();
        let (stop, stopped) = watch::channel(false);
        let cursors = tokio::spawn(Arc::clone(&exporters).keep_cursors(stopped));
        Self {
            exporters,
            stop,
            cursors,
        }
    }

    pub(super) async fn until(&self, name: &str, what: &str, done: impl Fn(&ExporterView) -> bool) -> ExporterView {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let view = self.exporters.view(name).unwrap();
            if done(&view) {
                return view;
            }
            assert!(Instant::now() < deadline, "waited too long for {what}: {view:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn stop(self) {
        let exporters = Arc::clone(&self.exporters);
        tokio::task::spawn_blocking(move || exporters.stop()).await.unwrap();
        self.stop.send_replace(true);
        self.cursors.await.unwrap();
    }
}

pub(super) fn filled(path: &Path, entries: u64) -> (TestNode, Vec<Vec<u8>>) {
    let mut node = TestNode::open(path, 1);
    let payloads: Vec<_> = (1..=entries).map(|n| payload(n, 3000)).collect();
    for (n, payload) in payloads.iter().enumerate() {
        node.append(0, n as u64 + 1, payload);
    }
    (node, payloads)
}

fn first_segment(node: &TestNode) -> SegmentId {
    SegmentId {
        node: node.vault.identity().node_id,
        shard: SHARD,
        index: SegmentIndex::FIRST,
    }
}

fn first_sealed(node: &TestNode) -> SealRecord {
    let first = node.vault.segments().into_iter().find_map(|(id, state)| match state {
        SegmentState::Sealed(record) if id.index == SegmentIndex::FIRST => Some(record),
        SegmentState::Sealed(_)
        | SegmentState::Open
        | SegmentState::Recovering
        | SegmentState::Unreadable(_)
        | SegmentState::Lost => None,
    });
    first.unwrap()
}

pub(super) fn lsn(number: u32) -> Lsn {
    Lsn::at(SegmentIndex::FIRST, EntryNumber::new(number).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_order_bit_for_bit_and_a_restart_goes_on_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, mut payloads) = filled(dir.path(), 60);
    let stub = Stub::http([Reply::Http(503, Some("0")), Reply::Http(429, Some("0"))]).await;
    let running = Running::start(&node, &to(&stub, "a", ", batch_bytes: 10KiB"));
    // A sent entry counts a moment before the cursor passes it.
    let is_done = |v: &ExporterView| (v.sent_entries, v.debt_entries) == (60, 0);
    let view = running.until("a", "an empty debt", is_done).await;
    assert_eq!(stub.taken().concat(), payloads.concat());
    assert!(
        stub.taken().iter().all(|request| request.len() <= 10 << 10),
        "batches keep their size"
    );
    assert_eq!(
        (view.failed_requests, view.retried_requests, view.debt_entries),
        (2, 2, 0)
    );
    assert_eq!(view.sent_bytes, 60 * 3000);
    running
        .until("a", "the live ring", |v| v.state == LaneState::Live)
        .await;
    running.stop().await;
    node = node.reopen();
    node.append(0, 61, &payload(61, 3000));
    payloads.push(payload(61, 3000));
    let running = Running::start(&node, &to(&stub, "a", ""));
    running.until("a", "the new entry", |v| v.sent_entries == 1).await;
    assert_eq!(stub.taken().concat(), payloads.concat(), "nothing twice");
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sink_refuses_becomes_a_dead_letter_alone_and_outlives_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 4);
    // The answers to the batch of four, to its first half, and to the first entry; everything else is accepted.
    let stub = Stub::http([Reply::Http(400, None), Reply::Http(400, None), Reply::Http(400, None)]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    running
        .until("a", "the rest", |v| {
            (v.sent_entries, v.dead_letters, v.debt_entries) == (3, 1, 0)
        })
        .await;
    assert_eq!(stub.taken().concat(), payloads[1..].concat());
    let letters = running.exporters.letters("a", Vec::new()).unwrap();
    assert_eq!(letters, [(node.vault.identity().node_id, SHARD, lsn(1))]);
    running.stop().await;

    let node = node.reopen();
    let readers = cursors(&node.catalogue, &["a"]);
    let sealed = first_sealed(&node);
    assert!(readers.are_done(&sealed), "a copy of the dead letter is kept");
    let why = TrimReason::Retention;
    node.catalogue
        .submit(Actor::Node, Command::Trim { id: sealed.id, why })
        .unwrap();
    drop(readers);
    let node = node.reopen();
    assert!(!node.vault.has_segment(sealed.id));
    let readers = cursors(&node.catalogue, &["a"]);
    let running = Running::start(&node, &to(&stub, "a", ""));
    let letters = running.exporters.letters("a", Vec::new()).unwrap();
    let sent = running.exporters.send_letters("a").unwrap().run(letters).await.unwrap();
    assert_eq!((sent.taken, sent.refused_again, sent.left), (1, 0, 0));
    assert_eq!(stub.taken().last(), payloads.first());
    assert_eq!(running.exporters.view("a").unwrap().dead_letters, 0);
    assert_eq!(node.vault.kept_entries(), [], "the copy goes with its letter");
    assert!(
        !cursors(&node.catalogue, &["a", "new"]).are_done(&sealed),
        "another one needs it"
    );
    drop(readers);
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_waits_for_a_file_is_seen_to_wait_and_its_debt_ages() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 2);
    let node = node.reopen();
    let segment = node.vault.segment_file(first_sealed(&node).id);
    let away = dir.path().join("away");
    std::fs::rename(&segment, &away).unwrap();
    let stub = Stub::http([]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    let view = running.until("a", "the wait", |v| v.state == LaneState::Waiting).await;
    assert!(view.debt_entries == 2 && view.oldest_ns > 0, "{view:?}");
    assert!(
        view.oldest_ns == view.waiting_since_ns && view.waiting.contains("cannot be read"),
        "{view:?}"
    );
    std::fs::rename(&away, &segment).unwrap();
    running
        .until("a", "the end of it", |v| {
            v.sent_entries == 2 && v.state != LaneState::Waiting
        })
        .await;
    assert_eq!(stub.taken().concat(), payloads.concat());
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_exporters_share_the_copy_of_an_entry_that_both_sinks_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    let (one, other) = (
        Stub::http([Reply::Http(400, None)]).await,
        Stub::http([Reply::Http(400, None)]).await,
    );
    let running = Running::start(&node, &(to(&one, "a", "") + &to(&other, "b", "")));
    for name in ["a", "b"] {
        running.until(name, "the letter", |v| v.dead_letters == 1).await;
    }
    let key = (node.vault.identity().node_id, SHARD, lsn(1));
    assert_eq!(node.vault.kept_entries(), [key]);
    assert_eq!(running.exporters.drop_letters("a", vec![key], "uid 1").unwrap(), 1);
    assert_eq!(node.vault.kept_entries(), [key], "the other one needs it");
    let (shown, malformed) = running.exporters.letter_payload("b", key).await.unwrap();
    assert_eq!((&shown[..], malformed), (&payload(1, 3000)[..], None));
    assert_eq!(running.exporters.drop_letters("b", vec![key], "uid 1").unwrap(), 1);
    assert_eq!(node.vault.kept_entries(), []);
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_counts_for_whom_it_is_lost_and_what_was_delivered_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 5);
    let node = node.reopen();
    let sealed = first_sealed(&node);
    let (quick, dead) = (Stub::http([]).await, Stub::http([Reply::Http(503, None); 99]).await);
    let both = cursors(&node.catalogue, &["quick", "dead"]);
    let list = to(&quick, "quick", "") + &to(&dead, "dead", "");
    let running = Running::start_with(&node, &list, Arc::clone(&both));
    // A sent entry counts a moment before the cursor passes it.
    let is_done = |v: &ExporterView| (v.sent_entries, v.debt_entries) == (5, 0);
    running.until("quick", "all", is_done).await;
    both.keep_positions();
    assert_eq!(both.lose(&sealed), 5);
    let dropped = |name| running.exporters.view(name).unwrap().dropped_entries;
    assert_eq!((dropped("quick"), dropped("dead")), (0, 5));
    drop(both);
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_split_by_entries_and_then_by_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    let record = |n| LogRecord {
        time_unix_nano: n,
        ..LogRecord::default()
    };
    let request = |records: std::ops::Range<u64>| ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: records.map(record).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    node.append(0, 1, &request(1..5).encode_to_vec());
    node.append(0, 2, &request(5..6).encode_to_vec());
    // The answers to both entries and to the first one; its halves are accepted.
    let stub = Stub::http([Reply::Http(413, None), Reply::Http(413, None)]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    let view = running.until("a", "both", |v| v.sent_entries == 2).await;
    assert_eq!((view.split_requests, view.dead_letters), (2, 0));
    let times: Vec<Vec<u64>> = stub
        .taken()
        .iter()
        .map(|taken| {
            let decoded = ExportLogsServiceRequest::decode(&taken[..]).unwrap();
            let scopes = decoded.resource_logs.into_iter().flat_map(|r| r.scope_logs);
            scopes.flat_map(|s| s.log_records).map(|r| r.time_unix_nano).collect()
        })
        .collect();
    assert_eq!(times, [vec![1, 2], vec![3, 4], vec![5]]);
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_fault_stops_an_exporter_buries_nothing_and_resume_tries_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 3);
    let stub = Stub::grpc([Reply::Grpc(Code::Unauthenticated)]).await;
    let list = format!(
        "  - {{ name: a, otlp_grpc: {{ endpoint: \"http://{}\", compression: none }}, start: oldest }}\n",
        stub.address
    );
    let running = Running::start(&node, &list);
    let view = running.until("a", "the stop", |v| v.state == LaneState::Stopped).await;
    assert!(view.last_answer.contains("Unauthenticated"), "{}", view.last_answer);
    assert_eq!((view.dead_letters, view.debt_entries), (0, 3));
    running.exporters.set_paused("a", false, "a test").unwrap();
    running.until("a", "the rest", |v| v.sent_entries == 3).await;
    assert_eq!(stub.taken().concat(), payloads.concat());
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_hangs_holds_up_no_other_exporter_and_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 3);
    let (hangs, takes) = (Stub::http([]).await, Stub::http([]).await);
    hangs.then(Reply::Silence);
    let running = Running::start(&node, &(to(&hangs, "hangs", "") + &to(&takes, "takes", "")));
    hangs.wait_for(1).await;
    running.until("takes", "everything", |v| v.sent_entries == 3).await;
    assert_eq!(takes.taken().concat(), payloads.concat());
    let view = running.exporters.view("hangs").unwrap();
    assert_eq!((view.in_flight, view.debt_entries), (1, 3));
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deferred_entries_are_inflated_in_passing_and_what_proves_malformed_is_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    let plain = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![LogRecord::default(); 5],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
    .encode_to_vec();
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let deferred = EntryMeta {
        received_ns: 1,
        min_event_ns: 0,
        max_event_ns: 0,
        record_count: 0,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Gzip,
        state: EntryState::DEFERRED,
    };
    node.append_as(0, &deferred, b"no gzip at all");
    node.append_as(0, &deferred, &gzip.finish().unwrap());
    let stub = Stub::http([]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    let view = running.until("a", "the good one", |v| v.sent_entries == 1).await;
    assert_eq!(
        (view.sent_records, view.malformed_entries, view.dead_letters),
        (5, 1, 0)
    );
    let letters = running.exporters.letters("a", Vec::new()).unwrap();
    assert_eq!(letters, [(node.vault.identity().node_id, SHARD, lsn(1))], "it is shown");
    assert!(
        !node.catalogue.read(|s| s.is_held(first_segment(&node))),
        "it holds nothing"
    );
    assert_eq!(stub.taken(), [plain]);
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seek_sends_again_and_a_pause_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 6);
    let stub = Stub::http([]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    // A sent entry counts a moment before the cursor passes it.
    let is_done = |v: &ExporterView| (v.sent_entries, v.debt_entries) == (6, 0);
    running.until("a", "all of it", is_done).await;
    // Entries were received at 1 to 6.
    assert_eq!(
        running
            .exporters
            .seek("a", SeekTo::Received(4), false, "a test")
            .unwrap(),
        0
    );
    running
        .until("a", "the last three again", |v| v.sent_entries == 9)
        .await;
    assert_eq!(
        stub.taken().concat(),
        [payloads.concat(), payloads[3..].concat()].concat()
    );
    running.exporters.set_paused("a", true, "a test").unwrap();
    running.until("a", "the pause", |v| v.state == LaneState::Paused).await;
    running.stop().await;
    let mut node = node.reopen();
    node.append(0, 7, &payload(7, 3000));
    let running = Running::start(&node, &to(&stub, "a", ""));
    running.until("a", "the pause", |v| v.state == LaneState::Paused).await;
    let view = running.until("a", "its age", |v| v.oldest_ns == 7).await;
    assert_eq!(view.debt_entries, 1);
    let far = u64::MAX / 2;
    let to_come = running
        .exporters
        .seek("a", SeekTo::Received(far), true, "a test")
        .unwrap_err();
    assert!(matches!(to_come, ExportError::TimeToCome), "{to_come}");
    let loses = running.exporters.seek("a", SeekTo::Now, false, "a test").unwrap_err();
    assert!(loses.to_string().contains("1 entries"), "{loses}");
    assert_eq!(running.exporters.seek("a", SeekTo::Now, true, "a test").unwrap(), 1);
    running.exporters.obeyed("a").await;
    let view = running.exporters.view("a").unwrap();
    assert_eq!((view.state, view.debt_entries), (LaneState::Paused, 0));
    assert_eq!(view.given_up_entries, 1);
    running.exporters.set_paused("a", false, "a test").unwrap();
    running
        .until("a", "nothing owed", |v| {
            v.debt_entries == 0 && v.state == LaneState::Live
        })
        .await;
    assert_eq!(
        running.exporters.view("a").unwrap().sent_entries,
        0,
        "what was sought past is not sent"
    );
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_at_another_node_takes_effect_here_and_cursors_move_on_after_a_seek_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, _) = filled(dir.path(), 3);
    let (other, storage) = (NodeId::new(2).unwrap(), Uuid::from_u128(2));
    let at_ns = 1;
    node.catalogue
        .submit(
            Actor::Node,
            Command::RegisterNode {
                storage_uuid: storage,
                at_ns,
            },
        )
        .unwrap();
    let stub = Stub::http([]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    running
        .until("a", "all of it", |v| (v.sent_entries, v.debt_entries) == (3, 0))
        .await;
    let pause = |paused| Command::SetExporter {
        exporter: "a".to_owned(),
        paused,
        at_ns,
    };
    node.catalogue
        .submit(Actor::operator("another node"), pause(true))
        .unwrap();
    running.until("a", "the pause", |v| v.state == LaneState::Paused).await;
    node.append(0, 4, &payload(4, 3000));
    node.catalogue
        .submit(Actor::operator("another node"), pause(false))
        .unwrap();
    running
        .until("a", "what came meanwhile", |v| {
            (v.sent_entries, v.debt_entries) == (4, 0)
        })
        .await;
    let seek = Command::SeekExporter {
        exporter: "a".to_owned(),
        node: other,
        shards: vec![(SHARD, None)],
        at_ns,
    };
    node.catalogue.submit(Actor::operator("another node"), seek).unwrap();
    let last = node.append(0, 5, &payload(5, 3000));
    running
        .until("a", "what comes behind", |v| v.sent_entries >= 5 && v.debt_entries == 0)
        .await;
    let deadline = Instant::now() + Duration::from_secs(120);
    let own = node.vault.identity().node_id;
    let kept = || node.catalogue.read(|state| state.cursor("a", own, SHARD));
    while kept() != Some(last) {
        assert!(Instant::now() < deadline, "the cursor stays at {:?}", kept());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_is_forgotten_once_it_is_not_configured_and_its_loss_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 3);
    let stub = Stub::http([]).await;
    stub.then(Reply::Http(400, None));
    let running = Running::start(&node, &(to(&stub, "a", "") + &to(&stub, "b", "")));
    running.until("a", "the letters", |v| v.dead_letters == 3).await;
    running.until("b", "the letters", |v| v.dead_letters == 3).await;
    let configured = running
        .exporters
        .forget("a", true, &ToldDebts::new(), "a test")
        .unwrap_err();
    assert_eq!(
        configured.to_string(),
        "exporter \"a\" is configured at node 1: remove it first (gs-ctl exporter remove; on a single node take it \
         out of `export` and send SIGHUP); a node that is away counts until it has followed or is replaced"
    );
    running.stop().await;
    let running = Running::start(&node, &to(&stub, "b", ""));
    let loses = running
        .exporters
        .forget("a", false, &ToldDebts::new(), "a test")
        .unwrap_err();
    assert!(loses.to_string().contains("3 dead letters"), "{loses}");
    let forgotten = running
        .exporters
        .forget("a", true, &ToldDebts::new(), "a test")
        .unwrap();
    assert_eq!((forgotten.dead_letters, forgotten.debt_entries), (3, 0));
    assert!(node.catalogue.read(|state| state.exporter("a").is_none()));
    let unknown = running
        .exporters
        .forget("a", true, &ToldDebts::new(), "a test")
        .unwrap_err();
    assert!(matches!(unknown, ExportError::Unknown(_)), "{unknown}");
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_has_sent_nothing_yet_owes_everything_when_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 3);
    let former = gophership_catalogue::Command::SetExporter {
        exporter: "former".to_owned(),
        paused: false,
        at_ns: 1,
    };
    node.catalogue.submit(Actor::Node, former).unwrap();
    let stub = Stub::http([]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    let loses = running
        .exporters
        .forget("former", false, &ToldDebts::new(), "a test")
        .unwrap_err();
    assert!(
        matches!(loses, ExportError::ForgetLoses { lost, .. } if lost.debt_entries == 3),
        "{loses}"
    );
    let forgotten = running
        .exporters
        .forget("former", true, &ToldDebts::new(), "a test")
        .unwrap();
    assert_eq!(forgotten.debt_entries, 3);
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_exporter_name_too_many_stops_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    for n in 0..gophership_catalogue::limits::EXPORTERS_MAX {
        let exporter = gophership_catalogue::Command::SetExporter {
            exporter: format!("old-{n}"),
            paused: false,
            at_ns: 1,
        };
        node.catalogue.submit(Actor::Node, exporter).unwrap();
    }
    let stub = Stub::http([]).await;
    let running = Running::start(&node, &(to(&stub, "old-1", "") + &to(&stub, "new", "")));
    running.until("old-1", "its entry", |v| v.sent_entries == 1).await;
    let refused = running.exporters.view("new").unwrap();
    assert_eq!(refused.state, LaneState::Refused);
    assert!(refused.refused.contains("forget one"), "{}", refused.refused);
    let told = running.exporters.set_paused("new", true, "a test").unwrap_err();
    assert!(told.to_string().contains("there is no room"), "{told}");
    running
        .exporters
        .forget("old-2", true, &ToldDebts::new(), "a test")
        .unwrap();
    running.stop().await;
    let running = Running::start(&node, &to(&stub, "new", ""));
    running.until("new", "its entry", |v| v.sent_entries == 1).await;
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_more_exporters_than_there_is_room_for_those_too_many_are_refused_and_the_others_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    let stub = Stub::http([]).await;
    let running = Running::start(&node, "  []");
    let one = configured(&to(&stub, "a", "")).remove(0);
    let named = |n: usize| Export {
        name: format!("e-{n:02}"),
        ..one.clone()
    };
    let reload = |names: std::ops::Range<usize>| {
        let (exporters, list) = (Arc::clone(&running.exporters), names.map(named).collect());
        tokio::task::spawn_blocking(move || exporters.reload(list, Refused::default()))
    };
    let done = reload(0..40).await.unwrap().unwrap();
    assert_eq!((done.added.len(), running.exporters.refused().len()), (40, 0));
    // Of the 40 that come in place of those 40, as many have room as is left beside them.
    reload(40..80).await.unwrap().unwrap();
    let refused = running.exporters.refused();
    assert_eq!(refused.len(), 16, "{refused:?}");
    assert!(
        refused.values().all(|why| why.contains("there is no room")),
        "{refused:?}"
    );
    running.until("e-40", "its entry", |v| v.sent_entries == 1).await;
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_is_forgotten_and_comes_again_has_its_cursors_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 2);
    let stub = Stub::http([]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    let on_record = || {
        let at = |state: &gophership_catalogue::State| state.cursor("a", NodeId::FIRST, ShardId::new(0));
        node.catalogue.read(at)
    };
    let until_on_record = async || {
        let deadline = Instant::now() + Duration::from_secs(120);
        while on_record().is_none() {
            assert!(Instant::now() < deadline, "{:?}", running.exporters.view("a"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    until_on_record().await;
    let exporters = Arc::clone(&running.exporters);
    let again = configured(&to(&stub, "a", ""));
    let came = tokio::task::spawn_blocking(move || {
        exporters.reload(Vec::new(), Refused::default()).unwrap();
        exporters.forget("a", true, &ToldDebts::new(), "a test").unwrap();
        exporters.reload(again, Refused::default()).unwrap();
    });
    came.await.unwrap();
    running.until("a", "its entries, again", |v| v.sent_entries == 2).await;
    until_on_record().await;
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_is_taken_out_holds_its_segments_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 2);
    let node = node.reopen();
    let sealed = first_sealed(&node);
    let stub = Stub::http([]).await;
    stub.then(Reply::Http(503, None));
    let readers = cursors(&node.catalogue, &[]);
    assert!(readers.are_none());
    let running = Running::start_with(&node, "  []", Arc::clone(&readers));
    let exporters = Arc::clone(&running.exporters);
    let reload = |list: String| {
        let exporters = Arc::clone(&exporters);
        tokio::task::spawn_blocking(move || exporters.reload(configured(&list), Refused::default()).unwrap())
    };
    assert!(readers.are_done(&sealed), "nobody wants it");
    reload(to(&stub, "a", "")).await.unwrap();
    assert!(
        !readers.are_done(&sealed) && !readers.are_none(),
        "it came while the node ran"
    );
    assert!(
        exporters.forget("a", true, &ToldDebts::new(), "a test").is_err(),
        "it is configured"
    );
    reload("  []".to_owned()).await.unwrap();
    let left = exporters.view("a").unwrap();
    assert_eq!((left.state, left.debt_entries), (LaneState::NotConfigured, 2));
    assert!(!readers.are_done(&sealed), "it may come back");
    assert!(!cursors(&node.catalogue, &[]).are_done(&sealed), "at a start too");
    assert!(
        exporters.forget("a", false, &ToldDebts::new(), "a test").is_err(),
        "it has got nothing yet"
    );
    assert_eq!(
        exporters
            .forget("a", true, &ToldDebts::new(), "a test")
            .unwrap()
            .debt_entries,
        2
    );
    assert!(readers.are_done(&sealed) && readers.are_none());
    drop((exporters, readers));
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_could_not_start_in_a_reload_starts_in_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 2);
    let node = node.reopen();
    let running = Running::start(&node, "  []");
    let (ca, key) = (dir.path().join("ca.pem"), rcgen::KeyPair::generate().unwrap());
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    std::fs::write(&ca, &certificate).unwrap();
    let list = configured(&format!(
        "  - {{ name: a, otlp_http: {{ endpoint: \"https://127.0.0.1:1\", tls: {{ ca: {ca:?} }} }} }}\n"
    ));
    let reload = || {
        let (exporters, list) = (Arc::clone(&running.exporters), list.clone());
        tokio::task::spawn_blocking(move || exporters.reload(list, Refused::default()).unwrap())
    };
    std::fs::remove_file(&ca).unwrap();
    reload().await.unwrap();
    let state = || running.exporters.view("a").unwrap().state;
    assert_eq!(state(), LaneState::Refused, "its sink cannot be made");
    let why = running.exporters.view("a").unwrap().refused;
    assert!(why.contains("ca.pem"), "{why}");
    std::fs::write(&ca, &certificate).unwrap();
    reload().await.unwrap();
    assert_ne!(state(), LaneState::Refused);
    assert!(running.exporters.refused().is_empty());
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pivot_loses_nothing_and_the_way_back_leads_to_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    let stub = Stub::http([]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    let ring = Arc::clone(&running.exporters.rings(SHARD).must_load()[0]);
    running.until("a", "the ring", |v| v.state == LaneState::Live).await;
    let mut payloads = Vec::new();
    for n in 1..=40u64 {
        let payload = payload(n, 500);
        let lsn = node.append(0, n, &payload);
        payloads.push(payload);
        // The test does as a worker does, and finds no free slot now and then.
        if n % 10 == 0 {
            ring.must_pivot();
        } else {
            ring.must_try_push(lsn);
        }
        ring.wake();
        if n % 15 == 0 {
            running
                .until("a", "the way back", |v| {
                    v.state == LaneState::Live && v.debt_entries == 0
                })
                .await;
        }
    }
    let view = running.until("a", "all of it", |v| v.sent_entries == 40).await;
    assert!(view.pivots >= 1);
    assert_eq!(stub.taken().concat(), payloads.concat());
    running.stop().await;
    node.close();
}

#[test]
fn a_lane_that_is_nearly_at_the_end_goes_on_to_the_ring_before_it_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::open(dir.path(), 1);
    let mut all = 0;
    let mut append = |node: &mut TestNode, entries| {
        (0..entries).for_each(|_| {
            all += 1;
            node.append(0, all, &payload(all, 1));
        });
    };
    append(&mut node, 2);
    let zone = Arc::new(ZoneCell::new(Instant::now()));
    let mut source = Source::new(&node.vault, None, SHARD, None, Arc::default(), zone);
    let mut read = |entries| {
        assert!((0..entries).all(|_| source.next().unwrap().is_ok()));
        source.is_live()
    };
    assert!(!read(2));
    append(&mut node, LIVE_GAP + 1);
    assert!(!read(LIVE_GAP + 1), "the ring might be full before all of it is read");
    append(&mut node, 2);
    assert!(read(2), "there was always something to read");
    // It keeps the vault's ledger.
    drop(source);
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_waited_for_and_makes_no_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 2);
    // The answers to both entries, and twice to the first alone; then there is room.
    let full = Reply::Grpc(Code::ResourceExhausted);
    let stub = Stub::grpc([full, full, full]).await;
    let list = format!(
        "  - {{ name: a, otlp_grpc: {{ endpoint: \"http://{}\" }}, start: oldest }}\n",
        stub.address
    );
    let running = Running::start(&node, &list);
    let view = running.until("a", "both", |v| v.sent_entries == 2).await;
    assert_eq!((view.dead_letters, view.failed_requests), (0, 3));
    assert_eq!(stub.taken(), payloads);
    running.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_is_kept_again_after_a_seek_back() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 3);
    let stub = Stub::http([]).await;
    let running = Running::start(&node, &to(&stub, "a", ""));
    let id = node.vault.identity().node_id;
    let kept = || node.catalogue.read(|state| state.cursor("a", id, SHARD));
    let wait_kept = async || {
        let deadline = Instant::now() + Duration::from_secs(120);
        while kept() != Some(lsn(3)) {
            assert!(Instant::now() < deadline, "it is not kept: {:?}", kept());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    wait_kept().await;
    running.exporters.seek("a", SeekTo::Oldest, false, "a test").unwrap();
    running.until("a", "all of it again", |v| v.sent_entries == 6).await;
    wait_kept().await;
    running.stop().await;
    node.close();
}
