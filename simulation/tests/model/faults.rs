//! The faults: power cuts, kills, losses for good, and disks that lose what they had synced.

use gophership_catalogue::segment::SegmentState;

use super::Model;
use super::content::{ENTRIES_MAX, OWNER, REPLICAS};
use super::rules::Rule;
use super::search::Moves;
use super::state::{Copied, SHARDS, State};
use super::step::Step;

impl Model {
    pub(crate) fn faults(&self, s: &State, moves: &mut Moves) {
        if s.crashes < self.bounds.crashes {
            if s.owner_up {
                self.owner_stops(s, moves);
            }
            self.replica_power_cuts(s, moves);
            if !self.rules.hold(Rule::MergeKeepsFrames) {
                self.torn_merges(s, moves);
            }
        }
        if s.losses < self.bounds.losses {
            losses(s, moves);
        }
        if s.forgotten < self.bounds.forgotten {
            self.forgetting(s, moves);
        }
    }

    fn owner_stops(&self, s: &State, moves: &mut Moves) {
        let stopped = State {
            owner_up: false,
            active: [None; SHARDS],
            crashes: s.crashes + 1,
            ..*s
        };
        if self.bounds.owner_kill {
            moves.push(stopped, Step::OwnerKilled);
        }
        let mut ends = Vec::new();
        self.power_cuts(stopped, self.bounds.segments.len(), &mut ends);
        for t in ends {
            moves.push(t, Step::OwnerPowerCut);
            let mut all = t;
            for segment in &mut all.segments {
                segment.copies = segment.copies.map(|copy| copy.cut_to(copy.synced));
            }
            if !self.rules.hold(Rule::PromiseIsSynced) {
                (0..REPLICAS).for_each(|r| forget_promises(&mut all, r));
            }
            if all != t {
                moves.push(all, Step::PowerCutOfAll);
            }
        }
    }

    /// Every end that a power cut of the owner can have, for the first `segments` segments: of the entries that are not
    /// synced any are left, or without `holes` the first ones.
    fn power_cuts(&self, s: State, segments: usize, ends: &mut Vec<State>) {
        let Some(g) = segments.checked_sub(1) else {
            ends.push(s);
            return;
        };
        let segment = &s.segments[g];
        let loose = segment.wal.end().saturating_sub(segment.wal_synced);
        for kept in 0..1u8 << loose {
            let is_prefix = kept & (kept + 1) == 0;
            if !is_prefix && !self.bounds.holes {
                continue;
            }
            let mut t = s;
            let to = &mut t.segments[g];
            let lost = (0..loose).filter(|bit| kept >> bit & 1 == 0);
            to.wal = lost.fold(segment.wal, |wal, bit| wal.without(segment.wal_synced + 1 + bit));
            to.wal_synced = to.wal.end();
            self.power_cuts(t, g, ends);
        }
    }

    /// A power cut of a replica leaves the frames that are synced, and any that follow them without a gap.
    fn replica_power_cuts(&self, s: &State, moves: &mut Moves) {
        for r in (0..REPLICAS).filter(|r| !s.gone.has(*r)) {
            let mut base = *s;
            base.crashes += 1;
            if !self.rules.hold(Rule::PromiseIsSynced) {
                forget_promises(&mut base, r);
            }
            for extra in 0..ENTRIES_MAX {
                let mut t = base;
                for g in self.opened(s) {
                    self.cut_copy(&mut t, g, r, extra);
                }
                let changed = State {
                    crashes: s.crashes,
                    ..t
                } != *s;
                if changed {
                    moves.push(t, Step::ReplicaPowerCut { at: r });
                }
            }
        }
    }

    /// Leaves of a copy what is synced and, of the `extra` entries behind it, whole frames.
    fn cut_copy(&self, s: &mut State, g: usize, r: usize, extra: u8) {
        let copy = s.segments[g].copies[r];
        let torn_at = (copy.synced + extra).min(copy.content.end());
        let is_end = |n: &u8| copy.frame_ends >> n & 1 == 1;
        let whole = (copy.synced + 1..=torn_at).rev().find(is_end).unwrap_or(copy.synced);
        s.segments[g].copies[r] = copy.cut_to(whole);
        if whole < torn_at && !self.rules.hold(Rule::TornFrameIsGone) {
            // The part of the frame that is there passes for all of it.
            s.segments[g].copies[r] = copy.cut_to(torn_at);
            let claimed = (torn_at..=copy.content.end()).find(is_end).unwrap_or(torn_at);
            self.answer(s, g, r, claimed);
        }
    }

    /// A replica merges the frames of a segment that takes no more.
    fn torn_merges(&self, s: &State, moves: &mut Moves) {
        for g in self.opened(s) {
            let segment = &s.segments[g];
            let is_ended = self.is_closed(s, g) || s.granted > segment.epoch || segment.record.is_done();
            for r in 0..REPLICAS {
                let copy = segment.copies[r];
                let end = copy.content.end();
                if is_ended && end > 0 && !s.gone.has(r) {
                    let mut t = *s;
                    t.crashes += 1;
                    t.segments[g].copies[r] = copy.cut_to(end - 1);
                    moves.push(t, Step::MergeTorn { g, at: r });
                }
            }
        }
    }

    /// A replica's disk loses the last entry that it had synced. The replica is started again, and its stream begins
    /// anew with what it has. What was acknowledged before rests on the other copies, as when the node is lost.
    fn forgetting(&self, s: &State, moves: &mut Moves) {
        for g in self.opened(s).filter(|g| self.is_written(s, *g)) {
            let segment = &s.segments[g];
            for r in segment.set.peers().filter(|r| !s.gone.has(*r)) {
                let copy = segment.copies[r];
                if copy.synced == 0 || copy.promise > 0 || !segment.record.is(SegmentState::Open) {
                    continue;
                }
                let mut t = *s;
                t.forgotten += 1;
                let to = &mut t.segments[g];
                to.copies[r] = copy.cut_to(copy.synced - 1);
                to.excused = segment.acked;
                if self.rules.hold(Rule::RestartLowersMark) {
                    to.marks[r] = to.copies[r].synced;
                    to.answers[r] = to.copies[r].synced;
                }
                moves.push(t, Step::Forgets { g, at: r });
            }
        }
    }
}

fn losses(s: &State, moves: &mut Moves) {
    for node in (0..=OWNER).filter(|node| !s.gone.has(*node)) {
        let mut t = *s;
        t.losses += 1;
        t.gone = s.gone.with(node);
        for segment in &mut t.segments {
            match segment.copies.get_mut(node) {
                Some(copy) => *copy = Copied::default(),
                None => (segment.wal, segment.wal_synced, segment.owner_promise) = Default::default(),
            }
        }
        if node == OWNER {
            t.owner_up = false;
            t.active = [None; SHARDS];
        }
        moves.push(t, Step::Lost { node });
    }
}

fn forget_promises(s: &mut State, r: usize) {
    for segment in &mut s.segments {
        segment.copies[r].promise = 0;
    }
}
