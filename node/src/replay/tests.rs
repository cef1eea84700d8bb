//! Jobs end to end: a real vault and catalogue, and sinks with prepared answers.

use std::ops::ControlFlow;

use gophership_catalogue::job::{JobId, JobLoss, JobPosition, LossNames};
use gophership_catalogue::{Actor, Command};
use gophership_proto::control::v1::replay_sink::Kind;
use gophership_proto::control::v1::{
    ListReplaysRequest, OtlpSink, OtlpTls, ReplayJobRef, ReplayProgress, ReplaySink, ReplaySpec, ReplayState,
};
use gophership_vault::ids::{EntryNumber, Lsn, NodeId, SegmentIndex, ShardId};
use gophership_vault::ledger::TrimReason;
use gophership_vault::time::TimeRange;
use tokio::sync::watch;
use tonic::Code;

use super::job::Order;
use super::plan::Part;
use super::reader::{self, Found};
use super::{Jobs, Spec};
use crate::certs::{self, Role};
use crate::config::{Environment, TlsFiles, load_text};
use crate::control::testkit::{TestControl, TestNode, payload};
use crate::machine::Machine;
use crate::sink::stub::{Reply, Stub};
use crate::tls::{Protocols, ServerTls};

mod restored;
mod sequences;

fn grpc(stub: &Stub) -> ReplaySpec {
    to(Kind::OtlpGrpc(OtlpSink {
        endpoint: stub.address.to_string(),
        tls: None,
    }))
}

fn http(stub: &Stub) -> ReplaySpec {
    to(Kind::OtlpHttp(OtlpSink {
        endpoint: stub.address.to_string(),
        tls: None,
    }))
}

fn to(kind: Kind) -> ReplaySpec {
    ReplaySpec {
        sink: Some(ReplaySink {
            kind: Some(kind),
            ..ReplaySink::default()
        }),
        ..ReplaySpec::default()
    }
}

/// A node with `entries` entries in one shard.
fn filled(path: &std::path::Path, entries: u64) -> (TestNode, Vec<Vec<u8>>) {
    let mut node = TestNode::open(path, 1);
    let payloads: Vec<Vec<u8>> = (1..=entries).map(|n| payload(n, 100)).collect();
    for (n, payload) in (1..).zip(&payloads) {
        node.append(0, n, payload);
    }
    (node, payloads)
}

async fn start(control: &mut TestControl, spec: ReplaySpec) -> String {
    control.client.start_replay(spec).await.unwrap().into_inner().id
}

/// The last report on a job.
async fn ended(control: &mut TestControl, id: &str) -> ReplayProgress {
    let mut reports = control
        .client
        .watch_replay(ReplayJobRef { id: id.to_owned() })
        .await
        .unwrap()
        .into_inner();
    let mut last = None;
    while let Some(report) = reports.message().await.unwrap() {
        last = Some(report);
    }
    last.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_sink_gets_every_payload_bit_for_bit_though_it_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 5);
    let stub = Stub::grpc([
        Reply::Grpc(Code::Unavailable),
        Reply::Ok,
        Reply::Grpc(Code::Unavailable),
    ])
    .await;
    let mut control = node.serve(&[]).await;
    let id = start(&mut control, grpc(&stub)).await;
    let end = ended(&mut control, &id).await;
    assert_eq!(
        (
            end.state(),
            end.error.as_str(),
            end.entries_done,
            end.records_done,
            end.bytes_done
        ),
        (ReplayState::Done, "", 5, 5, 500)
    );
    assert_eq!(stub.taken(), payloads);
    let seen = stub.seen();
    assert_eq!(seen.len(), 7, "two tries more");
    assert_eq!(
        seen[0].path,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
    );
    assert_eq!(
        (seen[0].entry.as_str(), seen[6].entry.as_str()),
        ("1/0/1:1,1", "1/0/1:5,1")
    );
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_sink_is_given_the_time_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 3);
    let stub = Stub::http([Reply::Http(503, Some("2")), Reply::Ok, Reply::Http(429, None)]).await;
    let mut control = node.serve(&[]).await;
    let id = start(&mut control, http(&stub)).await;
    let end = ended(&mut control, &id).await;
    assert_eq!((end.state(), end.entries_done), (ReplayState::Done, 3));
    assert_eq!(stub.taken(), payloads);
    let seen = stub.seen();
    assert_eq!(
        (seen.len(), seen[0].path.as_str(), seen[0].content_type.as_str()),
        (5, "/v1/logs", "application/x-protobuf")
    );
    assert!(
        seen[1].at - seen[0].at >= std::time::Duration::from_secs(2),
        "Retry-After is a lower bound"
    );
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_a_sink_refuses_is_counted_and_the_rest_goes_on() {
    for by_http in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (node, payloads) = filled(dir.path(), 4);
        let stub = if by_http {
            Stub::http([Reply::Ok, Reply::Http(400, None)]).await
        } else {
            Stub::grpc([Reply::Ok, Reply::Grpc(Code::InvalidArgument)]).await
        };
        let mut control = node.serve(&[]).await;
        let id = start(&mut control, if by_http { http(&stub) } else { grpc(&stub) }).await;
        let end = ended(&mut control, &id).await;
        assert_eq!(
            (end.state(), end.entries_done),
            (ReplayState::Failed, 3),
            "not everything was taken"
        );
        assert!(
            end.error
                .contains("the sink rejected 1 entries and 1 records; the first: entry 1/0/1:2,1"),
            "{}",
            end.error
        );
        assert_eq!(stub.taken(), [&payloads[..1], &payloads[2..]].concat());
        control.stop().await;
        node.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_a_sink_fails_at_does_not_hold_a_job_up() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut payloads) = filled(dir.path(), 8);
    let stub = Stub::grpc([]).await;
    stub.fails_at(b"entry 2 ", Reply::Grpc(Code::Unknown));
    let mut control = node.serve(&[]).await;
    let id = start(&mut control, grpc(&stub)).await;
    let end = ended(&mut control, &id).await;
    assert_eq!((end.state(), end.entries_done), (ReplayState::Failed, 7));
    assert!(
        end.error
            .contains("the sink rejected 1 entries and 1 records; the first: entry 1/0/1:2,1: Unknown"),
        "{}",
        end.error
    );
    payloads.remove(1);
    assert_eq!(stub.taken(), payloads);
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_must_set_right_ends_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 4);
    let stub = Stub::grpc([Reply::Ok, Reply::Grpc(Code::Unauthenticated)]).await;
    let mut control = node.serve(&[]).await;
    let id = start(&mut control, grpc(&stub)).await;
    let end = ended(&mut control, &id).await;
    assert_eq!((end.state(), end.entries_done), (ReplayState::Failed, 1));
    assert!(end.error.contains("Unauthenticated"), "{}", end.error);
    assert_eq!(stub.seen().len(), 2, "nothing more is sent");
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_replay_into_itself_unless_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    let stub = Stub::grpc([]).await;
    let mut control = node.serve(&[stub.address]).await;
    let refused = control.client.start_replay(grpc(&stub)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--into-self"), "{refused}");
    let mut spec = grpc(&stub);
    spec.sink.as_mut().unwrap().into_self = true;
    let id = start(&mut control, spec).await;
    assert_eq!(ended(&mut control, &id).await.state(), ReplayState::Done);
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_ends_with_what_was_acknowledged_when_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, payloads) = filled(dir.path(), 2);
    let stub = Stub::grpc([Reply::Grpc(Code::Unavailable)]).await;
    let mut control = node.serve(&[]).await;
    let id = start(&mut control, grpc(&stub)).await;
    node.append(0, 9, b"too late");
    assert_eq!(ended(&mut control, &id).await.entries_done, 2);
    assert_eq!(stub.taken(), payloads);
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_on_after_a_restart_behind_its_position_and_remembers_what_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 5);
    // The sink accepts two, refuses one, and then is away until the node has ended.
    let stub = Stub::grpc([Reply::Ok, Reply::Grpc(Code::InvalidArgument), Reply::Ok]).await;
    stub.then(Reply::Grpc(Code::Unavailable));
    let mut control = node.serve(&[]).await;
    let id = start(&mut control, grpc(&stub)).await;
    stub.wait_for(4).await;
    control.stop().await;
    assert_eq!(stub.taken(), [&payloads[..1], &payloads[2..3]].concat());

    let mut node = tokio::task::spawn_blocking(move || node.reopen()).await.unwrap();
    // This entry is not part of the job, though it is there when the job goes on.
    node.append(0, 99, b"too late");
    stub.then(Reply::Ok);
    let mut control = node.serve(&[]).await;
    let end = ended(&mut control, &id).await;
    assert_eq!(
        stub.taken(),
        [&payloads[..1], &payloads[2..]].concat(),
        "each once, none left out"
    );
    assert_eq!((end.state(), end.entries_done), (ReplayState::Failed, 4));
    assert!(end.error.contains("rejected 1 entries"), "{}", end.error);
    let listed = control
        .client
        .list_replays(ListReplaysRequest::default())
        .await
        .unwrap()
        .into_inner()
        .jobs;
    assert_eq!(listed.iter().map(|j| j.id.clone()).collect::<Vec<_>>(), [id]);
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_sends_nothing_more_and_keeps_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let node = filled(dir.path(), 3).0.reopen();
    let stub = Stub::grpc([Reply::Ok]).await;
    stub.then(Reply::Grpc(Code::Unavailable));
    let mut control = node.serve(&[]).await;
    let id = start(&mut control, grpc(&stub)).await;
    stub.wait_for(2).await;
    let job = control
        .client
        .cancel_replay(ReplayJobRef { id: id.clone() })
        .await
        .unwrap()
        .into_inner();
    let progress = job.progress.unwrap();
    assert_eq!((progress.state(), progress.entries_done), (ReplayState::Cancelled, 1));
    assert_eq!(
        (progress.bytes_done, progress.bytes_total_estimate),
        (100, 300),
        "of all that is there"
    );
    let seen = stub.seen().len();
    let again = control
        .client
        .cancel_replay(ReplayJobRef { id })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.progress.unwrap().state(), ReplayState::Cancelled, "twice is once");
    assert_eq!(stub.seen().len(), seen);
    let unknown = control
        .client
        .cancel_replay(ReplayJobRef { id: "77".to_owned() })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_can_send_where_an_exporter_sends_and_as_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 3);
    let stub = Stub::http([]).await;
    let export = format!(
        "export: [{{name: a, otlp_http: {{endpoint: 'http://{}/at', headers: {{x-key: k}}, compression: gzip}}, start: \
         now}}]",
        stub.address
    );
    let machine = Machine {
        cores: 2,
        memory: 8 << 30,
    };
    let configs = load_text(&export, &Environment::default(), &machine).unwrap().export;
    let mut control = node.serve_with(&[], configs).await;
    let id = start(&mut control, to(Kind::Exporter("a".to_owned()))).await;
    assert_eq!(ended(&mut control, &id).await.state(), ReplayState::Done);
    assert_eq!(stub.taken(), payloads, "and the exporter itself began behind them");
    let seen = &stub.seen()[0];
    assert_eq!(
        (
            seen.path.as_str(),
            &seen.headers["x-key"],
            &seen.headers["content-encoding"]
        ),
        ("/at", &"k".parse().unwrap(), &"gzip".parse().unwrap())
    );
    let unknown = control
        .client
        .start_replay(to(Kind::Exporter("b".to_owned())))
        .await
        .unwrap_err();
    assert!(unknown.message().contains("there is no exporter \"b\""), "{unknown}");
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_made_again_begins_no_second_job() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    let mut control = node.serve(&[]).await;
    let (stub, other) = (Stub::grpc([]).await, Stub::grpc([]).await);
    let of = |stub: &Stub, request: u128, from| ReplaySpec {
        request: uuid::Uuid::from_u128(request).to_string(),
        from_unix_nano: Some(from),
        ..grpc(stub)
    };
    let first = start(&mut control, of(&stub, 7, 1)).await;
    // A time that was relative to now is another one at the second try, and what is read has grown perhaps.
    assert_eq!(start(&mut control, of(&stub, 7, 2)).await, first);
    assert_ne!(start(&mut control, of(&stub, 8, 1)).await, first);
    assert_eq!(node.catalogue.read(|state| state.jobs().count()), 2);
    let elsewhere = control.client.start_replay(of(&other, 7, 1)).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::InvalidArgument);
    assert!(elsewhere.message().contains("sends elsewhere"), "{elsewhere}");
    let bad = ReplaySpec {
        request: "seven".to_owned(),
        ..grpc(&stub)
    };
    let bad = control.client.start_replay(bad).await.unwrap_err();
    assert!(bad.message().contains("a UUID"), "{bad}");
    ended(&mut control, &first).await;
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaintext_to_another_machine_must_be_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    let mut control = node.serve(&[]).await;
    // TEST-NET-1, where no host is.
    let mut spec = to(Kind::OtlpHttp(OtlpSink {
        endpoint: "192.0.2.1:4318".to_owned(),
        tls: None,
    }));
    let refused = control.client.start_replay(spec.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--insecure"), "{refused}");
    spec.sink.as_mut().unwrap().insecure = true;
    let id = start(&mut control, spec).await;
    control.client.cancel_replay(ReplayJobRef { id }).await.unwrap();
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_over_tls_is_checked_against_the_authority_that_the_replay_brings() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 3);
    let certificates = tempfile::tempdir().unwrap();
    let folder = certificates.path();
    certs::issue(folder, "server", Role::Node, &["127.0.0.1".to_owned()], true).unwrap();
    let files = TlsFiles {
        cert: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_ca: None,
    };
    let ca_pem = std::fs::read_to_string(folder.join("ca.pem")).unwrap();
    let mut control = node.serve(&[]).await;
    for (by_grpc, protocols) in [(true, Protocols::Http2), (false, Protocols::Http)] {
        let stub = Stub::tls(by_grpc, ServerTls::open(&files, protocols).unwrap().current()).await;
        let spec = |tls| {
            let place = stub.address.to_string();
            let endpoint = if by_grpc { place } else { format!("{place}/otlp/logs") };
            to(if by_grpc { Kind::OtlpGrpc } else { Kind::OtlpHttp }(OtlpSink {
                endpoint,
                tls,
            }))
        };
        let nobodys = OtlpTls {
            ca_pem: "no certificate".to_owned(),
        };
        let refused = control.client.start_replay(spec(Some(nobodys))).await.unwrap_err();
        assert!(refused.message().contains("--ca"), "{refused}");

        let good = OtlpTls { ca_pem: ca_pem.clone() };
        let id = start(&mut control, spec(Some(good))).await;
        assert_eq!(ended(&mut control, &id).await.state(), ReplayState::Done);
        assert_eq!(stub.taken(), payloads);
        assert_eq!(stub.seen()[0].path.ends_with("/otlp/logs"), !by_grpc);
    }
    control.stop().await;
    node.close();
}

#[tokio::test]
async fn what_was_dropped_before_is_missing_of_its_time_and_of_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 3);
    let node = node.reopen();
    let id = node.vault.segments()[0].0;
    let why = TrimReason::Dropped;
    node.catalogue.submit(Actor::Node, Command::Trim { id, why }).unwrap();
    let mut node = node.reopen();
    node.append(0, 90, &payload(90, 100));
    let mut control = node.serve(&[]).await;
    for (from, to, code) in [
        (None, None, Some(Code::DataLoss)),
        (Some(3), Some(91), Some(Code::DataLoss)),
        (Some(4), None, None),
    ] {
        let range = ReplaySpec {
            from_unix_nano: from,
            to_unix_nano: to,
            ..ReplaySpec::default()
        };
        let mut chunks = control.client.stream_replay(range).await.unwrap().into_inner();
        let (mut entries, mut unreadable) = (0, 0);
        let ended = loop {
            match chunks.message().await {
                Ok(Some(chunk)) => {
                    entries += chunk.entries.len();
                    unreadable += chunk.end.map_or(0, |end| end.unreadable_entries);
                }
                Ok(None) => break None,
                Err(status) => break Some(status),
            }
        };
        assert_eq!(
            ended.as_ref().map(tonic::Status::code),
            code,
            "{from:?} {to:?}: {ended:?}"
        );
        assert_eq!((entries, unreadable), (1, if code.is_some() { 3 } else { 0 }));
        if let Some(ended) = ended {
            assert!(ended.message().contains("segment 1/0/1: dropped unsent"), "{ended}");
        }
    }
    let sink = Stub::http([]).await;
    let id = start(&mut control, http(&sink)).await;
    let end = ended(&mut control, &id).await;
    assert!(format!("{end:?}").contains("dropped unsent"), "{end:?}");
    control.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_runner_is_gone_is_taken_over_from_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 6);
    let stub = Stub::grpc([]).await;
    let (own, other) = (node.vault.identity().node_id, NodeId::new(2).unwrap());
    let (index, shard) = (SegmentIndex::new(1).unwrap(), ShardId::new(0));
    let at = |number| Lsn::at(index, EntryNumber::new(number).unwrap());
    // The other node planned it, and came to the third entry.
    let order = Order {
        spec: Spec::for_job(grpc(&stub)).unwrap(),
        parts: vec![Part {
            owner: Some(own),
            shard,
            until: at(6),
            held: vec![(index, index)],
            dropped: None,
            bytes: 0,
        }],
        bytes_total_estimate: 0,
        not_restored: None,
        runner: Some(other),
    };
    let position = |count: u64| JobPosition {
        done_lsn: at(u32::try_from(count).unwrap()),
        entries: count,
        records: count,
        bytes: 100 * count,
        archived: gophership_catalogue::job::JobArchived::default(),
        loss: JobLoss::default(),
    };
    let progress = |count| Command::JobProgress {
        job: JobId::FIRST,
        term: 0,
        positions: vec![(own, shard, position(count))],
        loss_names: LossNames::default(),
    };
    let create = Command::CreateJob {
        request: uuid::Uuid::nil(),
        spec: serde_json::to_string(&order).unwrap(),
        at_ns: 1,
    };
    for command in [create, progress(3)] {
        node.catalogue.submit(Actor::Node, command).unwrap();
    }
    let (_stop, stopped) = watch::channel(false);
    let jobs = Jobs::new(node.context(&[], Vec::new()), stopped);
    let record = || node.catalogue.read(|state| state.job(JobId::FIRST).cloned()).unwrap();
    jobs.do_due(&|_| false).await;
    assert_eq!(record().taken, None, "its runner lives");
    let shown_runner = || jobs.view(JobId::FIRST).unwrap().runner;
    assert_eq!(shown_runner(), other.get());
    jobs.do_due(&|node| node == other).await;
    jobs.ended(JobId::FIRST).await;
    assert_eq!(shown_runner(), own.get());
    let record = record();
    assert_eq!(stub.taken(), payloads[3..], "{:?}", record.state);
    assert_eq!((record.state.name(), record.term()), ("Done", 1));
    assert_eq!(record.positions[&(own, shard)], position(6));
    let late = node.catalogue.submit(Actor::Node, progress(4));
    assert!(late.is_err(), "the first runner is heard no more: {late:?}");
}

#[test]
fn a_record_that_an_older_version_wrote_has_no_estimate_and_still_reads() {
    let spec = Spec::for_stream(ReplaySpec::default()).unwrap();
    let older = serde_json::json!({ "spec": spec, "parts": [] }).to_string();
    assert_eq!(serde_json::from_str::<Order>(&older).unwrap().bytes_total_estimate, 0);
}

#[test]
fn what_was_trimmed_before_its_turn_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 2);
    let index = |n| SegmentIndex::new(n).unwrap();
    let shard = ShardId::new(0);
    let missing = |held: &[(u32, u32)], done: Option<Lsn>| {
        let part = Part {
            owner: None,
            shard,
            until: Lsn::last_of(index(90)),
            dropped: None,
            bytes: 0,
            held: held.iter().map(|(first, last)| (index(*first), index(*last))).collect(),
        };
        let (mut entries, mut missing) = (0, Vec::new());
        let all = reader::read(&node.vault, &part, TimeRange::ALL, done, || false, &mut |found| {
            match found {
                Found::Entry(_) | Found::Archived(_) => entries += 1,
                Found::Fault(fault) => missing.push(fault.segment.index.get()),
                Found::Dropped(first, _) => panic!("{first} was not dropped"),
            }
            ControlFlow::Continue(())
        });
        assert_eq!((all.is_continue(), entries), (true, if done.is_none() { 2 } else { 0 }));
        missing
    };
    assert_eq!(missing(&[(1, 1)], None), Vec::<u32>::new());
    assert_eq!(missing(&[(1, 1), (80, 81), (85, 85)], None), [80, 81, 85]);
    assert_eq!(
        missing(&[(1, 1), (80, 81), (85, 85)], Some(Lsn::last_of(index(81)))),
        [85]
    );
    node.close();
}
