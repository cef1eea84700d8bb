//! Opens the catalogue's file, or makes it where there never was one, and checks that it belongs to the data folder.
//!
//! **Invariants**:
//! - I1: `catalogue.redb` is complete whenever it exists: it is made under another name.
//! - I2: it is made only where the data folder holds no log file.
//! - I3: it is used only with the marker that it was made for.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use gophership_vault::Identity;
use gophership_vault::ids::NodeId;
use gophership_vault::time::now_unix_nano;

use super::disk;
use super::store::{OpenBackend, Store};
use crate::actor::Actor;
use crate::apply::{apply, apply_request};
use crate::command::{Command, Request};
use crate::error::CatalogueError;
use crate::restore::RestoreOrigin;
use crate::state::State;

/// The store and the state of the catalogue at `path`, which is made where there never was one.
pub(super) fn open(path: &Path, identity: &Identity, backend: OpenBackend) -> Result<(Store, State), CatalogueError> {
    if !exists(path)? {
        refuse_data(path)?;
        put_in_place(path, &backend, identity, &new_state(path, identity)?)?;
    }
    open_existing(path, identity, backend)
}

/// Checks that the catalogue could be opened. An open writes to the file, if only to repair it, so this is done on a
/// copy in memory.
pub(super) fn check(path: &Path, identity: &Identity) -> Result<(), CatalogueError> {
    if !exists(path)? {
        return refuse_data(path);
    }
    // A file that the node cannot write to keeps it from starting.
    let file = OpenOptions::new().read(true).write(true).open(path);
    drop(file.map_err(|e| CatalogueError::io("open", path, e))?);
    open_existing(path, identity, Box::new(disk::copy_in_memory)).map(drop)
}

fn open_existing(path: &Path, identity: &Identity, backend: OpenBackend) -> Result<(Store, State), CatalogueError> {
    let (store, stored, state) = Store::open_on(path, backend)?;
    check_identity(path, &stored, identity, &state)?;
    check_single(&store)?;
    Ok((store, state))
}

fn exists(path: &Path) -> Result<bool, CatalogueError> {
    match fs::metadata(path) {
        // The store would take an empty file for a new one.
        Ok(m) if m.len() == 0 => Err(CatalogueError::Corrupt {
            path: path.to_owned(),
            why: "it is empty".to_owned(),
        }),
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(CatalogueError::io("open", path, e)),
    }
}

/// Refuses to make a catalogue where the data folder holds a log.
fn refuse_data(path: &Path) -> Result<(), CatalogueError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    for logs in ["wal", "segments"] {
        if let Some(found) = find_log_file(&folder.join(logs), 3)? {
            return Err(CatalogueError::Lost {
                path: path.to_owned(),
                found,
            });
        }
    }
    Ok(())
}

/// Makes the catalogue of the first node of a cluster that is to be restored. A file that is there stays as it is.
///
/// # Errors
///
/// The data folder holds a log, the node's number is not the first that the restore grants, or the file cannot be
/// written.
pub fn make_restored(path: &Path, identity: &Identity, origin: &RestoreOrigin) -> Result<(), CatalogueError> {
    if exists(path)? {
        return Ok(());
    }
    refuse_data(path)?;
    if identity.node_id != origin.first_node {
        return Err(CatalogueError::NotFirstNode {
            path: path.to_owned(),
            node: identity.node_id,
        });
    }
    let at_ns = now_unix_nano();
    let mut state = State::default();
    for command in [
        Command::BeginRestore {
            origin: origin.clone(),
            at_ns,
        },
        Command::RegisterNode {
            storage_uuid: identity.storage_uuid,
            at_ns,
        },
    ] {
        let actor = Actor::Node;
        apply_request(&mut state, &Request { actor, command })?;
    }
    make_file(path, identity, &state)?;
    open_existing(path, identity, Box::new(disk::open)).map(drop)
}

/// The state of a new, single node.
pub(super) fn new_state(path: &Path, identity: &Identity) -> Result<State, CatalogueError> {
    if identity.node_id != NodeId::FIRST {
        return Err(CatalogueError::NotFirstNode {
            path: path.to_owned(),
            node: identity.node_id,
        });
    }
    let mut state = State::default();
    let register = Command::RegisterNode {
        storage_uuid: identity.storage_uuid,
        at_ns: now_unix_nano(),
    };
    apply(&mut state, &register)?;
    Ok(state)
}

/// Makes a catalogue's file, complete, with this state.
///
/// # Errors
///
/// The file cannot be written.
pub fn make_file(path: &Path, identity: &Identity, state: &State) -> Result<(), CatalogueError> {
    let backend: OpenBackend = Box::new(disk::open);
    put_in_place(path, &backend, identity, state)
}

/// Writes a complete catalogue under another name, and renames it.
pub(super) fn put_in_place(
    path: &Path,
    backend: &OpenBackend,
    identity: &Identity,
    state: &State,
) -> Result<(), CatalogueError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension("redb.new");
    match fs::remove_file(&new) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(CatalogueError::io("remove", &new, e)),
    }
    Store::create_on(&new, backend, identity, state)?;
    File::open(&new)
        .and_then(|f| f.sync_all())
        .map_err(|e| CatalogueError::io("sync", &new, e))?;
    fs::rename(&new, path).map_err(|e| CatalogueError::io("rename", &new, e))?;
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| CatalogueError::io("sync", folder, e))
}

/// A file of the log in `folder`, or up to `depth` folders below it.
fn find_log_file(folder: &Path, depth: u32) -> Result<Option<PathBuf>, CatalogueError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(CatalogueError::io("list", folder, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| CatalogueError::io("list", folder, e))?;
        let path = entry.path();
        let is_folder = entry
            .file_type()
            .map_err(|e| CatalogueError::io("list", &path, e))?
            .is_dir();
        if is_folder && depth > 0 {
            if let Some(found) = find_log_file(&path, depth - 1)? {
                return Ok(Some(found));
            }
        } else if path
            .extension()
            .is_some_and(|x| x == "wal" || x == "seg" || x == "open")
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Refuses a catalogue that was not made for this marker, or in which its node has another storage.
pub(super) fn check_identity(
    path: &Path,
    stored: &Identity,
    marker: &Identity,
    state: &State,
) -> Result<(), CatalogueError> {
    check_marker(path, stored, marker)?;
    let registered = state.node(stored.node_id).map(|n| n.storage_uuid);
    if registered == Some(marker.storage_uuid) {
        return Ok(());
    }
    Err(CatalogueError::OtherIdentity {
        path: path.to_owned(),
        what: "storage",
        stored: registered.map_or_else(|| "nobody".to_owned(), |uuid| uuid.to_string()),
        marker: marker.storage_uuid.to_string(),
    })
}

/// Refuses one node's part of a cluster's catalogue.
pub(super) fn check_single(store: &Store) -> Result<(), CatalogueError> {
    if store.view()?.is_replicated()? {
        let path = store.path().to_owned();
        return Err(CatalogueError::OfCluster { path });
    }
    Ok(())
}

/// Refuses a catalogue file that was not made for this marker.
///
/// # Errors
/// [`CatalogueError::OtherIdentity`], with the part that differs.
pub fn check_marker(path: &Path, stored: &Identity, marker: &Identity) -> Result<(), CatalogueError> {
    let parts = [
        (
            "cluster",
            stored.cluster_id.0.to_string(),
            marker.cluster_id.0.to_string(),
        ),
        ("node", stored.node_id.to_string(), marker.node_id.to_string()),
        (
            "storage",
            stored.storage_uuid.to_string(),
            marker.storage_uuid.to_string(),
        ),
    ];
    match parts.into_iter().find(|(_, stored, marker)| stored != marker) {
        None => Ok(()),
        Some((what, stored, marker)) => Err(CatalogueError::OtherIdentity {
            path: path.to_owned(),
            what,
            stored,
            marker,
        }),
    }
}
