//! OTLP load over gRPC: a few connections that each send a batch, wait for the answer, and record both.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gophership_proto::messages::collector::logs::v1::ExportLogsServiceRequest;
use gophership_proto::messages::collector::logs::v1::logs_service_client::LogsServiceClient;
use gophership_proto::messages::common::v1::any_value::Value;
use gophership_proto::messages::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use gophership_proto::messages::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use gophership_proto::messages::resource::v1::Resource;
use prost::Message;
use tokio::task::JoinSet;

use gophership_vault::time::now_unix_nano;

/// Number of connections that send at once.
const CONNECTIONS: usize = 4;
/// Number of records in a batch.
const RECORDS: u64 = 200;
/// Time for which a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a client waits before it tries again to connect.
const RECONNECT: Duration = Duration::from_millis(20);

/// BLAKE3 of a payload.
pub(crate) type Hash = [u8; 32];

/// A batch that was sent, with a flag for its acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) acked: bool,
    pub(crate) records: u64,
}

/// The outcomes of a load.
#[derive(Default)]
pub(crate) struct Outcomes {
    pub(crate) sent: HashMap<Hash, Sent>,
    /// Time from send to acknowledgement of each batch.
    pub(crate) latencies: Vec<Duration>,
    /// Times of the acknowledgements, those of one client after the other.
    pub(crate) acked_at: Vec<Instant>,
    pub(crate) acked_bytes: u64,
}

/// A load under way.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicU64>,
    clients: JoinSet<Outcomes>,
}

impl Load {
    /// Starts clients that send to these nodes in turn. One that is not answered well goes on with the next node.
    pub(crate) fn start(nodes: &[SocketAddr]) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            acks: Arc::default(),
            clients: JoinSet::new(),
        };
        for number in 0..CONNECTIONS {
            let client = Client {
                number,
                next: 0,
                nodes: nodes.iter().copied().cycle().skip(number).take(nodes.len()).collect(),
                stop: Arc::clone(&load.stop),
                acks: Arc::clone(&load.acks),
                seen: Outcomes::default(),
            };
            load.clients.spawn(client.run());
        }
        load
    }

    /// Number of batches acknowledged so far.
    pub(crate) fn acks(&self) -> u64 {
        self.acks.load(Ordering::Relaxed)
    }

    pub(crate) async fn stop(self) -> Outcomes {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcomes::default();
        for seen in self.clients.join_all().await {
            all.sent.extend(seen.sent);
            all.latencies.extend(seen.latencies);
            all.acked_at.extend(seen.acked_at);
            all.acked_bytes += seen.acked_bytes;
        }
        all
    }
}

struct Client {
    number: usize,
    next: u64,
    /// The nodes, the one that is sent to first.
    nodes: VecDeque<SocketAddr>,
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicU64>,
    seen: Outcomes,
}

impl Client {
    async fn run(mut self) -> Outcomes {
        while !self.stopped() {
            match LogsServiceClient::connect(format!("http://{}", self.nodes[0])).await {
                Ok(client) => self.send_until_broken(client).await,
                Err(_) => tokio::time::sleep(RECONNECT).await,
            }
            self.nodes.rotate_left(1);
        }
        self.seen
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends batch after batch. A batch whose answer is an error or never comes may be stored or not; the next one is
    /// another.
    async fn send_until_broken(&mut self, mut client: LogsServiceClient<tonic::transport::Channel>) {
        while !self.stopped() {
            let batch = batch(self.number, self.next);
            self.next += 1;
            let payload = batch.encode_to_vec();
            let hash = *blake3::hash(&payload).as_bytes();
            self.seen.sent.insert(
                hash,
                Sent {
                    acked: false,
                    records: RECORDS,
                },
            );
            let began = Instant::now();
            let Ok(Ok(_)) = tokio::time::timeout(TIMEOUT, client.export(batch)).await else {
                return;
            };
            self.seen.latencies.push(began.elapsed());
            self.seen.acked_at.push(Instant::now());
            self.seen.acked_bytes += payload.len() as u64;
            self.seen.sent.insert(
                hash,
                Sent {
                    acked: true,
                    records: RECORDS,
                },
            );
            self.acks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn text(value: String) -> Option<AnyValue> {
    Some(AnyValue {
        value: Some(Value::StringValue(value)),
    })
}

fn attribute(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: text(value),
        ..KeyValue::default()
    }
}

/// Batch number `n` of a client, different from every other.
fn batch(client: usize, n: u64) -> ExportLogsServiceRequest {
    let now = now_unix_nano();
    let record = |i: u64| LogRecord {
        time_unix_nano: now + i,
        observed_time_unix_nano: now + i,
        severity_number: SeverityNumber::Info.into(),
        severity_text: "INFO".to_owned(),
        body: text(format!(
            "order {} of client {client} was shipped to dock {}: every box was counted, weighed and sealed",
            n * RECORDS + i,
            i % 17
        )),
        attributes: vec![
            attribute("order.id", format!("{client}-{n}-{i}")),
            attribute("http.route", "/orders/{id}/ship".to_owned()),
            attribute("client.address", format!("10.0.{}.{}", i % 250, n % 250)),
        ],
        trace_id: blake3::hash(&n.to_le_bytes()).as_bytes()[..16].to_vec(),
        span_id: i.to_le_bytes().to_vec(),
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "gophership-demo".to_owned())],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: "demo".to_owned(),
                    ..InstrumentationScope::default()
                }),
                log_records: (0..RECORDS).map(record).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}
