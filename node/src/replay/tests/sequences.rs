//! Jobs through restarts, takeovers, lost answers and cuts: every entry is sent or named as missing, and every job
//! ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use gophership_catalogue::job::{JobRecord, JobState};
use gophership_catalogue::{Catalogue, CatalogueError, Reply as Answer, Request, State};
use gophership_proto::control::v1;
use gophership_vault::Identity;
use uuid::Uuid;

use super::*;
use crate::operate::Operator;

/// What goes wrong between a node and its catalogue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Nothing,
    /// Nothing arrives.
    Cut,
    /// A command of this kind takes effect, and its answer is lost; once.
    AnswerLost(&'static str),
    /// A command of this kind is on its way.
    Held(&'static str),
}

/// A catalogue on the other side of a network.
#[derive(Debug)]
struct Remote {
    catalogue: Arc<dyn Catalogue>,
    fault: Mutex<Fault>,
    /// The kind of the command that is held.
    holds: Mutex<Option<&'static str>>,
    /// Number of commands that did not arrive.
    stopped: AtomicU64,
}

impl Remote {
    fn of(node: &TestNode) -> Arc<Self> {
        Arc::new(Self {
            catalogue: Arc::clone(&node.catalogue),
            fault: Mutex::new(Fault::Nothing),
            holds: Mutex::new(None),
            stopped: AtomicU64::new(0),
        })
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }
}

fn no_leader() -> CatalogueError {
    CatalogueError::NoLeader { why: "cut".to_owned() }
}

impl Catalogue for Remote {
    fn identity(&self) -> Identity {
        self.catalogue.identity()
    }

    fn commit(&self, request: Request) -> Result<Answer, CatalogueError> {
        let kind = request.command.kind().name();
        // It ends by itself, so that a test that fails meanwhile does.
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.fault() == Fault::Held(kind) && Instant::now() < deadline {
            *self.holds.lock().unwrap() = Some(kind);
            std::thread::sleep(Duration::from_millis(1));
        }
        match self.fault() {
            Fault::Cut => {
                self.stopped.fetch_add(1, Ordering::Relaxed);
                return Err(no_leader());
            }
            Fault::AnswerLost(lost) if lost == kind => {
                self.catalogue.commit(request)?;
                self.set(Fault::Nothing);
                return Err(CatalogueError::Unknown { why: "lost".to_owned() });
            }
            Fault::Nothing | Fault::AnswerLost(_) | Fault::Held(_) => {}
        }
        self.catalogue.commit(request)
    }

    fn view(&self, f: &mut dyn FnMut(&State)) {
        self.catalogue.view(f);
    }

    fn catch_up(&self) -> Result<(), CatalogueError> {
        if self.fault() == Fault::Cut {
            Err(no_leader())
        } else {
            Ok(())
        }
    }
}

/// The jobs of a node, which looks for what is due only when it is told to.
struct Runner {
    jobs: Arc<Jobs>,
    remote: Arc<Remote>,
    stop: watch::Sender<bool>,
}

/// A lease that does not end in a test.
const LONG: Duration = Duration::from_secs(24 * 3600);
const SHORT: Duration = Duration::from_millis(400);

impl Runner {
    fn of(node: &TestNode, lease: Duration) -> Self {
        let (stop, stopped) = watch::channel(false);
        let remote = Remote::of(node);
        let mut context = node.context(&[], Vec::new());
        context.catalogue = Arc::clone(&remote) as Arc<dyn Catalogue>;
        let jobs = Jobs::with_lease(context, stopped, move || Some(lease));
        Self { jobs, remote, stop }
    }

    async fn start(&self, stub: &Stub) -> Result<v1::ReplayJob, crate::replay::ReplayError> {
        self.jobs.start(Spec::for_job(grpc(stub)).unwrap(), None, "test").await
    }

    async fn do_due(&self, gone: &[NodeId]) {
        self.jobs.do_due(&|node| gone.contains(&node)).await;
    }

    /// Looks until the job runs here in this term.
    async fn takes(&self, gone: NodeId, term: u64) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.record().term() < term {
            assert!(Instant::now() < deadline, "not taken within two minutes");
            self.do_due(&[gone]).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn runs(&self) -> bool {
        self.jobs.runs_here(JobId::FIRST)
    }

    fn remark(&self) -> String {
        self.jobs.view(JobId::FIRST).unwrap().progress.unwrap().error
    }

    fn record(&self) -> JobRecord {
        self.remote
            .catalogue
            .read(|state| state.job(JobId::FIRST).cloned())
            .unwrap()
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.jobs.join().await;
        let exporters = Arc::clone(&self.jobs.context.exporters);
        tokio::task::spawn_blocking(move || exporters.stop()).await.unwrap();
    }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn reopened(node: TestNode) -> TestNode {
    tokio::task::spawn_blocking(move || node.reopen()).await.unwrap()
}

/// Adds a node that never runs, and returns its number.
fn other(node: &TestNode) -> NodeId {
    let storage_uuid = Uuid::from_u128(2);
    let register = Command::RegisterNode { storage_uuid, at_ns: 1 };
    node.catalogue.submit(Actor::Node, register).unwrap();
    NodeId::new(2).unwrap()
}

fn taken_by(node: NodeId, seen: u64) -> Command {
    let job = JobId::FIRST;
    Command::TakeJob { job, node, seen }
}

/// A node with a job of another one on record, which has sent nothing.
async fn with_a_job_of_another(entries: u64) -> (tempfile::TempDir, TestNode, Vec<Vec<u8>>, NodeId, Stub) {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), entries);
    let stub = Stub::grpc([]).await;
    let other = other(&node);
    let own = node.vault.identity().node_id;
    let parts = super::super::plan::own_parts(&node.vault, &*node.catalogue, TimeRange::ALL);
    let of_own = |part| Part {
        owner: Some(own),
        ..part
    };
    let order = Order {
        spec: Spec::for_job(grpc(&stub)).unwrap(),
        parts: parts.into_iter().map(of_own).collect(),
        bytes_total_estimate: 0,
        not_restored: None,
        runner: Some(other),
    };
    let create = Command::CreateJob {
        request: Uuid::nil(),
        spec: serde_json::to_string(&order).unwrap(),
        at_ns: 1,
    };
    node.catalogue.submit(Actor::Node, create).unwrap();
    (dir, node, payloads, other, stub)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_before_the_position_is_named_at_the_end_after_restarts_and_a_takeover() {
    let dir = tempfile::tempdir().unwrap();
    let node = reopened(filled(dir.path(), 3).0).await;
    let (id, why) = (node.vault.segments()[0].0, TrimReason::Dropped);
    node.catalogue.submit(Actor::Node, Command::Trim { id, why }).unwrap();
    let mut node = reopened(node).await;
    for n in 4..=7 {
        node.append(0, n, &payload(n, 100));
    }
    let stub = Stub::grpc([Reply::Ok, Reply::InPart, Reply::Grpc(Code::InvalidArgument)]).await;
    stub.then(Reply::Grpc(Code::Unavailable));
    let runner = Runner::of(&node, LONG);
    runner.start(&stub).await.unwrap();
    stub.wait_for(4).await;
    runner.stop().await;

    // It comes no further in its second run, and then another node takes it over and is gone.
    let node = reopened(node).await;
    let runner = Runner::of(&node, LONG);
    let lost = runner.remark();
    for part in [
        "the sink rejected 1 entries and 3 records; the first: 2 of entry",
        "1 ranges could not be read (at least 3 entries): segment 1/0/1: dropped unsent",
    ] {
        assert!(lost.contains(part), "{lost}");
    }
    runner.do_due(&[]).await;
    stub.wait_for(5).await;
    assert!(runner.remark().ends_with(&lost), "{}", runner.remark());
    runner.stop().await;

    let node = reopened(node).await;
    let other = other(&node);
    node.catalogue.submit(Actor::Node, taken_by(other, 0)).unwrap();
    let runner = Runner::of(&node, LONG);
    assert_eq!(runner.remark(), lost, "as shown by a node that does not run it");
    stub.then(Reply::Ok);
    runner.do_due(&[other]).await;
    assert_eq!(runner.record().term(), 1, "it was taken over a moment ago");
    runner.takes(other, 2).await;
    runner.jobs.ended(JobId::FIRST).await;
    let record = runner.record();
    assert_eq!((record.state.name(), record.term()), ("Failed", 2));
    assert_eq!(
        runner.remark(),
        format!("it came to its end, but not everything was delivered: {lost}")
    );
    assert_eq!(stub.taken(), [payload(4, 100), payload(7, 100)], "5 was taken in part");
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_delivered_and_then_trimmed_is_not_missing_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = reopened(filled(dir.path(), 2).0).await;
    node.append(0, 3, &payload(3, 100));
    let stub = Stub::grpc([Reply::Ok, Reply::Ok]).await;
    stub.then(Reply::Grpc(Code::Unavailable));
    let runner = Runner::of(&node, LONG);
    runner.start(&stub).await.unwrap();
    stub.wait_for(3).await;
    runner.stop().await;
    let (id, why) = (node.vault.segments()[0].0, TrimReason::Dropped);
    node.catalogue.submit(Actor::Node, Command::Trim { id, why }).unwrap();
    let node = reopened(node).await;
    stub.then(Reply::Ok);
    let runner = Runner::of(&node, LONG);
    runner.do_due(&[]).await;
    runner.jobs.ended(JobId::FIRST).await;
    let end = runner.jobs.view(JobId::FIRST).unwrap().progress.unwrap();
    assert_eq!(
        (end.state(), end.entries_done, end.error.as_str()),
        (ReplayState::Done, 3, "")
    );
    assert_eq!(stub.taken().len(), 3);
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_behind_the_last_entry_is_named() {
    // The plan ends with the last segment, or within it.
    for is_sealed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut node = filled(dir.path(), 2).0;
        if is_sealed {
            node = reopened(node).await;
        }
        let stub = Stub::grpc([]).await;
        stub.then(Reply::Grpc(Code::Unavailable));
        let runner = Runner::of(&node, LONG);
        runner.start(&stub).await.unwrap();
        stub.wait_for(1).await;
        runner.stop().await;
        let node = reopened(node).await;
        let (id, why) = (node.vault.segments()[0].0, TrimReason::Dropped);
        node.catalogue.submit(Actor::Node, Command::Trim { id, why }).unwrap();
        let node = reopened(node).await;
        let runner = Runner::of(&node, LONG);
        runner.do_due(&[]).await;
        runner.jobs.ended(JobId::FIRST).await;
        let record = runner.record();
        assert_eq!(record.state.name(), "Failed", "{is_sealed}: {}", runner.remark());
        let trimmed = "segment 1/0/1: it was trimmed";
        assert!(runner.remark().contains(trimmed), "{is_sealed}: {}", runner.remark());
        let ranges: u64 = record.positions.values().map(|position| position.loss.ranges).sum();
        assert_eq!((ranges, record.loss_names.missing.len()), (1, 1));
        runner.stop().await;
        node.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_though_the_answer_to_its_creation_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 3);
    let stub = Stub::grpc([]).await;
    let runner = Runner::of(&node, LONG);
    runner.remote.set(Fault::AnswerLost("create_job"));
    let begun = runner.start(&stub).await;
    assert!(begun.is_err(), "{begun:?}");
    assert!(!runner.runs());
    runner.do_due(&[]).await;
    runner.do_due(&[]).await;
    runner.jobs.ended(JobId::FIRST).await;
    assert_eq!(runner.record().state.name(), "Done");
    assert_eq!(stub.taken(), payloads, "each once");
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_though_the_answer_to_its_takeover_was_lost() {
    let (_dir, node, payloads, other, stub) = with_a_job_of_another(3).await;
    let runner = Runner::of(&node, LONG);
    runner.remote.set(Fault::AnswerLost("take_job"));
    runner.do_due(&[other]).await;
    assert!(!runner.runs());
    // The lost one is heard again; the job is not its own any more.
    runner.do_due(&[]).await;
    runner.jobs.ended(JobId::FIRST).await;
    assert_eq!((runner.record().state.name(), runner.record().term()), ("Done", 1));
    assert_eq!(stub.taken(), payloads, "each once");
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_not_begun_again_while_it_is_cancelled_and_goes_on_where_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 2);
    let stub = Stub::grpc([Reply::Ok]).await;
    stub.then(Reply::Grpc(Code::Unavailable));
    let runner = Runner::of(&node, LONG);
    runner.start(&stub).await.unwrap();
    stub.wait_for(2).await;

    runner.remote.set(Fault::Cut);
    let cancelled = runner.jobs.cancel(JobId::FIRST, "test").await;
    assert!(cancelled.is_err(), "{cancelled:?}");
    runner.do_due(&[]).await;
    assert!(!runner.runs(), "the record may be old");
    runner.remote.set(Fault::Nothing);
    runner.do_due(&[]).await;
    assert!(runner.runs(), "nobody cancelled it");

    runner.remote.set(Fault::Held("cancel_job"));
    let jobs = Arc::clone(&runner.jobs);
    let cancel = tokio::spawn(async move { jobs.cancel(JobId::FIRST, "test").await });
    eventually("the command is on its way", || {
        runner.remote.holds.lock().unwrap().is_some()
    })
    .await;
    let seen = stub.seen().len();
    stub.then(Reply::Ok);
    assert_eq!(runner.record().state, JobState::Running);
    runner.do_due(&[]).await;
    assert!(!runner.runs(), "it is being cancelled");
    runner.remote.set(Fault::Nothing);
    let cancelled = cancel.await.unwrap().unwrap().progress.unwrap();
    assert_eq!(cancelled.state(), ReplayState::Cancelled);
    runner.do_due(&[]).await;
    assert!(!runner.runs());
    assert_eq!((stub.seen().len(), stub.taken()), (seen, payloads[..1].to_vec()));
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_job_that_is_cut_off_sends_nothing_until_it_is_answered_again() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 3);
    let stub = Stub::grpc([Reply::Ok]).await;
    stub.then(Reply::Grpc(Code::Unavailable));
    let runner = Runner::of(&node, SHORT);
    runner.start(&stub).await.unwrap();
    stub.wait_for(2).await;
    runner.remote.set(Fault::Cut);
    eventually("it says that it is cut off", || runner.remark().contains("cut off")).await;
    let seen = stub.seen().len();
    stub.then(Reply::Ok);
    // However slow the machine is, nothing may come in this time.
    tokio::time::sleep(SHORT * 4).await;
    assert_eq!(stub.seen().len(), seen);
    assert!(runner.runs());
    runner.remote.set(Fault::Nothing);
    runner.jobs.ended(JobId::FIRST).await;
    assert_eq!(runner.record().state.name(), "Done");
    assert_eq!(stub.taken(), payloads);
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_leaves_a_job_that_was_taken_from_it_though_it_cannot_move_it() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 2);
    let other = other(&node);
    let stub = Stub::grpc([]).await;
    stub.then(Reply::Grpc(Code::Unavailable));
    let runner = Runner::of(&node, SHORT);
    runner.start(&stub).await.unwrap();
    stub.wait_for(1).await;
    node.catalogue.submit(Actor::Node, taken_by(other, 0)).unwrap();
    eventually("the runner has left", || !runner.runs()).await;
    assert_eq!(runner.record().state, JobState::Running);
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_gets_its_own_job_back_goes_on_in_the_new_term() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 2);
    let other = other(&node);
    let stub = Stub::grpc([Reply::Ok]).await;
    stub.then(Reply::Grpc(Code::Unavailable));
    // It does not hear at once that the job was taken from it.
    let runner = Runner::of(&node, LONG);
    runner.start(&stub).await.unwrap();
    stub.wait_for(2).await;
    node.catalogue.submit(Actor::Node, taken_by(other, 0)).unwrap();
    runner.takes(other, 2).await;
    stub.then(Reply::Ok);
    eventually("the job has ended", || runner.record().state != JobState::Running).await;
    assert_eq!((runner.record().state.name(), runner.record().term()), ("Done", 2));
    let taken = stub.taken();
    assert!(payloads.iter().all(|payload| taken.contains(payload)));
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_comes_to_its_end_while_cut_off_ends_with_its_position_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let (node, payloads) = filled(dir.path(), 3);
    let stub = Stub::grpc([Reply::Grpc(Code::Unavailable)]).await;
    let runner = Runner::of(&node, LONG);
    runner.start(&stub).await.unwrap();
    stub.wait_for(1).await;
    runner.remote.set(Fault::Cut);
    stub.wait_for(4).await;
    eventually("it came to its end", || {
        let progress = runner.jobs.view(JobId::FIRST).unwrap().progress.unwrap();
        progress.entries_done == 3
    })
    .await;
    let stopped = || runner.remote.stopped.load(Ordering::Relaxed);
    let before = stopped();
    eventually("it tries to say so", || stopped() > before).await;
    assert_eq!(runner.record().state, JobState::Running);
    runner.remote.set(Fault::AnswerLost("finish_job"));
    runner.jobs.ended(JobId::FIRST).await;
    let end = runner.jobs.view(JobId::FIRST).unwrap().progress.unwrap();
    assert_eq!((end.state(), end.entries_done), (ReplayState::Done, 3));
    assert_eq!(stub.taken(), payloads);
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_be_read_ends_though_the_catalogue_did_not_answer_at_first() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = filled(dir.path(), 1);
    let create = Command::CreateJob {
        request: Uuid::nil(),
        spec: "of another version".to_owned(),
        at_ns: 1,
    };
    node.catalogue.submit(Actor::Node, create).unwrap();
    let runner = Runner::of(&node, LONG);
    runner.remote.set(Fault::Cut);
    runner.jobs.resume();
    let stopped = || runner.remote.stopped.load(Ordering::Relaxed);
    eventually("it tries to end the job", || stopped() > 0).await;
    runner.remote.set(Fault::Nothing);
    eventually("the job has ended", || runner.record().state != JobState::Running).await;
    assert!(
        runner.remark().contains("another version of the program"),
        "{}",
        runner.remark()
    );
    runner.stop().await;
    node.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_another_node_is_watched_at_intervals() {
    let (_dir, node, _, _, _) = with_a_job_of_another(1).await;
    let context = node.context(&[], Vec::new());
    let exporters = Arc::clone(&context.exporters);
    let operator = Operator::start(context);
    let mut reports = Box::pin(operator.watch_replay(JobId::FIRST).unwrap());
    let first = reports.next().now_or_never();
    assert!(first.is_none(), "a report without a wait: {first:?}");
    operator.stop();
    operator.join().await;
    tokio::task::spawn_blocking(move || exporters.stop()).await.unwrap();
}
