//! Verification of sealed segments, which begins once the node serves.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use gophership_catalogue::Catalogue;
use gophership_somatic::{Job, Throttle};
use gophership_vault::Vault;
use gophership_vault_replication::scrub::{Scrub, ScrubSetup};
use tokio::runtime::Handle;

use crate::settings::Settings;

pub(super) fn start(
    settings: Arc<Settings>,
    vault: &Vault,
    catalogue: &Arc<dyn Catalogue>,
    data: &Path,
    throttle: Throttle,
) -> anyhow::Result<Scrub> {
    let runtime = Handle::current();
    let pass = move |last_block: Duration| runtime.block_on(throttle.pass(Job::Verify, last_block));
    let scrub = Scrub::start(ScrubSetup {
        vault: vault.clone(),
        catalogue: Arc::clone(catalogue),
        data: data.to_path_buf(),
        interval: Box::new(move || settings.scrub_interval()),
        pass: Box::new(pass),
    });
    scrub.context("cannot start the thread that verifies")
}
