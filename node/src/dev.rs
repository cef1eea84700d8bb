//! `gophership dev`: one node, or a cluster of several, to try things out, with hints for the next steps.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::children::{Addresses, Child, NodePlan, form};
use crate::config::Config;
use crate::run;

/// Interval at which the nodes of a cluster are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The settings of each node of a cluster beside its addresses.
const REST: &str = "vault: { any_filesystem: true }\n";

/// Prints the addresses, and runs a node.
///
/// # Errors
///
/// As [`run::run`].
pub fn one(config: &Config) -> anyhow::Result<()> {
    eprintln!(
        "a node on loopback; its data stays in {data}\n\
         \x20 OTLP/gRPC   {grpc}    OTEL_EXPORTER_OTLP_ENDPOINT=http://{grpc}\n\
         \x20 OTLP/HTTP   {http}    OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}\n\
         \x20 metrics     http://{admin}/metrics\n\
         \x20 status      gs-ctl --socket {data}/gophership.sock status\n\
         \x20 replay      gs-ctl --socket {data}/gophership.sock replay start --sink -\n\
         Ctrl-C ends it.",
        data = config.node.data_dir.display(),
        grpc = config.listeners.otlp_grpc.address,
        http = config.listeners.otlp_http.address,
        admin = config.listeners.admin.address,
    );
    run::run(config, None)
}

/// Runs a cluster of child processes on loopback, with its data in `dir`, until SIGINT or SIGTERM. A cluster that was
/// there before goes on.
///
/// # Errors
///
/// A node did not start, or the cluster was not formed.
pub fn several(nodes: u16, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let addresses: Vec<Addresses> = (1..=nodes).map(Addresses::usual).collect();
    let plans = NodePlan::several(dir, &addresses);
    for plan in &plans {
        plan.write(&plans, REST)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(keep(&plans))
}

async fn keep(plans: &[NodePlan]) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // A Ctrl-C reaches this process alone, which then ends them in order.
    let started: anyhow::Result<Vec<Child>> = plans.iter().map(Child::spawn_apart).collect();
    let mut children: Vec<Option<Child>> = started?.into_iter().map(Some).collect();
    let formed = form(plans, &mut children);
    tokio::select! {
        formed = formed => formed?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
    for (plan, child) in plans.iter().zip(children.iter().flatten()) {
        let Addresses { grpc, http, admin, .. } = plan.addresses;
        eprintln!(
            "{}  pid {}  OTLP/gRPC {grpc}  OTLP/HTTP {http}  http://{admin}/metrics\n        gs-ctl --socket {}",
            plan.name,
            child.pid(),
            plan.socket().display()
        );
    }
    let first = plans[0].socket();
    eprintln!(
        "  cluster     gs-ctl --socket {0} cluster status\n\
         \x20 replay      gs-ctl --socket {0} replay start --sink -\n\
         Kill a node and see what happens. Ctrl-C ends them all.",
        first.display()
    );
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = look.tick() => say_who_ended(plans, &mut children)?,
        }
    }
    let ending: Vec<_> = children.into_iter().flatten().collect();
    for child in &ending {
        child.terminate()?;
    }
    tokio::task::spawn_blocking(move || ending.into_iter().try_for_each(Child::wait_for_end)).await?
}

fn say_who_ended(plans: &[NodePlan], children: &mut [Option<Child>]) -> anyhow::Result<()> {
    for (plan, slot) in plans.iter().zip(children) {
        let Some(child) = slot else { continue };
        if let Some(status) = child.ended()? {
            *slot = None;
            eprintln!(
                "{} ended ({status}); its log is {}, and this starts it again: gophership run --config {}",
                plan.name,
                plan.log().display(),
                plan.config().display()
            );
        }
    }
    Ok(())
}
