//! A flag that is raised once and waited for.

use tokio::sync::watch;

/// Waits until the flag is raised. A flag whose owner is gone counts as raised.
pub(crate) async fn raised(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|raised| *raised).await.is_err() {
        tracing::debug!("control.flag.abandoned");
    }
}
