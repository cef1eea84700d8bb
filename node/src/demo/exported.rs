//! The demonstration's exporter, watched over the control socket: its debt, its pivots, its zone, and the moment when
//! all debt is paid.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use gophership_proto::control::v1::control_client::ControlClient;
use gophership_proto::control::v1::{Exporter, StatusRequest};

use crate::control::connect;

/// Interval of the queries.
const QUERY_INTERVAL: Duration = Duration::from_millis(50);
/// Longest time to wait for the live path to fill.
const PIVOT_PATIENCE: Duration = Duration::from_secs(15);
/// Longest time to wait for the debt to be paid.
const PATIENCE: Duration = Duration::from_secs(60);

/// The exporter's highest figures, as they were seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) debt_bytes_max: u64,
    pub(crate) pivots: u64,
}

/// The exporter's present state, if the node answers.
async fn query(socket: &Path) -> Option<Exporter> {
    let mut client = ControlClient::new(connect(socket).await.ok()?);
    let status = client.status(StatusRequest {}).await.ok()?.into_inner();
    status.exporters.into_iter().next()
}

/// Watches until it is stopped. Counts begin anew with each boot.
pub(crate) async fn watch(socket: PathBuf, mut stop: tokio::sync::oneshot::Receiver<()>) -> Seen {
    let (mut seen, mut this_boot) = (Seen::default(), 0);
    loop {
        if let Some(now) = query(&socket).await {
            seen.debt_bytes_max = seen.debt_bytes_max.max(now.debt_bytes);
            if now.pivots < this_boot {
                seen.pivots += this_boot;
            }
            this_boot = now.pivots;
        }
        tokio::select! {
            _ = &mut stop => {
                seen.pivots += this_boot;
                return seen;
            }
            () = tokio::time::sleep(QUERY_INTERVAL) => {}
        }
    }
}

/// Waits until an exporter whose sink is dead has left the live path, for a bounded time, since a slow machine may
/// never fill its ring.
pub(crate) async fn pivoted(socket: &Path) {
    let began = Instant::now();
    while began.elapsed() < PIVOT_PATIENCE && query(socket).await.is_none_or(|e| e.pivots == 0) {
        tokio::time::sleep(QUERY_INTERVAL).await;
    }
}

/// Waits until there is no debt.
pub(crate) async fn paid(socket: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        let now = query(socket).await;
        if now.as_ref().is_some_and(|e| e.debt_entries == 0 && e.in_flight == 0) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > PATIENCE {
            bail!("the debt was not paid within {PATIENCE:?}: {now:?}");
        }
        tokio::time::sleep(QUERY_INTERVAL).await;
    }
}
