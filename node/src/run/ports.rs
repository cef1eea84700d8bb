//! The ports of the node, opened before anything else.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;

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
}

impl Ports {
    pub(super) fn open(listeners: &Listeners) -> anyhow::Result<Self> {
        Ok(Self {
            grpc: open("listeners.otlp_grpc", &listeners.otlp_grpc, Protocols::Http2)?,
            http: open("listeners.otlp_http", &listeners.otlp_http, Protocols::Http)?,
            admin: open("listeners.admin", &listeners.admin, Protocols::Http)?,
        })
    }

    /// The TLS of the ports that have it.
    pub(super) fn certificates(&self) -> Vec<Arc<ServerTls>> {
        let all = [&self.grpc.tls, &self.http.tls, &self.admin.tls];
        all.into_iter().flatten().cloned().collect()
    }

    /// The ports that take OTLP, and the admin port.
    pub(super) fn apart(self) -> (Vec<Port>, Opened) {
        let port = |opened: Opened, protocol| Port {
            listener: opened.listener,
            protocol,
            tls: opened.tls,
        };
        let otlp = vec![port(self.grpc, Protocol::Grpc), port(self.http, Protocol::Http)];
        (otlp, self.admin)
    }
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
