//! The settings of an exporter, as plain typed values.
//!
//! Owns: [`Export`], its target and its defaults; how an endpoint is written.
//!
//! Invariants:
//! - I1: the value of a header is a secret: no `Debug`, no print and no fault shows it.
//!
//! Not here: names, documentation, bounds and rules of the keys (`exporters.rs`).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Uri};

use super::choice::choice;

/// One of `export`: a place that everything is sent on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its name, which no other exporter of the node has. Its cursors are kept under it.
    pub name: String,
    /// Where it sends.
    pub target: ExportTarget,
    /// Bytes of payload that are sent in one request, where there are so many.
    pub batch_bytes: u64,
    /// Where it begins when it is new.
    pub start: ExportStart,
    /// The age at which it gives up on what it has not sent.
    pub expire: Option<Duration>,
    /// It may send to the node itself.
    pub into_self: bool,
}

impl Export {
    /// Bytes of memory that it needs at least: a batch as its entries, put together and compressed, and a message that is inflated.
    #[must_use]
    pub fn memory(&self, max_message: u64) -> u64 {
        3 * self.batch_bytes + max_message
    }
}

choice! {
    /// Where a new exporter begins.
    pub enum ExportStart {
        /// With what comes from then on.
        Now = "now",
        /// With the oldest that the vault holds.
        Oldest = "oldest",
    }
}

/// How a target is spoken to.
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
    /// How it is spoken to.
    pub kind: ExportKind,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Headers that each request carries, by their lower-case names.
    pub headers: Vec<(HeaderName, Secret)>,
    /// What TLS needs beside the system's authorities, where the endpoint has it.
    pub tls: ExportTls,
    /// How what was stored as it is is compressed on the way.
    pub compression: Compression,
    /// A request is answered within this, or it failed.
    pub timeout: Duration,
    /// The operator accepts plaintext to another machine.
    pub insecure: bool,
}

/// The client's side of TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportTls {
    /// PEM file: the authorities that the server's certificate is checked against; absent: the system's.
    pub ca: Option<PathBuf>,
    /// The same as PEM text, which goes before a file. No setting: a replay brings it along.
    pub ca_pem: Option<String>,
    /// PEM file: the certificate chain that is shown to the server.
    pub cert: Option<PathBuf>,
    /// PEM file: its private key.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must carry; absent: the endpoint's host.
    pub server_name: Option<String>,
}

choice! {
    /// How payloads are compressed.
    pub enum Compression {
        /// gzip.
        Gzip = "gzip",
        /// Zstandard.
        Zstd = "zstd",
        /// Not at all.
        None = "none",
    }
}

/// The parts of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// `https` rather than `http`.
    pub https: bool,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port; where the URL had none, 443 or 80.
    pub port: u16,
    /// Path and query; with gRPC empty.
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
        // `Uri` leaves a fragment out without a word.
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

    /// The path that a protocol has, where none was given.
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

    /// Whether only this machine can be meant.
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
    /// What is shown in its place.
    pub(super) const SHOWN: &'static str = "***";

    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one who sends it.
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
        }
    }
}

impl ExportTarget {
    /// One with every default: gzip, and 10 s for an answer.
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
