//! The state on disk: the data folder, the catalogue, the vault. They are opened in this order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use gophership_catalogue::{Catalogue, LocalCatalogue};
use gophership_vault::{DataDir, RecoveryBy, Release, ShardSeam, ShardWriter, Tuning, Vault, VaultOptions};
use uuid::Uuid;

use super::ports::PeerPort;
use super::waiting::Waiting;
use crate::archive::put_on_record;
use crate::cluster::{self, Joined, Member, until_answered};
use crate::config::Config;
use crate::export::{Cursors, begin, configure, own_ends_on_record};
use crate::ingester::WatermarkNotify;
use crate::settings::{Settings, tuning};

/// The opened state on disk.
pub(super) struct Store {
    pub(super) data_path: PathBuf,
    pub(super) catalogue: Arc<dyn Catalogue>,
    pub(super) cursors: Arc<Cursors>,
    pub(super) vault: Vault,
    pub(super) writers: Vec<ShardWriter>,
    /// The node's part in its cluster.
    pub(super) member: Option<Member>,
    /// The settings in force from now on.
    pub(super) settings: Arc<Settings>,
}

/// Opens the store on a thread that may block, so that probes are answered meanwhile. That of a node of a cluster is
/// opened once it is a member and has its epoch; what it waits for until then is shown.
pub(super) async fn open(
    config: &Config,
    file: Option<&Path>,
    in_cluster: Option<(PeerPort, &Waiting)>,
    shards: u16,
    notifies: &[WatermarkNotify],
) -> anyhow::Result<Store> {
    let (own_config, notifies) = (config.clone(), notifies.to_vec());
    let file = file.map(Path::to_owned);
    let opening = match in_cluster {
        None => tokio::task::spawn_blocking(move || open_store(&own_config, file.as_deref(), shards, &notifies)),
        Some((peer, waiting)) => {
            let security = peer.security();
            let joined = cluster::join(config, peer.listener, security, shards, &waiting.early).await?;
            tokio::task::spawn_blocking(move || open_of_member(&own_config, file.as_deref(), joined, shards, &notifies))
        }
    };
    opening.await.context("opening the store panicked")?
}

fn open_of_member(
    config: &Config,
    file: Option<&Path>,
    mut joined: Joined,
    shards: u16,
    notifies: &[WatermarkNotify],
) -> anyhow::Result<Store> {
    let data = joined.take_data();
    data.make_room(shards, config.vault.segment_size)?;
    let data_path = data.path().to_path_buf();
    let catalogue = joined.catalogue();
    let epoch = joined.wait_for_epoch(data.highest_epoch()?)?;
    let settings = until_answered("the settings", || {
        Settings::of_member(config, file, Arc::clone(&catalogue))
    })?;
    let config = &settings.config();
    joined.put_in_force(config.cluster.clone());
    // Before the vault releases anything.
    let own = data.identity().node_id;
    let peers = joined.peers();
    let ends = || catalogue.read(|state| own_ends_on_record(state, own));
    until_answered("the exporters", || {
        begin(catalogue.as_ref(), Some(&peers), ends, &config.export)?;
        configure(catalogue.as_ref(), own, &config.export)?;
        put_on_record(catalogue.as_ref(), true, config.archive.url.as_deref())
    })?;
    let cursors = Cursors::new(Arc::clone(&catalogue));
    let options = VaultOptions {
        recovery: RecoveryBy::Leader,
        ..vault_options(config, shards, &cursors)
    };
    let (vault, writers) = Vault::open(data, &options, epoch, joined.ledger(), joined.seams(notifies))?;
    let member = Member::begin(joined, &vault)?;
    Ok(Store {
        data_path,
        catalogue,
        cursors,
        vault,
        writers,
        member: Some(member),
        settings,
    })
}

fn open_store(
    config: &Config,
    file: Option<&Path>,
    shards: u16,
    notifies: &[WatermarkNotify],
) -> anyhow::Result<Store> {
    let data = DataDir::open(&config.node.data_dir, config.vault.any_filesystem)?;
    data.make_room(shards, config.vault.segment_size)?;
    let data_path = data.path().to_path_buf();
    let catalogue = LocalCatalogue::open(&data_path.join("catalogue.redb"), data.identity())?;
    let catalogue: Arc<dyn Catalogue> = Arc::new(catalogue);
    let seen = data.highest_epoch()?;
    if seen > catalogue.newest_epoch() {
        // The catalogue is an older backup: the cursors of exporters that it does not know are lost.
        tracing::warn!(path = %data_path.display(), "catalogue.file.older");
        catalogue.begin_unknown_exporters_at_oldest()?;
    }
    let epoch = catalogue.node_up(Uuid::new_v4(), seen)?;
    let seams = notifies
        .iter()
        .map(|notify| ShardSeam::alone(notify.sender()))
        .collect();
    let ledger = catalogue.ledger();
    // Before the vault releases anything.
    let own = data.identity().node_id;
    let ends = || catalogue.read(|state| own_ends_on_record(state, own));
    begin(catalogue.as_ref(), None, ends, &config.export)?;
    configure(catalogue.as_ref(), own, &config.export)?;
    put_on_record(catalogue.as_ref(), false, config.archive.url.as_deref())?;
    let cursors = Cursors::new(Arc::clone(&catalogue));
    let (vault, writers) = Vault::open(data, &vault_options(config, shards, &cursors), epoch, ledger, seams)?;
    Ok(Store {
        data_path,
        catalogue,
        cursors,
        vault,
        writers,
        member: None,
        settings: Settings::single(config, file),
    })
}

fn vault_options(config: &Config, shards: u16, cursors: &Arc<Cursors>) -> VaultOptions {
    let Tuning {
        segment_age,
        retention,
        on_full,
    } = tuning(config);
    VaultOptions {
        shards,
        segment_size: config.vault.segment_size,
        segment_age,
        spares: usize::from(config.vault.spares),
        disk_limit: config.vault.disk_limit,
        retention,
        release: Release::By(Arc::clone(cursors) as _),
        on_full,
        recovery: RecoveryBy::Itself,
    }
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::catalogue::EXPORTERS_BEGIN_AT_OLDEST;

    use super::*;
    use crate::config::{Environment, load_text};
    use crate::machine::Machine;

    #[test]
    fn an_older_backup_of_the_catalogue_has_unknown_exporters_begin_at_the_oldest_entry() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "node: {{ data_dir: {:?} }}\nvault: {{ any_filesystem: true }}",
            dir.path().join("data")
        );
        let machine = Machine {
            cores: 1,
            memory: 1 << 30,
        };
        let config = load_text(&text, &Environment::default(), &machine).unwrap();
        let run = || {
            let Store {
                catalogue,
                vault,
                writers,
                ..
            } = open_store(&config, None, 1, &[WatermarkNotify::default()]).unwrap();
            vault.close(writers);
            catalogue.read(|state| state.setting(EXPORTERS_BEGIN_AT_OLDEST).is_some())
        };
        assert!(!run());
        let path = config.node.data_dir.join("catalogue.redb");
        let older = std::fs::read(&path).unwrap();
        assert!(!run(), "its own catalogue is none");
        std::fs::write(&path, older).unwrap();
        assert!(run());
    }
}
