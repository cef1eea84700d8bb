//! The ports of the node, opened before anything else.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;
use gophership_vault_replication::peer::PeerSecurity;

use crate::cluster::PeerCertificates;
use crate::config::{Listener, Listeners};
use crate::ingester::{self, Port, Protocol};
use crate::tls::{Protocols, ServerTls};

/// A port that is open, with its TLS.
pub(super) struct Opened {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<ServerTls>>,
}

/// All ports of a node.
pub(super) struct Ports {
    grpc: Opened,
    http: Opened,
    pub(super) admin: Opened,
    /// That of the cluster's nodes, where there is a cluster.
    peer: Option<PeerPort>,
}

/// The port for peers, which is open, with its certificate.
pub(super) struct PeerPort {
    pub(super) listener: TcpListener,
    pub(super) certificates: Option<Arc<PeerCertificates>>,
}

impl PeerPort {
    /// The certificates by which this node and its peers know each other.
    pub(super) fn security(&self) -> PeerSecurity {
        PeerCertificates::security(self.certificates.as_ref())
    }
}

impl Ports {
    pub(super) fn open(listeners: &Listeners) -> anyhow::Result<Self> {
        Ok(Self {
            grpc: open("listeners.otlp_grpc", &listeners.otlp_grpc, Protocols::Http2)?,
            http: open("listeners.otlp_http", &listeners.otlp_http, Protocols::Http)?,
            admin: open("listeners.admin", &listeners.admin, Protocols::Http)?,
            peer: listeners.peer.as_ref().map(open_for_peers).transpose()?,
        })
    }

    /// The TLS of the ports that have it.
    pub(super) fn certificates(&self) -> Vec<Arc<ServerTls>> {
        let all = [&self.grpc.tls, &self.http.tls, &self.admin.tls];
        all.into_iter().flatten().cloned().collect()
    }

    /// The certificate for peers, where there is one.
    pub(super) fn peer_certificates(&self) -> Option<Arc<PeerCertificates>> {
        self.peer.as_ref().and_then(|peer| peer.certificates.clone())
    }

    /// The ports that take OTLP, the admin port, and that for peers.
    pub(super) fn apart(self) -> (Vec<Port>, Opened, Option<PeerPort>) {
        let port = |opened: Opened, protocol| Port {
            listener: opened.listener,
            protocol,
            tls: opened.tls,
        };
        let otlp = vec![port(self.grpc, Protocol::Grpc), port(self.http, Protocol::Http)];
        (otlp, self.admin, self.peer)
    }
}

fn open_for_peers(listener: &Listener) -> anyhow::Result<PeerPort> {
    Ok(PeerPort {
        certificates: PeerCertificates::open(listener).context("listeners.peer.tls")?,
        listener: ingester::listen(listener.address).context("listeners.peer.address")?,
    })
}

fn open(name: &'static str, listener: &Listener, protocols: Protocols) -> anyhow::Result<Opened> {
    let tls = listener
        .tls
        .as_ref()
        .map(|files| ServerTls::open(files, protocols))
        .transpose()
        .with_context(|| format!("{name}.tls"))?;
    let listener = ingester::listen(listener.address).with_context(|| format!("{name}.address"))?;
    Ok(Opened {
        listener,
        tls: tls.map(|tls| Arc::new(tls.of_listener(name))),
    })
}
