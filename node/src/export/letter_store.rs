//! The dead letters of all exporters, with copies of the refused entries, so that a letter holds no segment.
//!
//! **Invariants**:
//! - I1: for each letter on record that says that its entry was copied there is a copy.
//! - I2: a copy is removed once no letter on record needs it, at whichever node its letter went.
//! - I3: where no copy can be made the letter holds its segment, and nothing is lost.
//!
//! **Not here**: the copies' files (`vault`), the making of a letter (`lane`), sending one again (`dead_letters`).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gophership_catalogue::exporter::{DeadLetter, EntryId, LetterCause};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command, State};
use gophership_vault::ids::NodeId;
use gophership_vault::{StoredEntry, Vault};
use tokio::task::spawn_blocking;

use super::error::ExportError;
use crate::replay::LostLogs;
use crate::sink::read_entry;

/// The store of dead letters (see the module).
pub(crate) struct LetterStore {
    vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    /// The reader of entries that are perhaps not here; `None` on a single node.
    lost: Option<LostLogs>,
    /// The copies that letters on record need, or needed before one went at another node. Held while a copy and the
    /// letters that need it change together.
    needed: Mutex<BTreeSet<EntryId>>,
}

impl LetterStore {
    pub(super) fn new(vault: Vault, catalogue: Arc<dyn Catalogue>, lost: Option<LostLogs>) -> Arc<Self> {
        let copies = vault.kept_entries();
        let own = vault.identity().node_id;
        let (needed, unknown): (BTreeSet<EntryId>, BTreeSet<EntryId>) = catalogue.read(|state| {
            let copies = copies.into_iter();
            copies.partition(|entry| is_needed(state, own, *entry))
        });
        if !unknown.is_empty() {
            // The catalogue may be an older copy, or rebuilt: its silence about them is no reason to remove them.
            tracing::warn!(count = unknown.len(), "dead_letter.copies.unknown");
        }
        Arc::new(Self {
            vault,
            catalogue,
            lost,
            needed: Mutex::new(needed),
        })
    }

    fn changing(&self) -> MutexGuard<'_, BTreeSet<EntryId>> {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> NodeId {
        self.vault.identity().node_id
    }

    /// Puts a letter on record, and copies the refused entry.
    ///
    /// # Errors
    ///
    /// The catalogue's error; it is then unknown whether the letter is on record.
    pub(super) async fn add(self: &Arc<Self>, letter: DeadLetter) -> Result<(), CatalogueError> {
        let store = Arc::clone(self);
        let added = spawn_blocking(move || store.must_add(letter)).await;
        added.expect("the catalogue answers a panic with an error, and nobody cancels this")
    }

    fn must_add(&self, mut letter: DeadLetter) -> Result<(), CatalogueError> {
        let entry = letter.entry();
        // Other nodes may have to be asked, for which nobody is held up.
        let original = (letter.cause == LetterCause::Refused).then(|| self.original(entry));
        let mut needed = self.changing();
        if original.is_some_and(|original| self.copy(original)) {
            letter.copied_to = Some(self.own());
        }
        let is_copied = letter.copied_to.is_some();
        let added = self
            .catalogue
            .submit(Actor::Node, Command::AddDeadLetters { letters: vec![letter] });
        match &added {
            Ok(_) if is_copied => drop(needed.insert(entry)),
            Err(CatalogueError::Refused(_)) => self.remove_unneeded(&mut needed, entry),
            Ok(_) | Err(_) => {}
        }
        added.map(drop)
    }

    /// Reads an entry in its segment, here or on another node; `None` where it is not there. It blocks.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be read now.
    fn original(&self, entry: EntryId) -> Result<Option<StoredEntry>, String> {
        match &self.lost {
            Some(lost) => lost.entry(entry),
            None => read_entry(&self.vault, entry),
        }
    }

    /// Copies an entry; returns whether there is a copy now.
    fn copy(&self, original: Result<Option<StoredEntry>, String>) -> bool {
        let copied = match original {
            Ok(Some(stored)) => self.vault.keep_entry(&stored).map_err(|error| error.to_string()),
            Ok(None) => Ok(false),
            Err(why) => Err(why),
        };
        copied.unwrap_or_else(|error| {
            tracing::warn!(error, "dead_letter.copy.failed");
            false
        })
    }

    fn remove_unneeded(&self, needed: &mut BTreeSet<EntryId>, entry: EntryId) {
        if !self.catalogue.read(|state| is_needed(state, self.own(), entry)) {
            needed.remove(&entry);
            self.remove_copy(entry);
        }
    }

    fn remove_copy(&self, (node, shard, lsn): EntryId) {
        if let Err(error) = self.vault.remove_kept_entry(node, shard, lsn) {
            tracing::warn!(%error, "dead_letter.copy.not_removed");
        }
    }

    /// Removes the copies whose letters went at another node: dropped, sent, or forgotten with their exporter. It
    /// blocks.
    ///
    /// # Errors
    ///
    /// The catalogue does not answer; then nothing was removed.
    pub(super) fn follow(&self) -> Result<(), CatalogueError> {
        if self.lost.is_none() {
            return Ok(());
        }
        let (own, mut needed) = (self.own(), self.changing());
        if self.catalogue.read(|state| unneeded(state, own, &needed)).is_empty() {
            return Ok(());
        }
        for entry in self.catalogue.read_latest(|state| unneeded(state, own, &needed))? {
            needed.remove(&entry);
            self.remove_copy(entry);
        }
        Ok(())
    }

    /// Removes letters of an exporter from the record. It blocks.
    ///
    /// # Errors
    ///
    /// The catalogue's error.
    pub(super) fn remove(&self, exporter: &str, letters: Vec<EntryId>, actor: Actor) -> Result<(), CatalogueError> {
        let mut needed = self.changing();
        self.catalogue.submit(
            actor,
            Command::DropDeadLetters {
                exporter: exporter.to_owned(),
                letters: letters.clone(),
            },
        )?;
        letters
            .into_iter()
            .for_each(|entry| self.remove_unneeded(&mut needed, entry));
        Ok(())
    }

    /// Removes an exporter from the record, with its letters. It blocks.
    ///
    /// # Errors
    ///
    /// The catalogue's error.
    pub(super) fn forget(&self, exporter: &str, actor: Actor) -> Result<(), CatalogueError> {
        let mut needed = self.changing();
        let letters: Vec<EntryId> = self.catalogue.read(|state| {
            let all = state.dead_letters(Some(exporter), None, usize::MAX);
            all.map(DeadLetter::entry).collect()
        });
        self.catalogue.submit(
            actor,
            Command::ForgetExporter {
                exporter: exporter.to_owned(),
            },
        )?;
        letters
            .into_iter()
            .for_each(|entry| self.remove_unneeded(&mut needed, entry));
        Ok(())
    }

    /// The entry of a letter: its copy, or where there is none the original in its segment. `None` where it cannot be
    /// read.
    pub(super) async fn read(self: &Arc<Self>, entry: EntryId) -> Option<StoredEntry> {
        let store = Arc::clone(self);
        let read = spawn_blocking(move || {
            let (node, shard, lsn) = entry;
            let copy = store.vault.kept_entry(node, shard, lsn).unwrap_or_else(|error| {
                tracing::warn!(%error, "dead_letter.copy.unreadable");
                None
            });
            copy.or_else(|| store.original(entry).ok().flatten())
        });
        read.await.ok().flatten()
    }
}

/// True where a letter on record needs the copy that node `own` has of an entry.
fn is_needed(state: &State, own: NodeId, entry: EntryId) -> bool {
    let letter = |(name, _)| state.dead_letter(name, entry);
    state
        .exporters()
        .filter_map(letter)
        .any(|letter| letter.copied_to == Some(own))
}

fn unneeded(state: &State, own: NodeId, copies: &BTreeSet<EntryId>) -> Vec<EntryId> {
    let all = copies.iter().copied();
    all.filter(|entry| !is_needed(state, own, *entry)).collect()
}

/// The error for a letter whose entry cannot be read at this node.
pub(super) fn not_here(state: &State, exporter: &str, entry: EntryId) -> ExportError {
    let Some(letter) = state.dead_letter(exporter, entry) else {
        return ExportError::NoSuchLetter { entry };
    };
    // Without a copy its segment has it, of which the owner is a holder.
    let holders = [letter.copied_to.unwrap_or(letter.node)];
    let called = |node: &NodeId| match state.facts(*node) {
        Some(facts) => format!("{} (node {node})", facts.name),
        None => format!("node {node}"),
    };
    let holders = holders.iter().map(called).collect();
    ExportError::LetterElsewhere { entry, holders }
}
