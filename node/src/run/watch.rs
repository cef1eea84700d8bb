//! The supervision of a node while it runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gophership_catalogue::Catalogue;
use gophership_catalogue::node::NodeState as Participation;
use gophership_vault::Vault;
use tonic_health::server::HealthReporter;

use super::signals::{Signal, Signals};
use super::surfaces::set_health;
use crate::cluster::Member;
use crate::node_state::NodeState;
use crate::readiness::{STALL, StallWatch};
use crate::reload::Reloader;

/// Interval at which certificates that expire soon are warned about.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Interval at which the addresses of sinks that have none are resolved again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of the checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The reason for which a node ends.
pub(super) enum End {
    Signal,
    /// An operator asked for it, and whoever runs the node may still send a signal.
    Asked,
    Failed,
}

/// True where an operator drains the node, by its record.
fn is_draining(catalogue: &dyn Catalogue) -> bool {
    let own = catalogue.identity().node_id;
    catalogue.read(|state| {
        state
            .node(own)
            .is_some_and(|node| node.state == Participation::Draining)
    })
}

/// Supervises the node until it is to end.
pub(super) async fn watch_over(
    node: &NodeState,
    vault: &Vault,
    member: Option<&Member>,
    health: &HealthReporter,
    signals: &mut Signals,
    reloader: &Arc<Reloader>,
) -> End {
    let mut lookups = tokio::time::interval(CHECK_INTERVAL);
    let mut days = tokio::time::interval(DAY);
    let mut resolves = tokio::time::interval(RESOLVE_INTERVAL);
    let mut stalls = StallWatch::default();
    let mut healthy = None;
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::End => return End::Signal,
                Signal::Reload => drop(tokio::spawn(Arc::clone(reloader).reload())),
            },
            () = node.end.notified() => return End::Asked,
            _ = resolves.tick() => drop(tokio::spawn(Arc::clone(reloader).resolve())),
            _ = days.tick() => reloader.certificates.iter().for_each(|tls| tls.warn_of_expiry()),
            _ = lookups.tick() => {
                let shards = vault.marks();
                let limit = member.map_or(STALL, |member| member.quorum.ack_timeout());
                node.set_stalled(stalls.check(Instant::now(), limit, shards.into_iter()));
                let is_gone = member.is_some_and(|member| member.quorum.gone().is_some());
                let is_draining = node.running().is_some_and(|running| is_draining(&*running.catalogue));
                node.set_leaving(is_gone || is_draining);
                let ready = node.ready().is_ok();
                if healthy != Some(ready) {
                    set_health(health, ready).await;
                    healthy = Some(ready);
                }
                if reloader.settings.is_behind() {
                    drop(tokio::spawn(Arc::clone(reloader).follow()));
                }
                if vault.failure().is_some() || member.and_then(Member::failure).is_some() {
                    return End::Failed;
                }
            }
        }
    }
}
