//! States that cannot be told apart by what can still happen become one. Nothing here may hide a broken invariant: what
//! is dropped is neither looked at by one nor read by a step that may still be taken.

use gophership_catalogue::segment::SegmentState;

use super::Model;
use super::content::{Content, REPLICAS};
use super::rules::Rule;
use super::state::{Copied, RECOVERIES, Recovery, Segment, State};

impl Model {
    /// Drops what can make no difference any more.
    pub(crate) fn forget_what_cannot_matter(&self, s: &mut State) {
        if !self.merges_same {
            return;
        }
        for g in 0..self.bounds.segments.len() {
            if s.segments[g].record.is(SegmentState::Unopened) {
                continue;
            }
            let may_acknowledge = self.is_written(s, g);
            let is_closed = self.is_closed(s, g);
            let gone = s.gone;
            let segment = &mut s.segments[g];
            if !may_acknowledge && segment.acked == Content::EMPTY && self.rules.hold(Rule::OneEpochWrites) {
                // No client was told of it and none will be: whatever becomes of it is right.
                let record = segment.record.ended_unseen();
                *segment = Segment {
                    record,
                    epoch: segment.epoch,
                    ..Segment::UNOPENED
                };
                continue;
            }
            if !may_acknowledge {
                segment.marks = [0; REPLICAS];
                segment.answers = [0; REPLICAS];
            }
            for recovery in &mut segment.recoveries {
                if recovery.chosen.is_some() {
                    recovery.reports = [None; REPLICAS + 1];
                }
            }
            let is_deaf = |r: usize| gone.has(r) || segment.copies[r].promise > 0;
            if segment.set.peers().all(is_deaf) && self.numbers_protect() {
                segment.sent = Content::EMPTY;
                segment.sent_again = Content::EMPTY;
            }
            let is_settled = !may_acknowledge || (is_closed && segment.is_sealed_as_written());
            if segment.record.is_done() && is_settled && self.numbers_protect() {
                settle(segment);
            }
        }
    }
}

/// Of a sealed segment of which nothing more can be acknowledged only what its holders have can matter.
fn settle(segment: &mut Segment) {
    segment.recoveries = [Recovery::default(); RECOVERIES];
    segment.sent = Content::EMPTY;
    segment.sent_again = Content::EMPTY;
    segment.owner_promise = 0;
    for r in 0..REPLICAS {
        segment.copies[r] = match segment.holders.has(r) {
            true => Copied {
                promise: 1,
                ..segment.copies[r]
            },
            false => Copied::default(),
        };
    }
}
