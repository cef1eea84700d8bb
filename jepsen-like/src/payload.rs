//! OTLP payloads that can be told apart: each carries its run, connection and sequence number in body and attribute.
//!
//! **Owns**: [`PayloadId`], [`Payload`] and their construction.
//!
//! **Invariants**:
//! - I1: no two payloads of a run have equal bytes, so the hash of a payload identifies it.

use std::fmt;
use std::io::Write as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use rand::Rng;
use serde::Serialize;

use crate::fingerprint::Fingerprint;

/// Smallest target size of a payload.
const BYTES_MIN: usize = 300;
/// Largest target size of a payload.
pub const BYTES_MAX: usize = 200 * 1024;
/// Payload bytes for each record of a larger payload.
const RECORD_BYTES: usize = 1500;

/// Id of a payload within a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct PayloadId {
    /// The connection that made it.
    pub connection: u32,
    /// Its number among that connection's payloads.
    pub sequence: u64,
}

impl fmt::Display for PayloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}/{}", self.connection, self.sequence)
    }
}

impl PayloadId {
    const SEQUENCE_BITS: u32 = 44;

    /// The id that a payload carries in its mark; `None` for a payload without one.
    pub fn in_payload(payload: &[u8]) -> Option<Self> {
        let at = memmem(payload, b"jl/")?;
        let mark = payload[at..].iter().take_while(|byte| byte.is_ascii_graphic()).take(80);
        let mark: String = mark.map(|byte| char::from(*byte)).collect();
        let mut parts = mark.split('/').skip(2);
        let connection = parts.next()?.strip_prefix('c')?.parse().ok()?;
        let digits = parts.next()?;
        let digits = digits.split(|letter: char| !letter.is_ascii_digit()).next()?;
        Some(Self {
            connection,
            sequence: digits.parse().ok()?,
        })
    }

    /// The id as one number, with room for 2^20 connections and 2^44 payloads of each.
    pub fn packed(self) -> u64 {
        u64::from(self.connection) << Self::SEQUENCE_BITS | self.sequence
    }

    /// The id that [`Self::packed`] turned into a number.
    pub fn unpacked(number: u64) -> Self {
        Self {
            connection: u32::try_from(number >> Self::SEQUENCE_BITS).expect("20 bits are left"),
            sequence: number & ((1 << Self::SEQUENCE_BITS) - 1),
        }
    }
}

fn memmem(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

impl Serialize for PayloadId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// BLAKE3 of a payload's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadHash([u8; 32]);

impl PayloadHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A stand-in for the hash, for streams that are too fast for it. It never equals a result of [`Self::of`].
    pub fn named(id: PayloadId, fingerprint: Fingerprint) -> Self {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&id.packed().to_be_bytes());
        name[8..16].copy_from_slice(&fingerprint.get().to_be_bytes());
        Self(name)
    }
}

impl fmt::Debug for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The sizes of a run's payloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sizes {
    /// Most are small, some near [`BYTES_MAX`].
    Mixed,
    /// All are near [`BYTES_MAX`], so that a disk fills before anything else happens, on a slow machine too.
    Large,
}

/// A payload, ready to send.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Id of the payload.
    pub id: PayloadId,
    /// Hash of its uncompressed bytes.
    pub hash: PayloadHash,
    /// Fingerprint of its uncompressed bytes, for comparison with a sink.
    pub fingerprint: Fingerprint,
    /// The gRPC message: the 5-byte prefix and the bytes, compressed or not.
    pub message: Bytes,
    /// True where the message is compressed with gzip.
    pub gzip: bool,
}

impl Payload {
    /// A new payload of a random size from `sizes`; one in four is compressed with gzip.
    pub fn random(run: &str, id: PayloadId, time_unix_nano: u64, sizes: Sizes, rng: &mut impl Rng) -> Self {
        let bytes = match rng.random_range(0..100) {
            _ if sizes == Sizes::Large => rng.random_range(BYTES_MAX / 2..BYTES_MAX),
            0..70 => rng.random_range(BYTES_MIN..4 * 1024),
            70..95 => rng.random_range(4 * 1024..32 * 1024),
            _ => rng.random_range(32 * 1024..BYTES_MAX),
        };
        let plain = encode(lines(run, id, bytes, rng), time_unix_nano);
        let gzip = rng.random_ratio(1, 4);
        Self {
            id,
            hash: PayloadHash::of(&plain),
            fingerprint: Fingerprint::of(&plain),
            message: framed(&plain, gzip),
            gzip,
        }
    }
}

fn framed(plain: &[u8], gzip: bool) -> Bytes {
    let compressed = gzip.then(|| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).expect("a Vec takes every write");
        encoder.finish().expect("a Vec takes every write")
    });
    let body = compressed.as_deref().unwrap_or(plain);
    let mut message = BytesMut::with_capacity(5 + body.len());
    message.put_u8(u8::from(gzip));
    message.put_u32(u32::try_from(body.len()).expect("payloads are under BYTES_MAX and a little"));
    message.put_slice(body);
    message.freeze()
}

fn lines(run: &str, id: PayloadId, bytes: usize, rng: &mut impl Rng) -> Vec<LogLine> {
    let mark = format!("jl/{run}/{id}");
    let records = bytes.div_ceil(RECORD_BYTES);
    let filler = bytes / records - (bytes / records).min(2 * mark.len() + 60);
    let line = |number| LogLine {
        body: format!("{mark} {number} {}", words(filler, rng)),
        attributes: vec![("jl.id", mark.clone())],
    };
    (0..records).map(line).collect()
}

/// The parts in which records of the harness differ.
pub(crate) struct LogLine {
    pub(crate) body: String,
    pub(crate) attributes: Vec<(&'static str, String)>,
}

/// A request with these records, with exactly one `ResourceLogs`.
pub(crate) fn encode(lines: Vec<LogLine>, time_unix_nano: u64) -> Vec<u8> {
    let records = lines.into_iter().map(|line| LogRecord {
        time_unix_nano,
        observed_time_unix_nano: time_unix_nano,
        severity_number: 9,
        severity_text: "INFO".into(),
        body: Some(text(&line.body)),
        attributes: line
            .attributes
            .iter()
            .map(|(key, value)| attribute(key, value))
            .collect(),
        ..LogRecord::default()
    });
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "jepsen-like")],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope::default()),
                log_records: records.collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    request.encode_to_vec()
}

fn text(value: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(value.to_owned())),
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    }
}

/// Text that compresses about as logs do: whole words and numbers between them.
fn words(bytes: usize, rng: &mut impl Rng) -> String {
    const WORDS: [&str; 8] = [
        "request",
        "took",
        "user",
        "error",
        "GET",
        "/api/v1/cart",
        "timeout",
        "200",
    ];
    let mut out = String::with_capacity(bytes + 24);
    while out.len() < bytes {
        out.push_str(WORDS[rng.random_range(0..WORDS.len())]);
        out.push_str(&format!(" {:x} ", rng.random::<u32>()));
    }
    out.truncate(bytes);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Read as _;

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn i1_payloads_are_distinct_well_formed_and_within_their_sizes() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut seen = HashSet::new();
        let mut largest = 0;
        for sequence in 0..500 {
            let id = PayloadId {
                connection: 3,
                sequence,
            };
            let payload = Payload::random("r", id, 1_000, Sizes::Mixed, &mut rng);
            let mut plain = payload.message[5..].to_vec();
            if payload.gzip {
                plain = Vec::new();
                let mut decoder = flate2::read::GzDecoder::new(&payload.message[5..]);
                decoder.read_to_end(&mut plain).unwrap();
            }
            assert_eq!(PayloadHash::of(&plain), payload.hash);
            assert_eq!(PayloadId::in_payload(&plain), Some(id));
            assert_eq!(PayloadId::unpacked(id.packed()), id);
            assert_eq!(Fingerprint::of(&plain), payload.fingerprint);
            assert!(seen.insert(payload.hash), "{id}");
            let skimmed = gophership_proto::otlp::skim::must_skim(&plain, 1).unwrap();
            assert!(skimmed.records >= 1);
            assert!((200..=BYTES_MAX + 4096).contains(&plain.len()), "{}", plain.len());
            largest = largest.max(plain.len());
        }
        assert!(largest > 64 * 1024);
    }
}
