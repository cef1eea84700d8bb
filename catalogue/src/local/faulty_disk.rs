//! A disk for tests: it forgets bytes that were not synced, it fills up, it fails.
#![allow(clippy::unwrap_used, missing_docs)] // it is called by tests alone

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use gophership_vault::Identity;
use redb::StorageBackend;

use super::store::{OpenBackend, Store};
use crate::error::CatalogueError;
use crate::state::State;

/// The fault of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    #[default]
    Nothing,
    /// The power fails after this many more changes.
    PowerCut { after: u32 },
    /// No more can be written.
    Full,
    /// No more can be synced.
    SyncFails,
}

#[derive(Clone, Debug)]
enum Change {
    SetLen(usize),
    Write(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => bytes.resize(*len, 0),
            Self::Write(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    fault: Fault,
    syncs: u64,
}

impl Inner {
    fn change(&mut self, change: Change) -> io::Result<()> {
        match &mut self.fault {
            Fault::Full => return Err(io::ErrorKind::StorageFull.into()),
            Fault::PowerCut { after: 0 } => return Err(io::Error::other("no power")),
            Fault::PowerCut { after } => *after -= 1,
            Fault::Nothing | Fault::SyncFails => {}
        }
        change.apply(&mut self.now);
        self.unsynced.push(change);
        Ok(())
    }
}

/// The disk; its clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<Inner>>);

impl FaultyDisk {
    pub fn fault(&self, fault: Fault) {
        self.0.lock().unwrap().fault = fault;
    }

    pub fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    /// Crashes: of bytes that were not synced, those sectors survive for which `survives` returns true; in any order,
    /// torn anywhere.
    pub fn crash(&self, mut survives: impl FnMut() -> bool) {
        let mut inner = self.0.lock().unwrap();
        let mut after = std::mem::take(&mut inner.synced);
        for change in std::mem::take(&mut inner.unsynced) {
            match change {
                Change::SetLen(_) if survives() => change.apply(&mut after),
                Change::SetLen(_) => {}
                Change::Write(at, data) => {
                    for (n, sector) in data.chunks(512).enumerate() {
                        if survives() {
                            Change::Write(at + n * 512, sector.to_vec()).apply(&mut after);
                        }
                    }
                }
            }
        }
        *inner = Inner {
            now: after.clone(),
            synced: after,
            syncs: inner.syncs,
            ..Inner::default()
        };
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().now.clone()
    }

    pub fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            now: bytes.clone(),
            synced: bytes,
            ..Inner::default()
        })))
    }
}

impl FaultyDisk {
    /// Opens a catalogue's file on this disk.
    pub fn backend(&self) -> OpenBackend {
        let disk = self.clone();
        Box::new(move |_| Ok(Box::new(disk.clone())))
    }

    /// Opens the store on this disk. Its path is only a name.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open(&self, path: &Path) -> Result<Opened, CatalogueError> {
        Store::open_on(path, self.backend())
    }

    /// Makes a catalogue's file on this disk.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn create(&self, path: &Path, identity: &Identity, state: &State) -> Result<(), CatalogueError> {
        Store::create_on(path, &self.backend(), identity, state)
    }
}

/// A store, its identity, and its state.
pub type Opened = (Store, Identity, State);

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.0.lock().unwrap();
        let at = offset as usize;
        let found = inner.now.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().change(Change::SetLen(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        match inner.fault {
            Fault::SyncFails => return Err(io::Error::other("bad disk")),
            Fault::PowerCut { after: 0 } => return Err(io::Error::other("no power")),
            Fault::PowerCut { .. } | Fault::Full | Fault::Nothing => {}
        }
        inner.syncs += 1;
        inner.unsynced.clear();
        inner.synced = inner.now.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0
            .lock()
            .unwrap()
            .change(Change::Write(offset as usize, data.to_vec()))
    }
}
