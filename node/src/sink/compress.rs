//! Compression of requests over HTTP.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;

use crate::config::Compression;

/// The payload in the form in which it is sent.
pub(super) async fn compressed(payload: &Bytes, by: Compression) -> io::Result<Bytes> {
    let payload = payload.clone();
    let compress = match by {
        Compression::None => return Ok(payload),
        Compression::Gzip => gzip,
        Compression::Zstd => zstd,
    };
    // Compression takes some 5 ms for each MiB.
    tokio::task::spawn_blocking(move || compress(&payload))
        .await
        .map_err(io::Error::other)?
}

/// Compresses at the fastest level: the sink is near, and CPU time is dear.
fn gzip(payload: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(payload.len() / 4), flate2::Compression::fast());
    encoder.write_all(payload)?;
    Ok(encoder.finish()?.into())
}

fn zstd(payload: &[u8]) -> io::Result<Bytes> {
    Ok(zstd::stream::encode_all(payload, zstd::DEFAULT_COMPRESSION_LEVEL)?.into())
}

/// The value of `content-encoding`.
pub(super) fn content_encoding(by: Compression) -> Option<&'static str> {
    match by {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    }
}
