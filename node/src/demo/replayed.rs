//! Everything that a node holds, by hash, read over its control socket.

use std::path::Path;

use anyhow::Context;
use gophership_proto::control::MAX_REPLAY_CHUNK_BYTES;
use gophership_proto::control::v1::control_client::ControlClient;
use gophership_proto::control::v1::{ReplaySource, ReplaySpec};

use super::load::Hash;
use crate::control::connect;

/// An entry that was replayed.
pub(crate) struct Replayed {
    pub(crate) hash: Hash,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Replays everything.
pub(crate) async fn everything(socket: &Path) -> anyhow::Result<Vec<Replayed>> {
    let mut client = ControlClient::new(connect(socket).await?).max_decoding_message_size(MAX_REPLAY_CHUNK_BYTES);
    let spec = ReplaySpec {
        source: ReplaySource::Vault.into(),
        ..ReplaySpec::default()
    };
    let mut chunks = client
        .stream_replay(spec)
        .await
        .context("the node refused the replay")?
        .into_inner();
    let mut out = Vec::new();
    while let Some(chunk) = chunks.message().await.context("the replay broke off")? {
        out.extend(chunk.entries.iter().map(|entry| Replayed {
            hash: *blake3::hash(&entry.payload).as_bytes(),
            records: u64::from(entry.record_count),
            bytes: entry.payload.len() as u64,
        }));
    }
    Ok(out)
}
