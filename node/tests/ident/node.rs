//! A node in this process: it enters its cluster, and is a member from then on.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gophership::cluster::{Early, Membership, describe, enter, join_setup, keep};
use gophership::config::{Cluster, Config, Environment, load_text};
use gophership::machine::Machine;
use gophership::peers::Quorum;
use gophership_catalogue::{Actor, Catalogue, Command, LocalCatalogue, State};
use gophership_proto::control::v1::cluster_client::ClusterClient;
use gophership_proto::control::v1::{
    AbortProvisionRequest, ClusterStatusReply, ClusterStatusRequest, ListSegmentsReply, NodeReport,
    ProvisionClusterReply, ProvisionClusterRequest, SegmentDetail,
};
use gophership_vault::ids::{EntryNumber, LogId, NodeId, SegmentId};
use gophership_vault::time::TimeRange;
use gophership_vault::{
    CompleteCopy, DataDir, HeldReport, Identity, SegmentEnd, SegmentHeader, StoredEntry, VaultError,
};
use gophership_vault_replication::consensus::RaftCatalogue;
use gophership_vault_replication::consensus::status::ConsensusStatus;
use gophership_vault_replication::join::{JoinService, MemberJoin};
use gophership_vault_replication::peer::wire::tail::TailMessage;
use gophership_vault_replication::peer::{
    Handlers, Heartbeats, LocalNode, OperateHandler, PeerClient, PeerList, PeerSecurity, PeerServer, PeerSetup,
    RecoveryHandler, ReplayFound, ReplayHandler, ReplayReading, TailHandler, Verification,
};
use gophership_vault_replication::tail::{StreamId, TailAnswer};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

/// Generous: a condition that comes true at all does so long before.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Waits for a condition.
pub(crate) async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let polled = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, polled).await;
    done.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Three nodes of one configuration, with their ports and folders.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    listeners: Vec<TcpListener>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
            listeners: (0..3).map(bind).collect(),
        }
    }

    pub(crate) fn folder(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("n{n}"))
    }

    pub(crate) fn config(&self, n: usize) -> Config {
        self.config_at(n, &self.folder(n), &self.listeners[n - 1])
    }

    /// The configuration of node `n` with a folder and a listener that may be others than the peers know.
    fn config_at(&self, n: usize, folder: &Path, own: &TcpListener) -> Config {
        let address = |n: usize| self.listeners[n - 1].local_addr().unwrap();
        let peers: Vec<String> = (1..=3)
            .map(|n| format!("{{name: node-{n}, address: '{}'}}", address(n)))
            .collect();
        let text = format!(
            "node: {{name: node-{n}, data_dir: {:?}, failure_domain: rack-{n}}}
listeners: {{peer: {{address: '{}', insecure: true}}}}
cluster: {{name: prod, peers: [{}]}}
vault: {{any_filesystem: true}}",
            folder,
            own.local_addr().unwrap(),
            peers.join(", "),
        );
        let machine = Machine {
            cores: 1,
            memory: 1 << 30,
        };
        load_text(&text, &Environment::default(), &machine).unwrap()
    }

    pub(crate) fn listener(&self, n: usize) -> TcpListener {
        self.listeners[n - 1].try_clone().unwrap()
    }

    /// Makes the folder of a single node that ran before, with a setting on record.
    pub(crate) fn make_single(&self, n: usize) -> Identity {
        let data = DataDir::open(&self.folder(n), true).unwrap();
        let catalogue = LocalCatalogue::open(&self.folder(n).join("catalogue.redb"), data.identity()).unwrap();
        catalogue.node_up(Uuid::new_v4(), None).unwrap();
        let set = Command::SetConfig {
            key: "of".to_owned(),
            value: Some(format!("node-{n}")),
            seen: None,
            at_ns: 1,
        };
        catalogue.submit(Actor::Node, set).unwrap();
        data.identity()
    }

    /// Starts a node. The task ends with the node's end, or with its error.
    pub(crate) fn start(&self, n: usize) -> Starting {
        Self::start_with(self.config(n), self.listener(n), self.folder(n))
    }

    /// Starts a second process with the name of node `n`, with a folder and a port of its own.
    pub(crate) fn start_second(&self, n: usize) -> Starting {
        let folder = self.dir.path().join(format!("second-n{n}"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::start_with(self.config_at(n, &folder, &listener), listener, folder)
    }

    /// Three nodes that vote.
    pub(crate) async fn three(&self) -> Vec<Node> {
        let starting: Vec<_> = (1..=3).map(|n| self.start(n)).collect();
        starting[0].provision().await.unwrap();
        let mut nodes = Vec::new();
        for starting in starting {
            nodes.push(starting.member().await);
        }
        for node in &nodes {
            until("all vote", async || (node.voters().len() == 3).then_some(())).await;
        }
        nodes
    }

    fn start_with(config: Config, listener: TcpListener, folder: PathBuf) -> Starting {
        let (stop, stopped) = watch::channel(false);
        let entered = tokio::spawn(async move { enter_and_serve(config, listener, stopped).await });
        Starting { entered, stop, folder }
    }
}

/// A node on its way into the cluster.
pub(crate) struct Starting {
    entered: JoinHandle<anyhow::Result<Member>>,
    stop: watch::Sender<bool>,
    folder: PathBuf,
}

impl Starting {
    /// The member that it becomes.
    pub(crate) async fn member(self) -> Node {
        let entered = tokio::time::timeout(PATIENCE, self.entered)
            .await
            .expect("it enters the cluster");
        Node {
            member: entered.unwrap().unwrap(),
            stop: self.stop,
        }
    }

    /// The member that it becomes, or the error with which it ends.
    pub(crate) async fn outcome(self) -> Result<Node, String> {
        let ended = tokio::time::timeout(PATIENCE, self.entered).await.expect("it ends");
        let stop = self.stop;
        let node = ended.unwrap().map(|member| Node { member, stop });
        node.map_err(|error| format!("{error:#}"))
    }

    /// The error with which it ends.
    pub(crate) async fn error(self) -> String {
        let ended = tokio::time::timeout(PATIENCE, self.entered).await.expect("it ends");
        match ended.unwrap() {
            Ok(member) => panic!("node {} is a member", member.identity.node_id),
            Err(error) => error.to_string(),
        }
    }

    /// Ends it while it waits.
    pub(crate) async fn cancel(self) {
        self.entered.abort();
        let _cancelled = self.entered.await;
        // The thread that makes the folder lets go of it by itself.
        until("the folder is let go", async || {
            DataDir::check(&self.folder, true, Some("prod")).ok()
        })
        .await;
    }

    pub(crate) async fn provision(&self) -> Result<ProvisionClusterReply, Status> {
        provision(&self.folder).await
    }

    pub(crate) async fn status(&self) -> ClusterStatusReply {
        let answer = control(&self.folder)
            .await
            .cluster_status(ClusterStatusRequest {})
            .await;
        answer.unwrap().into_inner()
    }

    pub(crate) async fn abort(&self) -> Result<bool, Status> {
        let answer = control(&self.folder)
            .await
            .abort_provision(AbortProvisionRequest {})
            .await;
        Ok(answer?.into_inner().forgotten)
    }
}

pub(crate) async fn provision(folder: &Path) -> Result<ProvisionClusterReply, Status> {
    let answer = control(folder)
        .await
        .provision(ProvisionClusterRequest::default())
        .await;
    Ok(answer?.into_inner())
}

/// The control socket of a candidate, once it is there.
async fn control(folder: &Path) -> ClusterClient<Channel> {
    let socket = folder.join("gophership.sock");
    let channel = until("the control socket is there", async || {
        let socket = socket.clone();
        let dial = tower::service_fn(move |_: http::Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://gophership")
            .connect_with_connector(dial)
            .await
            .ok()
    });
    ClusterClient::new(channel.await)
}

/// A member, running.
pub(crate) struct Node {
    member: Member,
    stop: watch::Sender<bool>,
}

struct Member {
    identity: Identity,
    began: bool,
    catalogue: Arc<RaftCatalogue>,
    server: PeerServer,
    keeping: JoinHandle<()>,
    _data: DataDir,
}

impl Node {
    pub(crate) fn identity(&self) -> Identity {
        self.member.identity
    }

    pub(crate) fn began(&self) -> bool {
        self.member.began
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        let catalogue: Arc<dyn Catalogue> = Arc::clone(&self.member.catalogue) as _;
        catalogue.read(f)
    }

    /// Sets a key, as a command of the cluster.
    pub(crate) async fn set(&self, key: &str, value: &str) {
        until("a command that is taken", async || {
            let set = Command::SetConfig {
                key: key.to_owned(),
                value: Some(value.to_owned()),
                seen: None,
                at_ns: 1,
            };
            let catalogue = Arc::clone(&self.member.catalogue);
            let done = tokio::task::spawn_blocking(move || catalogue.submit(Actor::Node, set));
            done.await.unwrap().ok()
        })
        .await;
    }

    /// Waits until a key has a value here.
    pub(crate) async fn has(&self, key: &str, value: &str) {
        until("a value that was set", async || {
            self.read(|state| state.setting(key).is_some_and(|setting| setting.value == value))
                .then_some(())
        })
        .await;
    }

    pub(crate) fn consensus(&self) -> ConsensusStatus {
        self.member.catalogue.status()
    }

    pub(crate) fn voters(&self) -> Vec<u64> {
        let members = self.consensus().members;
        members.iter().filter(|(_, m)| m.votes).map(|(id, _)| *id).collect()
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.member.keeping.await.unwrap();
        self.member.server.stop().await;
        let catalogue = self.member.catalogue;
        tokio::task::spawn_blocking(move || catalogue.end()).await.unwrap();
    }
}

async fn enter_and_serve(
    config: Config,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<Member> {
    let cluster = config.cluster.as_ref().unwrap();
    let early = Early::begin(join_setup(&config, cluster, PeerSecurity::Plain));
    let membership = enter(&config, &early, &listener).await?;
    serve(config.failure_domain(), &early, membership, listener, stopped).await
}

async fn serve(
    failure_domain: &str,
    early: &Early,
    membership: Membership,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<Member> {
    let (identity, setup) = (membership.data.identity(), Arc::clone(&early.setup));
    let peers = Arc::new(PeerSetup {
        local: LocalNode::new(identity.cluster_id, identity.node_id, &setup.name, Uuid::new_v4()),
        list: PeerList::new(setup.peers.iter().map(|peer| (peer.name.clone(), None))),
        security: PeerSecurity::Plain,
        payload_bytes_max: 64 << 10,
    });
    let client = PeerClient::new(Arc::clone(&peers));
    let (transport, join, runtime) = (Arc::new(client.clone()), Arc::clone(&setup), Handle::current());
    let opened = tokio::task::spawn_blocking(move || {
        let catalogue = membership.open_catalogue(&join, transport, &runtime)?;
        anyhow::Ok((membership, Arc::new(catalogue)))
    });
    let (membership, catalogue) = opened.await.unwrap()?;
    let as_any: Arc<dyn Catalogue> = Arc::clone(&catalogue) as _;
    let join = JoinService::new(
        Arc::clone(&setup),
        MemberJoin::new(Arc::clone(&setup), as_any, client.clone()),
    );
    let handlers = Handlers {
        consensus: catalogue.receiver(),
        tail: Arc::new(Nothing),
        recovery: Arc::new(Nothing),
        replay: Arc::new(Nothing),
    };
    let server = PeerServer::start_open(listener, Arc::clone(&peers), handlers, join, Arc::new(Nothing))?;
    let settings = Cluster::default();
    let heartbeats = Heartbeats::start(client, Arc::new(BTreeMap::new), settings.dead_after, &Handle::current());
    let quorum = Quorum {
        consensus: Arc::clone(&catalogue),
        heartbeats: Arc::new(heartbeats),
        settings: watch::Sender::new(settings),
        gone: Arc::default(),
    };
    let keeping = tokio::spawn(keep(quorum, Arc::clone(&setup), peers, stopped));
    if let Err(error) = describe(&catalogue, &setup, failure_domain, &early.awaited).await {
        server.stop().await;
        keeping.abort();
        tokio::task::spawn_blocking(move || catalogue.end()).await.unwrap();
        return Err(error);
    }
    Ok(Member {
        identity,
        began: membership.begins,
        catalogue,
        server,
        keeping,
        _data: membership.data,
    })
}

/// A handler of streams, recoveries and replays, of which there are none here.
struct Nothing;

impl TailHandler for Nothing {
    fn take(&self, _: LogId, _: StreamId, _: Vec<TailMessage>) -> Vec<(SegmentId, TailAnswer)> {
        Vec::new()
    }

    fn disconnected(&self, _: LogId, _: StreamId) {}
}

fn no() -> VaultError {
    VaultError::Io {
        what: "read",
        path: "nothing".into(),
        source: std::io::ErrorKind::NotFound.into(),
    }
}

impl ReplayHandler for Nothing {
    fn plan(&self, _: TimeRange) -> Result<Vec<Vec<u8>>, String> {
        Ok(Vec::new())
    }

    fn read(&self, _: ReplayReading<'_>, _: &mut dyn FnMut(ReplayFound) -> bool) -> Result<(), String> {
        Ok(())
    }
}

impl OperateHandler for Nothing {
    fn report(&self) -> Result<NodeReport, Status> {
        Err(Status::unavailable("nothing"))
    }

    fn holdings(&self, _: &[SegmentId]) -> Result<ListSegmentsReply, Status> {
        self.report().map(|_| ListSegmentsReply::default())
    }

    fn describe(&self, _: SegmentId) -> Result<SegmentDetail, Status> {
        self.report().map(|_| SegmentDetail::default())
    }

    fn verify(&self, _: SegmentId) -> Result<Verification, Status> {
        Err(Status::unavailable("nothing"))
    }
}

impl RecoveryHandler for Nothing {
    fn fence(&self, _: NodeId, _: SegmentId, _: u64) -> Result<HeldReport, VaultError> {
        Err(no())
    }

    fn rebuild(&self, _: NodeId, _: SegmentHeader, _: u64, _: SegmentEnd) -> Result<CompleteCopy, VaultError> {
        Err(no())
    }

    fn entries(
        &self,
        _: SegmentId,
        _: EntryNumber,
        _: EntryNumber,
        _: &mut dyn FnMut(StoredEntry) -> bool,
    ) -> Result<(), VaultError> {
        Err(no())
    }
}
