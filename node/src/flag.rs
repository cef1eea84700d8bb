//! A flag that is raised once and waited for.

use tokio::sync::watch;

/// Waits until the flag is raised. One that nobody can raise any more counts as raised: its owner is gone.
pub(crate) async fn raised(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|raised| *raised).await.is_err() {
        tracing::debug!("control.flag.abandoned");
    }
}
