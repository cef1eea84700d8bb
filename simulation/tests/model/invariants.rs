//! The properties that must hold in every state.
//!
//! - I1: (P1): an acknowledged entry is on a node that is there, and in the content that was sealed.
//! - I2: (P2, P3): one number of a segment never has two contents in what was acknowledged or sealed.
//! - I3: a holder that a seal lists has what was sealed.
//! - I4: without another fault everything that was acknowledged can be sealed.

use std::fmt;

use super::Model;
use super::content::{Content, Nodes, OWNER};
use super::state::{Segment, State};

/// The invariant that a state breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// I1: an acknowledged entry is on no copy that counts.
    Lost,
    /// I1: what was sealed lacks an acknowledged entry.
    SealedWithout,
    /// I2.
    TwoContents,
    /// I3.
    HolderDiffers,
    /// I4.
    DeadEnd,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "I1: an acknowledged entry is on no copy that counts",
            Self::SealedWithout => "I1: what was sealed lacks an acknowledged entry",
            Self::TwoContents => "I2: one number of a segment has two contents",
            Self::HolderDiffers => "I3: a listed holder has not what was sealed",
            Self::DeadEnd => "I4: what was acknowledged can never be sealed",
        })
    }
}

impl Model {
    /// The invariant among I1 to I3 that the state breaks.
    pub(crate) fn broken(&self, s: &State) -> Option<Broken> {
        if s.two_acked {
            return Some(Broken::TwoContents);
        }
        self.opened(s).find_map(|g| broken_in(s, g))
    }

    /// Says that the end of every segment with an acknowledged entry is decided.
    pub(crate) fn is_end(&self, s: &State) -> bool {
        let is_decided = |segment: &Segment| segment.acked == Content::EMPTY || segment.record.is_done();
        self.opened(s).all(|g| is_decided(&s.segments[g]))
    }
}

fn broken_in(s: &State, g: usize) -> Option<Broken> {
    let segment = &s.segments[g];
    let is_done = segment.record.is_done();
    let counting = if is_done { segment.holders } else { Nodes::ALL };
    let mut nodes = (0..=OWNER).filter(|node| counting.has(*node));
    for number in (1..=segment.acked.end()).filter(|number| segment.acked.writer(*number) != 0) {
        let writer = segment.acked.writer(number);
        let sealed = segment.sealed.writer(number);
        let is_excused = segment.excused.writer(number) != 0;
        if is_done && sealed == 0 && !is_excused {
            return Some(Broken::SealedWithout);
        }
        if is_done && sealed != 0 && sealed != writer {
            return Some(Broken::TwoContents);
        }
        let has_it = |node: usize| s.held(g, node).is_some_and(|content| content.writer(number) == writer);
        if !is_excused && !nodes.clone().any(has_it) {
            return Some(Broken::Lost);
        }
    }
    let differs = |node: usize| s.held(g, node).is_some_and(|content| content != segment.sealed);
    (is_done && nodes.any(differs)).then_some(Broken::HolderDiffers)
}
