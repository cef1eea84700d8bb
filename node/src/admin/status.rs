//! The status as JSON.

use gophership_vault::ids::Lsn;
use serde_json::{Value, json};

use crate::node_state::{NodeState, Running, refused};

/// The node's status. Times are nanoseconds since the Unix epoch, sizes bytes; an Lsn is `segment:number`, or null before the first.
pub(super) fn status(node: &NodeState) -> Value {
    let ready = node.ready();
    let mut out = json!({
        "node": { "name": node.name, "version": env!("CARGO_PKG_VERSION"), "started_unix_nano": node.started_ns },
        "ready": ready.is_ok(),
        "not_ready_reason": ready.err().map(|why| why.to_string()),
    });
    if let (Some(running), Some(all)) = (node.running(), out.as_object_mut()) {
        add(all, running);
    }
    out
}

fn add(all: &mut serde_json::Map<String, Value>, running: &Running) {
    let vault = running.vault.status();
    let identity = running.vault.identity();
    let workers: Vec<_> = running.workers.iter().map(|w| w.snapshot()).collect();
    let lsn = |lsn: Option<Lsn>| lsn.map(|l| l.to_string());
    let shards: Vec<Value> = vault
        .shards
        .iter()
        .zip(&workers)
        .map(|(shard, worker)| {
            json!({
                "shard": shard.shard, "written_lsn": lsn(shard.written), "durable_lsn": lsn(shard.durable), "acked_lsn": lsn(shard.acked),
                "accepted_records": worker.records, "accepted_entries": worker.entries, "accepted_bytes": worker.bytes,
                "in_flight_requests": worker.in_flight, "waiting_entries": worker.waiting,
            })
        })
        .collect();
    let refused: serde_json::Map<String, Value> = refused(&workers)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.to_owned(), count.into()))
        .collect();
    all.insert("identity".to_owned(), json!({ "cluster_id": identity.cluster_id, "node_id": identity.node_id, "storage_uuid": identity.storage_uuid, "epoch": running.vault.epoch() }));
    all.insert("shards".to_owned(), shards.into());
    all.insert("refused".to_owned(), refused.into());
    all.insert(
        "memory".to_owned(),
        json!({ "budget_bytes": running.budget.limit(), "held_bytes": running.budget.held() }),
    );
    all.insert(
        "disk".to_owned(),
        json!({
            "used_bytes": vault.disk.own, "limit_bytes": vault.disk.limit, "tier": vault.tier.name(),
            "filesystem_used_bytes": vault.disk.filesystem_used, "filesystem_size_bytes": vault.disk.filesystem_size,
        }),
    );
    all.insert(
        "segments".to_owned(),
        json!({
            "open": vault.open_segments, "recovering": vault.recovering_segments, "unreadable": vault.unreadable_segments,
            "sealed": vault.sealed_segments, "sealed_bytes": vault.sealed_bytes,
            "quarantined_stretches": vault.quarantined, "quarantined_bytes": vault.quarantined_bytes,
        }),
    );
}
