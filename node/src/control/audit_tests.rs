//! Every call that changes something, or returns payloads, leaves one line that names its caller.

use std::path::Path;
use std::sync::Arc;

use gophership_proto::control::v1::replay_sink::Kind;
use gophership_proto::control::v1::seek_exporter_request::To;
use gophership_proto::control::v1::{
    DeadLetterSelection, ExporterRef, ForgetExporterRequest, ForgetSegmentRequest, ListDeadLettersRequest,
    ReplayJobRef, ReplaySink, ReplaySpec, SealSegmentsRequest, SeekExporterRequest, SegmentRef, ShowDeadLetterRequest,
    TailRequest,
};
use gophership_vault::ids::ShardId;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::testkit::{TestControl, TestNode, payload};
use crate::config::{Environment, Export, load_text};
use crate::export::LaneState;
use crate::machine::Machine;
use crate::sink::stub::{Reply, Stub};

/// A runtime whose threads, and this thread, log into a file.
fn logging_into(path: &Path) -> (Runtime, tracing::subscriber::DefaultGuard) {
    let writer = Arc::new(std::fs::File::create(path).unwrap());
    let dispatch = tracing::Dispatch::new(
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(writer)
            .finish(),
    );
    // With a single subscriber, tracing asks the first thread that reaches a line whether the line is wanted, and that
    // may be another test's thread.
    let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let guard = tracing::dispatcher::set_default(&dispatch);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        // The guard lives as long as the thread.
        .on_thread_start(move || {
            let _second = &second;
            std::mem::forget(tracing::dispatcher::set_default(&dispatch));
        })
        .build()
        .unwrap();
    (runtime, guard)
}

fn lines(path: &Path) -> Vec<Value> {
    let log = std::fs::read_to_string(path).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn exporter(stub: &Stub) -> Vec<Export> {
    let export = format!(
        "export: [{{name: a, otlp_http: {{endpoint: 'http://{}', compression: none}}, start: oldest}}]",
        stub.address
    );
    let machine = Machine {
        cores: 2,
        memory: 8 << 30,
    };
    load_text(&export, &Environment::default(), &machine).unwrap().export
}

/// Waits until the exporter's state satisfies `done`.
async fn until(control: &TestControl, what: &str, done: impl Fn(&crate::export::ExporterView) -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !done(&control.context.exporters.view("a").unwrap()) {
        assert!(std::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Runs all verbs on exporters. Two entries in a sealed segment are refused by the sink; they are sent again, shown,
/// and forgotten.
async fn steer(control: &mut TestControl) {
    let named = || ExporterRef { name: "a".to_owned() };
    let selection = || DeadLetterSelection {
        exporter: "a".to_owned(),
        ..DeadLetterSelection::default()
    };
    until(control, "the dead letters", |view| view.dead_letters == 2).await;
    let client = &mut control.client;
    let letters = client
        .list_dead_letters(ListDeadLettersRequest::default())
        .await
        .unwrap();
    let letter = letters.into_inner().letters[0].letter;
    let exporter = "a".to_owned();
    client
        .show_dead_letter(ShowDeadLetterRequest { exporter, letter })
        .await
        .unwrap();
    client.replay_dead_letters(selection()).await.unwrap();
    client.drop_dead_letters(selection()).await.unwrap();
    client.pause_exporter(named()).await.unwrap();
    client.resume_exporter(named()).await.unwrap();
    for to in [To::Oldest(true), To::TimeUnixNano(1)] {
        let seek = SeekExporterRequest {
            name: "a".to_owned(),
            to: Some(to),
            accept_loss: false,
        };
        client.seek_exporter(seek).await.unwrap();
    }
    client.pause_exporter(named()).await.unwrap();
}

/// Runs all verbs on the node as a whole.
async fn ask(control: &mut TestControl) {
    let client = &mut control.client;
    // At a byte a second the replay does not end by itself, and with no limit it fails: the sink refuses everything.
    for rate_limit_bytes_per_second in [1, 0] {
        let spec = ReplaySpec {
            sink: Some(ReplaySink {
                kind: Some(Kind::Exporter("a".to_owned())),
                ..ReplaySink::default()
            }),
            rate_limit_bytes_per_second,
            ..ReplaySpec::default()
        };
        let id = client.start_replay(spec).await.unwrap().into_inner().id;
        if rate_limit_bytes_per_second > 0 {
            client.cancel_replay(ReplayJobRef { id }).await.unwrap();
        } else {
            let mut reports = client.watch_replay(ReplayJobRef { id }).await.unwrap().into_inner();
            while reports.message().await.unwrap().is_some() {}
        }
    }
    client.seal_segments(SealSegmentsRequest::default()).await.unwrap();
    drop(client.tail(TailRequest::default()).await.unwrap());
    drop(client.stream_replay(ReplaySpec::default()).await.unwrap());
}

#[test]
fn who_asked_is_logged_once_for_each_call() {
    let (dir, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = logs.path().join("log");
    let mut node = TestNode::open(dir.path(), 1);
    for n in 1..3 {
        node.append(0, n, &payload(n, 100));
    }
    let node = node.reopen();
    let (runtime, _guard) = logging_into(&log);
    let second = runtime.block_on(async {
        let stub = Stub::http([]).await;
        stub.then(Reply::Http(400, None));
        let mut control = node.serve_with(&[], exporter(&stub)).await;
        steer(&mut control).await;
        ask(&mut control).await;
        control.stop().await;
        // The exporter is paused over a restart; once it is not configured any more an operator may forget it.
        let paused = node.serve_with(&[], exporter(&stub)).await;
        until(&paused, "the pause", |view| view.state == LaneState::Paused).await;
        paused.stop().await;
        let mut left = node.serve(&[]).await;
        let forget = ForgetExporterRequest {
            name: "a".to_owned(),
            accept_loss: true,
        };
        left.client.forget_exporter(forget).await.unwrap();
        left
    });
    let (id, _) = node.vault.segments()[0];
    std::fs::remove_file(node.vault.segment_file(id)).unwrap();
    let mut cursor = node
        .vault
        .cursor(ShardId::new(0), None, gophership_vault::time::TimeRange::ALL);
    assert!(cursor.next().is_none_or(|read| read.is_err()), "it is unreadable now");
    runtime.block_on(async {
        let mut left = second;
        let segment = Some(SegmentRef {
            node: id.node.get(),
            shard: 0,
            index: id.index.get(),
        });
        let forget = ForgetSegmentRequest {
            segment,
            accept_loss: true,
        };
        left.client.forget_segment(forget).await.unwrap();
        left.stop().await;
    });
    drop(runtime);
    node.close();
    check(&lines(&log));
}

fn check(lines: &[Value]) {
    let me = format!("uid {}", rustix::process::getuid().as_raw());
    let asked: Vec<&Value> = lines.iter().filter(|line| line["by"] == me.as_str()).collect();
    let events: Vec<&str> = asked.iter().map(|line| line["message"].as_str().unwrap()).collect();
    let expected = [
        "dead_letter.shown",
        "dead_letters.replay.begin",
        "dead_letters.replay.end",
        "dead_letters.dropped",
        "export.pause.set",
        "export.pause.set",
        "export.seek.done",
        "export.seek.done",
        "export.pause.set",
        "replay.job.begin",
        "replay.job.cancelled",
        "replay.job.begin",
        "segment.seal.asked",
        "tail.begin",
        "replay.stream.begin",
        "export.exporter.forgotten",
        "segment.forget.done",
    ];
    assert_eq!(events, expected);
    let changed = lines.iter().filter(|line| line["message"] == "catalogue.command.asked");
    let changed: Vec<_> = changed
        .map(|line| (line["actor"].as_str(), line["command"].as_str()))
        .collect();
    let expected = [
        // The letters that were sent again.
        "note",
        "drop_dead_letters",
        "set_exporter",
        "set_exporter",
        "seek_exporter",
        "seek_exporter",
        "set_exporter",
        "create_job",
        "cancel_job",
        "create_job",
        "forget_exporter",
    ];
    assert_eq!(changed, expected.map(|command| (Some(me.as_str()), Some(command))));
    let of = |event: &str| *asked.iter().find(|line| line["message"] == event).unwrap();
    assert_eq!(of("replay.job.begin")["sink"], "exporter:a");
    assert_eq!(of("dead_letter.shown")["entry"], "1/0/1:1");
    assert_eq!(of("dead_letters.replay.end")["refused_again"], 2);
    let sought: Vec<_> = asked.iter().filter_map(|line| line["to"].as_str()).collect();
    assert_eq!(sought, ["oldest", "1970-01-01T00:00:00.000000001Z"]);
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "replay.job.failed")
        .collect();
    assert_eq!((failed.len(), &failed[0]["level"]), (1, &"WARN".into()));
    let kept: Vec<_> = lines.iter().filter_map(|line| line["exporters"].as_str()).collect();
    assert_eq!(kept, ["a"], "those that are paused, at the start");
}
