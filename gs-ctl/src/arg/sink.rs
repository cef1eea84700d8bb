//! Sinks as the command line names them.

use std::path::PathBuf;
use std::str::FromStr;

use gophership_proto::control::v1::replay_sink::Kind;
use gophership_proto::control::v1::{OtlpSink, OtlpTls};

/// The layout of entries in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// Plain concatenation: one `LogsData`.
    Binpb,
    /// Each payload preceded by its length, 4 bytes, big-endian.
    Lenpb,
    /// A line of OTLP/JSON for each entry.
    Jsonl,
}

/// A file to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileSpec {
    pub(crate) path: PathBuf,
    pub(crate) layout: Layout,
    /// True where the file is compressed with Zstandard.
    pub(crate) zstd: bool,
}

/// The destination of a replay.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Sink {
    /// A sink that the node sends to.
    Node(Kind),
    /// JSON lines on stdout, written by this command.
    Stdout,
    /// A file, written by this command.
    File(FileSpec),
}

impl FromStr for Sink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Stdout);
        }
        if let Some(path) = text.strip_prefix("file:") {
            return file(path).map(Self::File);
        }
        if let Some(name) = text.strip_prefix("exporter:").filter(|name| !name.is_empty()) {
            return Ok(Self::Node(Kind::Exporter(name.to_owned())));
        }
        let (scheme, place) = text.split_once("://").unwrap_or_default();
        let otlp = |tls: Option<OtlpTls>| OtlpSink {
            endpoint: match place.split_once('/') {
                Some((place, "")) => place,
                Some(_) | None => place,
            }
            .to_owned(),
            tls,
        };
        let tls = || Some(OtlpTls::default());
        match scheme {
            "otlp-grpc" if !place.is_empty() => Ok(Self::Node(Kind::OtlpGrpc(otlp(None)))),
            "otlp-http" if !place.is_empty() => Ok(Self::Node(Kind::OtlpHttp(otlp(None)))),
            "otlp-grpcs" if !place.is_empty() => Ok(Self::Node(Kind::OtlpGrpc(otlp(tls())))),
            "otlp-https" if !place.is_empty() => Ok(Self::Node(Kind::OtlpHttp(otlp(tls())))),
            _ => Err(format!(
                "{text:?} is no sink: write exporter:NAME, otlp-grpc://HOST:PORT, otlp-http://HOST:PORT/PATH, the same \
                 over TLS with otlp-grpcs:// and otlp-https://, file:PATH, or - for JSON lines on stdout"
            )),
        }
    }
}

impl Sink {
    /// The TLS settings of the sink, where the node sends with TLS settings of the job's own.
    pub(crate) fn tls(&mut self) -> Option<&mut OtlpTls> {
        match self {
            Self::Node(Kind::OtlpGrpc(sink) | Kind::OtlpHttp(sink)) => sink.tls.as_mut(),
            Self::Node(Kind::Exporter(_)) | Self::Stdout | Self::File(_) => None,
        }
    }
}

fn file(path: &str) -> Result<FileSpec, String> {
    let (plain, zstd) = match path.strip_suffix(".zst") {
        Some(plain) => (plain, true),
        None => (path, false),
    };
    let layout = match plain.rsplit_once('.') {
        Some((name, "binpb")) if !name.is_empty() => Layout::Binpb,
        Some((name, "lenpb")) if !name.is_empty() => Layout::Lenpb,
        Some((name, "jsonl")) if !name.is_empty() => Layout::Jsonl,
        _ => {
            return Err(format!(
                "{path:?} does not say how to write it: end its name in .binpb, .lenpb or .jsonl, with .zst after it \
                 to compress"
            ));
        }
    };
    Ok(FileSpec {
        path: PathBuf::from(path),
        layout,
        zstd,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let file = |path: &str, layout, zstd| {
            Sink::File(FileSpec {
                path: PathBuf::from(path),
                layout,
                zstd,
            })
        };
        let otlp = |endpoint: &str| OtlpSink {
            endpoint: endpoint.to_owned(),
            tls: None,
        };
        let over_tls = |endpoint: &str| OtlpSink {
            tls: Some(OtlpTls::default()),
            ..otlp(endpoint)
        };
        for (text, sink) in [
            ("-", Sink::Stdout),
            ("exporter:a", Sink::Node(Kind::Exporter("a".to_owned()))),
            ("file:x.binpb", file("x.binpb", Layout::Binpb, false)),
            ("file:/a/b.c/x.lenpb", file("/a/b.c/x.lenpb", Layout::Lenpb, false)),
            ("file:x.jsonl.zst", file("x.jsonl.zst", Layout::Jsonl, true)),
            (
                "otlp-grpc://backend:4317",
                Sink::Node(Kind::OtlpGrpc(otlp("backend:4317"))),
            ),
            (
                "otlp-http://[::1]:4318/",
                Sink::Node(Kind::OtlpHttp(otlp("[::1]:4318"))),
            ),
            (
                "otlp-http://a:1/otlp/v1/logs",
                Sink::Node(Kind::OtlpHttp(otlp("a:1/otlp/v1/logs"))),
            ),
            ("otlp-grpcs://a:443", Sink::Node(Kind::OtlpGrpc(over_tls("a:443")))),
            ("otlp-https://a:443/", Sink::Node(Kind::OtlpHttp(over_tls("a:443")))),
        ] {
            assert_eq!(text.parse(), Ok(sink), "{text}");
        }
        for text in [
            "",
            "exporter:",
            "file:",
            "file:x",
            "file:x.zst",
            "file:.lenpb",
            "file:x.json",
            "http://x:1",
            "otlp-grpc://",
            "otlp-grpcs://",
            "otlp://x:1",
            "x.lenpb",
            "--",
        ] {
            assert!(text.parse::<Sink>().is_err(), "{text}");
        }
    }
}
