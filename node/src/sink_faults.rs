//! Finds the exporters that would send to the node itself, and those whose sink has no address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;

use crate::config::Export;
use crate::sink::reaches_self;

/// The longest time that the lookup of a sink's address may take.
const RESOLVE_TIME: Duration = Duration::from_millis(500);

/// The exporters whose sinks are not as they should be.
#[derive(Default)]
pub(crate) struct SinkFaults {
    /// Those whose sink has no address, or none within [`RESOLVE_TIME`].
    pub(crate) unresolved: Vec<Export>,
    /// Those that would send to the node itself, by name, each with the message that says so.
    pub(crate) loops: BTreeMap<String, String>,
}

impl SinkFaults {
    /// Logs the exporters whose sink has no address.
    pub(crate) fn log_unresolved(&self) {
        for export in &self.unresolved {
            let sink = export.target.endpoint.authority();
            tracing::warn!(
                exporter = export.name,
                sink,
                "export.sink.unresolved: its name has no address now"
            );
        }
    }
}

/// Looks up the sinks of exporters, and compares them with `own`, the addresses that the node listens on. Exporters
/// with `into_self` are left out, since they are meant to send to the node itself.
pub(crate) async fn sink_faults(exports: &[Export], own: &[SocketAddr]) -> SinkFaults {
    // All lookups run at once, and for a short time only: clients wait for a node that starts, and the name service may
    // come back later than the node.
    let lookups = exports.iter().filter(|e| !e.into_self).map(|export| async move {
        let sink = export.target.endpoint.authority();
        let found = tokio::time::timeout(RESOLVE_TIME, reaches_self(&sink, own)).await;
        (export, sink, found)
    });
    let mut faults = SinkFaults::default();
    for (export, sink, found) in join_all(lookups).await {
        match found {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                let why = format!(
                    "export {:?} sends to {sink}, which is this node itself: everything would go round in a circle. If \
                     that is meant, set `into_self: true` for it",
                    export.name
                );
                faults.loops.insert(export.name.clone(), why);
            }
            Ok(Err(_)) | Err(_) => faults.unresolved.push(export.clone()),
        }
    }
    faults
}
