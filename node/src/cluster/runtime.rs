//! The runtime of a member's tasks: it is apart from that of the node, so that heartbeats wait for nothing else.

use std::ops::Deref;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

/// Threads of the cluster's runtime: one may be busy with a large message while the other answers a heartbeat.
const RUNTIME_THREADS: usize = 2;

/// The cluster's runtime. When it is dropped it ends without a wait, since a task may drop it.
pub(super) struct ClusterRuntime(Option<Runtime>);

impl ClusterRuntime {
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(RUNTIME_THREADS).enable_all();
        let runtime = runtime.thread_name("cluster").build();
        Ok(Self(Some(runtime.context("cannot start the cluster's runtime")?)))
    }
}

impl Deref for ClusterRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for ClusterRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
