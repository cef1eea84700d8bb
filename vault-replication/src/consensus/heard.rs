//! The promises that a node has heard from its peers, so that it can contradict one that has forgotten its own.
//!
//! The mark beside a catalogue tells an older backup of the catalogue alone. Of a folder that was put back as a whole
//! only the peers know that the node had promised more: every message and answer carries what its sender has heard of
//! the receiver.
//!
//! **Invariants**:
//! - I1: nothing is heard that the peer had not synced before it said so.
//!
//! **Not here**: a promise, and what contradicts it (`promise.rs`); the moment from which a node takes part
//! (`vouch.rs`). Bytes: `docs/formats.md`.

use std::collections::BTreeMap;

use gophership_catalogue::WireError;

use super::promise::Promise;
use super::wire::{Reader, Writer};

/// What a node has heard of each peer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Heard(BTreeMap<u64, Promise>);

impl Heard {
    /// The newest promise of a peer.
    pub(crate) fn of(&self, node: u64) -> Option<Promise> {
        self.0.get(&node).copied()
    }

    /// Notes the promise of a peer, where it is newer than that before.
    pub(crate) fn note(&mut self, node: u64, promise: Promise) {
        let known = self.0.entry(node).or_insert(promise);
        if known.vote.leader_id < promise.vote.leader_id {
            *known = promise;
        } else if known.vote.leader_id == promise.vote.leader_id {
            known.last = known.last.max(promise.last);
        }
    }

    pub(crate) fn write(&self, w: Writer) -> Writer {
        let each = self.0.iter();
        each.fold(w.count(self.0.len()), |w, (node, promise)| {
            w.u64(*node).promise(*promise)
        })
    }

    pub(crate) fn read(v: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut all = BTreeMap::new();
        for _ in 0..v.u32()? {
            all.insert(v.u64()?, v.promise()?);
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::raft_types::Vote;
    use crate::consensus::wire::tests::id;

    fn promise(term: u64, last: Option<u64>) -> Promise {
        Promise {
            vote: Vote::new_committed(term, 1),
            last: last.map(|index| id(term, 1, index)),
        }
    }

    #[test]
    fn the_newest_word_stays() {
        let mut heard = Heard::default();
        for (said, newest) in [
            (promise(2, Some(7)), promise(2, Some(7))),
            (promise(2, Some(6)), promise(2, Some(7))),
            (promise(2, None), promise(2, Some(7))),
            (promise(1, Some(9)), promise(2, Some(7))),
            (promise(2, Some(8)), promise(2, Some(8))),
            (promise(3, None), promise(3, None)),
        ] {
            heard.note(5, said);
            assert_eq!(heard.of(5), Some(newest), "{said:?}");
        }
        assert_eq!(heard.of(6), None);
        let bytes = heard.write(Writer::default()).done();
        assert_eq!(Heard::read(&mut Reader::new("what was heard", &bytes)).unwrap(), heard);
    }
}
