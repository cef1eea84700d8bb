//! The settings of an exporter, as plain typed values.
//!
//! **Owns**: [`Export`], its target and its defaults; the notation of an endpoint.
//!
//! **Invariants**:
//! - I1: the value of a header is a secret: no `Debug`, no print and no fault shows it.
//!
//! **Not here**: names, documentation, bounds and rules of the keys (`exporters.rs`).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Uri};

use super::choice::choice;

/// One element of `export`: an exporter, which sends everything on to one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The exporter's name, unique in the node. Its cursors are kept under it.
    pub name: String,
    /// The sink.
    pub target: ExportTarget,
    /// Bytes of payload in one request, where there are so many.
    pub batch_bytes: u64,
    /// The position at which the exporter begins when it is new.
    pub start: ExportStart,
    /// The age at which entries that it has not sent expire.
    pub expire: Option<Duration>,
    /// True where it may send to the node itself.
    pub into_self: bool,
    /// The element as it is written, as JSON on one line: its references are not resolved, and a header value without
    /// one is `***`.
    pub source: String,
}

impl Export {
    /// The least memory that it needs, in bytes: a batch as its entries, concatenated and compressed, and an inflated
    /// message.
    #[must_use]
    pub fn memory(&self, max_message: u64) -> u64 {
        3 * self.batch_bytes + max_message
    }
}

choice! {
    /// The position at which a new exporter begins.
    pub enum ExportStart {
        /// After the newest entry.
        Now = "now",
        /// At the oldest entry in the vault.
        Oldest = "oldest",
    }
}

/// The protocol of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportKind {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, protobuf.
    Http,
}

/// A server that takes OTLP logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportTarget {
    /// The protocol.
    pub kind: ExportKind,
    /// The address.
    pub endpoint: Endpoint,
    /// Headers of each request, by their lower-case names.
    pub headers: Vec<(HeaderName, Secret)>,
    /// TLS settings beside the system's authorities, where the endpoint has TLS.
    pub tls: ExportTls,
    /// Compression of payloads that are stored uncompressed.
    pub compression: Compression,
    /// Time within which a request must be answered; after it the request has failed.
    pub timeout: Duration,
    /// True where the operator accepts plaintext to another machine.
    pub insecure: bool,
}

/// TLS settings of the client's side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportTls {
    /// PEM file with the authorities that the server's certificate is checked against; absent: the system's.
    pub ca: Option<PathBuf>,
    /// Such authorities as PEM text, which takes precedence over a file. This is no setting: a replay brings it along.
    pub ca_pem: Option<String>,
    /// PEM file with the certificate chain that is shown to the server.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of that certificate.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must carry; absent: the endpoint's host.
    pub server_name: Option<String>,
}

choice! {
    /// Compression of payloads.
    pub enum Compression {
        /// gzip.
        Gzip = "gzip",
        /// Zstandard.
        Zstd = "zstd",
        /// No compression.
        None = "none",
    }
}

/// The parts of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// `https` rather than `http`.
    pub https: bool,
    /// The host: a name or an IP address, without brackets.
    pub host: String,
    /// The port; where the URL had none, 443 or 80.
    pub port: u16,
    /// Path and query; empty with gRPC.
    pub path: String,
}

impl Endpoint {
    /// Reads a URL; one that ends behind the port has no path.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        // `Uri` drops a fragment silently.
        if text.contains('#') || authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host)? {
            "" if https => 443,
            "" => 80,
            port => port.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
        };
        let host = match host.strip_prefix('[') {
            Some(ip) => ip.strip_suffix(']').filter(|ip| ip.parse::<IpAddr>().is_ok())?,
            None => host,
        };
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        (!host.is_empty()).then(|| Self {
            https,
            host: host.to_owned(),
            port,
            path: if path == "/" { "" } else { path }.to_owned(),
        })
    }

    /// The endpoint at `host:port`, or with HTTP at `host:port/path`; without a path, the one that its protocol has by
    /// default.
    #[must_use]
    pub fn at(kind: ExportKind, https: bool, place: &str) -> Option<Self> {
        let scheme = if https { "https" } else { "http" };
        let endpoint = Self::parse(&format!("{scheme}://{place}"))?;
        let fits = kind == ExportKind::Http || endpoint.path.is_empty();
        fits.then(|| endpoint.with_default_path(kind))
    }

    /// The endpoint with the default path of the protocol, where it has none.
    pub(super) fn with_default_path(mut self, kind: ExportKind) -> Self {
        match kind {
            ExportKind::Http if self.path.is_empty() => self.path = "/v1/logs".into(),
            ExportKind::Http | ExportKind::Grpc => {}
        }
        self
    }

    /// `host:port`, an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// True where the host can only be this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text shown in its place.
    pub(super) const SHOWN: &'static str = "***";

    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the code that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::SHOWN)
    }
}

impl Export {
    pub(super) fn new(target: ExportTarget) -> Self {
        Self {
            name: String::new(),
            target,
            batch_bytes: 1 << 20,
            start: ExportStart::Now,
            expire: None,
            into_self: false,
            source: String::new(),
        }
    }
}

impl ExportTarget {
    /// A target with every default: gzip, and 10 s for an answer.
    #[must_use]
    pub fn new(kind: ExportKind, endpoint: Endpoint) -> Self {
        Self {
            kind,
            endpoint,
            headers: Vec::new(),
            tls: ExportTls::default(),
            compression: Compression::Gzip,
            timeout: Duration::from_secs(10),
            insecure: false,
        }
    }
}
