//! Nodes as processes, and what they say.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use gophership_proto::control::v1::cluster_client::ClusterClient;
use gophership_proto::control::v1::control_client::ControlClient;
use gophership_proto::control::v1::replay_sink::Kind;
use gophership_proto::control::v1::{
    ArchiveObject, ArchiveStatus, ChangeSettingRequest, ChangeSettingsRequest, ClusterStatusReply,
    ClusterStatusRequest, ListArchiveRequest, ListReplaysRequest, ListSegmentsRequest, ListSettingsRequest, OtlpSink,
    PauseArchiveRequest, ProvisionClusterRequest, ReplayEnd, ReplayEntry, ReplayJob, ReplayJobRef, ReplaySink,
    ReplaySource, ReplaySpec, RestoreRequest, ResumeArchiveRequest, SealSegmentsRequest, SegmentState, SegmentSummary,
    Setting, SettingValue, ShowArchiveRequest,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::store::{KEY_ID, SECRET};

/// Generous: a condition that comes true at all does so long before.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a condition, and says what was seen when it did not come.
pub(crate) async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = tokio::time::Instant::now();
    loop {
        match found().await {
            Ok(found) => return found,
            Err(seen) => assert!(began.elapsed() < PATIENCE, "{what} did not happen: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a replay gave.
#[derive(Default, Debug)]
pub(crate) struct Replayed {
    pub(crate) entries: Vec<ReplayEntry>,
    pub(crate) end: Option<ReplayEnd>,
    /// What the node says is missing.
    pub(crate) missing: String,
}

/// A node, whose process may have ended.
pub(crate) struct Node {
    process: Option<Child>,
    pub(crate) data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

static SITES: AtomicU8 = AtomicU8::new(0);

/// Addresses that nothing else binds to, so that they stay free until nodes listen.
fn ports(count: usize) -> Vec<SocketAddr> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 1 + high % 250, low, 1 + SITES.fetch_add(1, Ordering::Relaxed));
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind((own, 0)).unwrap()).collect();
    held.iter().map(|port| port.local_addr().unwrap()).collect()
}

/// The settings beside addresses: small segments, each of which holds at least one message of [`records`] and is an
/// object of its own.
const REST: &str = "ingest: { shards: 1, max_message: 200KiB }\n";

/// A single node, started. `rest` has its sections `vault` and `archive`.
pub(crate) fn single(dir: &Path, rest: &str) -> Node {
    let of = ports(3);
    let mut node = Node::new(dir, "node-1", &of, "", rest);
    node.start();
    node
}

/// The nodes of a cluster, started and made one. An acknowledgement has time: what is refused for being late is stored
/// all the same, and sent again it would be there twice.
pub(crate) async fn cluster(dir: &Path, rest: &str) -> Vec<Node> {
    let nodes = candidates(dir, rest);
    until("the cluster", async || {
        let channel = nodes[0].channel().await.ok_or_else(|| nodes[0].log())?;
        let made = ClusterClient::new(channel)
            .provision(ProvisionClusterRequest::default())
            .await;
        made.map(drop).map_err(|e| e.to_string())
    })
    .await;
    until_whole(&nodes).await;
    nodes
}

/// The nodes of a cluster that is not made yet, started.
pub(crate) fn candidates(dir: &Path, rest: &str) -> Vec<Node> {
    let all = ports(12);
    let peers: Vec<String> = (0..3)
        .map(|n| format!("{{ name: node-{}, address: \"{}\" }}", n + 1, all[4 * n + 3]))
        .collect();
    let of = |n: usize| {
        let more = format!(
            "  peer: {{ address: \"{}\", insecure: true }}\ncluster: {{ name: local, peers: [{}], replicas: 3, \
             ack_timeout: 20s }}\n",
            all[4 * n + 3],
            peers.join(", ")
        );
        let mut node = Node::new(dir, &format!("node-{}", n + 1), &all[4 * n..4 * n + 3], &more, rest);
        node.start();
        node
    };
    (0..3).map(of).collect()
}

/// Waits until each of the nodes has heard of all.
pub(crate) async fn until_whole(nodes: &[Node]) {
    for node in nodes {
        until("a whole cluster", async || {
            let cluster = node.cluster().await?;
            match cluster.nodes.iter().filter(|node| node.report.is_some()).count() {
                3 => Ok(()),
                _ => Err(format!("{cluster:?} {}", node.log())),
            }
        })
        .await;
    }
}

impl Node {
    fn new(dir: &Path, name: &str, of: &[SocketAddr], more: &str, rest: &str) -> Self {
        let data = dir.join(name);
        let config = dir.join(format!("{name}.yaml"));
        let text = format!(
            "node: {{ name: {name}, data_dir: {data:?}, shutdown_delay: 0s }}\nlisteners:\n  otlp_grpc: {{ address: \
             \"{}\" }}\n  otlp_http: {{ address: \"{}\" }}\n  admin: {{ address: \"{}\" }}\n{more}{REST}{rest}",
            of[0], of[1], of[2]
        );
        fs::write(&config, text).unwrap();
        Self {
            process: None,
            data,
            config,
            log: dir.join(format!("{name}.log")),
            http: of[1],
            admin: of[2],
        }
    }

    pub(crate) fn start(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_gophership"))
            .args(["run", "--config"])
            .arg(&self.config)
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    /// Ends it as kill -9 does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ended = process.kill();
            let _ended = process.wait();
        }
    }

    /// True once its process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let process = self.process.as_mut().unwrap();
        process.try_wait().unwrap().is_some()
    }

    /// Sends its process a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.as_ref().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn channel(&self) -> Option<Channel> {
        let path = self.data.join("gophership.sock");
        let dial = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://node").connect_with_connector(dial).await;
        channel.ok()
    }

    async fn control(&self) -> Result<ControlClient<Channel>, String> {
        let channel = self.channel().await;
        channel.map(ControlClient::new).ok_or_else(|| self.log())
    }

    /// The cluster, as it sees it.
    pub(crate) async fn cluster(&self) -> Result<ClusterStatusReply, String> {
        let channel = self.channel().await.ok_or("nobody listens")?;
        let reply = ClusterClient::new(channel)
            .cluster_status(ClusterStatusRequest {})
            .await;
        reply.map(tonic::Response::into_inner).map_err(|e| e.to_string())
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data.join("gophership.sock")
    }

    /// The state of the restore with which its cluster began; the error is its answer in words.
    pub(crate) async fn restore_state(&self) -> Result<String, String> {
        let channel = self.channel().await.ok_or("nobody listens")?;
        let reply = ClusterClient::new(channel).restore(RestoreRequest::default()).await;
        reply
            .map(|of| of.into_inner().state)
            .map_err(|e| e.message().to_owned())
    }

    pub(crate) async fn archive(&self) -> Result<ArchiveStatus, String> {
        let reply = self.control().await?.show_archive(ShowArchiveRequest {}).await;
        reply.map(tonic::Response::into_inner).map_err(|e| e.to_string())
    }

    pub(crate) async fn archived(&self) -> Result<Vec<ArchiveObject>, String> {
        let reply = self.control().await?.list_archive(ListArchiveRequest::default()).await;
        reply.map(|r| r.into_inner().objects).map_err(|e| e.to_string())
    }

    /// Sets a setting of the cluster.
    pub(crate) async fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let asked = ChangeSettingRequest {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            ..ChangeSettingRequest::default()
        };
        let reply = self.control().await?.change_setting(asked).await;
        reply.map(drop).map_err(|e| e.to_string())
    }

    /// Sets several settings of the cluster at once; the version of each.
    pub(crate) async fn set_all(&self, settings: &[(&str, &str)]) -> Result<Vec<u64>, String> {
        let of = |(key, value): &(&str, &str)| SettingValue {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        let asked = ChangeSettingsRequest {
            settings: settings.iter().map(of).collect(),
            dry_run: false,
        };
        let reply = self.control().await?.change_settings(asked).await;
        let changed = reply.map_err(|e| e.message().to_owned())?.into_inner().settings;
        Ok(changed.into_iter().map(|set| set.version).collect())
    }

    /// Pauses archiving for so many seconds; with 0 ends that.
    pub(crate) async fn pause(&self, for_seconds: u64) -> Result<ArchiveStatus, String> {
        let mut control = self.control().await?;
        let reply = match for_seconds {
            0 => control.resume_archive(ResumeArchiveRequest {}).await,
            _ => control.pause_archive(PauseArchiveRequest { for_seconds }).await,
        };
        reply.map(tonic::Response::into_inner).map_err(|e| e.to_string())
    }

    /// The settings, each with the value that stands and its source.
    pub(crate) async fn settings(&self) -> Result<Vec<(String, String, String)>, String> {
        let reply = self
            .control()
            .await?
            .list_settings(ListSettingsRequest::default())
            .await;
        let all = reply.map_err(|e| e.to_string())?.into_inner().settings;
        let shown = |one: Setting| (one.key, one.value.unwrap_or_default(), one.from);
        Ok(all.into_iter().map(shown).collect())
    }

    /// Its sealed segments with entries in them.
    pub(crate) async fn sealed(&self) -> Result<Vec<SegmentSummary>, String> {
        let reply = self
            .control()
            .await?
            .list_segments(ListSegmentsRequest::default())
            .await;
        let all = reply.map_err(|e| e.to_string())?.into_inner().segments;
        let is_sealed = |row: &SegmentSummary| row.state() == SegmentState::Sealed && row.entries > 0;
        Ok(all.into_iter().filter(is_sealed).collect())
    }

    /// Seals what holds entries.
    pub(crate) async fn seal(&self) {
        until("a seal", async || {
            let sealed = self
                .control()
                .await?
                .seal_segments(SealSegmentsRequest::default())
                .await;
            sealed.map(drop).map_err(|e| e.to_string())
        })
        .await;
    }

    /// Sends records, each in a request of its own, until each is acknowledged.
    pub(crate) async fn send(&self, records: &[String]) {
        self.send_at(1_700_000_000_000_000_000, records).await;
    }

    /// Sends records of one time.
    pub(crate) async fn send_at(&self, time_ns: u64, records: &[String]) {
        for text in records {
            let record = json!({"timeUnixNano": time_ns.to_string(), "body": {"stringValue": text}});
            let request = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).to_string();
            until("an acknowledgement", async || {
                match http(self.http, "POST", "/v1/logs", &request) {
                    Ok((200, _)) => Ok(()),
                    other => Err(format!("{other:?} {}", self.log())),
                }
            })
            .await;
        }
    }

    /// Replays to this test: what came, in the order of logs and positions.
    pub(crate) async fn replay(&self, source: ReplaySource, from: Option<u64>) -> Result<Replayed, String> {
        let spec = ReplaySpec {
            source: source.into(),
            from_unix_nano: from,
            ..ReplaySpec::default()
        };
        let reply = self.control().await?.stream_replay(spec).await;
        let mut chunks = reply.map_err(|e| e.to_string())?.into_inner();
        let mut replayed = Replayed::default();
        loop {
            match chunks.message().await {
                Ok(Some(chunk)) => {
                    replayed.entries.extend(chunk.entries);
                    replayed.end = chunk.end.or(replayed.end);
                }
                Ok(None) => break,
                Err(missing) => {
                    replayed.missing = missing.message().to_owned();
                    break;
                }
            }
        }
        let at = |entry: &ReplayEntry| {
            (
                entry.node,
                entry.shard,
                entry.lsn.map(|lsn| (lsn.segment_index, lsn.number)),
            )
        };
        assert!(
            replayed.entries.windows(2).all(|two| {
                let [one, next] = two else { return true };
                (one.node, one.shard) != (next.node, next.shard) || at(one) < at(next)
            }),
            "entries of a log come in order, each once"
        );
        replayed.entries.sort_by_key(at);
        Ok(replayed)
    }

    /// Begins a job that replays to an OTLP sink over HTTP; its id.
    pub(crate) async fn start_replay(&self, source: ReplaySource, sink: SocketAddr) -> Result<String, String> {
        let kind = Kind::OtlpHttp(OtlpSink {
            endpoint: sink.to_string(),
            tls: None,
        });
        let spec = ReplaySpec {
            source: source.into(),
            sink: Some(ReplaySink {
                kind: Some(kind),
                ..ReplaySink::default()
            }),
            ..ReplaySpec::default()
        };
        let job = self.control().await?.start_replay(spec).await;
        job.map(|job| job.into_inner().id).map_err(|e| e.to_string())
    }

    /// Cancels a job.
    pub(crate) async fn cancel_replay(&self, id: &str) -> Result<(), String> {
        let job = ReplayJobRef { id: id.to_owned() };
        let cancelled = self.control().await?.cancel_replay(job).await;
        cancelled.map(drop).map_err(|e| e.to_string())
    }

    /// A job, as this node shows it.
    pub(crate) async fn replay_job(&self, id: &str) -> Result<ReplayJob, String> {
        let listed = self.control().await?.list_replays(ListReplaysRequest::default()).await;
        let jobs = listed.map_err(|e| e.to_string())?.into_inner().jobs;
        jobs.into_iter()
            .find(|job| job.id == id)
            .ok_or_else(|| format!("no job {id}"))
    }

    /// Sets an exporter of the cluster, which sends to an OTLP sink over HTTP what it has not got since the oldest.
    pub(crate) async fn set_exporter(&self, name: &str, sink: SocketAddr) -> Result<(), String> {
        let text =
            format!("name: {name}\notlp_http: {{ endpoint: \"http://{sink}\", compression: none }}\nstart: oldest\n");
        let asked = ChangeSettingRequest {
            exporter: Some(text),
            ..ChangeSettingRequest::default()
        };
        let set = self.control().await?.change_setting(asked).await;
        set.map(drop).map_err(|e| e.to_string())
    }

    /// The answer of the admin port.
    pub(crate) fn shown(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    pub(crate) fn text(&self, path: &str) -> String {
        let (status, body) = http(self.admin, "GET", path, "").unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

fn http(to: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(to)?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.unwrap_or(0), body.to_owned()))
}
