//! Requests that cost next to nothing to make: a few are built beforehand, and their first and last records are stamped
//! with an id.
//!
//! **Owns**: [`Templates`], [`Stamped`].
//!
//! **Invariants**:
//! - I1: no two requests of a run have equal bytes, and [`Stamped::fingerprint`] is that of the uncompressed bytes.
//! - I2: the bytes between the stamps are never copied or compressed again. A gzip member is a stored block, a block
//!   compressed beforehand, and a stored block.
//!
//! **Not here**: fresh timestamps. Records carry the time at which the templates were built, so a long run's event
//! times stand still.

use bytes::{BufMut as _, Bytes, BytesMut};
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::fingerprint::{Fingerprint, crc_of};
use crate::payload::{LogLine, PayloadId, encode};

/// Number of distinct texts: enough that no compressor sees the same one twice in its window.
const VARIANTS: usize = 8;
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// Bytes of a record besides its body, and of the first and last record besides the stamp.
const RECORD_OVERHEAD: usize = 40;
/// Attribute key of the stamp in the first and the last record.
const STAMP_KEY: &str = "jl.id";

/// One request, ready to be sent: three pieces that follow each other.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// Id of the request.
    pub id: PayloadId,
    /// Fingerprint of its uncompressed bytes.
    pub fingerprint: Fingerprint,
    /// The gRPC message, prefix included.
    pub pieces: [Bytes; 3],
    /// True where the message is compressed with gzip.
    pub gzip: bool,
}

/// Prebuilt requests of one size.
pub struct Templates {
    run: String,
    stamp_bytes: usize,
    variants: Vec<Variant>,
}

struct Variant {
    /// Bytes up to the end of the last stamp in the first record, and the offsets of its stamps.
    head: Vec<u8>,
    head_stamps: Vec<usize>,
    middle: Bytes,
    middle_crc: Hasher,
    /// `middle` as raw deflate that ends at a byte and is not the last block.
    packed: Bytes,
    /// Bytes from the first stamp of the last record on, and the offsets of its stamps.
    end: Vec<u8>,
    end_stamps: Vec<usize>,
}

impl Templates {
    /// Builds requests of `records` records (two at least) of about `record_bytes` bytes each.
    pub fn new(run: &str, records: usize, record_bytes: usize, time_unix_nano: u64, seed: u64) -> Self {
        assert!(records >= 2, "the first and the last record carry the stamp");
        let mut rng = StdRng::seed_from_u64(seed);
        let blank = stamp(run, PayloadId::default());
        let variants = (0..VARIANTS).map(|_| Variant::new(&blank, records, record_bytes, time_unix_nano, &mut rng));
        Self {
            run: run.to_owned(),
            stamp_bytes: blank.len(),
            variants: variants.collect(),
        }
    }

    /// Uncompressed bytes of each request.
    pub fn request_bytes(&self) -> usize {
        self.variants[0].plain_bytes()
    }

    /// A request with this id.
    pub fn stamped(&self, id: PayloadId, gzip: bool) -> Stamped {
        let stamp = stamp(&self.run, id);
        assert_eq!(
            stamp.len(),
            self.stamp_bytes,
            "{id} has no stamp of the templates' width"
        );
        let pick = usize::try_from(id.sequence).unwrap_or(0) + id.connection as usize;
        let variant = &self.variants[pick % self.variants.len()];
        let head = with_stamps(&variant.head, &variant.head_stamps, &stamp);
        let end = with_stamps(&variant.end, &variant.end_stamps, &stamp);
        let crc32 = crc_of(&head, &variant.middle_crc, &end);
        let pieces = if gzip {
            variant.zipped(&head, &end, crc32)
        } else {
            let mut front = BytesMut::with_capacity(5 + head.len());
            put_prefix(&mut front, false, variant.plain_bytes());
            front.put_slice(&head);
            [front.freeze(), variant.middle.clone(), Bytes::from(end)]
        };
        Stamped {
            id,
            fingerprint: Fingerprint::new(crc32, variant.plain_bytes()),
            pieces,
            gzip,
        }
    }
}

impl Variant {
    fn new(blank: &str, records: usize, record_bytes: usize, time: u64, rng: &mut StdRng) -> Self {
        let room = record_bytes.saturating_sub(RECORD_OVERHEAD);
        let lines = (0..records).map(|number| {
            let ends = number == 0 || number == records - 1;
            let bytes = if ends {
                room.saturating_sub(2 * blank.len() + 20)
            } else {
                room
            };
            let filler = text(bytes, rng);
            LogLine {
                body: if ends { format!("{blank} {filler}") } else { filler },
                attributes: if ends {
                    vec![(STAMP_KEY, blank.to_owned())]
                } else {
                    Vec::new()
                },
            }
        });
        let whole = encode(lines.collect(), time);
        let found = stamps(&whole, blank.as_bytes());
        assert_eq!(found.len(), 4, "a body and an attribute in each of two records");
        let (head_end, end_start) = (found[1] + blank.len(), found[2]);
        let middle = Bytes::copy_from_slice(&whole[head_end..end_start]);
        let mut middle_crc = Hasher::new();
        middle_crc.update(&middle);
        Self {
            packed: deflate_to_byte(&middle),
            middle,
            middle_crc,
            head: whole[..head_end].to_vec(),
            head_stamps: found[..2].to_vec(),
            end: whole[end_start..].to_vec(),
            end_stamps: found[2..].iter().map(|at| at - end_start).collect(),
        }
    }

    fn plain_bytes(&self) -> usize {
        self.head.len() + self.middle.len() + self.end.len()
    }

    fn zipped(&self, head: &[u8], end: &[u8], crc32: u32) -> [Bytes; 3] {
        const STORED_HEADER: usize = 5;
        let message = GZIP_HEADER.len() + 2 * STORED_HEADER + head.len() + self.packed.len() + end.len() + 8;
        let mut front = BytesMut::with_capacity(5 + GZIP_HEADER.len() + STORED_HEADER + head.len());
        put_prefix(&mut front, true, message);
        front.put_slice(&GZIP_HEADER);
        put_stored(&mut front, false, head);
        let mut back = BytesMut::with_capacity(STORED_HEADER + end.len() + 8);
        put_stored(&mut back, true, end);
        back.put_u32_le(crc32);
        back.put_u32_le(u32::try_from(self.plain_bytes()).expect("a request is far under 4 GiB"));
        [front.freeze(), self.packed.clone(), back.freeze()]
    }
}

/// Text that gzip shrinks to about a fourth, as it does with an access log.
fn text(bytes: usize, rng: &mut StdRng) -> String {
    const PARTS: [&str; 8] = [
        "GET /api/v1/cart status ",
        "POST /api/v1/checkout status ",
        "upstream took ms ",
        "user ",
        "retries ",
        "cache miss for key ",
        "connection pool size ",
        "timeout after ms ",
    ];
    let mut out = String::with_capacity(bytes + 40);
    while out.len() < bytes {
        out.push_str(PARTS[rng.random_range(0..PARTS.len())]);
        out.push_str(&format!("{} ", rng.random_range(0..1000)));
    }
    out.truncate(bytes);
    out
}

/// The stamp of an id, of one width for all of a run.
fn stamp(run: &str, id: PayloadId) -> String {
    format!("jl/{run}/c{:04}/{:012}", id.connection, id.sequence)
}

fn stamps(bytes: &[u8], stamp: &[u8]) -> Vec<usize> {
    let at = bytes.windows(stamp.len()).enumerate();
    at.filter(|(_, window)| *window == stamp).map(|(at, _)| at).collect()
}

fn with_stamps(template: &[u8], at: &[usize], stamp: &str) -> Vec<u8> {
    let mut bytes = template.to_vec();
    for &at in at {
        bytes[at..at + stamp.len()].copy_from_slice(stamp.as_bytes());
    }
    bytes
}

fn put_prefix(to: &mut BytesMut, gzip: bool, bytes: usize) {
    to.put_u8(u8::from(gzip));
    to.put_u32(u32::try_from(bytes).expect("a request is far under 4 GiB"));
}

fn put_stored(to: &mut BytesMut, last: bool, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("a stamped record is under 64 KiB");
    to.put_u8(u8::from(last));
    to.put_u16_le(length);
    to.put_u16_le(!length);
    to.put_slice(bytes);
}

fn deflate_to_byte(bytes: &[u8]) -> Bytes {
    let mut deflate = Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(bytes.len() + 1024);
    deflate
        .compress_vec(bytes, &mut out, FlushCompress::Sync)
        .expect("deflate takes every input");
    assert!(deflate.total_in() == bytes.len() as u64 && out.len() < out.capacity());
    assert!(
        out.ends_with(&[0, 0, 0xff, 0xff]),
        "a sync flush ends with an empty stored block"
    );
    out.into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Read as _;

    use super::*;

    fn plain(stamped: &Stamped) -> Vec<u8> {
        let message = stamped.pieces.concat();
        assert_eq!(message[0], u8::from(stamped.gzip));
        assert_eq!(
            u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize,
            message.len() - 5
        );
        let mut out = Vec::new();
        match stamped.gzip {
            true => flate2::read::GzDecoder::new(&message[5..])
                .read_to_end(&mut out)
                .map(drop)
                .unwrap(),
            false => out.extend_from_slice(&message[5..]),
        }
        out
    }

    #[test]
    fn i1_stamped_requests_are_distinct_well_formed_and_as_their_fingerprint_says() {
        let templates = Templates::new("r", 512, 300, 1_000, 1);
        let mut seen = HashSet::new();
        for sequence in 0..64 {
            for gzip in [false, true] {
                let id = PayloadId {
                    connection: u32::from(gzip),
                    sequence,
                };
                let stamped = templates.stamped(id, gzip);
                let bytes = plain(&stamped);
                assert_eq!(Fingerprint::of(&bytes), stamped.fingerprint);
                assert_eq!(bytes.len(), templates.request_bytes());
                assert_eq!(PayloadId::in_payload(&bytes), Some(id));
                assert_eq!(gophership_proto::otlp::skim::must_skim(&bytes, 1).unwrap().records, 512);
                assert!((280 * 512..330 * 512).contains(&bytes.len()), "{}", bytes.len());
                assert!(seen.insert(bytes));
            }
        }
    }

    #[test]
    fn i2_gzip_shrinks_what_lies_between_the_stamps() {
        let templates = Templates::new("r", 512, 300, 1_000, 1);
        let of = |gzip| templates.stamped(PayloadId::default(), gzip).pieces.concat().len();
        assert!(of(true) * 3 < of(false), "{} of {}", of(true), of(false));
    }
}
