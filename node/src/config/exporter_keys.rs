//! The tables of an exporter's keys: path within the element, documentation, kind, bounds.
//!
//! **Not here**: reading them and the rules between them (`exporters.rs`).

use super::bounds;
use super::export::{Compression, Endpoint, Export, ExportKind, ExportStart, ExportTarget, ExportTls};
use super::field::Field;
use super::keys::{DAY, Key, MILLISECOND, MINUTE, SECOND, key, millis};

/// The sections of an exporter that name its target: exactly one of them is set.
pub(super) const TARGETS: [(&str, ExportKind, &str); 2] = [
    (
        "otlp_grpc",
        ExportKind::Grpc,
        "Sends OTLP over gRPC. Proxies are taken from the environment.",
    ),
    (
        "otlp_http",
        ExportKind::Http,
        "Sends OTLP over HTTP, protobuf. Proxies are taken from the environment.",
    ),
];
pub(super) const HEADERS: &str = "headers";
pub(super) const HEADERS_DOC: &str = "Headers that each request carries, by name. Their values are shown as ***.";
pub(super) const TLS: &str = "tls";
pub(super) const TLS_DOC: &str = "TLS 1.2 or 1.3, where the endpoint is https://.";

/// The plain keys of an exporter.
pub(super) static EXPORTER_KEYS: &[Key<Export>] = &[
    key(
        "name",
        "The exporter's name. Its position is kept under it.",
        Field::ExporterName(|e| &mut e.name),
    ),
    key(
        "batch_bytes",
        "Bytes of payload that are sent in one request, where there are so many.",
        Field::Size(|e| &mut e.batch_bytes, bounds::BATCH_BYTES_MIN, bounds::BATCH_BYTES_MAX),
    ),
    key(
        "start",
        "Where a new exporter begins: with what comes from now on, or with the oldest that the vault holds.",
        Field::Choice(ExportStart::WORDS, |e| &mut e.start),
    ),
    key(
        "expire",
        "The age at which what it has not sent expires, and is counted.",
        Field::TimeOrNone(|e| &mut e.expire, millis(SECOND), millis(36_500 * DAY)),
    ),
    key(
        "into_self",
        "It may send to one of the node's own addresses.",
        Field::Flag(|e| &mut e.into_self),
    ),
];

/// The plain keys of a target.
pub(super) static TARGET_KEYS: &[Key<ExportTarget>] = &[
    key(
        "endpoint",
        "The server's URL. With otlp_http, the path is /v1/logs where there is none.",
        Field::Endpoint(|t| &mut t.endpoint),
    ),
    key(
        "compression",
        "How requests are compressed.",
        Field::Choice(Compression::WORDS, |t| &mut t.compression),
    ),
    key(
        "timeout",
        "A request is answered within this, or it is sent again.",
        Field::Time(|t| &mut t.timeout, millis(100 * MILLISECOND), millis(10 * MINUTE)),
    ),
    key(
        "insecure",
        "Accept plaintext to another machine.",
        Field::Flag(|t| &mut t.insecure),
    ),
];

/// The plain keys of `tls` in a target.
pub(super) static TLS_KEYS: &[Key<ExportTls>] = &[
    key(
        "ca",
        "PEM file: the authorities that the server's certificate is checked against. Absent: the system's.",
        Field::OptionalPath(|t| &mut t.ca),
    ),
    key(
        "cert",
        "PEM file: the certificate chain that is shown to the server.",
        Field::OptionalPath(|t| &mut t.cert),
    ),
    key(
        "key",
        "PEM file: the private key of that certificate.",
        Field::OptionalPath(|t| &mut t.key),
    ),
    key(
        "server_name",
        "The name that the server's certificate must carry. Absent: the endpoint's host.",
        Field::ServerName(|t| &mut t.server_name),
    ),
];

/// A target without a host, to be read into.
pub(super) fn no_target(kind: ExportKind) -> ExportTarget {
    ExportTarget::new(kind, Endpoint::default())
}
