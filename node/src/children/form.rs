//! Making a cluster of several child processes.

use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::task::spawn_blocking;

use super::{Child, NodePlan};
use crate::cluster::provision;
use crate::health;

/// Time within which a cluster must be there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Interval of the attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(50);

/// Provisions the cluster through the first node, and waits until all nodes are ready.
///
/// # Errors
/// A node ended, or one was not ready in time.
pub(crate) async fn form(plans: &[NodePlan], children: &mut [Option<Child>]) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut why = String::from("nothing was asked yet");
    let mut provisioned = false;
    loop {
        for child in children.iter_mut().flatten() {
            child.check()?;
        }
        if !provisioned {
            match provision(&plans[0].data).await {
                Ok(()) => provisioned = true,
                Err(error) => why = format!("{error:#}"),
            }
        } else {
            let (mut all, plans) = (true, plans.to_vec());
            let answers = spawn_blocking(move || {
                let ask = |plan: &NodePlan| (plan.name.clone(), health::ask(&plan.admin(), None));
                plans.iter().map(ask).collect::<Vec<_>>()
            });
            for (name, answer) in answers.await? {
                match answer {
                    Ok(answer) if answer.ready => {}
                    Ok(answer) => (all, why) = (false, format!("{name}: {}", answer.text)),
                    Err(error) => (all, why) = (false, format!("{name}: {error:#}")),
                }
            }
            if all {
                return Ok(());
            }
        }
        if began.elapsed() > PATIENCE {
            bail!("the nodes are no cluster after {PATIENCE:?}: {why}");
        }
        tokio::time::sleep(ATTEMPT_INTERVAL).await;
    }
}
