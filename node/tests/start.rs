//! The start of the nodes of a cluster as processes: what is said, and what clients are answered, while one waits.
#![allow(clippy::unwrap_used)] // clippy sees only `#[test]` functions as tests

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gophership_proto::control::v1::cluster_client::ClusterClient;
use gophership_proto::control::v1::control_client::ControlClient;
use gophership_proto::control::v1::{ClusterStatusReply, ClusterStatusRequest, ProvisionClusterRequest, StatusRequest};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::Code;
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

/// Three nodes of one configuration, none of which runs yet.
struct Site {
    dir: TempDir,
    ports: Vec<SocketAddr>,
}

/// A node that runs.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

impl Site {
    fn new() -> Self {
        // Nothing else binds to this address, so the ports stay free until the nodes listen.
        let [.., high, low] = std::process::id().to_be_bytes();
        let own = Ipv4Addr::new(127, 1 + high % 250, low, 1);
        let held: Vec<TcpListener> = (0..12).map(|_| TcpListener::bind((own, 0)).unwrap()).collect();
        let ports: Vec<SocketAddr> = held.iter().map(|port| port.local_addr().unwrap()).collect();
        let dir = tempfile::tempdir().unwrap();
        let peers: Vec<String> = (1..=3)
            .map(|n| format!("{{ name: node-{n}, address: \"{}\" }}", ports[4 * n - 1]))
            .collect();
        for n in 1..=3 {
            let of = &ports[4 * (n - 1)..4 * n];
            let text = format!(
                "node: {{ name: node-{n}, data_dir: {:?}, shutdown_delay: 0s }}
listeners:
  otlp_grpc: {{ address: \"{}\" }}
  otlp_http: {{ address: \"{}\" }}
  admin: {{ address: \"{}\" }}
  peer: {{ address: \"{}\", insecure: true }}
cluster: {{ name: local, peers: [{}], replicas: 3, dead_after: 2s }}
ingest: {{ shards: 1 }}
vault: {{ segment_size: 8MiB, disk_limit: 2GiB, any_filesystem: true }}
",
                dir.path().join(format!("node-{n}")),
                of[0],
                of[1],
                of[2],
                of[3],
                peers.join(", ")
            );
            fs::write(dir.path().join(format!("node-{n}.yaml")), text).unwrap();
        }
        Self { dir, ports }
    }

    fn path(&self, n: usize, end: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("node-{n}{end}"))
    }

    fn start(&self, n: usize) -> Running {
        let log = fs::File::create(self.path(n, ".log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_gophership"))
            .args(["run", "--config"])
            .arg(self.path(n, ".yaml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Running(process.unwrap())
    }

    fn grpc(&self, n: usize) -> SocketAddr {
        self.ports[4 * (n - 1)]
    }

    /// The answer of `/readyz`.
    fn ready(&self, n: usize) -> Result<String, String> {
        http(self.ports[4 * (n - 1) + 2], "GET", "/readyz", "")
    }

    /// The answer to a request with one record.
    fn send(&self, n: usize) -> Result<String, String> {
        let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1"}]}]}]}"#;
        http(self.ports[4 * (n - 1) + 1], "POST", "/v1/logs", body)
    }

    async fn until_it_takes_logs(&self, n: usize) {
        until("a node that takes logs", async || {
            let log = || fs::read_to_string(self.path(n, ".log")).unwrap();
            let ready = self.ready(n)?;
            if ready.starts_with("HTTP/1.1 200") {
                Ok(())
            } else {
                Err(ready + &log())
            }
        })
        .await;
        until("an acknowledgement", async || {
            let taken = self.send(n)?;
            if taken.starts_with("HTTP/1.1 200") {
                Ok(())
            } else {
                Err(taken)
            }
        })
        .await;
    }

    async fn channel(&self, n: usize) -> Result<Channel, String> {
        channel(&self.path(n, "/gophership.sock")).await
    }

    async fn cluster(&self, n: usize) -> Result<ClusterStatusReply, String> {
        let asked = ClusterClient::new(self.channel(n).await?)
            .cluster_status(ClusterStatusRequest {})
            .await;
        Ok(asked.map_err(|e| e.to_string())?.into_inner())
    }
}

async fn channel(socket: &Path) -> Result<Channel, String> {
    let path = socket.to_owned();
    let dial = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://node").connect_with_connector(dial).await;
    channel.map_err(|e| e.to_string())
}

/// The whole answer.
fn http(to: SocketAddr, method: &str, path: &str, body: &str) -> Result<String, String> {
    let ask = || {
        let mut stream = TcpStream::connect(to)?;
        // A client that nobody answers sees it.
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().map_err(|e| e.to_string())
}

async fn export(client: &mut LogsServiceClient<Channel>) -> Result<(), tonic::Status> {
    let sent = client.export(ExportLogsServiceRequest::default());
    let answer = tokio::time::timeout(PATIENCE, sent).await.expect("it is answered");
    answer.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_alone_says_what_it_waits_for_and_refuses_clients_until_another_is_there() {
    let site = Site::new();
    let first = site.start(1);
    let waiting = until("a node that says that it has no cluster", async || {
        let status = site.cluster(1).await?;
        let waiting = status.waiting.clone().ok_or("it does not wait")?;
        let silent = waiting.peers.iter().filter(|peer| peer.said.starts_with("no answer: "));
        match silent.count() {
            2 if status.unprovisioned.is_some() => Ok(waiting),
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
    assert!(waiting.remedy.contains("gs-ctl cluster provision"), "{waiting:?}");
    assert!(waiting.since_unix_nano > 0);
    assert_eq!(waiting.peers[1].address, site.ports[11].to_string());
    let ready = site.ready(1).unwrap();
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("cluster provision"),
        "{ready}"
    );
    refuses(&site).await;

    let second = site.start(2);
    until("the cluster", async || {
        let made = ClusterClient::new(site.channel(1).await?)
            .provision(ProvisionClusterRequest::default())
            .await;
        made.map(drop).map_err(|e| e.to_string())
    })
    .await;
    // With one voter the loss of its folder would be that of the catalogue.
    for n in 1..=2 {
        until("a node that waits for others that vote", async || {
            let ready = site.ready(n)?;
            let waits = ready.starts_with("HTTP/1.1 503") && ready.contains("1 of 3 configured nodes votes");
            if waits { Ok(()) } else { Err(ready) }
        })
        .await;
        let taken = site.send(n).unwrap();
        assert!(taken.starts_with("HTTP/1.1 503"), "{taken}");
    }
    let others = [second, site.start(3)];
    for n in 1..=3 {
        site.until_it_takes_logs(n).await;
    }
    until("three voters", async || {
        let status = site.cluster(1).await?;
        let raft = status.raft.as_ref().ok_or("no consensus")?;
        let voters = raft.members.iter().filter(|member| member.votes).count();
        if voters == 3 {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;

    // All end, and one comes back.
    drop((first, others));
    let _first = site.start(1);
    let waiting = until("a member that says that it waits for another", async || {
        let status = site.cluster(1).await?;
        match status.waiting.clone() {
            Some(waiting) if waiting.what.starts_with("1 more node") && !status.cluster_id.is_empty() => Ok(waiting),
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
    assert!(waiting.what.contains("1 of 3 nodes"), "{waiting:?}");
    assert!(waiting.remedy.starts_with("start the others"), "{waiting:?}");
    let ready = site.ready(1).unwrap();
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("1 of 3 nodes"),
        "{ready}"
    );
    assert!(ready.contains(&format!("node-3 at {}", site.ports[11])), "{ready}");
    until("metrics of what it knows of its cluster", async || {
        let metrics = http(site.ports[2], "GET", "/metrics", "")?;
        let lines = [
            "gophership_node_ready 0\n",
            "gophership_cluster_leader_known 0\n",
            "gophership_consensus_voters{state=\"alive\"} 1\n",
            "gophership_consensus_voters{state=\"dead\"} 2\n",
            "gophership_consensus_term ",
        ];
        match lines.iter().find(|line| !metrics.contains(**line)) {
            None => Ok(()),
            Some(line) => Err(format!("no {line}{metrics}")),
        }
    })
    .await;
    let mut client = refuses(&site).await;

    let _second = site.start(2);
    site.until_it_takes_logs(1).await;
    // A client that kept its connection is told that it ends, and finds the workers on the next.
    until("a client that was refused is served", async || {
        export(&mut client).await.map_err(|e| e.to_string())
    })
    .await;
    let metrics = http(site.ports[2], "GET", "/metrics", "").unwrap();
    let refused = "gophership_ingester_refused_requests_total{reason=\"starting\"} ";
    let count = metrics.split_once(refused).unwrap().1.split_once('\n').unwrap().0;
    assert!(count.parse::<u64>().unwrap() >= 2, "{count}");
}

/// Checks the answers of the first node, which waits. Returns a client of it that is connected.
async fn refuses(site: &Site) -> LogsServiceClient<Channel> {
    let answer = site.send(1).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 503") && head.contains("retry-after: 1"),
        "{answer}"
    );
    assert!(body.contains("waits for its cluster"), "{answer}");
    let mut client = LogsServiceClient::connect(format!("http://{}", site.grpc(1)))
        .await
        .unwrap();
    let refused = export(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(!refused.details().is_empty(), "RetryInfo");

    let mut control = ControlClient::new(site.channel(1).await.unwrap());
    let refused = control.status(StatusRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("node-2 at "), "{refused:?}");
    client
}
