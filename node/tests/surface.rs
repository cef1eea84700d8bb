//! What an operator sees of a real cluster: three processes on loopback, one of which is killed.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use gophership_proto::control::v1::cluster_client::ClusterClient;
use gophership_proto::control::v1::control_client::ControlClient;
use gophership_proto::control::v1::{
    ClusterStatusRequest, ExporterRef, ExporterState, HolderState, ListExportersRequest, ListSegmentsRequest,
    ProvisionClusterRequest, ReplaySpec, SealSegmentsRequest, SegmentDetail, SegmentRef, SegmentState, SegmentSummary,
    VerifyProgress,
};
use gophership_proto::view::cluster::ClusterView;
use gophership_proto::view::problems::ProblemView;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Generous: a condition that comes true at all does so long before.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a condition, and says what was seen when it did not come.
async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = tokio::time::Instant::now();
    loop {
        match found().await {
            Ok(found) => return found,
            Err(seen) => assert!(began.elapsed() < PATIENCE, "{what} did not happen: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct Node {
    process: Child,
    data: PathBuf,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

impl Node {
    async fn channel(&self) -> Option<Channel> {
        let path = self.data.join("gophership.sock");
        let dial = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://node").connect_with_connector(dial).await;
        channel.ok()
    }

    async fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel().await.unwrap())
    }

    /// The cluster, as a surface shows it.
    async fn cluster(&self) -> Result<ClusterView, String> {
        let channel = self.channel().await.ok_or("nobody listens")?;
        let reply = ClusterClient::new(channel)
            .cluster_status(ClusterStatusRequest {})
            .await;
        Ok(reply.map_err(|e| e.to_string())?.into_inner().into())
    }

    async fn segments(&self) -> Vec<SegmentSummary> {
        let list = self.control().await.list_segments(ListSegmentsRequest::default()).await;
        list.unwrap().into_inner().segments
    }

    async fn segment(&self, id: SegmentRef) -> Result<SegmentSummary, String> {
        let mut all = self.segments().await.into_iter();
        let found = all.find(|row| row.segment == Some(id));
        found.ok_or_else(|| format!("{id:?} is not listed"))
    }

    /// The last message of a verification.
    async fn verified(&self, id: SegmentRef) -> Result<VerifyProgress, String> {
        let progress = self.control().await.verify_segment(id).await;
        let mut progress = progress.map_err(|e| e.to_string())?.into_inner();
        let mut last = VerifyProgress::default();
        while let Some(message) = progress.message().await.map_err(|e| e.to_string())? {
            last = message;
        }
        assert!(last.finished);
        Ok(last)
    }

    async fn described(&self, id: SegmentRef) -> Result<SegmentDetail, String> {
        let detail = self.control().await.describe_segment(id).await;
        Ok(detail.map_err(|e| e.to_string())?.into_inner())
    }

    async fn exporter(&self) -> ExporterState {
        let all = self
            .control()
            .await
            .list_exporters(ListExportersRequest {})
            .await
            .unwrap();
        all.into_inner().exporters[0].state()
    }

    /// The answer of the admin port.
    fn shown(&self, path: &str) -> Value {
        let (status, body) = http(self.admin, "GET", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Sends records, one a request, and gives their payload bytes.
    fn send(&self, records: u64) -> Vec<u16> {
        let record =
            |n| json!({"timeUnixNano": "1", "body": {"stringValue": format!("record {n} {}", "x".repeat(500))}});
        let request = |n| json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record(n)]}]}]}).to_string();
        (0..records)
            .map(|n| http(self.http, "POST", "/v1/logs", &request(n)).0)
            .collect()
    }
}

fn http(to: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

static CLUSTERS: AtomicU8 = AtomicU8::new(0);

/// Starts three nodes with an exporter that has nobody to send to, and makes them a cluster.
async fn cluster(dir: &Path) -> [Node; 3] {
    // Nothing else binds to this address, so the ports stay free until the nodes listen.
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 1 + high % 250, low, 1 + CLUSTERS.fetch_add(1, Ordering::Relaxed));
    let held: Vec<TcpListener> = (0..12).map(|_| TcpListener::bind((own, 0)).unwrap()).collect();
    let ports: Vec<SocketAddr> = held.iter().map(|port| port.local_addr().unwrap()).collect();
    let peers: Vec<String> = (0..3)
        .map(|n| format!("{{ name: node-{}, address: \"{}\" }}", n + 1, ports[4 * n + 3]))
        .collect();
    drop(held);
    let nodes = [0, 1, 2].map(|n: usize| {
        let (name, of) = (format!("node-{}", n + 1), &ports[4 * n..4 * n + 4]);
        let data = dir.join(&name);
        let config = dir.join(format!("{name}.yaml"));
        let text = format!(
            "node: {{ name: {name}, data_dir: {data:?}, shutdown_delay: 0s }}
listeners:
  otlp_grpc: {{ address: \"{}\" }}
  otlp_http: {{ address: \"{}\" }}
  admin: {{ address: \"{}\" }}
  peer: {{ address: \"{}\", insecure: true }}
cluster: {{ name: local, peers: [{}], replicas: 3, ack_timeout: 20s }}
ingest: {{ shards: 1 }}
vault: {{ segment_size: 8MiB, disk_limit: 2GiB, any_filesystem: true }}
export: [{{ name: backend, otlp_http: {{ endpoint: \"http://127.0.0.1:9\" }}, start: oldest }}]
",
            of[0],
            of[1],
            of[2],
            of[3],
            peers.join(", ")
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(dir.join(format!("{name}.log"))).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_gophership"))
            .args(["run", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Node {
            process,
            data,
            http: of[1],
            admin: of[2],
        }
    });
    until("the cluster", async || {
        let log = || fs::read_to_string(dir.join("node-1.log")).unwrap();
        let channel = nodes[0].channel().await.ok_or_else(log)?;
        let made = ClusterClient::new(channel)
            .provision(ProvisionClusterRequest::default())
            .await;
        made.map(drop).map_err(|e| e.to_string())
    })
    .await;
    for node in &nodes {
        until("a cluster in which nothing is wrong", async || {
            let cluster = node.cluster().await?;
            let all = cluster.nodes.iter().filter(|node| node.report.is_some()).count();
            // Their exporter has nobody to send to, which is a problem after a while.
            let is_of_cluster = |problem: &&ProblemView| !problem.what.starts_with("exporter ");
            if all == 3 && !cluster.problems.iter().any(|problem| is_of_cluster(&problem)) {
                Ok(())
            } else {
                Err(format!("{cluster:?}"))
            }
        })
        .await;
    }
    nodes
}

/// The value of a row of the metrics.
fn gauge(node: &Node, row: &str) -> f64 {
    let (_, metrics) = http(node.admin, "GET", "/metrics", "");
    let found = metrics
        .lines()
        .find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
    found
        .unwrap_or_else(|| panic!("no {row} in {metrics}"))
        .parse()
        .unwrap()
}

fn is_as(schema: &str, shown: &Value) {
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator.iter_errors(shown).map(|e| e.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?} in {shown:#}");
}

/// The states of a segment's holders, by node.
fn holders(row: &SegmentSummary) -> Vec<(u32, HolderState)> {
    row.holders.iter().map(|holder| (holder.node, holder.state())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_seen_from_every_node_and_what_is_lost_with_one_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let [first, mut second, mut third] = cluster(dir.path()).await;
    let id_of =
        |view: &ClusterView, name: &str| view.nodes.iter().find(|n| n.name.as_deref() == Some(name)).unwrap().id;
    let view = first.cluster().await.unwrap();
    let ids = ["node-1", "node-2", "node-3"].map(|name| id_of(&view, name));

    // A segment of the first node, with a copy on each.
    for _ in 0..20 {
        until("an acknowledgement", async || match first.send(1)[..] {
            [200] => Ok(()),
            ref other => Err(format!("{other:?}")),
        })
        .await;
    }
    let segment = until("a seal", async || {
        let sealed = first
            .control()
            .await
            .seal_segments(SealSegmentsRequest::default())
            .await;
        let sealed = sealed.map_err(|e| e.to_string())?.into_inner().segments;
        let row = sealed.first().ok_or("nothing was sealed")?;
        Ok(row.segment.unwrap())
    })
    .await;
    assert_eq!(segment.node, ids[0]);
    let mut everyone: Vec<_> = ids.iter().map(|id| (*id, HolderState::Has)).collect();
    everyone.sort_unstable_by_key(|(id, _)| *id);
    until("three copies", async || {
        let seen = holders(&second.segment(segment).await?);
        if seen == everyone {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
    // A node that does not answer another one in time is shown as such, here and below.
    until("three copies as another node describes them", async || {
        let detail = third.described(segment).await?;
        let row = detail.summary.as_ref().ok_or("no summary")?;
        if (detail.node, row.entries, holders(row)) == (ids[2], 20, everyone.clone()) {
            Ok(())
        } else {
            Err(format!("{detail:?}"))
        }
    })
    .await;
    until("three good copies", async || {
        let verdict = second.verified(segment).await?;
        if verdict.ok && verdict.copies.len() == 3 && verdict.copies.iter().all(|copy| copy.ok) {
            Ok(())
        } else {
            Err(format!("{verdict:?}"))
        }
    })
    .await;

    // One shape at every surface.
    is_as(
        include_str!("../../gs-ctl/schemas/cluster-status.json"),
        &second.shown("/api/v1/cluster"),
    );
    is_as(
        include_str!("../../gs-ctl/schemas/node-list.json"),
        &second.shown("/api/v1/nodes"),
    );
    let listed = second.shown("/api/v1/segments");
    is_as(include_str!("../../gs-ctl/schemas/segment-list.json"), &listed);
    let name = format!("{}/{}/{}", segment.node, segment.shard, segment.index);
    let rows = listed["segments"].as_array().unwrap();
    let shown = rows.iter().find(|row| row["segment"] == *name).unwrap();
    assert_eq!(shown["holders"].as_array().unwrap().len(), 3, "{shown:#}");

    // The estimate of a replay at a node that took nothing counts what the others took.
    let mut replay = second
        .control()
        .await
        .stream_replay(ReplaySpec::default())
        .await
        .unwrap()
        .into_inner();
    let chunk = replay.message().await.unwrap().unwrap();
    assert!(chunk.bytes_total_estimate > 20 * 500, "{}", chunk.bytes_total_estimate);
    drop(replay);

    // A pause at one node takes effect at the others.
    let pause = ExporterRef {
        name: "backend".to_owned(),
    };
    until("a pause that is taken", async || {
        let paused = first.control().await.pause_exporter(pause.clone()).await;
        paused.map(drop).map_err(|e| e.to_string())
    })
    .await;
    for node in [&second, &third] {
        until("the pause", async || match node.exporter().await {
            ExporterState::Paused => Ok(()),
            state => Err(format!("{state:?}")),
        })
        .await;
    }
    until("the pause is told once for all nodes", async || {
        let problems = third.cluster().await?.problems;
        let told = |problem: &ProblemView| {
            problem.what.starts_with("exporter backend is paused (on ")
                && ["node-1", "node-2", "node-3"]
                    .iter()
                    .all(|name| problem.what.contains(name))
                && problem.remedy.starts_with("gs-ctl exporter resume backend")
        };
        if problems.iter().any(told) {
            Ok(())
        } else {
            Err(format!("{problems:?}"))
        }
    })
    .await;
    until("its end that is taken", async || {
        let resumed = third.control().await.resume_exporter(pause.clone()).await;
        resumed.map(drop).map_err(|e| e.to_string())
    })
    .await;
    until("the end of the pause", async || match first.exporter().await {
        ExporterState::Paused => Err("it is paused".to_owned()),
        _ => Ok(()),
    })
    .await;

    // What is not sealed yet is described, too, from any node.
    until("an open segment that is described", async || {
        let all = first.segments().await.into_iter();
        let mut open = all.filter(|row| row.state() == SegmentState::Open);
        let id = open.next().and_then(|row| row.segment).ok_or("no segment is open")?;
        let detail = third.control().await.describe_segment(id).await;
        let detail = detail.map_err(|e| e.to_string())?.into_inner();
        let state = detail.summary.as_ref().map(SegmentSummary::state);
        if state == Some(SegmentState::Open) && detail.node == id.node && detail.path.is_empty() {
            Ok(())
        } else {
            Err(format!("{detail:?}"))
        }
    })
    .await;

    // A damaged copy is found wherever one asks.
    let own = second.described(segment).await.unwrap();
    assert_eq!(own.node, ids[1]);
    let file = PathBuf::from(own.path);
    let whole = fs::read(&file).unwrap();
    until("a copy that is found damaged", async || {
        // Once it is found its node makes it anew.
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        fs::write(&file, bytes).unwrap();
        let verdict = first.verified(segment).await?;
        let bad = verdict.copies.iter().filter(|copy| !copy.ok);
        let bad: Vec<u32> = bad.map(|copy| copy.node).collect();
        let is_found = !verdict.ok && !verdict.faults.is_empty() && bad == [ids[1]];
        if is_found && verdict.copies.iter().all(|copy| copy.not_verified.is_empty()) {
            Ok(())
        } else {
            Err(format!("{verdict:?}"))
        }
    })
    .await;

    until("the metrics of a whole cluster", async || {
        let (_, metrics) = http(first.admin, "GET", "/metrics", "");
        for line in [
            "gophership_cluster_peers{state=\"alive\"} 2\n",
            "gophership_cluster_peers{state=\"dead\"} 0\n",
            "gophership_cluster_leader_known 1\n",
            "gophership_cluster_recovering_segments 0\n",
            "gophership_cluster_oldest_recovering_seconds 0\n",
            "gophership_cluster_unreachable_segments 0\n",
            "gophership_consensus_writes_total{outcome=\"unknown\"} ",
        ] {
            if !metrics.contains(line) {
                return Err(format!("no {line}{metrics}"));
            }
        }
        let leads = [&first, &second, &third].map(|node| gauge(node, "gophership_cluster_is_leader"));
        match leads.iter().filter(|leads| **leads == 1.0).count() {
            1 => Ok(()),
            _ => Err(format!("{leads:?}")),
        }
    })
    .await;
    assert!(gauge(&second, "gophership_consensus_applied_index") > 0.0);
    assert!(gauge(&second, "gophership_consensus_term") > 0.0);
    assert!(gauge(&first, "gophership_consensus_writes_total{outcome=\"answered\"}") > 0.0);

    // One node is killed, while the others take on.
    third.process.kill().unwrap();
    third.process.wait().unwrap();
    until("what is wrong", async || {
        let _statuses = first.send(1);
        let view = first.cluster().await?;
        let told = |what: &str| view.problems.iter().any(|problem| problem.what.contains(what));
        let own = view
            .nodes
            .iter()
            .find(|node| node.id == ids[0])
            .and_then(|node| node.report.as_ref());
        let replicas = own.map_or(Vec::new(), |report| report.shards[0].replicas.clone());
        let is_stuck = |id| replicas.iter().any(|r| r.node == id && r.stuck && r.behind_entries > 0);
        let dead = told(&format!("node-3 (node {}) is not heard", ids[2]));
        let few = told("fewer than 3 live copies") && view.under_replicated_segments > 0;
        let known = view.recoveries.is_some();
        if dead && few && known && is_stuck(ids[2]) && !is_stuck(ids[1]) {
            Ok(())
        } else {
            Err(format!("{:?}, {replicas:?}", view.problems))
        }
    })
    .await;
    until("the metrics of what is wrong", async || {
        let of_peer = |what: &str| format!("gophership_replication_behind_{what}{{peer=\"{}\"}}", ids[2]);
        let rows = [
            of_peer("entries"),
            of_peer("bytes"),
            of_peer("seconds"),
            "gophership_cluster_peers{state=\"dead\"}".to_owned(),
            "gophership_cluster_under_replicated_segments".to_owned(),
        ];
        match rows.iter().find(|row| gauge(&first, row) <= 0.0) {
            None => Ok(()),
            Some(row) => Err(row.clone()),
        }
    })
    .await;
    // What lacks a copy is listed alone.
    until("the list of what lacks a copy", async || {
        let listed = second.shown("/api/v1/segments?lacking=true");
        let rows = listed["segments"].as_array().unwrap();
        let is_sealed = rows.iter().all(|row| row["state"] == "sealed");
        if is_sealed && rows.iter().any(|row| row["segment"] == *name) {
            Ok(())
        } else {
            Err(format!("{listed:#}"))
        }
    })
    .await;
    until("the holder of which nothing is known", async || {
        let row = second.segment(segment).await?;
        let of_third = (ids[2], HolderState::Unspecified);
        if row.state() == SegmentState::Sealed && holders(&row).contains(&of_third) {
            Ok(())
        } else {
            Err(format!("{row:?}"))
        }
    })
    .await;
    until("a copy that is not verified, with the reason", async || {
        let verdict = second.verified(segment).await?;
        let mut copies = verdict.copies.iter();
        if copies.any(|copy| copy.node == ids[2] && !copy.not_verified.is_empty()) {
            Ok(())
        } else {
            Err(format!("{verdict:?}"))
        }
    })
    .await;
    // The last one has no majority, and says so though nobody sends.
    second.process.kill().unwrap();
    second.process.wait().unwrap();
    until("the lack of a majority at every surface", async || {
        let (status, ready) = http(first.admin, "GET", "/readyz", "");
        let view = first.cluster().await?;
        let what = view.problems.first().map(|problem| problem.what.clone());
        let own = view.nodes.iter().find(|node| node.id == ids[0]);
        let takes = own
            .and_then(|node| node.report.as_ref())
            .is_some_and(|report| report.ready);
        let known = gauge(&first, "gophership_cluster_leader_known") + gauge(&first, "gophership_node_ready");
        let voters = gauge(&first, "gophership_consensus_voters{state=\"alive\"}");
        let told = what.as_deref() == Some("no node leads: 1 of 3 voters are alive, and 2 are needed");
        let refuses = status == 503 && ready.contains("no leader of the cluster was heard for ");
        if told && refuses && view.leader.is_none() && !takes && known == 0.0 && voters == 1.0 {
            Ok(())
        } else {
            Err(format!("{ready} {what:?} {known} {voters}"))
        }
    })
    .await;
}
