//! A vault over a catalogue that forgets at the end of the process.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gophership_catalogue::{Catalogue, MemoryCatalogue};
use gophership_vault::entry::{Encoding, EntryMeta, EntryState};
use gophership_vault::ids::TenantId;
use gophership_vault::{DataDir, ShardSeam, ShardWriter, Vault, VaultOptions};
use uuid::Uuid;

/// Opens a vault with the daemon's defaults.
pub(crate) fn open(dir: &Path, shards: u16) -> anyhow::Result<(Vault, Vec<ShardWriter>)> {
    let options = VaultOptions {
        shards,
        segment_size: 64 << 20,
        segment_age: Duration::from_secs(300),
        spares: 4,
        disk_limit: 1 << 40,
        retention: Duration::from_secs(86_400),
        release: gophership_vault::Release::AtRetention,
        on_full: gophership_vault::OnFull::Refuse,
        recovery: gophership_vault::RecoveryBy::Itself,
    };
    let seams = (0..shards).map(|_| ShardSeam::alone(Box::new(|| {}))).collect();
    let data = DataDir::open(dir, true)?;
    let catalogue: Arc<dyn Catalogue> = Arc::new(MemoryCatalogue::new(data.identity()));
    let epoch = catalogue.node_up(Uuid::new_v4(), None)?;
    let opened = Vault::open(data, &options, epoch, catalogue.ledger(), seams)?;
    // The spares are written at the start; measure when the disk is quiet again.
    let files = u64::from(shards) * (options.spares as u64 + 1);
    while opened.0.status().wal_files.0 < files {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(300));
    Ok(opened)
}

/// A description for a payload of `records` records.
pub(crate) fn meta(records: u32) -> EntryMeta {
    EntryMeta {
        received_ns: 1,
        min_event_ns: 1,
        max_event_ns: 1,
        record_count: records,
        tenant: TenantId::DEFAULT,
        encoding: Encoding::Identity,
        state: EntryState::PLAIN,
    }
}

/// Bytes that look like logs: they compress about three to one.
pub(crate) fn loglike(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 128);
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    while out.len() < len {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(b"GET /api/v1/orders/");
        out.extend_from_slice(format!("{:08x}", seed >> 32).as_bytes());
        out.extend_from_slice(b" HTTP/1.1 200 user-agent=Mozilla/5.0 trace=");
        out.extend_from_slice(format!("{seed:016x}").as_bytes());
        out.extend_from_slice(b" duration_ms=");
        out.extend_from_slice(format!("{}\n", seed >> 56).as_bytes());
    }
    out.truncate(len);
    out
}
