//! Checks of a node of a cluster without starting it: is its certificate for peers its own, and is its folder?
//!
//! **Invariants**:
//! - I1: nothing is written.

use std::path::Path;

use gophership_catalogue::LocalCatalogue;
use gophership_vault::Identity;
use gophership_vault_replication::consensus::RaftCatalogue;
use gophership_vault_replication::peer::PeerList;

use super::enter::{CATALOGUE, catalogue_is_gone};
use super::joined::folder_of_another;
use crate::config::{Cluster, TlsFiles};
use crate::tls::certificates;

/// Checks that peers will take a node with this certificate for the node `name`.
///
/// # Errors
///
/// What is wrong with it, and what to do. A file that cannot be read is no error here.
pub fn check_certificate(files: &TlsFiles, cluster: &Cluster, name: &str) -> Result<(), String> {
    let Ok(chain) = certificates(&files.cert) else {
        return Ok(());
    };
    let peers = PeerList::new(cluster.peers.iter().map(|peer| (peer.name.clone(), None)));
    let why = match peers.named_by(chain.first().map_or(&[][..], |own| own.as_ref())) {
        Ok(named) if named.eq_ignore_ascii_case(name) => return Ok(()),
        Ok(named) => format!("it is the certificate of {named}"),
        Err(why) => why,
    };
    Err(format!(
        "{}: {why}; peers let this node in only with a certificate that carries its node.name, {name}, and no other \
         node's: `gophership certs` makes one",
        files.cert.display()
    ))
}

/// Checks that a folder with this identity can be opened by the node `name` of a cluster, and is that node's.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub fn check_folder(folder: &Path, identity: Identity, name: &str) -> Result<(), String> {
    let path = folder.join(CATALOGUE);
    if !path.exists() {
        // One that has no log either is made anew.
        let checked = LocalCatalogue::check(&path, identity);
        return checked.map_err(|_| catalogue_is_gone(&path));
    }
    let state = RaftCatalogue::check(&path, &identity).map_err(|error| error.to_string())?;
    match folder_of_another(&state, identity.node_id, name) {
        None => Ok(()),
        Some(whose) => Err(format!("{}: {whose}", folder.display())),
    }
}
