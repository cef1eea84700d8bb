//! The steps of the owner: it appends, syncs, hears answers, rolls, seals, copies to a substitute, and starts anew in
//! the next epoch. **Not here**: what it acknowledges (`acks`).

use gophership_catalogue::segment::{SegmentState, Step as Command};

use super::content::{Nodes, OWNER, REPLICAS};
use super::rules::Rule;
use super::search::Moves;
use super::state::{Copied, SHARDS, Segment, State};
use super::step::Step;
use super::{ACK_COPIES, Model};

impl Model {
    /// The first state: the owner is granted epoch 1.
    pub(crate) fn first(&self) -> State {
        let mut state = State {
            segments: [Segment::UNOPENED; _],
            active: [None; SHARDS],
            writing: [0; SHARDS],
            granted: 0,
            owner_up: true,
            gone: Nodes::NONE,
            leader: 0,
            appends: 0,
            losses: 0,
            crashes: 0,
            forgotten: 0,
            two_acked: false,
        };
        self.grant_epoch(&mut state, None);
        state
    }

    /// Grants the owner a new epoch, and opens the segments that the bounds have for it: of one shard where `only` is
    /// given, and else of all.
    fn grant_epoch(&self, s: &mut State, only: Option<usize>) {
        s.granted += 1;
        for shard in (0..SHARDS).filter(|shard| only.is_none_or(|it| it == *shard)) {
            s.writing[shard] = s.granted;
            s.active[shard] = None;
            for (g, opening) in self.bounds.segments.iter().enumerate().rev() {
                if opening.shard != shard || opening.epoch != s.granted {
                    continue;
                }
                let Some(record) = s.segments[g].record.after(Command::Open) else {
                    continue;
                };
                let there = opening.set.peers().filter(|r| !s.gone.has(*r));
                let set = there.fold(Nodes::NONE, Nodes::with);
                // A segment is opened on nodes that are there; the model has no others to take their place.
                if set == Nodes::NONE {
                    continue;
                }
                let epoch = s.granted;
                s.segments[g] = Segment {
                    record,
                    epoch,
                    set,
                    ..Segment::UNOPENED
                };
                s.active[shard] = Some(g as u8);
            }
        }
    }

    pub(crate) fn shard(&self, g: usize) -> usize {
        self.bounds.segments[g].shard
    }

    /// Says that the owner writes the segment, as far as it knows.
    pub(crate) fn is_written(&self, s: &State, g: usize) -> bool {
        s.owner_up && s.segments[g].epoch == s.writing[self.shard(g)]
    }

    /// Says that the owner takes no more entries for the segment.
    pub(crate) fn is_closed(&self, s: &State, g: usize) -> bool {
        s.active[self.shard(g)].is_none_or(|active| g < usize::from(active))
    }

    pub(crate) fn owner_steps(&self, s: &State, moves: &mut Moves) {
        if s.gone.has(OWNER) {
            return;
        }
        if !s.owner_up {
            self.start(s, moves);
            return;
        }
        for shard in 0..SHARDS {
            if let Some(g) = s.active[shard] {
                self.append(s, usize::from(g), moves);
                self.roll(s, shard, usize::from(g), moves);
            }
        }
        for g in self.opened(s) {
            self.sync_and_hear(s, g, moves);
            if self.is_written(s, g) {
                self.seal_by_owner(s, g, moves);
                self.copy_outside_the_set(s, g, moves);
            }
        }
        self.renew(s, moves);
    }

    fn start(&self, s: &State, moves: &mut Moves) {
        let mut t = *s;
        t.owner_up = true;
        let open = |g: &usize| s.segments[*g].record.is(SegmentState::Open);
        let newest = self.opened(s).filter(open).last();
        match newest.filter(|_| !self.rules.hold(Rule::OneEpochWrites)) {
            Some(g) => {
                t.granted += 1;
                t.writing = [t.granted; SHARDS];
                self.opened(s)
                    .filter(open)
                    .for_each(|g| t.segments[g].epoch = t.granted);
                t.active[self.shard(g)] = Some(g as u8);
                moves.push(t, Step::Continue { epoch: t.granted });
            }
            None => {
                self.grant_epoch(&mut t, None);
                moves.push(t, Step::Start { epoch: t.granted });
            }
        }
    }

    fn append(&self, s: &State, g: usize, moves: &mut Moves) {
        let number = s.segments[g].wal.end() + 1;
        if s.appends >= self.bounds.appends || number > self.bounds.segment_entries {
            return;
        }
        let mut t = *s;
        t.appends += 1;
        let segment = &mut t.segments[g];
        segment.wal = segment.wal.with(number, segment.epoch);
        // A frame may leave before the owner has synced what is in it.
        if segment.epoch == self.bounds.segments[g].epoch {
            segment.sent = segment.wal;
        } else {
            segment.sent_again = segment.wal;
        }
        moves.push(t, Step::Append { g, number });
    }

    fn roll(&self, s: &State, shard: usize, g: usize, moves: &mut Moves) {
        let spare = (g + 1..self.bounds.segments.len()).find(|next| {
            let segment = &s.segments[*next];
            self.shard(*next) == shard && segment.record.is(SegmentState::Open) && self.is_written(s, *next)
        });
        let mut t = *s;
        t.active[shard] = spare.map(|next| next as u8);
        moves.push(
            t,
            Step::Roll {
                shard,
                to: t.active[shard],
            },
        );
    }

    fn sync_and_hear(&self, s: &State, g: usize, moves: &mut Moves) {
        let segment = &s.segments[g];
        if segment.wal_synced < segment.wal.end() {
            let mut t = *s;
            t.segments[g].wal_synced = segment.wal.end();
            moves.push(t, Step::SyncWal { g });
        }
        if !self.is_written(s, g) {
            return;
        }
        for r in 0..REPLICAS {
            if segment.marks[r] < segment.answers[r] {
                let mut t = *s;
                t.segments[g].marks[r] = segment.answers[r];
                moves.push(t, Step::HearAnswer { g, from: r });
            }
        }
    }

    fn seal_by_owner(&self, s: &State, g: usize, moves: &mut Moves) {
        let segment = &s.segments[g];
        let end = segment.wal.end();
        let may_end = self.is_closed(s, g) || (end > 0 && !self.rules.hold(Rule::SealedTakesNoMore));
        if !segment.record.is(SegmentState::Open) || !may_end || segment.wal_synced < end {
            return;
        }
        let mut t = *s;
        if end == 0 {
            let Some(record) = segment.record.after(Command::TrimEmpty) else {
                return;
            };
            t.segments[g].record = record;
            moves.push(
                t,
                Step::SealByOwner {
                    g,
                    holders: Nodes::NONE,
                },
            );
            return;
        }
        let enough_of_it = |mark: u8| mark == end || (mark > 0 && !self.rules.hold(Rule::HolderHasAll));
        let mut holders = (0..REPLICAS)
            .filter(|r| enough_of_it(segment.marks[*r]))
            .fold(Nodes::of(OWNER), Nodes::with);
        if !self.rules.hold(Rule::MarksBySegment) && self.marks_of(s, g).committed() == u32::from(end) {
            holders = segment.set.with(OWNER);
        }
        let needed = if self.rules.hold(Rule::SealNeedsCopies) {
            ACK_COPIES
        } else {
            1
        };
        let record = segment.record.after(Command::Seal);
        if let Some(record) = record.filter(|_| holders.count() >= needed) {
            let sealed = segment.wal;
            t.segments[g] = Segment {
                record,
                sealed,
                holders,
                ..*segment
            };
            moves.push(t, Step::SealByOwner { g, holders });
        }
    }

    /// A closed segment whose set has not enough nodes left is copied to another one.
    fn copy_outside_the_set(&self, s: &State, g: usize, moves: &mut Moves) {
        let segment = &s.segments[g];
        let end = segment.wal.end();
        if !segment.record.is_pending() || !self.is_closed(s, g) || segment.wal_synced < end || end == 0 {
            return;
        }
        for r in (0..REPLICAS).filter(|r| !segment.set.has(*r) && !s.gone.has(*r)) {
            let is_fenced = segment.copies[r].promise > 0;
            if self.rules.hold(Rule::SubstituteForLostReplica) && !is_fenced && segment.marks[r] < end {
                let mut t = *s;
                t.segments[g].copies[r] = Copied::whole(segment.wal, 0);
                t.segments[g].marks[r] = end;
                moves.push(t, Step::Substitute { g, to: r });
            }
            if !self.rules.hold(Rule::SetIsFixed) && segment.record.is(SegmentState::Open) {
                for from in segment.set.peers() {
                    let mut t = *s;
                    t.segments[g].set = segment.set.without(from).with(r);
                    moves.push(t, Step::Reassign { g, from, to: r });
                }
            }
        }
    }

    /// The owner sees in the catalogue that a recovery has one of its segments, or has sealed it without what it wrote
    /// since.
    fn renew(&self, s: &State, moves: &mut Moves) {
        let fenced = self.opened(s).find(|g| {
            let segment = &s.segments[*g];
            let sealed_otherwise = segment.record.is_done() && segment.sealed != segment.wal;
            let mine = segment.epoch == s.writing[self.shard(*g)];
            mine && (segment.record.is(SegmentState::Recovering) || sealed_otherwise)
        });
        let Some(g) = fenced else {
            return;
        };
        if self.rules.hold(Rule::FencedTakesNewEpoch) && s.granted <= self.bounds.last_epoch() {
            let mut t = *s;
            let alone = !self.rules.hold(Rule::OneEpochForAllShards);
            self.grant_epoch(&mut t, alone.then(|| self.shard(g)));
            moves.push(t, Step::NewEpoch { epoch: t.granted });
        }
    }
}
