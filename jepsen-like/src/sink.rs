//! A sink that records everything it accepts, and that misbehaves on demand: OTLP logs over gRPC and over HTTP/1.1.
//!
//! **Owns**: [`Sink`].
//!
//! **Invariants**:
//! - I1: a change of the mode holds for every request whose body is completely read after it; `down` closes every
//!   connection.
//! - I2: both ports stay the same through `down` and back.

mod answer;
mod ledger;
mod mode;
mod shared;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub use ledger::{Arrival, Ledger, LedgerSummary, Origin};
pub use mode::{Mode, RETRY_AFTER};

use answer::answer;
use shared::{Protocol, Shared};

use crate::loopback::own_address;

/// A running sink. It ends when it is dropped.
pub struct Sink {
    shared: Arc<Shared>,
    /// Address at which it takes gRPC.
    pub grpc: SocketAddr,
    /// Address at which it takes HTTP.
    pub http: SocketAddr,
    servers: Vec<AbortHandle>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.servers.iter().for_each(AbortHandle::abort);
    }
}

impl Sink {
    /// Listens on two free ports of a loopback address of its own.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn start(mode: Mode) -> anyhow::Result<Self> {
        Self::at(own_address(), [0, 0], mode).await
    }

    /// Listens on these ports of an address, the first for gRPC, the second for HTTP; 0 takes a free one.
    ///
    /// # Errors
    ///
    /// A port is taken.
    pub async fn at(address: Ipv4Addr, [grpc, http]: [u16; 2], mode: Mode) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            mode: watch::Sender::new(mode),
            book: Mutex::default(),
        });
        let (mut addresses, mut servers) = (Vec::new(), Vec::new());
        for (port, protocol) in [(grpc, Protocol::Grpc), (http, Protocol::Http)] {
            let listener = listen((address, port).into()).await?;
            let address = listener.local_addr()?;
            addresses.push(address);
            let serving = serve(Arc::clone(&shared), protocol, address, listener);
            let server = tokio::spawn(async move {
                if let Err(error) = serving.await {
                    eprintln!("the sink at {address} has ended: {error:#}");
                }
            });
            servers.push(server.abort_handle());
        }
        Ok(Self {
            shared,
            grpc: addresses[0],
            http: addresses[1],
            servers,
        })
    }

    /// Changes the sink's mode from now on.
    pub fn switch(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Number of payloads that it has accepted.
    pub fn payloads(&self) -> usize {
        self.shared.book().ledger.len()
    }

    /// Everything that it has accepted so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.book().ledger.clone()
    }

    /// Counts of the ledger, without a copy of it.
    pub fn summary(&self) -> LedgerSummary {
        self.shared.book().ledger.summary()
    }

    /// Numbers of requests by answer.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.shared.book().requests.clone()
    }

    /// Number of requests that came to their answer, whatever it was.
    pub fn requests_in_all(&self) -> u64 {
        self.shared.book().requests.values().sum()
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("the sink cannot listen at {address}"))
}

async fn serve(
    shared: Arc<Shared>,
    protocol: Protocol,
    address: SocketAddr,
    listener: TcpListener,
) -> anyhow::Result<()> {
    let mut mode = shared.mode.subscribe();
    let mut listener = Some(listener);
    loop {
        if *mode.borrow_and_update() == Mode::Down {
            drop(listener.take());
            mode.wait_for(|mode| *mode != Mode::Down).await?;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => listen(address).await?,
        };
        // Going down drops this set with all its connections.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = open.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(serve_connection(Arc::clone(&shared), protocol, stream));
                    }
                }
                Some(_) = connections.join_next() => {}
                down = mode.wait_for(|mode| *mode == Mode::Down) => {
                    down?;
                    break;
                }
            }
        }
    }
}

async fn serve_connection(shared: Arc<Shared>, protocol: Protocol, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(Arc::clone(&shared), protocol, request));
    let io = TokioIo::new(stream);
    // The client notices a connection that breaks.
    let _ = match protocol {
        Protocol::Grpc => {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(8 << 20);
            builder.serve_connection(io, service).await
        }
        Protocol::Http => {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await
        }
    };
}
