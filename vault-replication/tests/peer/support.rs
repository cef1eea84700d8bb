//! Authorities, certificates, nodes with a peers' port, and handlers for them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use gophership_vault::ids::{ClusterId, EntryNumber, LogId, NodeId, SegmentId};
use gophership_vault::time::TimeRange;
use gophership_vault::{CompleteCopy, HeldReport, SegmentEnd, SegmentHeader, StoredEntry, VaultError};
use gophership_vault_replication::consensus::network::{PeerReceiver, Pending};
use gophership_vault_replication::consensus::raft_types::Member;
use gophership_vault_replication::peer::wire::tail::TailMessage;
use gophership_vault_replication::peer::{
    Handlers, LocalNode, PeerCertificate, PeerClient, PeerError, PeerHello, PeerList, PeerSecurity, PeerServer,
    PeerSetup, PeerTls, RecoveryHandler, ReplayFound, ReplayHandler, ReplayReading, TailHandler,
};
use gophership_vault_replication::tail::{StreamId, TailAnswer};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use uuid::Uuid;

pub(crate) const CLUSTER: ClusterId = ClusterId(Uuid::from_bytes([5; 16]));

/// Generous: a condition that comes true at all does so long before.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn node(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

pub(crate) fn name(n: u32) -> String {
    format!("node-{n}")
}

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { issuer, certificate }
    }

    /// A certificate for these names; its holder trusts this authority.
    pub(crate) fn certify(&self, names: &[&str]) -> PeerCertificate {
        self.certify_to_trust(names, self)
    }

    /// A certificate for these names; its holder trusts another authority.
    pub(crate) fn certify_to_trust(&self, names: &[&str], trusted: &Self) -> PeerCertificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        PeerCertificate {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            authorities: vec![trusted.certificate.clone()],
        }
    }
}

pub(crate) fn tls(certificate: PeerCertificate) -> PeerSecurity {
    PeerSecurity::Tls(Arc::new(PeerTls::new(certificate).unwrap()))
}

/// A node as it sees itself, with nodes 1 to 4 in its list.
pub(crate) fn setup_as(n: u32, name: &str, cluster: ClusterId, security: PeerSecurity) -> Arc<PeerSetup> {
    Arc::new(PeerSetup {
        local: LocalNode::new(cluster, node(n), name, Uuid::from_u128(n.into())),
        list: PeerList::new((1..=5).map(|n| (self::name(n), Some(node(n))))),
        security,
        payload_bytes_max: 64 << 10,
    })
}

pub(crate) fn setup(n: u32, authority: &Authority) -> Arc<PeerSetup> {
    let certificate = authority.certify(&[&name(n), "localhost"]);
    setup_as(n, &name(n), CLUSTER, tls(certificate))
}

pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) fn member(n: u32, address: SocketAddr) -> Member {
    Member {
        name: name(n),
        address: address.to_string(),
    }
}

/// Serves a node's port, and says how it is reached.
pub(crate) fn serve(setup: &Arc<PeerSetup>, handlers: Handlers) -> (PeerServer, Member) {
    let (listener, address) = listener();
    let server = PeerServer::start(listener, Arc::clone(setup), handlers).unwrap();
    assert_eq!(server.address(), address);
    (server, member(setup.local.node.get(), address))
}

/// Says hello to node 1.
pub(crate) async fn hello(setup: &Arc<PeerSetup>, to: &Member) -> Result<PeerHello, PeerError> {
    let client = PeerClient::new(Arc::clone(setup));
    client.hello(node(1), to, PATIENCE).await
}

/// Waits, without an end only where the test is to fail.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A handler of everything that does nothing.
pub(crate) struct Nothing;

pub(crate) fn nothing() -> Handlers {
    Handlers {
        consensus: Arc::new(Echo),
        tail: Arc::new(Nothing),
        recovery: Arc::new(Nothing),
        replay: Arc::new(Nothing),
    }
}

impl ReplayHandler for Nothing {
    fn plan(&self, _time: TimeRange) -> Result<Vec<Vec<u8>>, String> {
        Ok(Vec::new())
    }

    fn read(&self, _: ReplayReading<'_>, _take: &mut dyn FnMut(ReplayFound) -> bool) -> Result<(), String> {
        Ok(())
    }
}

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

/// Answers a message with its sender and itself; a file with its sender, its message, its pieces and its bytes. It
/// never answers `never`.
#[derive(Debug)]
pub(crate) struct Echo;

impl PeerReceiver for Echo {
    fn receive(&self, from: u64, message: Vec<u8>) -> Pending<'_, Vec<u8>> {
        Box::pin(async move {
            if message == b"never" {
                std::future::pending::<()>().await;
            }
            [&[from as u8][..], &message].concat()
        })
    }

    fn receive_file(&self, from: u64, message: Vec<u8>, mut file: mpsc::Receiver<Vec<u8>>) -> Pending<'_, Vec<u8>> {
        Box::pin(async move {
            let (mut all, mut pieces) = (Vec::new(), 0);
            while let Some(piece) = file.recv().await {
                pieces += 1;
                all.extend_from_slice(&piece);
            }
            [&[from as u8][..], &message, &[pieces], &all].concat()
        })
    }
}
