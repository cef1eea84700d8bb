//! The search: all states that can be reached, breadth first, so that the way to a broken invariant is a shortest one.
//! A state is known by a hash of 64 bits, as in other checkers of this kind; states on the way are not kept.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::Model;
use super::content::ENTRIES_MAX;
use super::invariants::Broken;
use super::state::State;
use super::step::Step;

/// States after which a search is given up.
const STATES_MAX: usize = 60_000_000;

/// The successors of a state.
#[derive(Default)]
pub(crate) struct Moves(Vec<(State, Step)>);

impl Moves {
    pub(crate) fn push(&mut self, state: State, step: Step) {
        self.0.push((state, step));
    }
}

/// The goal of a search.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sought {
    /// The first state that breaks any invariant.
    Any,
    /// The first state that breaks this one, whatever else is broken before it.
    This(Broken),
}

impl Sought {
    fn is(self, broken: Broken) -> bool {
        match self {
            Self::Any => true,
            Self::This(sought) => sought == broken,
        }
    }
}

/// The result of a search.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    /// The invariant that was broken, and the way there.
    pub(crate) broken: Option<(Broken, String)>,
}

/// The states that were reached, and how. A state is known by its place in the order in which they were reached.
struct Reached {
    places: HashMap<u64, u32, Unhashed>,
    /// The state before each, and which of its moves led here.
    parents: Vec<(u32, u16)>,
    /// The states that follow each without a fault and without a new client, one after the other; `ends` says where
    /// each one's end.
    next: Vec<u32>,
    ends: Vec<usize>,
    /// All that was acknowledged there is sealed, or can be.
    good: Vec<bool>,
}

impl Reached {
    /// Notes that a state was reached. True where it is a new one.
    fn note(&mut self, state: &State, parent: u32, by: usize) -> (u32, bool) {
        let new = u32::try_from(self.parents.len()).expect("the states are fewer");
        match self.places.entry(fingerprint(state)) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(free) => {
                free.insert(new);
                self.parents.push((parent, by as u16));
                self.good.push(false);
                assert!(self.parents.len() < STATES_MAX, "the bounds are too large for a search");
                (new, true)
            }
        }
    }

    /// The first state from which not all that was acknowledged can be sealed, without another fault.
    fn dead_end(&mut self, is_broken: &[bool]) -> Option<u32> {
        let mut changed = true;
        while changed {
            changed = false;
            for at in (0..self.ends.len()).rev() {
                let first = if at == 0 { 0 } else { self.ends[at - 1] };
                let leads_on = |next: &u32| self.good[*next as usize];
                if !self.good[at] && !is_broken[at] && self.next[first..self.ends[at]].iter().any(leads_on) {
                    self.good[at] = true;
                    changed = true;
                }
            }
        }
        let stuck = (0..self.ends.len()).find(|at| !self.good[*at] && !is_broken[*at]);
        stuck.map(|at| at as u32)
    }
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
    }

    /// Searches all states, or until what is sought is found.
    ///
    /// # Panics
    /// When there are more states than a search can hold: then it proves nothing.
    pub(crate) fn search(&self, sought: Sought) -> Found {
        let first = self.first();
        let mut reached = Reached {
            places: HashMap::default(),
            parents: Vec::new(),
            next: Vec::new(),
            ends: Vec::new(),
            good: Vec::new(),
        };
        let mut is_broken = Vec::new();
        let mut queue = VecDeque::from([first]);
        let mut moves = Moves::default();
        let mut steps = 0;
        reached.note(&first, 0, 0);
        while let Some(s) = queue.pop_front() {
            let at = is_broken.len() as u32;
            let broken = self.broken(&s);
            is_broken.push(broken.is_some());
            if let Some(broken) = broken.filter(|broken| sought.is(*broken)) {
                return self.found(&reached, steps, Some((broken, at)));
            }
            reached.good[at as usize] = broken.is_none() && self.is_end(&s);
            self.successors(&s, &mut moves);
            steps += moves.0.len();
            for (by, (t, step)) in moves.0.iter().enumerate() {
                let (place, is_new) = reached.note(t, at, by);
                if is_new {
                    queue.push_back(*t);
                }
                if step.finishes() {
                    reached.next.push(place);
                }
            }
            reached.ends.push(reached.next.len());
        }
        let stuck = reached.dead_end(&is_broken).filter(|_| sought.is(Broken::DeadEnd));
        self.found(&reached, steps, stuck.map(|at| (Broken::DeadEnd, at)))
    }

    fn found(&self, reached: &Reached, steps: usize, broken: Option<(Broken, u32)>) -> Found {
        Found {
            states: reached.parents.len(),
            steps,
            broken: broken.map(|(broken, at)| (broken, self.trace(&reached.parents, at))),
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
        let last = Self {
            hash: self.mixed(),
            word: u64::from(self.bytes),
            bytes: 0,
        };
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
