//! The faults of a world that are not bytes: catalogues lost or put back, files that cannot be read, starts in which
//! something fails, a clock that jumps.

use gophership::export::ToldDebts;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use gophership_catalogue::local::rebuild;
use gophership_catalogue::{Catalogue, LocalCatalogue, State};
use gophership_vault::time::now_unix_nano;
use gophership_vault::{DataDir, Identity, SegmentState, take_inventory};

use crate::gate;
use crate::model::{Checked, EXPORTER};
use crate::node::{Node, Store, dropped};
use crate::step::Point;
use crate::world::World;

const HOUR_NS: i64 = 3_600_000_000_000;

/// A copy of the catalogue's file, and its content.
pub(crate) struct Copy {
    bytes: Vec<u8>,
    state: State,
}

impl World {
    pub(crate) fn catalogue_path(&self) -> PathBuf {
        self.data.join("catalogue.redb")
    }

    /// The content of a catalogue's file, read from a copy.
    pub(crate) fn state_of(&self, bytes: &[u8], identity: Identity) -> Checked<State> {
        let path = self.root.path().join("looked-at.redb");
        fs::write(&path, bytes).unwrap();
        let catalogue = LocalCatalogue::open(&path, identity).map_err(|e| e.to_string())?;
        let catalogue: &dyn Catalogue = &catalogue;
        Ok(catalogue.read(State::clone))
    }

    pub(crate) fn backup_of_catalogue(&self) -> Checked<Copy> {
        let bytes = fs::read(self.catalogue_path()).unwrap();
        let data = DataDir::open(&self.data, true).map_err(|e| e.to_string())?;
        let state = self.state_of(&bytes, data.identity())?;
        Ok(Copy { bytes, state })
    }

    pub(crate) fn copy_catalogue(&mut self) -> Checked {
        self.stop()?;
        if self.boot > 0 {
            let copy = self.backup_of_catalogue()?;
            self.copies.push(copy);
        }
        Ok(())
    }

    pub(crate) fn lose_catalogue(&mut self) -> Checked {
        self.stop()?;
        if self.boot == 0 {
            return Ok(());
        }
        let lost = self.root.path().join("lost.redb");
        fs::rename(self.catalogue_path(), &lost).unwrap();
        let before = self.files();
        match Store::open(&self.data, self.settings) {
            Ok(store) => {
                store.end(true)?;
                return Err("a node starts without its catalogue, and with data".to_owned());
            }
            Err(why) if why.contains("catalogue") => {}
            Err(why) => return Err(format!("without its catalogue it says {why}")),
        }
        if self.files() != before {
            return Err("P7: a start without its catalogue has removed files".to_owned());
        }
        fs::rename(lost, self.catalogue_path()).unwrap();
        Ok(())
    }

    pub(crate) fn old_catalogue(&mut self, which: u8) -> Checked {
        self.stop()?;
        let Some(at) = usize::from(which).checked_rem(self.copies.len()) else {
            return Ok(());
        };
        let now = self.backup_of_catalogue()?;
        let copy = &self.copies[at];
        self.model.note_dropped(&dropped(), &now.state);
        self.model.replaced(&now.state, &copy.state);
        fs::write(self.catalogue_path(), &copy.bytes).unwrap();
        // A segment that it calls open is cut again, in other blocks.
        self.blocks.clear();
        Ok(())
    }

    /// Makes the catalogue anew, as `gophership catalogue rebuild` does.
    pub(crate) fn rebuild(&mut self, is_lost: bool) -> Checked {
        self.stop()?;
        if self.boot == 0 {
            return Ok(());
        }
        let before = self.backup_of_catalogue()?;
        self.model.note_dropped(&dropped(), &before.state);
        if is_lost {
            fs::remove_file(self.catalogue_path()).unwrap();
        }
        let data = DataDir::open(&self.data, true).map_err(|e| e.to_string())?;
        let inventory = take_inventory(&data, now_unix_nano()).map_err(|e| e.to_string())?;
        let rebuilt = rebuild(&self.catalogue_path(), &data.identity(), &inventory);
        let rebuilt = rebuilt.map_err(|e| format!("the catalogue is not made anew: {e}"))?;
        drop(data);
        let after = self.backup_of_catalogue()?;
        if self.set_off_hours > 0 {
            // A segment that is adopted counts as sealed now, by the wall clock, and the vault's own clock is never
            // behind that.
            self.model.entries.values_mut().for_each(|entry| entry.may_go = true);
        }
        self.model.replaced(&before.state, &after.state);
        self.model.taken_in(&rebuilt.taken_in);
        // A segment that is adopted as open is cut again, in other blocks.
        self.blocks.clear();
        Ok(())
    }

    /// Accepts the loss of one of the segments that cannot be read.
    pub(crate) fn accept_loss(&mut self, which: u8) -> Checked {
        self.up()?;
        let vault = self.node().store.vault.clone();
        let mut unreadable = vault.segments();
        unreadable.retain(|(_, state)| matches!(state, SegmentState::Unreadable(_)));
        let Some(at) = usize::from(which).checked_rem(unreadable.len()) else {
            return Ok(());
        };
        let (id, _) = &unreadable[at];
        if let Err(refused) = vault.accept_loss(*id) {
            // The segment may be adopted or trimmed meanwhile.
            let is_there =
                |(other, state): (_, SegmentState)| other == *id && matches!(state, SegmentState::Unreadable(_));
            return if vault.segments().into_iter().any(is_there) {
                Err(refused.to_string())
            } else {
                Ok(())
            };
        }
        let has_file = self.files().contains_key(&id.index.get());
        self.model.loss_accepted(id.index.get(), has_file);
        Ok(())
    }

    /// Starts the node without its exporter, and forgets the exporter.
    pub(crate) fn forget_exporter(&mut self) -> Checked {
        self.stop()?;
        self.exports = false;
        let started = self.up();
        self.exports = true;
        started?;
        let Node { store, exporters } = self.node();
        let state = store.catalogue.read(State::clone);
        if state.exporter(EXPORTER).is_some() {
            let owed = self.model.owed(&state, self.model.floor);
            if !owed.is_empty() && exporters.forget(EXPORTER, false, &ToldDebts::new(), "a test").is_ok() {
                return Err(format!("an exporter is forgotten without a word of {owed:?}"));
            }
            exporters
                .forget(EXPORTER, true, &ToldDebts::new(), "a test")
                .map_err(|e| e.to_string())?;
        }
        self.model.note_dropped(&dropped(), &state);
        self.model.note_trimmed(&state);
        self.stop()
    }

    /// Makes something fail once in a start. A start that is refused for it succeeds when it is tried again.
    pub(crate) fn fail_in_start(&mut self, at: Point) -> Checked {
        self.stop()?;
        let failing = gate::Failing::new(at.name, at.after);
        let started = self.up();
        drop(failing);
        match started {
            Err(why) if why.contains("injected") => self.up(),
            other => other,
        }
    }

    /// Chooses one of the segments that hold entries; from now on it counts as one that cannot be read.
    pub(crate) fn bar_one(&mut self, which: u8) -> Option<u32> {
        let held: BTreeSet<u32> = self.model.entries.keys().map(|lsn| lsn.index().get()).collect();
        let one = held.iter().nth(usize::from(which).checked_rem(held.len())?).copied()?;
        self.model.barred.insert(one);
        self.model.was_barred = true;
        Some(one)
    }

    /// Makes a page of a segment file unreadable from now on.
    pub(crate) fn bad_page(&mut self, which: u8, page: u8) {
        let Some(index) = self.bar_one(which) else { return };
        let from = u64::from(page) * 4096;
        let range = format!("return({index:012}.seg@{from}-{})", from + 4096);
        fail::cfg("file.read", &range).unwrap();
    }

    /// Makes a file impossible to open from now on.
    pub(crate) fn bar(&mut self, which: u8) {
        if self.bar_one(which).is_none() {
            return;
        }
        let ends: Vec<String> = self
            .model
            .barred
            .iter()
            .flat_map(|index| [format!("{index:012}.wal"), format!("{index:012}.seg")])
            .collect();
        fail::cfg("file.open", &format!("return({})", ends.join(","))).unwrap();
    }

    /// Makes every file readable again, and restarts the node so that it sees that.
    pub(crate) fn unbar(&mut self) -> Checked {
        fail::remove("file.open");
        fail::remove("file.read");
        self.stop()?;
        self.model.barred.clear();
        self.up()
    }

    pub(crate) fn set_clock(&mut self, hours: i32) {
        self.set_off_hours += i64::from(hours);
        fail::cfg("clock.wall", &format!("return({})", self.set_off_hours * HOUR_NS)).unwrap();
    }
}
