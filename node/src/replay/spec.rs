//! The specification of a replay, checked. It is kept with its job, as JSON.

use gophership_proto::control::v1;
use gophership_proto::control::v1::replay_sink::Kind;
use gophership_vault::time::TimeRange;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::ReplayError;
use super::limits::{ANSWER_TIMEOUT, CA_PEM_BYTES_MAX};
use super::read_from::Source;
use crate::config::{Compression, Endpoint, ExportKind, ExportTarget, ExportTls};
use crate::export::Exporters;

/// The protocol of a sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protocol {
    OtlpGrpc,
    OtlpHttp,
}

impl Protocol {
    fn kind(self) -> ExportKind {
        match self {
            Self::OtlpGrpc => ExportKind::Grpc,
            Self::OtlpHttp => ExportKind::Http,
        }
    }
}

/// The sink of a job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SinkSpec {
    /// The sink of the exporter of this name, with the same settings.
    Exporter(String),
    /// A server of its own.
    Server {
        protocol: Protocol,
        /// `host:port`, with HTTP optionally with a path.
        endpoint: String,
        into_self: bool,
        /// True where it may be another machine, reached in plaintext.
        insecure: bool,
        /// TLS settings; absent for plaintext.
        #[serde(default)]
        tls: Option<Tls>,
    },
}

/// TLS settings for a server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Tls {
    /// Authorities as PEM text; absent: the system's.
    ca_pem: Option<String>,
}

impl SinkSpec {
    /// The target that the sink stands for.
    pub(super) fn target(&self, exporters: &Exporters) -> Result<ExportTarget, ReplayError> {
        let (protocol, endpoint, insecure, tls) = match self {
            Self::Exporter(name) => return exporters.target(name).map_err(|e| ReplayError::Invalid(e.to_string())),
            Self::Server {
                protocol,
                endpoint,
                insecure,
                tls,
                ..
            } => (protocol, endpoint, *insecure, tls),
        };
        let kind = protocol.kind();
        let server = Endpoint::at(kind, tls.is_some(), endpoint).ok_or_else(|| not_an_endpoint(endpoint))?;
        if tls.is_none() && !server.is_loopback() && !insecure {
            return Err(ReplayError::Plaintext {
                endpoint: endpoint.clone(),
            });
        }
        Ok(ExportTarget {
            compression: Compression::None,
            timeout: ANSWER_TIMEOUT,
            insecure,
            tls: ExportTls {
                ca_pem: tls.as_ref().and_then(|tls| tls.ca_pem.clone()),
                ..ExportTls::default()
            },
            ..ExportTarget::new(kind, server)
        })
    }
}

/// The id of a request that the client chose, if it did.
pub(crate) fn request_id(asked: &v1::ReplaySpec) -> Result<Option<Uuid>, ReplayError> {
    match asked.request.as_str() {
        "" => Ok(None),
        id => match Uuid::try_parse(id) {
            Ok(id) if !id.is_nil() => Ok(Some(id)),
            Ok(_) | Err(_) => Err(invalid("the id of a request is a UUID, and not that of zeros")),
        },
    }
}

/// The specification of a replay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(super) from_unix_nano: Option<u64>,
    pub(super) to_unix_nano: Option<u64>,
    pub(super) source: Source,
    /// The rate; 0 means no limit.
    pub(super) rate_bytes_per_second: u64,
    pub(super) sink: Option<SinkSpec>,
}

impl Spec {
    /// Checks a client's request for a job.
    pub(crate) fn for_job(asked: v1::ReplaySpec) -> Result<Self, ReplayError> {
        let spec = Self::new(asked)?;
        match spec.sink {
            Some(_) => Ok(spec),
            None => Err(invalid("a replay job needs a sink that the node sends to")),
        }
    }

    /// Checks a client's request for a stream.
    pub(crate) fn for_stream(asked: v1::ReplaySpec) -> Result<Self, ReplayError> {
        let spec = Self::new(asked)?;
        match spec.sink {
            Some(_) => Err(invalid("a replay that comes back to the client has no sink")),
            None => Ok(spec),
        }
    }

    fn new(asked: v1::ReplaySpec) -> Result<Self, ReplayError> {
        let source = match asked.source() {
            v1::ReplaySource::Unspecified | v1::ReplaySource::Auto => Source::Auto,
            v1::ReplaySource::Vault => Source::Vault,
            v1::ReplaySource::Archive => Source::Archive,
        };
        if let Some(to) = asked.to_unix_nano
            && asked.from_unix_nano.unwrap_or(0) >= to
        {
            return Err(invalid("the time range is empty: its end is not after its beginning"));
        }
        Ok(Self {
            from_unix_nano: asked.from_unix_nano,
            to_unix_nano: asked.to_unix_nano,
            source,
            rate_bytes_per_second: asked.rate_limit_bytes_per_second,
            sink: asked.sink.map(sink).transpose()?,
        })
    }

    /// Where the entries are read.
    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// The range of event times.
    pub(super) fn range(&self) -> TimeRange {
        // The end is exclusive; `new` made sure that it is not 0.
        TimeRange {
            min: self.from_unix_nano.unwrap_or(0),
            max: self.to_unix_nano.map_or(u64::MAX, |to| to.saturating_sub(1)),
        }
    }

    /// The sink in the notation of `gs-ctl replay start --sink`.
    pub(super) fn sink_name(&self) -> String {
        match &self.sink {
            None => "-".to_owned(),
            Some(SinkSpec::Exporter(name)) => format!("exporter:{name}"),
            Some(SinkSpec::Server {
                protocol,
                endpoint,
                tls,
                ..
            }) => {
                let scheme = match protocol {
                    Protocol::OtlpGrpc => "otlp-grpc",
                    Protocol::OtlpHttp => "otlp-http",
                };
                let tls = if tls.is_some() { "s" } else { "" };
                format!("{scheme}{tls}://{endpoint}")
            }
        }
    }

    /// The specification in the form of the control service.
    pub(super) fn shown(&self) -> v1::ReplaySpec {
        let source = match self.source {
            Source::Auto => v1::ReplaySource::Auto,
            Source::Vault => v1::ReplaySource::Vault,
            Source::Archive => v1::ReplaySource::Archive,
        };
        v1::ReplaySpec {
            from_unix_nano: self.from_unix_nano,
            to_unix_nano: self.to_unix_nano,
            source: source.into(),
            rate_limit_bytes_per_second: self.rate_bytes_per_second,
            sink: self.sink.as_ref().map(|sink| match sink {
                SinkSpec::Exporter(name) => v1::ReplaySink {
                    kind: Some(Kind::Exporter(name.clone())),
                    ..v1::ReplaySink::default()
                },
                SinkSpec::Server {
                    protocol,
                    endpoint,
                    into_self,
                    insecure,
                    tls,
                } => {
                    let server = v1::OtlpSink {
                        endpoint: endpoint.clone(),
                        // A list of jobs stays small without the authorities.
                        tls: tls.as_ref().map(|_| v1::OtlpTls::default()),
                    };
                    v1::ReplaySink {
                        kind: Some(match protocol {
                            Protocol::OtlpGrpc => Kind::OtlpGrpc(server),
                            Protocol::OtlpHttp => Kind::OtlpHttp(server),
                        }),
                        into_self: *into_self,
                        insecure: *insecure,
                    }
                }
            }),
            ..v1::ReplaySpec::default()
        }
    }
}

fn sink(asked: v1::ReplaySink) -> Result<SinkSpec, ReplayError> {
    let (protocol, v1::OtlpSink { endpoint, tls }) = match asked.kind {
        Some(Kind::OtlpGrpc(sink)) => (Protocol::OtlpGrpc, sink),
        Some(Kind::OtlpHttp(sink)) => (Protocol::OtlpHttp, sink),
        Some(Kind::Exporter(name)) => return Ok(SinkSpec::Exporter(name)),
        None => return Err(invalid("the sink is of a kind that this node does not know")),
    };
    // A port that is left out would be 80 or 443, which nobody means who replays.
    let authority = endpoint
        .split_once('/')
        .map_or(&endpoint[..], |(authority, _)| authority);
    let has_port = authority
        .parse::<http::uri::Authority>()
        .is_ok_and(|a| a.port_u16().is_some());
    if !has_port || Endpoint::at(protocol.kind(), tls.is_some(), &endpoint).is_none() {
        return Err(not_an_endpoint(&endpoint));
    }
    let tls = tls.map(|tls| Tls {
        ca_pem: (!tls.ca_pem.is_empty()).then_some(tls.ca_pem),
    });
    if tls
        .as_ref()
        .is_some_and(|tls| tls.ca_pem.as_ref().is_some_and(|pem| pem.len() > CA_PEM_BYTES_MAX))
    {
        return Err(ReplayError::Invalid(format!(
            "the file of --ca has more than {CA_PEM_BYTES_MAX} bytes: name one with the authority of this sink only"
        )));
    }
    Ok(SinkSpec::Server {
        protocol,
        endpoint,
        into_self: asked.into_self,
        insecure: asked.insecure,
        tls,
    })
}

fn not_an_endpoint(endpoint: &str) -> ReplayError {
    ReplayError::Invalid(format!(
        "the sink {endpoint:?} is not host:port, or with HTTP host:port/path"
    ))
}

fn invalid(why: &str) -> ReplayError {
    ReplayError::Invalid(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(endpoint: &str) -> v1::ReplaySpec {
        let kind = Some(Kind::OtlpGrpc(v1::OtlpSink {
            endpoint: endpoint.to_owned(),
            tls: None,
        }));
        v1::ReplaySpec {
            sink: Some(v1::ReplaySink {
                kind,
                ..v1::ReplaySink::default()
            }),
            ..v1::ReplaySpec::default()
        }
    }

    #[test]
    fn a_sink_is_host_and_port() {
        for good in ["backend:4317", "10.0.0.1:1", "[::1]:4317"] {
            assert!(Spec::for_job(to(good)).is_ok(), "{good}");
        }
        for bad in [
            "backend",
            "",
            ":4317",
            "backend:0",
            "backend:99999",
            "user@backend:4317",
            "http://backend:4317",
            "a b:1",
            "backend:4317/x",
        ] {
            assert!(Spec::for_job(to(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_goes_with_http_only_and_an_authority_is_bounded() {
        let to = |kind: fn(v1::OtlpSink) -> Kind, endpoint: &str, ca: usize| {
            let tls = Some(v1::OtlpTls { ca_pem: "x".repeat(ca) });
            let endpoint = endpoint.to_owned();
            let sink = v1::ReplaySink {
                kind: Some(kind(v1::OtlpSink { endpoint, tls })),
                ..v1::ReplaySink::default()
            };
            Spec::for_job(v1::ReplaySpec {
                sink: Some(sink),
                ..v1::ReplaySpec::default()
            })
        };
        assert!(to(Kind::OtlpHttp, "backend:443/otlp/v1/logs", 0).is_ok());
        assert!(to(Kind::OtlpHttp, "backend/otlp", 0).is_err());
        assert!(to(Kind::OtlpGrpc, "backend:443/otlp", 0).is_err());
        assert!(to(Kind::OtlpGrpc, "backend:443", CA_PEM_BYTES_MAX).is_ok());
        assert!(to(Kind::OtlpGrpc, "backend:443", CA_PEM_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn a_job_has_a_sink_and_a_stream_has_none() {
        assert!(Spec::for_stream(to("backend:4317")).is_err());
        assert!(Spec::for_job(v1::ReplaySpec::default()).is_err());
        assert!(Spec::for_stream(v1::ReplaySpec::default()).is_ok());
    }

    #[test]
    fn the_end_of_a_range_is_outside_of_it() {
        let ask = |from, to| {
            Spec::for_stream(v1::ReplaySpec {
                from_unix_nano: from,
                to_unix_nano: to,
                ..v1::ReplaySpec::default()
            })
        };
        assert_eq!(ask(Some(5), Some(8)).unwrap().range(), TimeRange { min: 5, max: 7 });
        assert_eq!(ask(None, None).unwrap().range(), TimeRange::ALL);
        assert!(ask(Some(5), Some(5)).is_err());
        assert!(ask(None, Some(0)).is_err());
    }

    #[test]
    fn a_spec_reads_back_as_it_was_kept_and_as_it_was_asked() {
        let asked = v1::ReplaySpec {
            from_unix_nano: Some(1),
            rate_limit_bytes_per_second: 7,
            source: v1::ReplaySource::Vault.into(),
            ..to("b:1")
        };
        let spec = Spec::for_job(asked.clone()).unwrap();
        assert_eq!(spec.shown(), asked);
        let kept = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&kept).unwrap(), spec);
    }
}
