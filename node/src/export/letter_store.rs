//! The dead letters of all exporters, with copies of the refused entries, so that a letter holds no segment.
//!
//! **Invariants**:
//! - I1: for each letter on record that names this node as one that keeps a copy there is a copy here.
//! - I2: a copy is removed once no letter on record needs it, at whichever node its letter went.
//! - I3: where too few copies can be made the letter holds its segment, and nothing is lost.
//! - I4: a copy that is missing, because a node was replaced, is dead or drains, is made on the next node that is
//!   there.
//!
//! **Not here**: the copies' files (`vault`), the making of a letter (`lane`), sending one again (`dead_letters`).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gophership_catalogue::exporter::{DeadLetter, EntryId, LetterCause};
use gophership_catalogue::node::{NodeRecord, NodeState};
use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command, State};
use gophership_vault::ids::NodeId;
use gophership_vault::{NodeSet, StoredEntry, Vault};
use tokio::task::spawn_blocking;

use super::error::ExportError;
use super::limits::{LETTERS_LOOK_INTERVAL, LETTERS_TURN};
use crate::replay::LostLogs;
use crate::sink::read_entry;

/// The store of dead letters (see the module).
pub(crate) struct LetterStore {
    vault: Vault,
    pub(super) catalogue: Arc<dyn Catalogue>,
    /// The reader of entries that are perhaps not here; `None` on a single node without an archive.
    lost: Option<LostLogs>,
    /// True in a cluster, where other nodes may have the copies of letters.
    has_peers: bool,
    /// The copies that letters on record need, or needed before one went at another node. Held while a copy and the
    /// letters that need it change together.
    needed: Mutex<BTreeSet<EntryId>>,
    turn: Mutex<Turn>,
}

/// How far the copies are made and looked at.
#[derive(Default)]
struct Turn {
    /// The entry whose copy was tried last: the next turn goes on behind it, since one that cannot be read takes long.
    tried: Option<EntryId>,
    /// The begin of the latest round over all copies that this node keeps by the record.
    round: Option<Instant>,
    /// Those at which it has still to look.
    unseen: BTreeSet<EntryId>,
}

impl LetterStore {
    pub(super) fn new(
        vault: Vault,
        catalogue: Arc<dyn Catalogue>,
        lost: Option<LostLogs>,
        has_peers: bool,
    ) -> Arc<Self> {
        let copies = vault.kept_entries();
        let own = vault.identity().node_id;
        let (needed, unknown): (BTreeSet<EntryId>, BTreeSet<EntryId>) = catalogue.read(|state| {
            let copies = copies.into_iter();
            copies.partition(|entry| is_needed(state, own, *entry))
        });
        if !unknown.is_empty() {
            // The catalogue may be an older backup, or rebuilt: its silence about them is no reason to remove them.
            tracing::warn!(count = unknown.len(), "dead_letter.copies.unknown");
        }
        Arc::new(Self {
            vault,
            catalogue,
            lost,
            has_peers,
            needed: Mutex::new(needed),
            turn: Mutex::default(),
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
            letter.copies = NodeSet::of(self.own());
        }
        let is_copied = !letter.copies.is_empty();
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

    /// Keeps a copy of the entry of letters that are on record, and puts that on record.
    fn keep(&self, entry: EntryId, original: Result<Option<StoredEntry>, String>) -> Result<(), CatalogueError> {
        let mut needed = self.changing();
        if !self.copy(original) {
            return Ok(());
        }
        let node = self.own();
        let kept = self
            .catalogue
            .submit(Actor::Node, Command::LetterCopied { node, entry });
        match &kept {
            Err(CatalogueError::Refused(_)) => self.remove_unneeded(&mut needed, entry),
            // Whether it is on record is seen, and the copy removed if not, where that is unknown.
            Ok(_) | Err(_) => drop(needed.insert(entry)),
        }
        kept.map(drop)
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

    /// Makes the copies that this node is the next to make, and removes those whose letters went at another node:
    /// dropped, sent, or forgotten with their exporter. It blocks, for a bounded time. `is_dead` says whether nothing
    /// was heard of a node for so long that it counts as dead.
    ///
    /// # Errors
    ///
    /// The catalogue does not answer.
    pub(super) fn follow(&self, is_dead: &dyn Fn(NodeId) -> bool) -> Result<(), CatalogueError> {
        let (own, began) = (self.own(), Instant::now());
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_copies(&mut turn, began, is_dead);
        if !self.has_peers {
            return Ok(());
        }
        let mut due = self.catalogue.read(|state| due(state, own, is_dead));
        let behind = due.partition_point(|(entry, _)| Some(*entry) <= turn.tried);
        due.rotate_left(behind);
        for (entry, copies) in due {
            // What cannot be read now is tried again, and holds up nothing else for long.
            if began.elapsed() > LETTERS_TURN {
                break;
            }
            turn.tried = Some(entry);
            self.keep(entry, self.elsewhere(entry, copies, is_dead))?;
        }
        let mut needed = self.changing();
        if self.catalogue.read(|state| unneeded(state, own, &needed)).is_empty() {
            return Ok(());
        }
        for entry in self.catalogue.read_latest(|state| unneeded(state, own, &needed))? {
            needed.remove(&entry);
            self.remove_copy(entry);
        }
        Ok(())
    }

    /// Reads the copies that this node keeps by the record, at its start and from time to time, and makes those anew
    /// that are not there or cannot be read.
    fn check_copies(&self, turn: &mut Turn, began: Instant, is_dead: &dyn Fn(NodeId) -> bool) {
        let own = self.own();
        if turn.round.is_none_or(|round| round.elapsed() > LETTERS_LOOK_INTERVAL) {
            turn.round = Some(began);
            turn.unseen = self.catalogue.read(|state| kept_by_record(state, own));
        }
        while began.elapsed() < LETTERS_TURN / 2
            && let Some(entry) = turn.unseen.pop_first()
        {
            let (node, shard, lsn) = entry;
            let is_good = |copy| matches!(copy, Ok(Some(_)));
            if is_good(self.vault.kept_entry(node, shard, lsn)) {
                continue;
            }
            let others = || self.catalogue.read(|state| copies_of(state, own, entry));
            let Some(copies) = others() else { continue };
            // Other nodes may have to be asked, for which nobody is held up.
            let Ok(Some(stored)) = self.elsewhere(entry, copies, is_dead) else {
                tracing::warn!(entry = %format_args!("{node}/{shard}/{lsn}"), "dead_letter.copy.missing");
                continue;
            };
            let mut needed = self.changing();
            // The letter may have gone meanwhile.
            if others().is_none() {
                continue;
            }
            self.remove_copy(entry);
            if self.copy(Ok(Some(stored))) {
                needed.insert(entry);
                tracing::warn!(entry = %format_args!("{node}/{shard}/{lsn}"), "dead_letter.copy.made_anew");
            }
        }
    }

    /// The entry of a letter from a node that keeps a copy, or from its segment. It blocks.
    fn elsewhere(
        &self,
        entry: EntryId,
        copies: NodeSet,
        is_dead: &dyn Fn(NodeId) -> bool,
    ) -> Result<Option<StoredEntry>, String> {
        let asked = copies.iter().filter(|node| !is_dead(*node));
        let kept = self.lost.as_ref().and_then(|lost| {
            asked
                .into_iter()
                .find_map(|node| lost.kept_at(node, entry).ok().flatten())
        });
        kept.map_or_else(|| self.original(entry), |kept| Ok(Some(kept)))
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
        .any(|letter| letter.copies.contains(own))
}

/// The entries of letters of which node `own` keeps a copy by the record.
fn kept_by_record(state: &State, own: NodeId) -> BTreeSet<EntryId> {
    let all = state.dead_letters(None, None, usize::MAX);
    all.filter(|letter| letter.copies.contains(own))
        .map(DeadLetter::entry)
        .collect()
}

/// The other nodes that keep a copy of an entry; `None` where no letter on record needs the copy of node `own`.
fn copies_of(state: &State, own: NodeId, entry: EntryId) -> Option<NodeSet> {
    let letter = state.exporters().filter_map(|(name, _)| state.dead_letter(name, entry));
    let letter = letter.into_iter().find(|letter| letter.copies.contains(own))?;
    NodeSet::from_nodes(state.letter_copies(letter).iter().filter(|node| *node != own))
}

/// The entries of letters of which node `own` is the next to make a copy, each with the nodes that have one. Those that
/// may leave, or may not come back, have copies that do not count; they make none.
fn due(state: &State, own: NodeId, is_dead: &dyn Fn(NodeId) -> bool) -> Vec<(EntryId, NodeSet)> {
    let is_there =
        |node: &NodeRecord| node.state == NodeState::Active && !state.is_replaced(node.id) && !is_dead(node.id);
    let there: Vec<NodeId> = state
        .nodes()
        .filter(|node| is_there(node))
        .map(|node| node.id)
        .collect();
    let needed = state.letter_copies_needed();
    let is_due = |letter: &&DeadLetter| {
        let (with, mut without): (Vec<NodeId>, Vec<NodeId>) =
            there.iter().partition(|node| letter.copies.contains(**node));
        // Those behind the node of the letter come first, so that not all copies are on the same nodes.
        without.sort_by_key(|node| (*node <= letter.node, *node));
        let missing = needed.saturating_sub(with.len());
        letter.cause == LetterCause::Refused && without.iter().take(missing).any(|node| *node == own)
    };
    let all = state.dead_letters(None, None, usize::MAX).filter(is_due);
    let mut due: Vec<_> = all
        .map(|letter| (letter.entry(), state.letter_copies(letter)))
        .collect();
    due.sort_by_key(|(entry, _)| *entry);
    due
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
    let copies = state.letter_copies(letter);
    let holders = if copies.is_empty() {
        NodeSet::of(letter.node)
    } else {
        copies
    };
    let called = |node: NodeId| match state.facts(node) {
        Some(facts) => format!("{} (node {node})", facts.name),
        None => format!("node {node}"),
    };
    let holders = holders.iter().map(called).collect();
    ExportError::LetterElsewhere { entry, holders }
}

#[cfg(test)]
mod tests;
