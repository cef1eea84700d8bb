//! Puts exporters on record that no node had before. Each begins in all logs of the cluster at once: at their present
//! ends, or at their beginnings.
//!
//! **Invariants**:
//! - I1: the first node that has an exporter decides where it begins. Nodes that have it later change nothing.
//! - I2: an entry that is acknowledged after that is left out in no log, also where its node is cut off, or comes
//!   later.
//!
//! **Not here**: the exporters that a node says it is configured with (`configure`), which it says after this: a node
//! that ends between the two leaves an exporter that has begun, and holds what it has not got.

use gophership_catalogue::catalogue::EXPORTERS_BEGIN_AT_OLDEST;
use gophership_catalogue::exporter::EntryId;
use gophership_catalogue::segment::SegmentState;
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command, Refusal, State};
use gophership_vault::ids::{EntryNumber, Lsn, NodeId, ShardId};
use gophership_vault::time::now_unix_nano;

use crate::config::{Export, ExportStart};
use crate::peers::Peers;
use crate::replay::ends_at;

/// Puts the exporters of these that are new on record. `own` gives the ends of this node's logs. It blocks, for a
/// bounded time for each other node.
///
/// # Errors
/// The catalogue's. One exporter too many is none: it is not started.
pub fn begin<'a>(
    catalogue: &dyn Catalogue,
    peers: Option<&Peers>,
    own: impl Fn() -> Vec<(ShardId, Option<Lsn>)>,
    configs: impl IntoIterator<Item = &'a Export>,
) -> Result<(), CatalogueError> {
    for config in configs {
        let name = &config.name;
        let (is_known, made_anew) = catalogue.read(|state| {
            let made_anew = state.setting(EXPORTERS_BEGIN_AT_OLDEST).is_some();
            (state.exporter(name).is_some(), made_anew)
        });
        if is_known {
            continue;
        }
        let done = match config.start {
            // Where the catalogue was made anew the exporter's cursor is unknown.
            ExportStart::Now if !made_anew => ends(catalogue, peers, own()),
            ExportStart::Now | ExportStart::Oldest => Vec::new(),
        };
        let (exporter, at_ns) = (name.clone(), now_unix_nano());
        match catalogue.submit(Actor::Node, Command::BeginExporter { exporter, done, at_ns }) {
            Ok(_) | Err(CatalogueError::Refused(Refusal::TooManyExporters { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The ends of this node's logs before it writes anything in its present epoch.
pub fn own_ends_on_record(state: &State, own: NodeId) -> Vec<(ShardId, Option<Lsn>)> {
    let of_node = state.shards().filter(|((node, _), _)| *node == own);
    let end =
        |record: &gophership_catalogue::state::ShardRecord| Lsn::at(record.next_index, EntryNumber::FIRST).before();
    of_node.map(|((_, shard), record)| (shard, end(record))).collect()
}

/// The present ends of all logs.
fn ends(catalogue: &dyn Catalogue, peers: Option<&Peers>, own: Vec<(ShardId, Option<Lsn>)>) -> Vec<EntryId> {
    let of = |node: NodeId, ends: Vec<(ShardId, Option<Lsn>)>| {
        let ends = ends.into_iter();
        ends.filter_map(move |(shard, end)| Some((node, shard, end?)))
            .collect::<Vec<_>>()
    };
    let mut all = of(catalogue.identity().node_id, own);
    let others = peers
        .into_iter()
        .flat_map(|peers| peers.others().into_iter().map(move |node| (peers, node)));
    for (peers, node) in others {
        let ends = ends_at(peers, node).unwrap_or_else(|why| {
            tracing::info!(peer = %node, error = why, "export.begin.by_record");
            catalogue.read(|state| certain_ends(state, node))
        });
        all.extend(of(node, ends));
    }
    all
}

/// The ends of the logs of a node that does not say, before the first segment of each that may still get entries.
fn certain_ends(state: &State, node: NodeId) -> Vec<(ShardId, Option<Lsn>)> {
    let of_node = state.shards().filter(|((of, _), _)| *of == node);
    let end = |shard, next_index| {
        let mut segments = state.segments_of(node, shard);
        let is_unsealed = |state| matches!(state, SegmentState::Open | SegmentState::Recovering);
        let unsealed = segments.find(|segment| is_unsealed(segment.state()));
        let next = unsealed.map_or(next_index, |segment| segment.id().index);
        Lsn::at(next, EntryNumber::FIRST).before()
    };
    of_node
        .map(|((_, shard), record)| (shard, end(shard, record.next_index)))
        .collect()
}
