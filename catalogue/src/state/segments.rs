//! The table of segments. Nearly all of them are sealed, in logs whose numbers follow each other. Those are packed
//! (`packed.rs`), in runs of [`RUN`] numbers of a log, so that a million of them take little more than their digests
//! and times do.
//!
//! **Invariants**:
//! - I1: the table is that of a plain map: what was put is what is got, and it is walked in the order of the ids.
//! - I2: equal contents are equal tables: no run is empty, and the rows of a run are in order.
//! - I3: `newest` has the newest seal of each run.
//!
//! **Not here**: what is counted over the segments (`tally.rs`), the bytes of a packed record (`packed.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use gophership_vault::ids::{LogId, SegmentId, SegmentIndex};
use gophership_vault::ledger::SealRecord;

use super::packed::{PACKED_BYTES_MAX, pack, sealed_ns, unpack};
use crate::segment::SegmentRecord;

/// Numbers of a log in one run. A row is found by walking over those before it in its run.
const RUN: u32 = 32;
const _: () = assert!(RUN <= u8::MAX as u32 && PACKED_BYTES_MAX <= u8::MAX as usize);

/// A run: a log, and the number of the run in it.
type RunKey = (LogId, u32);

/// The records of all segments that have one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct SegmentTable {
    sealed: BTreeMap<RunKey, Run>,
    /// The newest seal of each run, by the log: the log, its time, the number of the run.
    newest: BTreeSet<(LogId, u64, u32)>,
    not_sealed: BTreeMap<SegmentId, SegmentRecord>,
}

impl SegmentTable {
    /// The record of a segment.
    pub(super) fn get(&self, id: SegmentId) -> Option<SegmentRecord> {
        let sealed = self.sealed(id).map(SegmentRecord::Sealed);
        sealed.or_else(|| self.not_sealed.get(&id).copied())
    }

    /// Sets or removes the record of a segment. The record before that is given back.
    pub(super) fn put(&mut self, id: SegmentId, record: Option<SegmentRecord>) -> Option<SegmentRecord> {
        let before = self.get(id);
        match record {
            Some(SegmentRecord::Sealed(seal)) => {
                self.not_sealed.remove(&id);
                self.put_sealed(id, Some(&pack(&seal)));
            }
            Some(other) => {
                self.put_sealed(id, None);
                self.not_sealed.insert(id, other);
            }
            None => {
                self.put_sealed(id, None);
                self.not_sealed.remove(&id);
            }
        }
        before
    }

    /// All records, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = SegmentRecord> {
        merged(self.sealed.iter().flat_map(rows_of), self.not_sealed.values())
    }

    /// The records from one segment to another one, both included, in order.
    pub(super) fn range(&self, from: SegmentId, to: SegmentId) -> impl Iterator<Item = SegmentRecord> {
        let runs = self.sealed.range(place(from).0..=place(to).0);
        let sealed = runs.flat_map(rows_of).filter(move |(id, _)| (from..=to).contains(id));
        merged(sealed, self.not_sealed.range(from..=to).map(|(_, record)| record))
    }

    /// The records of the segments that are not sealed, in order.
    pub(super) fn not_sealed(&self) -> impl Iterator<Item = &SegmentRecord> {
        self.not_sealed.values()
    }

    /// The time of the newest seal in a log.
    pub(super) fn newest_seal_ns(&self, log: LogId) -> Option<u64> {
        let newest = self.newest.range((log, 0, 0)..=(log, u64::MAX, u32::MAX)).next_back();
        newest.map(|(_, sealed_ns, _)| *sealed_ns)
    }

    fn sealed(&self, id: SegmentId) -> Option<SealRecord> {
        let (key, slot) = place(id);
        let row = self.sealed.get(&key)?.row(slot)?;
        Some(unpack(id, row))
    }

    fn put_sealed(&mut self, id: SegmentId, row: Option<&[u8]>) {
        let (key, slot) = place(id);
        if row.is_none() && !self.sealed.contains_key(&key) {
            return;
        }
        let run = self.sealed.entry(key).or_default();
        let before = run.newest_ns();
        run.put(slot, row);
        let after = run.newest_ns();
        if before != after {
            before.map(|at| self.newest.remove(&(key.0, at, key.1)));
            after.map(|at| self.newest.insert((key.0, at, key.1)));
        }
        if after.is_none() {
            self.sealed.remove(&key);
        }
    }
}

/// The run of a segment, and its place there.
fn place(id: SegmentId) -> (RunKey, u8) {
    let number = id.index.get();
    ((id.log(), number / RUN), (number % RUN) as u8)
}

fn rows_of<'a>(((log, number), run): (&RunKey, &'a Run)) -> impl Iterator<Item = (SegmentId, &'a [u8])> {
    let (log, first) = (*log, number * RUN);
    run.rows().map(move |(slot, row)| {
        let index = SegmentIndex::new(first + u32::from(slot)).expect("it is the number of a segment");
        (log.segment(index), row)
    })
}

/// Sealed segments and others, each in order, as one list in order.
fn merged<'a>(
    sealed: impl Iterator<Item = (SegmentId, &'a [u8])>,
    others: impl Iterator<Item = &'a SegmentRecord>,
) -> impl Iterator<Item = SegmentRecord> {
    let (mut sealed, mut others) = (sealed.peekable(), others.peekable());
    iter::from_fn(move || {
        let next = others.peek().map(|record| record.id());
        let earlier = sealed.next_if(|(id, _)| next.is_none_or(|next| *id < next));
        let earlier = earlier.map(|(id, row)| SegmentRecord::Sealed(unpack(id, row)));
        earlier.or_else(|| others.next().copied())
    })
}

/// The sealed segments of a run: for each, in order, its place, the number of its bytes, and these.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Run(Vec<u8>);

impl Run {
    const HEAD: usize = 2;

    fn rows(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut left = &self.0[..];
        iter::from_fn(move || {
            let (&[slot, len], rest) = left.split_first_chunk::<{ Self::HEAD }>()?;
            let (row, rest) = rest.split_at(usize::from(len));
            left = rest;
            Some((slot, row))
        })
    }

    fn row(&self, slot: u8) -> Option<&[u8]> {
        let mut rows = self.rows().take_while(|(at, _)| *at <= slot);
        rows.find(|(at, _)| *at == slot).map(|(_, row)| row)
    }

    fn newest_ns(&self) -> Option<u64> {
        self.rows().map(|(_, row)| sealed_ns(row)).max()
    }

    /// Sets or removes a row.
    fn put(&mut self, slot: u8, row: Option<&[u8]>) {
        let (mut from, mut to) = (0, 0);
        for (at, row) in self.rows().take_while(|(at, _)| *at <= slot) {
            to += Self::HEAD + row.len();
            if at < slot {
                from = to;
            }
        }
        let mut new = Vec::new();
        if let Some(row) = row {
            let len = u8::try_from(row.len()).expect("a packed record is short");
            new.extend([slot, len]);
            new.extend_from_slice(row);
        }
        // A run grows by an eighth and not to its double: there are many.
        let free = self.0.capacity() - self.0.len();
        if free < new.len() {
            self.0.reserve_exact(new.len() + self.0.len() / 8);
        }
        self.0.splice(from..to, new);
    }
}

#[cfg(test)]
mod tests;
