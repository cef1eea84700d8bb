//! The steps of leaders that recover a segment: a numbered recovery asks for promises and reports, decides, copies, and
//! seals. One leader recovers the segments of all shards. The messages of a deposed one go on.

use gophership_catalogue::segment::{SegmentState, Step as Command};

use super::content::{Content, Nodes, OWNER, REPLICAS};
use super::rules::Rule;
use super::search::Moves;
use super::state::{Copied, RECOVERIES, Recovery, State};
use super::step::Step;
use super::{ACK_COPIES, Model};

impl Model {
    pub(crate) fn leader_steps(&self, s: &State, moves: &mut Moves) {
        for g in self.opened(s) {
            self.begin(s, g, moves);
            let segment = &s.segments[g];
            // Once the segment is sealed, all its holders refuse messages still under way, while the rules hold.
            if segment.record.is_pending() || !self.numbers_protect() {
                for k in 0..usize::from(segment.number) {
                    match segment.recoveries[k].chosen {
                        None => {
                            self.ask(s, g, k, moves);
                            self.choose(s, g, k, moves);
                        }
                        Some(chosen) => {
                            self.copy(s, g, k, chosen, moves);
                            self.seal(s, g, k, chosen, moves);
                        }
                    }
                }
            }
        }
        let leads = |g: usize| s.segments[g].record.is(SegmentState::Recovering) && s.segments[g].leader == s.leader;
        if s.leader + 1 < self.bounds.leaders && self.opened(s).any(leads) {
            let mut t = *s;
            t.leader += 1;
            moves.push(t, Step::ChangeLeader { leader: t.leader });
        }
    }

    /// True where a recovery that was overtaken can do no more harm.
    pub(crate) fn numbers_protect(&self) -> bool {
        use Rule::{OwnerKeepsNumber, PromiseIsSynced, ReplicasKeepNumber, SealComparesNumber, UnseenIsFenced};
        [
            ReplicasKeepNumber,
            OwnerKeepsNumber,
            SealComparesNumber,
            PromiseIsSynced,
            UnseenIsFenced,
        ]
        .iter()
        .all(|rule| self.rules.hold(*rule))
    }

    fn begin(&self, s: &State, g: usize, moves: &mut Moves) {
        let segment = &s.segments[g];
        let is_left = self.bounds.live_recovery || !s.owner_up || s.granted > segment.epoch;
        let is_mine = segment.number > 0 && segment.leader == s.leader;
        if !segment.record.is_pending() || !is_left || is_mine || usize::from(segment.number) == RECOVERIES {
            return;
        }
        if let Some(record) = segment.record.after(Command::BeginRecovery) {
            let mut t = *s;
            let to = &mut t.segments[g];
            to.record = record;
            to.number += 1;
            to.leader = s.leader;
            moves.push(
                t,
                Step::Begin {
                    g,
                    number: segment.number + 1,
                },
            );
        }
    }

    /// The promise that a node must not have given to a later recovery.
    fn is_refused(&self, promise: u8, k: usize, rule: Rule) -> bool {
        self.rules.hold(rule) && usize::from(promise) > k + 1
    }

    /// Asks each node of the set for a promise and a report.
    fn ask(&self, s: &State, g: usize, k: usize, moves: &mut Moves) {
        let segment = &s.segments[g];
        let number = k as u8 + 1;
        let has_reported = |node: usize| segment.recoveries[k].reports[node].is_some();
        let is_asked = |r: &usize| segment.set.has(*r) || !self.rules.hold(Rule::SetReports);
        for r in (0..REPLICAS).filter(is_asked).filter(|r| !has_reported(*r)) {
            let copy = &segment.copies[r];
            if s.gone.has(r) && self.rules.hold(Rule::LostReplicaIsAbsent)
                || self.is_refused(copy.promise, k, Rule::ReplicasKeepNumber)
            {
                continue;
            }
            let mut t = *s;
            let to = &mut t.segments[g];
            to.recoveries[k].reports[r] = Some(copy.content);
            if !s.gone.has(r) {
                let is_unseen = copy.content == Content::EMPTY && copy.promise == 0;
                let fences = !is_unseen || self.rules.hold(Rule::UnseenIsFenced);
                let promise = if fences { copy.promise.max(number) } else { 0 };
                to.copies[r] = Copied::whole(copy.content, promise);
            }
            moves.push(
                t,
                Step::Report {
                    g,
                    number: k,
                    from: r,
                    content: copy.content,
                },
            );
        }
        let refused = self.is_refused(segment.owner_promise, k, Rule::OwnerKeepsNumber);
        if !has_reported(OWNER) && self.wal_counts(s, g) && !refused {
            let mut t = *s;
            let to = &mut t.segments[g];
            to.recoveries[k].reports[OWNER] = Some(segment.wal);
            to.owner_promise = segment.owner_promise.max(number);
            moves.push(
                t,
                Step::Report {
                    g,
                    number: k,
                    from: OWNER,
                    content: segment.wal,
                },
            );
        }
    }

    /// Says that the WAL of an owner that is back is its report.
    fn wal_counts(&self, s: &State, g: usize) -> bool {
        let segment = &s.segments[g];
        if s.gone.has(OWNER) {
            return !self.rules.hold(Rule::LostOwnerIsAbsent);
        }
        let is_behind = |r: usize| !s.gone.has(r) && segment.copies[r].synced > segment.wal.end();
        let reaches_marks = self.rules.hold(Rule::MarkIsTheOwners) || !segment.set.peers().any(is_behind);
        s.owner_up && s.granted > segment.epoch && reaches_marks
    }

    fn choose(&self, s: &State, g: usize, k: usize, moves: &mut Moves) {
        let segment = &s.segments[g];
        if let Some(content) = self.decide(segment.set, &segment.recoveries[k]) {
            let mut t = *s;
            t.segments[g].recoveries[k].chosen = Some(content);
            moves.push(t, Step::Choose { g, number: k, content });
        }
    }

    /// The seal that a recovery may make, by its reports. `None` where they are too few, or two of them differ. With
    /// all rules it is the product's decision (`product`).
    pub(crate) fn decide(&self, set: Nodes, recovery: &Recovery) -> Option<Content> {
        let reports = &recovery.reports;
        let of_replicas = (0..REPLICAS).filter(|r| reports[*r].is_some()).count();
        let copies = set.count() + 1;
        let needed = if self.rules.hold(Rule::EnoughReports) {
            copies - ACK_COPIES + 1
        } else {
            1
        };
        if reports[OWNER].is_none() && of_replicas < needed {
            return None;
        }
        let joined = |one: Content, other: Content| {
            if self.rules.hold(Rule::UnionOfReports) {
                one.union(other)
            } else if one.is_prefix_of(other) {
                Some(other)
            } else {
                other.is_prefix_of(one).then_some(one)
            }
        };
        reports
            .iter()
            .flatten()
            .try_fold(Content::EMPTY, |all, report| joined(all, *report))
    }

    /// Copies what was chosen to a node, which confirms it when it is synced.
    fn copy(&self, s: &State, g: usize, k: usize, chosen: Content, moves: &mut Moves) {
        let segment = &s.segments[g];
        let number = k as u8 + 1;
        if chosen == Content::EMPTY {
            return;
        }
        for r in (0..REPLICAS).filter(|r| !s.gone.has(*r)) {
            let promise = segment.copies[r].promise;
            let may_have_it = segment.set.has(r) || self.rules.hold(Rule::RecoveryCopiesAnywhere);
            if may_have_it && !self.is_refused(promise, k, Rule::ReplicasKeepNumber) {
                let mut t = *s;
                let to = &mut t.segments[g];
                to.copies[r] = Copied::whole(chosen, promise.max(number));
                to.recoveries[k].confirmed = to.recoveries[k].confirmed.with(r);
                moves.push(t, Step::Copy { g, number: k, to: r });
            }
        }
        let is_back = s.owner_up && s.granted > segment.epoch;
        if is_back && !self.is_refused(segment.owner_promise, k, Rule::OwnerKeepsNumber) {
            let mut t = *s;
            let to = &mut t.segments[g];
            to.wal = chosen;
            to.wal_synced = chosen.end();
            to.owner_promise = segment.owner_promise.max(number);
            to.recoveries[k].confirmed = to.recoveries[k].confirmed.with(OWNER);
            moves.push(
                t,
                Step::Copy {
                    g,
                    number: k,
                    to: OWNER,
                },
            );
        }
    }

    fn seal(&self, s: &State, g: usize, k: usize, chosen: Content, moves: &mut Moves) {
        let segment = &s.segments[g];
        let holders = segment.recoveries[k].confirmed;
        let is_empty = chosen == Content::EMPTY;
        let needed = if self.rules.hold(Rule::RecoveryNeedsCopies) {
            ACK_COPIES
        } else {
            1
        };
        let is_newest = usize::from(segment.number) == k + 1 || !self.rules.hold(Rule::SealComparesNumber);
        if !segment.record.is(SegmentState::Recovering) || !is_newest || (holders.count() < needed && !is_empty) {
            return;
        }
        if let Some(record) = segment.record.after(Command::Seal) {
            let mut t = *s;
            let to = &mut t.segments[g];
            to.record = record;
            to.sealed = chosen;
            to.holders = holders;
            moves.push(
                t,
                Step::Seal {
                    g,
                    number: k,
                    content: chosen,
                    holders,
                },
            );
        }
    }
}
