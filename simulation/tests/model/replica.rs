//! The steps of a replica: it takes frames, syncs them, and answers for what it has synced.

use super::Model;
use super::content::Content;
use super::rules::Rule;
use super::search::Moves;
use super::state::{Segment, State};
use super::step::Step;

impl Model {
    pub(crate) fn replica_steps(&self, s: &State, moves: &mut Moves) {
        for g in self.opened(s) {
            let segment = &s.segments[g];
            for r in segment
                .set
                .peers()
                .filter(|r| !s.gone.has(*r) && segment.copies[*r].promise == 0)
            {
                self.take(s, g, r, segment.sent, moves);
                self.take(s, g, r, segment.sent_again, moves);
                self.sync_copy(s, g, r, moves);
            }
        }
    }

    /// Takes a frame. A frame that was sent can arrive at any time; one that leaves a gap, or has been taken, is
    /// dropped. The owner keeps no small frames, so that one that is sent again may end elsewhere.
    fn take(&self, s: &State, g: usize, r: usize, sent: Content, moves: &mut Moves) {
        let copy = &s.segments[g].copies[r];
        let end = copy.content.end();
        // Once it has an entry of a newer epoch it refuses frames of an older one; and it takes what follows on what it
        // has.
        let newest = |content: Content| (1..=content.end()).map(|n| content.writer(n)).max().unwrap_or(0);
        let is_older = newest(copy.content) > newest(sent);
        if is_older || (newest(sent) > self.bounds.segments[g].epoch && !copy.content.is_prefix_of(sent)) {
            return;
        }
        for last in end + 1..=sent.end().min(end + self.bounds.frame_entries) {
            let mut t = *s;
            let to = &mut t.segments[g].copies[r];
            for number in end + 1..=last {
                to.content = to.content.with(number, sent.writer(number));
            }
            to.frame_ends |= 1 << last;
            if !self.rules.hold(Rule::AnswerAfterSync) {
                self.answer(&mut t, g, r, last);
            }
            moves.push(
                t,
                Step::Take {
                    g,
                    at: r,
                    first: end + 1,
                    last,
                },
            );
        }
        if self.rules.hold(Rule::DifferingFrameIsRefused) || copy.synced < end || end == 0 {
            return;
        }
        for last in end + 1..=sent.end().min(end + self.bounds.frame_entries - 1) {
            let mut t = *s;
            self.answer(&mut t, g, r, last);
            moves.push(t, Step::TakeForSame { g, at: r, last });
        }
    }

    /// Syncs, and answers: also again for what is synced, which is what a new stream begins with.
    fn sync_copy(&self, s: &State, g: usize, r: usize, moves: &mut Moves) {
        let segment = &s.segments[g];
        let end = segment.copies[r].content.end();
        let owes_answer = self.is_written(s, g) && segment.answers[r] < end;
        if segment.copies[r].synced < end || owes_answer {
            let mut t = *s;
            t.segments[g].copies[r].synced = end;
            t.segments[g].copies[r].frame_ends = 0;
            self.answer(&mut t, g, r, end);
            moves.push(t, Step::SyncCopy { g, at: r });
        }
    }

    /// Sends the owner an answer for everything up to entry `last`.
    pub(crate) fn answer(&self, s: &mut State, g: usize, r: usize, last: u8) {
        if !self.is_written(s, g) {
            return;
        }
        let Segment { answers, marks, .. } = &mut s.segments[g];
        answers[r] = answers[r].max(last);
        if !self.bounds.late_answers {
            marks[r] = answers[r];
        }
    }
}
