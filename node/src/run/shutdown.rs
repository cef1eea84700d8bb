//! The end of a node, in order: no new connections, answers to the requests that were read, exporters, surfaces, the
//! vault.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use gophership_somatic::ZoneCell;
use gophership_vault::Vault;
use gophership_vault_replication::scrub::Scrub;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ingest::{Accepting, Ingest};
use super::signals::Signals;
use crate::admin::AdminError;
use crate::archive::Archiver;
use crate::cluster::Member;
use crate::export::Exporters;
use crate::ingester::Worker;

/// Longest time for the end of a node, once it has stopped waiting for the balancer.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// The parts that are to end.
pub(super) struct Shutdown {
    pub(super) ingest: Ingest,
    pub(super) zone: Arc<ZoneCell>,
    pub(super) exporters: Arc<Exporters>,
    pub(super) archiver: Archiver,
    pub(super) vault: Vault,
    pub(super) member: Option<Member>,
    pub(super) accepting: Accepting,
    /// Ends the commits of cursors, and the surfaces.
    pub(super) stop: watch::Sender<bool>,
    pub(super) cursors: JoinHandle<()>,
    pub(super) control: JoinHandle<std::io::Result<()>>,
    pub(super) scrub: Scrub,
    pub(super) admin: JoinHandle<Result<(), AdminError>>,
}

impl Shutdown {
    /// Ends all parts.
    ///
    /// # Errors
    ///
    /// A part ended before its time, a sync had failed, or consensus had ended.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let consensus = self.member.as_ref().and_then(Member::failure);
        if let Some(member) = &self.member {
            // While requests are still answered, so that the others are without a leader for no time.
            member.hand_over().await;
        }
        // Without one every command would be waited for, and the word of a node that is gone counts no more.
        let has_leader = self.member.as_ref().is_some_and(|member| member.quorum.has_leader());
        if !has_leader && let Some(member) = &self.member {
            member.stop_waiting();
        }
        self.accepting.close.send_replace(true);
        self.ingest.drain.send_replace(true);
        let workers = self.ingest.workers;
        let joined =
            tokio::task::spawn_blocking(move || workers.into_iter().filter_map(Worker::join).collect::<Vec<_>>());
        let writers = joined.await.context("waiting for the ingest workers")?;
        self.ingest.sensing.abort();
        self.zone.end();
        let (exporters, scrub, archiver) = (self.exporters, self.scrub, self.archiver);
        let stopped = tokio::task::spawn_blocking(move || {
            archiver.stop();
            scrub.stop();
            exporters.stop();
        });
        stopped.await.context("the exporters did not stop")?;
        self.stop.send_replace(true);
        self.cursors.await.context("keeping the cursors panicked")?;
        let (controlled, served) = (self.control.await, self.admin.await);
        let accepted = self.accepting.accepted.await;
        let failure = self.vault.failure();
        let vault = self.vault;
        if let Some(member) = &self.member {
            member.stop_streams().await;
        }
        let mut member = self.member;
        if !has_leader && let Some(member) = member.take() {
            member.end().await;
        }
        tokio::task::spawn_blocking(move || vault.close(writers))
            .await
            .context("the vault did not close")?;
        // The vault has told the catalogue what it had to.
        if let Some(member) = member {
            member.end().await;
        }
        controlled
            .context("the control service panicked")?
            .context("the control socket")?;
        served.context("the admin service panicked")??;
        accepted.context("the acceptor panicked")?.context("the OTLP ports")?;
        if let Some(why) = consensus {
            bail!(why);
        }
        match failure {
            None => {
                tracing::info!("node.stop.done");
                Ok(())
            }
            Some(why) => bail!(
                "{why}\nThe node took nothing more and has ended. Everything acknowledged was synced before. Check the \
                 disk (dmesg, SMART), then start the node again: it reads the log back from the disk and goes on"
            ),
        }
    }
}

/// Ends the process once so many more signals have come, or when a clean end takes too long (a disk that hangs).
/// Acknowledged entries are synced, and segments that are not sealed are recovered at the next start.
pub(super) async fn end_anyway(mut signals: Signals, signals_left: u8, limit: Duration) {
    let told = async {
        for _ in 0..signals_left {
            signals.end().await;
        }
    };
    let why = tokio::select! {
        () = told => "told to end twice",
        () = tokio::time::sleep(limit) => "a clean end took too long",
    };
    tracing::warn!(why, "node.stop.cut_short");
    std::process::exit(1);
}
