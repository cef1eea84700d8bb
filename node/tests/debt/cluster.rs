//! A cluster of real processes on loopback, which are killed and started again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use gophership_proto::control::v1;
use gophership_proto::control::v1::control_client::ControlClient;
use gophership_proto::view::cluster::ClusterView;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::sink::Sink;

/// Generous: nothing here depends on a time.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// Waits until `holds`; `seen` says what there was instead.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool, seen: impl Fn() -> String) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}: {}", seen());
        thread::sleep(POLL);
    }
}

struct Node {
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    http: SocketAddr,
    admin: SocketAddr,
    process: Option<Child>,
}

/// The cluster; its nodes are numbered from 0, in no order of the numbers that they have in the cluster.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
}

impl Cluster {
    /// A cluster whose nodes export to `sink`, an entry or few in each request. An acknowledgement has time: what is
    /// refused for being late is stored all the same, and sent again it would be there twice.
    pub(crate) fn form(dir: &Path, count: usize, sink: &Sink) -> Self {
        let ports: Vec<[SocketAddr; 4]> = (0..count).map(|_| free()).collect();
        let peers = ports.iter().enumerate();
        let peers: Vec<String> = peers
            .map(|(i, ports)| format!("{{ name: node-{i}, address: \"{}\" }}", ports[3]))
            .collect();
        let mut nodes = Vec::new();
        for (i, [grpc, http, admin, peer]) in ports.into_iter().enumerate() {
            let file = |end: &str| dir.join(format!("node-{i}{end}"));
            let node = Node {
                data: file(""),
                config: file(".yaml"),
                log: file(".log"),
                http,
                admin,
                process: None,
            };
            let text = format!(
                "node: {{ name: node-{i}, data_dir: {:?}, shutdown_delay: 0s }}\n\
                 listeners:\n  otlp_grpc: {{ address: \"{grpc}\" }}\n  otlp_http: {{ address: \"{http}\" }}\n  \
                 admin: {{ address: \"{admin}\" }}\n  peer: {{ address: \"{peer}\", insecure: true }}\n\
                 ingest: {{ shards: 1 }}\n\
                 cluster: {{ name: test, replicas: 3, ack_timeout: 20s, repair_after: 1s, peers: [{}] }}\n\
                 vault: {{ segment_size: 8MiB, disk_limit: 2GiB, any_filesystem: true }}\n\
                 export:\n  - {{ name: a, otlp_http: {{ endpoint: \"http://{}\", compression: none }}, start: oldest, \
                 batch_bytes: 1KiB }}\n",
                node.data.display().to_string(),
                peers.join(", "),
                sink.address
            );
            fs::write(&node.config, text).unwrap();
            nodes.push(node);
        }
        let mut cluster = Self { nodes };
        (0..count).for_each(|i| cluster.start(i));
        let runtime = runtime();
        let first = cluster.nodes[0].data.clone();
        let provision = || runtime.block_on(gophership::cluster::provision(&first)).is_ok();
        until("a provisioned cluster", provision, || cluster.logs());
        (0..count).for_each(|i| cluster.until_ready(i));
        cluster
    }

    /// Starts a node's process.
    pub(crate) fn start(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&node.log)
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gophership"));
        command.args(["run", "--config"]).arg(&node.config);
        // Something that this node alone has.
        command.env(format!("KEY_OF_{i}"), format!("secret-{i}"));
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        node.process = Some(command.spawn().unwrap());
    }

    pub(crate) fn until_ready(&self, i: usize) {
        let ready = || get(self.nodes[i].admin, "/readyz").is_some_and(|(status, _)| status == 200);
        until("a node that is ready", ready, || self.logs());
    }

    /// Ends a node with SIGKILL.
    pub(crate) fn kill(&mut self, i: usize) {
        let mut process = self.nodes[i].process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Sends a signal to a node's process.
    pub(crate) fn signal(&self, i: usize, signal: &str) {
        let pid = self.nodes[i].process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Ends a node with SIGTERM, and returns its exit code.
    pub(crate) fn stop(&mut self, i: usize) -> Option<i32> {
        self.signal(i, "-TERM");
        self.nodes[i].process.take().unwrap().wait().unwrap().code()
    }

    /// The answer of a node to the question for its readiness.
    pub(crate) fn readiness(&self, i: usize) -> Option<(u16, String)> {
        get(self.nodes[i].admin, "/readyz")
    }

    /// Sends records to a node until each is acknowledged.
    pub(crate) fn send(&self, i: usize, texts: &[String]) {
        for text in texts {
            let body = payload(text);
            let sent = || post(self.nodes[i].http, &body) == Some(200);
            until("an acknowledgement", sent, || self.logs());
        }
    }

    /// The value of a metric at a node, by its number in the cluster for a metric that has one for each lost node.
    /// Empty where there is no such row.
    pub(crate) fn metric(&self, i: usize, name: &str) -> Vec<(String, f64)> {
        let Some((200, text)) = get(self.nodes[i].admin, "/metrics") else {
            return vec![("no answer".to_owned(), f64::NAN)];
        };
        let rows = text
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        rows.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// Seals what node `i` has taken in, which is one segment.
    pub(crate) fn seal(&self, i: usize) -> v1::SegmentRef {
        let mut sealed = Vec::new();
        let is_sealed = || {
            let asked = self.ask(i, async |channel| {
                let request = v1::SealSegmentsRequest { shard: None };
                ControlClient::new(channel).seal_segments(request).await
            });
            sealed = match asked {
                Ok(asked) => asked.into_inner().segments,
                Err(_) => return false,
            };
            if sealed.is_empty() {
                // An attempt that was not waited for to its end has sealed it.
                let own = self.number(i);
                let all = self.sealed(i).into_iter();
                let of_own = all.filter(|row| row.segment.is_some_and(|segment| segment.node == own));
                sealed.extend(of_own.max_by_key(|row| row.segment.map(|segment| segment.index)));
            }
            !sealed.is_empty()
        };
        until("a seal", is_sealed, || self.logs());
        assert_eq!(sealed.len(), 1);
        assert!(!sealed[0].holders.is_empty(), "its holders are shown");
        sealed[0].segment.unwrap()
    }

    /// The file of a sealed segment at a node.
    pub(crate) fn file(&self, i: usize, of: v1::SegmentRef) -> PathBuf {
        let name = format!("segments/{:010}/{:04}/{:012}.seg", of.node, of.shard, of.index);
        self.nodes[i].data.join(name)
    }

    /// The WAL file of a segment at a node.
    pub(crate) fn wal_file(&self, i: usize, of: v1::SegmentRef) -> PathBuf {
        let name = format!("wal/{:010}/{:04}/{:012}.wal", of.node, of.shard, of.index);
        self.nodes[i].data.join(name)
    }

    /// The folder of all segments of a node.
    pub(crate) fn segments(&self, i: usize) -> PathBuf {
        self.nodes[i].data.join("segments")
    }

    /// The file that says how far a node's round of verification is.
    pub(crate) fn scrub_file(&self, i: usize) -> PathBuf {
        self.nodes[i].data.join("scrub.json")
    }

    /// The files in a node's quarantine that were whole segments.
    pub(crate) fn replaced(&self, i: usize) -> Vec<PathBuf> {
        let kept = fs::read_dir(self.nodes[i].data.join("quarantine")).unwrap();
        let kept = kept.map(|entry| entry.unwrap().path());
        kept.filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("file-") && name.ends_with(".bin")
        })
        .collect()
    }

    /// The exporter of this name at a node, where it lists one.
    pub(crate) fn exporter(&self, i: usize, name: &str) -> Option<v1::Exporter> {
        let all = self.ask(i, async |channel| {
            let request = v1::ListExportersRequest::default();
            ControlClient::new(channel).list_exporters(request).await
        });
        let exporters = all.map(|all| all.into_inner().exporters).unwrap_or_default();
        exporters.into_iter().find(|exporter| exporter.name == name)
    }

    /// The address at which a node takes OTLP over HTTP.
    pub(crate) fn otlp_http(&self, i: usize) -> SocketAddr {
        self.nodes[i].http
    }

    /// Has a node pause an exporter.
    pub(crate) fn pause_exporter(&self, i: usize, name: &str) -> Result<(), Status> {
        let name = name.to_owned();
        let paused = self.ask(i, async |channel| {
            ControlClient::new(channel)
                .pause_exporter(v1::ExporterRef { name })
                .await
        });
        paused.map(drop)
    }

    /// What exporter `a` of a node waits for; empty where it does not.
    pub(crate) fn exporter_waits(&self, i: usize) -> String {
        let all = self.ask(i, async |channel| {
            let request = v1::ListExportersRequest::default();
            ControlClient::new(channel).list_exporters(request).await
        });
        let exporters = all.map(|all| all.into_inner().exporters).unwrap_or_default();
        let mut waits = exporters.into_iter().map(|exporter| exporter.waiting);
        waits.next().unwrap_or_else(|| "it does not answer".to_owned())
    }

    /// The number of a node in the cluster.
    pub(crate) fn number(&self, i: usize) -> u32 {
        let text = fs::read_to_string(self.nodes[i].data.join("node.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        u32::try_from(json["node_id"].as_u64().unwrap()).unwrap()
    }

    /// Has every holder verify its copy of a segment, as node `i` is asked to; the verdicts by the node's number.
    pub(crate) fn verify(&self, i: usize, segment: v1::SegmentRef) -> Vec<v1::CopyVerdict> {
        let verified = self.ask(i, async |channel| {
            let mut progress = ControlClient::new(channel).verify_segment(segment).await?.into_inner();
            while let Some(message) = progress.message().await? {
                if message.finished {
                    return Ok(message.copies);
                }
            }
            Err(Status::internal("it ended without a verdict"))
        });
        let mut copies = verified.unwrap_or_default();
        copies.sort_by_key(|copy| copy.node);
        copies
    }

    /// The segments of which a node shows that copies are bad, and what it says is wrong.
    pub(crate) fn bad_segments(&self, i: usize) -> (Vec<v1::BadSegment>, Vec<String>) {
        let status = self.ask(i, async |channel| {
            let mut client = v1::cluster_client::ClusterClient::new(channel);
            client.cluster_status(v1::ClusterStatusRequest {}).await
        });
        let Ok(status) = status.map(tonic::Response::into_inner) else {
            return (Vec::new(), vec!["it does not answer".to_owned()]);
        };
        let bad = status.bad_segments.clone();
        let problems = ClusterView::from(status).problems.into_iter();
        (bad, problems.map(|problem| problem.what).collect())
    }

    /// The holders of a segment that have it.
    pub(crate) fn have(&self, i: usize, segment: v1::SegmentRef) -> usize {
        let described = self.ask(i, async |channel| {
            ControlClient::new(channel).describe_segment(segment).await
        });
        let Ok(described) = described else { return 0 };
        let summary = described.into_inner().summary.unwrap();
        let has = |holder: &&v1::SegmentHolder| holder.state() == v1::HolderState::Has;
        summary.holders.iter().filter(has).count()
    }

    /// The payloads that a replay to a client of node `i` gives, and the error with which it ends.
    pub(crate) fn replay(&self, i: usize) -> (Vec<Vec<u8>>, Option<String>) {
        let mut payloads = Vec::new();
        let ended = self.ask(i, async |channel| {
            let mut control = ControlClient::new(channel).max_decoding_message_size(usize::MAX);
            let mut stream = control.stream_replay(v1::ReplaySpec::default()).await?.into_inner();
            while let Some(chunk) = stream.message().await? {
                payloads.extend(chunk.entries.into_iter().map(|entry| entry.payload.to_vec()));
            }
            Ok(())
        });
        (payloads, ended.err().map(|error| error.message().to_owned()))
    }

    /// The payloads of the dead letters of exporter `a` that node `i` can show; none where it does not answer.
    pub(crate) fn letters(&self, i: usize) -> Vec<Vec<u8>> {
        let letters = self.ask(i, async |channel| {
            let mut control = ControlClient::new(channel);
            let all = control.list_dead_letters(v1::ListDeadLettersRequest::default()).await?;
            let mut payloads = Vec::new();
            for v1::DeadLetter { exporter, letter, .. } in all.into_inner().letters {
                let show = v1::ShowDeadLetterRequest { exporter, letter };
                payloads.push(control.show_dead_letter(show).await?.into_inner().payload.to_vec());
            }
            Ok(payloads)
        });
        letters.unwrap_or_default()
    }

    /// Begins a replay job at node `i` that sends where exporter `a` does.
    pub(crate) fn begin_job(&self, i: usize) {
        let sink = v1::ReplaySink {
            kind: Some(v1::replay_sink::Kind::Exporter("a".to_owned())),
            ..v1::ReplaySink::default()
        };
        let spec = v1::ReplaySpec {
            sink: Some(sink),
            ..v1::ReplaySpec::default()
        };
        let begun = between_leads(|| {
            self.ask(i, async |channel| {
                ControlClient::new(channel).start_replay(spec.clone()).await
            })
        });
        begun.unwrap();
    }

    /// The state of the only job, and what it says. It runs as long as the node says nothing of it.
    pub(crate) fn job(&self, i: usize) -> (v1::ReplayState, String) {
        let all = self.ask(i, async |channel| {
            let request = v1::ListReplaysRequest::default();
            ControlClient::new(channel).list_replays(request).await
        });
        let jobs = all.map(|all| all.into_inner().jobs).unwrap_or_default();
        match jobs.into_iter().next().and_then(|job| job.progress) {
            Some(progress) => (progress.state(), progress.error),
            None => (v1::ReplayState::Running, "it is not listed".to_owned()),
        }
    }

    /// Waits until a node has a large segment file.
    pub(crate) fn until_copied(&self, i: usize) {
        let is_there = || largest(&self.nodes[i].data, "seg").is_some_and(|(len, _)| len > 100_000);
        until("a copy of a large segment", is_there, || self.logs());
    }

    /// Damages the largest segment that a node has, at this part of its file.
    pub(crate) fn damage(&self, i: usize, part: f64) {
        let (len, path) = largest(&self.nodes[i].data, "seg").unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let at = (len as f64 * part) as u64;
        let mut bytes = [0; 64];
        file.read_exact_at(&mut bytes, at).unwrap();
        file.write_all_at(&bytes.map(|byte| !byte), at).unwrap();
    }

    /// Removes the largest segment file that a node has.
    pub(crate) fn remove(&self, i: usize) {
        fs::remove_file(largest(&self.nodes[i].data, "seg").unwrap().1).unwrap();
    }

    /// Waits until all who are to have a copy of what node `i` took in have all of it, which an acknowledgement does
    /// not wait for.
    pub(crate) fn until_followed(&self, i: usize) {
        let behind = || self.metric(i, "gophership_replication_behind_entries");
        let is_none = || {
            let behind = behind();
            behind.len() == self.nodes.len() - 1 && behind.iter().all(|(_, entries)| *entries == 0.0)
        };
        until("copies that are not behind", is_none, || {
            format!("{:?} {}", behind(), self.logs())
        });
    }

    /// Damages the end of the largest copy that a node has of a segment which is still written.
    pub(crate) fn damage_unsealed(&self, i: usize) {
        let (len, path) = largest(&self.nodes[i].data.join("segments"), "open").unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, len - 1).unwrap();
        file.write_all_at(&[!byte[0]], len - 1).unwrap();
    }

    /// Adds exporter `b`, which begins now and sends to `sink`, to the settings of the cluster, through node `i`. Waits
    /// until these nodes have it.
    pub(crate) fn add_exporter(&self, i: usize, sink: &Sink, on: &[usize]) {
        let text = format!(
            "{{ name: b, otlp_http: {{ endpoint: \"http://{}\", compression: none }}, start: now }}",
            sink.address
        );
        self.set_exporter(i, &text).unwrap();
        on.iter().for_each(|i| self.until_exporter(*i, "b"));
    }

    /// Waits until a node runs an exporter.
    pub(crate) fn until_exporter(&self, i: usize, name: &str) {
        let label = format!("\"{name}\"");
        let all = || self.metric(i, "gophership_export_debt_entries");
        let runs = || all().iter().any(|(labels, _)| labels.contains(&label));
        until("an exporter that was added", runs, || self.logs());
    }

    /// Has node `i` set an exporter of the cluster.
    pub(crate) fn set_exporter(&self, i: usize, text: &str) -> Result<v1::ChangeSettingReply, Status> {
        let request = v1::ChangeSettingRequest {
            exporter: Some(text.to_owned()),
            ..v1::ChangeSettingRequest::default()
        };
        self.change_setting(i, &request)
    }

    /// Has node `i` set a setting of the cluster.
    pub(crate) fn set(&self, i: usize, key: &str, value: &str) -> Result<v1::ChangeSettingReply, Status> {
        let request = v1::ChangeSettingRequest {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            ..v1::ChangeSettingRequest::default()
        };
        self.change_setting(i, &request)
    }

    /// Has node `i` change a setting of the cluster.
    pub(crate) fn change_setting(
        &self,
        i: usize,
        request: &v1::ChangeSettingRequest,
    ) -> Result<v1::ChangeSettingReply, Status> {
        let changed = between_leads(|| {
            self.ask(i, async |channel| {
                ControlClient::new(channel).change_setting(request.clone()).await
            })
        });
        changed.map(tonic::Response::into_inner)
    }

    /// Has a node stop itself, where nothing is against it; what is.
    pub(crate) fn stop_itself(&self, i: usize) -> Vec<String> {
        let asked = self.ask(i, async |channel| {
            ControlClient::new(channel).stop_node(v1::StopNodeRequest {}).await
        });
        asked.map_or_else(|error| vec![error.to_string()], |reply| reply.into_inner().obstacles)
    }

    /// Waits until a node's process has ended; its exit code.
    pub(crate) fn until_ended(&mut self, i: usize) -> Option<i32> {
        let mut process = self.nodes[i].process.take().unwrap();
        let mut code = None;
        let ended = || {
            code = process.try_wait().unwrap();
            code.is_some()
        };
        until("a node that ends", ended, || self.logs());
        code.and_then(|status| status.code())
    }

    /// The settings of a node.
    pub(crate) fn settings(&self, i: usize) -> Vec<v1::Setting> {
        let list = self.ask(i, async |channel| {
            let request = v1::ListSettingsRequest {};
            ControlClient::new(channel).list_settings(request).await
        });
        list.map(|list| list.into_inner().settings).unwrap_or_default()
    }

    /// Has node `i` forget an exporter.
    pub(crate) fn forget_exporter(&self, i: usize, name: &str) -> Result<(), Status> {
        let request = v1::ForgetExporterRequest {
            name: name.to_owned(),
            accept_loss: true,
        };
        let forgotten = self.ask(i, async |channel| {
            ControlClient::new(channel).forget_exporter(request).await
        });
        forgotten.map(drop)
    }

    /// The events on record, as node `i` has them.
    pub(crate) fn events(&self, i: usize) -> Vec<v1::Event> {
        let list = self.ask(i, async |channel| {
            let request = v1::ListEventsRequest::default();
            ControlClient::new(channel).list_events(request).await
        });
        list.map(|list| list.into_inner().events).unwrap_or_default()
    }

    /// What node `i` says is wrong, with what to do.
    pub(crate) fn problems(&self, i: usize) -> Vec<String> {
        let problems = ClusterView::from(self.status(i)).problems.into_iter();
        problems
            .map(|problem| format!("{} => {}", problem.what, problem.remedy))
            .collect()
    }

    /// Everything that a node has on disk, and its log.
    pub(crate) fn bytes_of(&self, i: usize) -> Vec<(PathBuf, Vec<u8>)> {
        let mut folders = vec![self.nodes[i].data.clone()];
        let mut found = vec![(self.nodes[i].log.clone(), fs::read(&self.nodes[i].log).unwrap())];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    // A file may go while this looks.
                    found.extend(fs::read(&path).ok().map(|bytes| (path, bytes)));
                }
            }
        }
        found
    }

    /// Removes the WAL files of a node whose process has ended.
    pub(crate) fn remove_wal(&self, i: usize) {
        let wal = self.nodes[i].data.join("wal");
        while let Some((_, file)) = largest(&wal, "wal") {
            fs::remove_file(file).unwrap();
        }
    }

    /// Removes all that a node has, whose process has ended.
    pub(crate) fn wipe(&self, i: usize) {
        fs::remove_dir_all(&self.nodes[i].data).unwrap();
    }

    /// The recoveries that a node shows.
    pub(crate) fn recoveries(&self, i: usize) -> Vec<v1::RecoveryWait> {
        self.status(i).recoveries
    }

    /// The cluster as a node sees it.
    pub(crate) fn status(&self, i: usize) -> v1::ClusterStatusReply {
        let status = self.ask(i, async |channel| {
            let mut client = v1::cluster_client::ClusterClient::new(channel);
            client.cluster_status(v1::ClusterStatusRequest {}).await
        });
        status.map(tonic::Response::into_inner).unwrap_or_default()
    }

    /// The sealed segments with entries that node `i` lists.
    pub(crate) fn sealed(&self, i: usize) -> Vec<v1::SegmentSummary> {
        let list = self.ask(i, async |channel| {
            let request = v1::ListSegmentsRequest::default();
            ControlClient::new(channel).list_segments(request).await
        });
        let mut segments = list.map(|list| list.into_inner().segments).unwrap_or_default();
        segments.retain(|segment| segment.state() == v1::SegmentState::Sealed && segment.entries > 0);
        segments
    }

    /// Has a node give a segment up.
    pub(crate) fn forget(&self, i: usize, segment: v1::SegmentRef) -> Result<v1::SegmentSummary, Status> {
        let forget = v1::ForgetSegmentRequest {
            segment: Some(segment),
            accept_loss: true,
        };
        let forgotten = between_leads(|| {
            self.ask(i, async |channel| {
                ControlClient::new(channel).forget_segment(forget).await
            })
        });
        forgotten.map(tonic::Response::into_inner)
    }

    /// Has a node give a segment up, once nothing is against it.
    pub(crate) fn until_forgotten(&self, i: usize, segment: v1::SegmentRef) -> v1::SegmentSummary {
        let mut forgotten = None;
        let is_forgotten = || {
            forgotten = self.forget(i, segment).ok();
            forgotten.is_some()
        };
        let seen = || format!("{:?} {}", self.forget(i, segment), self.logs());
        until("an accepted loss", is_forgotten, seen);
        forgotten.unwrap()
    }

    /// Waits until a node refuses to give a segment up, and says all of this. It is never to do it.
    pub(crate) fn until_not_forgotten(&self, i: usize, segment: v1::SegmentRef, says: &[&str]) {
        let why = || self.forget(i, segment).unwrap_err().message().to_owned();
        let is_said = || {
            let why = why();
            says.iter().all(|said| why.contains(said))
        };
        until("a loss that is not accepted", is_said, || {
            format!("{} {}", why(), self.logs())
        });
    }

    /// The status of the answer of a node that is sent a record.
    pub(crate) fn answers(&self, i: usize, text: &str) -> Option<u16> {
        post(self.nodes[i].http, &payload(text))
    }

    /// The state of the node of this name, as node `i` shows it, and its number in the cluster; the highest number
    /// where several have had the name.
    pub(crate) fn state_of(&self, i: usize, name: &str) -> (String, u32) {
        let status = self.ask(i, async |channel| {
            let mut client = v1::cluster_client::ClusterClient::new(channel);
            client.cluster_status(v1::ClusterStatusRequest {}).await
        });
        let nodes = status.map(|status| status.into_inner().nodes).unwrap_or_default();
        let named = nodes.into_iter().filter(|node| node.name == name);
        let latest = named.max_by_key(|node| node.id);
        latest.map_or_else(Default::default, |node| (node.state, node.id))
    }

    /// Has node `i` drain the node of this name.
    pub(crate) fn drain(&self, i: usize, name: &str, dry_run: bool) -> Result<v1::NodeReply, Status> {
        let request = node_request(name, dry_run);
        let drained = between_leads(|| {
            self.ask(i, async |channel| {
                ControlClient::new(channel).drain_node(request.clone()).await
            })
        });
        drained.map(tonic::Response::into_inner)
    }

    /// Has node `i` remove the node of this name.
    pub(crate) fn remove_node(&self, i: usize, name: &str, accept_loss: bool) -> Result<v1::NodeReply, Status> {
        let request = v1::NodeRequest {
            accept_loss,
            ..node_request(name, false)
        };
        let removed = between_leads(|| {
            self.ask(i, async |channel| {
                ControlClient::new(channel).remove_node(request.clone()).await
            })
        });
        removed.map(tonic::Response::into_inner)
    }

    /// The reasons that node `i` gives for not stopping the node of this name.
    pub(crate) fn obstacles(&self, i: usize, name: &str) -> Vec<String> {
        let request = node_request(name, false);
        let checked = self.ask(i, async |channel| ControlClient::new(channel).check_stop(request).await);
        checked.map_or_else(|error| vec![error.to_string()], |reply| reply.into_inner().obstacles)
    }

    /// Has node `i` remove the node of this name, once nothing is against it.
    pub(crate) fn until_removed(&self, i: usize, name: &str) {
        let is_removed = || self.remove_node(i, name, false).is_ok();
        until("a removed node", is_removed, || {
            format!("{:?} {}", self.remove_node(i, name, false), self.logs())
        });
    }

    /// Asks a node through its control socket.
    fn ask<T>(&self, i: usize, ask: impl AsyncFnOnce(Channel) -> Result<T, Status>) -> Result<T, Status> {
        let path = self.nodes[i].data.join(gophership::control::SOCKET_NAME);
        let dial = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        runtime().block_on(async {
            let socket = Endpoint::from_static("http://node").connect_with_connector(dial).await;
            ask(socket.map_err(|error| Status::unavailable(error.to_string()))?).await
        })
    }

    /// The node that a number of the cluster is.
    pub(crate) fn numbered(&self, number: f64) -> usize {
        let has = |node: &&Node| {
            let text = fs::read_to_string(node.data.join("node.json")).unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            json["node_id"].as_f64() == Some(number)
        };
        let found = self.nodes.iter().find(has).unwrap();
        self.nodes.iter().position(|node| node.data == found.data).unwrap()
    }

    /// The log of a node.
    pub(crate) fn log(&self, i: usize) -> String {
        fs::read_to_string(&self.nodes[i].log).unwrap_or_default()
    }

    /// The ends of all logs.
    pub(crate) fn logs(&self) -> String {
        let end = |node: &Node| {
            let text = fs::read_to_string(&node.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(12)..].join("\n");
            format!("\n--- {}\n{last}", node.data.display())
        };
        self.nodes.iter().map(end).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}

/// Asks again as long as the lead has just moved: then nothing is decided or submitted, and the answer says so.
fn between_leads<T>(ask: impl Fn() -> Result<T, Status>) -> Result<T, Status> {
    let is_between_leads = |refused: &Status| {
        refused.code() == Code::Unavailable
            && ["Ask again", "no node leads", "the cluster cannot be asked"]
                .iter()
                .any(|say| refused.message().contains(say))
    };
    let began = Instant::now();
    loop {
        match ask() {
            Err(refused) if is_between_leads(&refused) && began.elapsed() < PATIENCE => thread::sleep(POLL),
            answered => return answered,
        }
    }
}

fn node_request(name: &str, dry_run: bool) -> v1::NodeRequest {
    v1::NodeRequest {
        node: name.to_owned(),
        dry_run,
        accept_loss: false,
    }
}

/// The largest file below a folder whose name ends so, with its length.
fn largest(folder: &Path, end: &str) -> Option<(u64, PathBuf)> {
    let mut folders = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|is| is == end) {
                // A file may go while this looks.
                files.extend(path.metadata().ok().map(|about| (about.len(), path)));
            }
        }
    }
    files.into_iter().max()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Free ports of a loopback address that is one node's own: nothing else takes them before the node listens there.
fn free() -> [SocketAddr; 4] {
    static NODES: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 1 + high % 250, low, NODES.fetch_add(1, Ordering::Relaxed));
    let held = [(); 4].map(|()| TcpListener::bind((own, 0)).unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

/// A request with one record.
pub(crate) fn payload(text: &str) -> Vec<u8> {
    let record = LogRecord {
        body: Some(AnyValue {
            value: Some(Value::StringValue(text.to_owned())),
        }),
        ..LogRecord::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![record],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    request.encode_to_vec()
}

/// Posts a request; the status, where there is an answer.
fn post(address: SocketAddr, body: &[u8]) -> Option<u16> {
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    answer(address, &[head.as_bytes(), body].concat()).map(|(status, _)| status)
}

fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    answer(address, head.as_bytes())
}

fn answer(address: SocketAddr, request: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text))
}
