//! The dead letters of an exporter: named, read, sent again, dropped.
//!
//! **Not here**: the sending (`dead_letters`), the record (`letter_store`).

use std::sync::Arc;

use bytes::Bytes;
use gophership_catalogue::Actor;
use gophership_catalogue::exporter::EntryId;

use super::dead_letters::SendLetters;
use super::error::ExportError;
use super::exporters::{Exporters, open_sink};
use super::letter_store::not_here;
use crate::sink::DeferredDecoder;

impl Exporters {
    /// The sender of the dead letters of an exporter.
    ///
    /// # Errors
    ///
    /// No exporter has this name, or its sink cannot be made.
    pub fn send_letters(&self, name: &str) -> Result<SendLetters, ExportError> {
        let r = self.find(name)?;
        Ok(SendLetters {
            letters: Arc::clone(&self.letters),
            throttle: self.throttle.clone(),
            sink: open_sink(&r.config)?,
            exporter: name.to_owned(),
            max_message: self.max_message,
        })
    }

    /// The selected dead letters of an exporter: those named, or all.
    ///
    /// # Errors
    ///
    /// A named entry is no dead letter, or no exporter ever had this name.
    pub fn letters(&self, name: &str, named: Vec<EntryId>) -> Result<Vec<EntryId>, ExportError> {
        self.catalogue.read(|state| {
            // An exporter that is no longer configured may still have some.
            if state.exporter(name).is_none() {
                return Err(ExportError::Unknown(name.to_owned()));
            }
            if named.is_empty() {
                let all = state.dead_letters(Some(name), None, usize::MAX);
                return Ok(all.map(gophership_catalogue::exporter::DeadLetter::entry).collect());
            }
            let missing = named.iter().find(|entry| state.dead_letter(name, **entry).is_none());
            match missing {
                Some(entry) => Err(ExportError::NoSuchLetter { entry: *entry }),
                None => Ok(named),
            }
        })
    }

    /// The payload of a dead letter: ready to be sent, or as it was received together with its fault.
    ///
    /// # Errors
    ///
    /// The letter does not exist, or its entry cannot be read here, with the nodes that have it.
    pub async fn letter_payload(&self, name: &str, entry: EntryId) -> Result<(Bytes, Option<String>), ExportError> {
        self.letters(name, vec![entry])?;
        let read = self.letters.read(entry).await;
        let stored = read.ok_or_else(|| self.catalogue.read(|state| not_here(state, name, entry)))?;
        let received = Bytes::copy_from_slice(&stored.payload);
        Ok(match DeferredDecoder::default().item(stored, self.max_message) {
            Ok(item) => (item.payload, None),
            Err(why) => (received, Some(why)),
        })
    }

    /// Drops dead letters. It blocks.
    ///
    /// # Errors
    ///
    /// The catalogue refused the command.
    pub fn drop_letters(&self, name: &str, letters: Vec<EntryId>, by: &str) -> Result<u64, ExportError> {
        let count = letters.len() as u64;
        self.letters.remove(name, letters, Actor::operator(by))?;
        // An exporter whose letters were at their bound has room again.
        if let Ok(r) = self.find(name) {
            r.control.send_modify(|control| control.nudge += 1);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::exporter::{DeadLetter, LetterCause};
    use gophership_catalogue::state::Change;
    use gophership_vault::NodeSet;
    use gophership_vault::ids::{EntryNumber, Lsn, SegmentIndex, ShardId};

    use super::super::dead_letters::letter;
    use super::*;
    use crate::cluster::testkit::{node, nodes};

    #[test]
    fn a_letter_that_another_node_has_is_no_missing_letter() {
        let mut state = nodes(&["node-9", "node-8"]);
        let entry = |n| {
            let number = EntryNumber::new(n).expect("numbers begin with 1");
            (node(1), ShardId::new(0), Lsn::at(SegmentIndex::FIRST, number))
        };
        let refused = |n| letter("a", entry(n), LetterCause::Refused, 1, "no");
        let copied = DeadLetter {
            copies: NodeSet::of(node(2)),
            ..refused(1)
        };
        for letter in [copied, refused(2)] {
            state.install(Change::DeadLetter(letter));
        }
        let told = |n| not_here(&state, "a", entry(n)).to_string();
        assert!(told(1).contains("ask node-8 (node 2) "), "{}", told(1));
        assert!(told(2).contains("ask node-9 (node 1) "), "{}", told(2));
        assert!(matches!(
            not_here(&state, "a", entry(3)),
            ExportError::NoSuchLetter { .. }
        ));
    }
}
