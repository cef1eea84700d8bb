//! The search: all states that can be reached, breadth first, so that the way to a broken invariant is a shortest one.
//! A state is known by a hash of 64 bits, as in other checkers of this kind; states on the way are not kept.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::Model;
use super::content::ENTRIES_MAX;
use super::invariants::Broken;
use super::state::State;
use super::step::Step;

/// States after which a search is given up.
const STATES_MAX: usize = 60_000_000;

/// What can follow a state.
#[derive(Default)]
pub(crate) struct Moves(Vec<(State, Step)>);

impl Moves {
    pub(crate) fn push(&mut self, state: State, step: Step) {
        self.0.push((state, step));
    }
}

/// What a search found.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) steps: u64,
    /// The first invariant that was broken, and the way there.
    pub(crate) broken: Option<(Broken, String)>,
}

impl Model {
    /// Collects what can follow a state.
    fn successors(&self, s: &State, moves: &mut Moves) {
        moves.0.clear();
        self.owner_steps(s, moves);
        self.replica_steps(s, moves);
        self.leader_steps(s, moves);
        self.faults(s, moves);
        for (t, _) in &mut moves.0 {
            self.acknowledge(t);
            self.forget_what_cannot_matter(t);
        }
        moves.0.retain(|(t, _)| t != s);
    }

    /// Searches all states, or until one breaks an invariant. I4 is looked at where `dead_ends` says so.
    ///
    /// # Panics
    /// When there are more states than a search can hold: then it proves nothing.
    pub(crate) fn search(&self, dead_ends: bool) -> Found {
        let first = self.first();
        let mut known = HashSet::<u64, Unhashed>::default();
        // The state before each, and the place of the step from there.
        let mut parents: Vec<(u32, u16)> = vec![(0, 0)];
        let mut queue = VecDeque::from([(first, 0u32)]);
        let mut ends = Ends::default();
        let mut moves = Moves::default();
        let mut steps = 0;
        known.insert(fingerprint(&first));
        while let Some((s, at)) = queue.pop_front() {
            let broken = self.broken(&s).or_else(|| {
                let is_stuck = dead_ends && !ends.can_end(self, &s);
                is_stuck.then_some(Broken::DeadEnd)
            });
            if let Some(broken) = broken {
                return Found {
                    states: parents.len(),
                    steps,
                    broken: Some((broken, self.trace(&parents, at))),
                };
            }
            self.successors(&s, &mut moves);
            steps += moves.0.len() as u64;
            for (place, (t, _)) in moves.0.iter().enumerate() {
                if known.insert(fingerprint(t)) {
                    let id = u32::try_from(parents.len()).expect("the states are fewer");
                    parents.push((at, place as u16));
                    queue.push_back((*t, id));
                }
            }
            assert!(parents.len() < STATES_MAX, "the bounds are too large for a search");
        }
        Found {
            states: parents.len(),
            steps,
            broken: None,
        }
    }

    /// The steps from the first state to one, a line each.
    fn trace(&self, parents: &[(u32, u16)], mut at: u32) -> String {
        let mut places = Vec::new();
        while at != 0 {
            let (parent, place) = parents[at as usize];
            places.push(place);
            at = parent;
        }
        let (mut s, mut moves, mut text) = (self.first(), Moves::default(), String::new());
        for (n, place) in places.iter().rev().enumerate() {
            self.successors(&s, &mut moves);
            let (t, step) = moves.0[usize::from(*place)];
            let _ = write!(text, "\n  {:2}. {step}", n + 1);
            for g in self.opened(&t) {
                let acked = |state: &State, number| state.segments[g].acked.writer(number);
                for number in (1..=ENTRIES_MAX).filter(|n| acked(&s, *n) == 0 && acked(&t, *n) != 0) {
                    let _ = write!(text, "; entry {number} of s{g} is ACKNOWLEDGED");
                }
            }
            s = t;
        }
        text
    }
}

/// Finds out from which states all that was acknowledged can be sealed, without another fault and without a new client.
#[derive(Default)]
struct Ends {
    good: HashSet<u64, Unhashed>,
    bad: HashSet<u64, Unhashed>,
    moves: Moves,
}

impl Ends {
    /// Searches depth first; the way that leads to an end is remembered, so that each state is looked at once.
    fn can_end(&mut self, model: &Model, start: &State) -> bool {
        let mut path: Vec<(u64, Vec<(u8, State)>)> = Vec::new();
        let mut seen = HashSet::<u64, Unhashed>::default();
        let mut current = *start;
        loop {
            let id = fingerprint(&current);
            if self.good.contains(&id) || (model.is_end(&current) && model.broken(&current).is_none()) {
                self.good.insert(id);
                self.good.extend(path.iter().map(|(id, _)| *id));
                return true;
            }
            if !self.bad.contains(&id) && seen.insert(id) {
                model.successors(&current, &mut self.moves);
                let ranked = self.moves.0.iter().filter_map(|(t, step)| Some((step.rank()?, *t)));
                let mut todo: Vec<(u8, State)> = ranked.collect();
                todo.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
                path.push((id, todo));
            }
            current = loop {
                let Some((_, todo)) = path.last_mut() else {
                    self.bad.extend(seen);
                    return false;
                };
                match todo.pop() {
                    Some((_, next)) => break next,
                    None => path.truncate(path.len() - 1),
                }
            };
        }
    }
}

/// The hash that stands for a state.
fn fingerprint(s: &State) -> u64 {
    let mut hasher = Fingerprint::default();
    s.hash(&mut hasher);
    hasher.finish()
}

/// Hashes a state, which is made of bytes, eight of them at a time.
#[derive(Default)]
struct Fingerprint {
    hash: u64,
    word: u64,
    bytes: u32,
}

impl Fingerprint {
    fn mixed(&self) -> u64 {
        let product = u128::from(self.hash ^ self.word ^ 0xA076_1D64_78BD_642F) * 0xE703_7ED1_A0B4_28DB;
        let folded = product as u64 ^ (product >> 64) as u64;
        folded.rotate_left(23) ^ self.hash.wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes == 8 {
            self.hash = self.mixed();
            (self.word, self.bytes) = (0, 0);
        }
    }

    /// A discriminant.
    fn write_isize(&mut self, value: isize) {
        self.write_u8(value as u8);
    }

    /// The length of an array, which says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        let last = Self { hash: self.mixed(), word: u64::from(self.bytes), bytes: 0 };
        last.mixed()
    }
}

/// A hasher of numbers that are hashes.
#[derive(Default)]
struct Same(u64);

type Unhashed = BuildHasherDefault<Same>;

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are kept");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
