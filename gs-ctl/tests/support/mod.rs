//! A control service without a vault: it answers from memory, and records its requests.
#![allow(clippy::unwrap_used, dead_code)] // the helpers are of the tests, and not each test uses all

mod answers;

use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use futures_util::stream;
use gophership_proto::control::v1::cluster_server::{Cluster, ClusterServer};
use gophership_proto::control::v1::control_server::{Control, ControlServer};
use gophership_proto::control::v1::*;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tonic::codegen::BoxStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The fake, on a socket.
pub(crate) struct Fake {
    runtime: Runtime,
    state: Arc<State>,
    socket: PathBuf,
}

#[derive(Default)]
struct State {
    asked: Mutex<Vec<String>>,
    polls: AtomicU64,
}

impl Fake {
    pub(crate) fn at(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::new(State::default());
        let listener = StdListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let service = ControlServer::new(Service(Arc::clone(&state)));
        let cluster = ClusterServer::new(Service(Arc::clone(&state)));
        runtime.spawn(async move {
            let listener = UnixListener::from_std(listener).unwrap();
            let connections = stream::unfold(listener, |listener| async move {
                let accepted = listener.accept().await.map(|(stream, _)| stream);
                Some((accepted, listener))
            });
            Server::builder()
                .add_service(service)
                .add_service(cluster)
                .serve_with_incoming(connections)
                .await
        });
        Self {
            runtime,
            state,
            socket: socket.to_owned(),
        }
    }

    /// The requests since the last call, in their `Debug` form.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.asked.lock().unwrap())
    }

    /// Number of status requests.
    pub(crate) fn polls(&self) -> u64 {
        self.state.polls.load(Ordering::Relaxed)
    }

    pub(crate) fn ctl(&self, words: &[&str]) -> Run {
        ctl(&self.socket, words)
    }

    /// Ends the service as a killed node ends: the socket's file stays.
    pub(crate) fn end(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(30));
    }
}

struct Service(Arc<State>);

impl Service {
    fn note(&self, asked: &impl std::fmt::Debug) {
        self.0.asked.lock().unwrap().push(format!("{asked:?}"));
    }

    fn exporter(&self, name: &str, state: ExporterState) -> Result<Response<Exporter>, Status> {
        let found = answers::exporters(1).into_iter().find(|e| e.name == name);
        let mut exporter = found.ok_or_else(|| Status::not_found(format!("there is no exporter {name}")))?;
        exporter.set_state(state);
        Ok(Response::new(exporter))
    }
}

fn no<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not by the fake"))
}

/// A cluster of three, of which node 3 was wiped and came back as node 4; provisioned before the second time it is
/// asked for.
#[tonic::async_trait]
impl Cluster for Service {
    async fn cluster_status(&self, _: Request<ClusterStatusRequest>) -> Result<Response<ClusterStatusReply>, Status> {
        Ok(Response::new(answers::cluster()))
    }

    async fn provision(&self, _: Request<ProvisionClusterRequest>) -> Result<Response<ProvisionClusterReply>, Status> {
        Ok(Response::new(ProvisionClusterReply {
            cluster_id: answers::cluster().cluster_id,
            node: "node-1".to_owned(),
            already: self.0.polls.fetch_add(1, Ordering::Relaxed) > 0,
        }))
    }

    async fn abort_provision(
        &self,
        _: Request<AbortProvisionRequest>,
    ) -> Result<Response<AbortProvisionReply>, Status> {
        Ok(Response::new(AbortProvisionReply { forgotten: true }))
    }

    async fn restore(&self, _: Request<RestoreRequest>) -> Result<Response<RestoreReply>, Status> {
        no()
    }
}

#[tonic::async_trait]
impl Control for Service {
    type VerifySegmentStream = BoxStream<VerifyProgress>;
    type WatchReplayStream = BoxStream<ReplayProgress>;
    type StreamReplayStream = BoxStream<ReplayChunk>;
    type TailStream = BoxStream<TailChunk>;

    async fn seal_segments(&self, _: Request<SealSegmentsRequest>) -> Result<Response<SealSegmentsReply>, Status> {
        no()
    }

    async fn drain_node(&self, request: Request<NodeRequest>) -> Result<Response<NodeReply>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(answers::node(request.into_inner())))
    }

    async fn undrain_node(&self, _: Request<NodeRequest>) -> Result<Response<NodeReply>, Status> {
        no()
    }

    async fn remove_node(&self, request: Request<NodeRequest>) -> Result<Response<NodeReply>, Status> {
        self.note(request.get_ref());
        if request.get_ref().accept_loss {
            return Ok(Response::new(answers::node(request.into_inner())));
        }
        Err(Status::failed_precondition("node 2 cannot be removed"))
    }

    async fn check_stop(&self, request: Request<NodeRequest>) -> Result<Response<NodeReply>, Status> {
        let mut reply = answers::node(request.into_inner());
        if reply.name == "node-2" {
            reply.obstacles = vec!["1 of 3 voters would be left".to_owned()];
        }
        Ok(Response::new(reply))
    }

    /// One that may be stopped when it is asked a second time.
    async fn stop_node(&self, _: Request<StopNodeRequest>) -> Result<Response<NodeReply>, Status> {
        let mut reply = answers::node(NodeRequest {
            node: "node-1".to_owned(),
            ..NodeRequest::default()
        });
        if self.0.polls.fetch_add(1, Ordering::Relaxed) == 0 {
            reply.obstacles = vec!["1 of 3 voters would be left".to_owned()];
        }
        Ok(Response::new(reply))
    }

    async fn list_settings(&self, _: Request<ListSettingsRequest>) -> Result<Response<ListSettingsReply>, Status> {
        Ok(Response::new(answers::settings()))
    }

    async fn change_setting(
        &self,
        request: Request<ChangeSettingRequest>,
    ) -> Result<Response<ChangeSettingReply>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(answers::setting_changed(request.into_inner())))
    }

    async fn change_settings(
        &self,
        request: Request<ChangeSettingsRequest>,
    ) -> Result<Response<ChangeSettingsReply>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(answers::settings_changed(request.into_inner())))
    }

    async fn show_archive(&self, _: Request<ShowArchiveRequest>) -> Result<Response<ArchiveStatus>, Status> {
        no()
    }

    async fn pause_archive(&self, request: Request<PauseArchiveRequest>) -> Result<Response<ArchiveStatus>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(answers::archive(request.get_ref().for_seconds)))
    }

    async fn resume_archive(&self, _: Request<ResumeArchiveRequest>) -> Result<Response<ArchiveStatus>, Status> {
        Ok(Response::new(answers::archive(0)))
    }

    async fn list_archive(&self, _: Request<ListArchiveRequest>) -> Result<Response<ListArchiveReply>, Status> {
        no()
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsReply>, Status> {
        self.note(request.get_ref());
        Ok(Response::new(answers::events(request.into_inner().after)))
    }

    async fn tail(&self, _: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        no()
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let n = self.0.polls.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(answers::status(n)))
    }

    async fn list_exporters(&self, _: Request<ListExportersRequest>) -> Result<Response<ListExportersReply>, Status> {
        Ok(Response::new(ListExportersReply {
            exporters: answers::exporters(1),
        }))
    }

    async fn pause_exporter(&self, request: Request<ExporterRef>) -> Result<Response<Exporter>, Status> {
        self.exporter(&request.into_inner().name, ExporterState::Paused)
    }

    async fn resume_exporter(&self, request: Request<ExporterRef>) -> Result<Response<Exporter>, Status> {
        self.exporter(&request.into_inner().name, ExporterState::CatchingUp)
    }

    async fn seek_exporter(&self, request: Request<SeekExporterRequest>) -> Result<Response<Exporter>, Status> {
        let asked = request.into_inner();
        self.note(&asked.to);
        self.exporter(&asked.name, ExporterState::CatchingUp)
    }

    async fn forget_segment(&self, request: Request<ForgetSegmentRequest>) -> Result<Response<SegmentSummary>, Status> {
        self.note(&request.into_inner());
        Err(Status::failed_precondition("it can be read"))
    }

    async fn forget_exporter(
        &self,
        request: Request<ForgetExporterRequest>,
    ) -> Result<Response<ForgetExporterReply>, Status> {
        let asked = request.into_inner();
        self.note(&asked);
        if !asked.accept_loss {
            return Err(Status::failed_precondition("it has dead letters: say --accept-loss"));
        }
        Ok(Response::new(ForgetExporterReply {
            debt_entries: 4,
            debt_bytes: 4096,
            dead_letters: 2,
        }))
    }

    async fn show_dead_letter(
        &self,
        request: Request<ShowDeadLetterRequest>,
    ) -> Result<Response<ShowDeadLetterReply>, Status> {
        let asked = request.into_inner();
        self.note(&asked.exporter);
        let letter = answers::letters().into_iter().find(|l| l.letter == asked.letter);
        // Only the second holds logs.
        let is_logs = letter
            .as_ref()
            .is_some_and(|l| l.letter.unwrap().lsn.unwrap().number == 8);
        Ok(Response::new(ShowDeadLetterReply {
            letter,
            // A schema URL that is not UTF-8.
            payload: if is_logs {
                b"\x0a\x05\x1a\x03a\xffb".to_vec()
            } else {
                vec![0xff, 0x01]
            },
            malformed: String::new(),
        }))
    }

    /// Lists pages of two letters at most.
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersReply>, Status> {
        let asked = request.into_inner();
        self.note(&asked);
        let mut all = answers::letters();
        all.retain(|l| asked.exporter.as_ref().is_none_or(|name| *name == l.exporter));
        let total = all.len() as u64;
        let place = |l: &DeadLetter| DeadLetterPlace {
            exporter: l.exporter.clone(),
            letter: l.letter,
        };
        let from = asked
            .after
            .map_or(0, |after| all.iter().position(|l| place(l) == after).unwrap() + 1);
        let take = if asked.limit == 0 {
            2
        } else {
            asked.limit.min(2) as usize
        };
        let letters: Vec<DeadLetter> = all.iter().skip(from).take(take).cloned().collect();
        let next = (from + letters.len() < all.len())
            .then(|| letters.last().map(place))
            .flatten();
        Ok(Response::new(ListDeadLettersReply { letters, next, total }))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<DeadLetterSelection>,
    ) -> Result<Response<ReplayDeadLettersReply>, Status> {
        let asked = request.into_inner();
        self.note(&asked);
        let refused_again = u64::from(asked.refs.is_empty());
        Ok(Response::new(ReplayDeadLettersReply {
            taken: 2,
            refused_again,
            left: 0,
            last_answer: if refused_again > 0 {
                "400 bad timestamp".to_owned()
            } else {
                String::new()
            },
        }))
    }

    async fn drop_dead_letters(
        &self,
        request: Request<DeadLetterSelection>,
    ) -> Result<Response<DropDeadLettersReply>, Status> {
        self.note(&request.into_inner());
        Ok(Response::new(DropDeadLettersReply { dropped: 3 }))
    }

    async fn set_override(&self, request: Request<SetOverrideRequest>) -> Result<Response<ZoneStatus>, Status> {
        let asked = request.into_inner();
        let zone = asked.zone;
        Ok(Response::new(ZoneStatus {
            zone,
            forced: true,
            zone_override: Some(ZoneOverride {
                zone,
                reason: asked.reason,
                by_uid: Some(1000),
                set_unix_nano: answers::BEGAN,
            }),
            ..answers::zone()
        }))
    }

    async fn clear_override(&self, _: Request<ClearOverrideRequest>) -> Result<Response<ZoneStatus>, Status> {
        Ok(Response::new(answers::zone()))
    }

    async fn list_segments(&self, _: Request<ListSegmentsRequest>) -> Result<Response<ListSegmentsReply>, Status> {
        no()
    }

    async fn describe_segment(&self, _: Request<SegmentRef>) -> Result<Response<SegmentDetail>, Status> {
        no()
    }

    async fn verify_segment(&self, _: Request<SegmentRef>) -> Result<Response<Self::VerifySegmentStream>, Status> {
        no()
    }

    async fn start_replay(&self, request: Request<ReplaySpec>) -> Result<Response<ReplayJob>, Status> {
        let id = request.into_inner().request;
        Err(Status::unavailable(format!("request {id} was not answered")))
    }

    async fn watch_replay(&self, _: Request<ReplayJobRef>) -> Result<Response<Self::WatchReplayStream>, Status> {
        no()
    }

    async fn list_replays(&self, _: Request<ListReplaysRequest>) -> Result<Response<ListReplaysReply>, Status> {
        no()
    }

    async fn cancel_replay(&self, _: Request<ReplayJobRef>) -> Result<Response<ReplayJob>, Status> {
        no()
    }

    async fn stream_replay(&self, _: Request<ReplaySpec>) -> Result<Response<Self::StreamReplayStream>, Status> {
        no()
    }
}

/// The result of a run of the tool.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn ctl(socket: &Path, words: &[&str]) -> Run {
    let run = Command::cargo_bin("gs-ctl")
        .unwrap()
        .env_remove("GS_SOCKET")
        .arg("--socket")
        .arg(socket)
        .args(words)
        .timeout(Duration::from_secs(120))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run {
        code: run.status.code().unwrap(),
        out: text(run.stdout),
        err: text(run.stderr),
    }
}

/// Waits for a condition; panics with `what` where it does not come.
pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that an answer fits its committed schema.
pub(crate) fn fits(schema: &str, answer: &serde_json::Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{schema}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let schema = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator.iter_errors(answer).map(|e| e.to_string()).collect();
    assert!(faults.is_empty(), "{}: {faults:#?} in {answer:#}", path.display());
}
