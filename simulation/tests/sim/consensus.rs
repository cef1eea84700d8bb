//! The simulated consensus over the real transition of the catalogue: a log that only a majority can extend.
//!
//! A command's answer may be lost, a command may never be applied, or long after its caller gave up. Every host has a
//! state of its own, which lags behind.

use gophership_catalogue::command::{Command, Outcome};
use gophership_catalogue::{State, apply};
use gophership_vault::ids::{SegmentId, SegmentIndex, ShardId};

use crate::world::{Event, World};

/// The use that a process has for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    Register,
    NodeUp,
    Open(ShardId, SegmentIndex),
    /// A seal by the owner, and the segment that is opened with it.
    Seal(ShardId, SegmentIndex, Option<SegmentIndex>),
    Added,
    Begin(SegmentId),
    SealRecovered(SegmentId, u64),
}

/// A command that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Submitted {
    pub(crate) host: usize,
    pub(crate) boot: u64,
    pub(crate) token: Token,
    pub(crate) command: Command,
    /// The caller gets an answer.
    answers: bool,
}

/// An answer, and the length of the log with the command; `None` where it is not known what became of the command.
pub(crate) type Answer = Option<(Outcome, usize)>;

/// The log, and what it comes to.
#[derive(Default)]
pub(crate) struct Consensus {
    pub(crate) log: Vec<Command>,
    pub(crate) head: State,
    /// The host that leads.
    pub(crate) leader: Option<usize>,
}

/// The time after which a caller gives up.
const TIMEOUT: u64 = 120;

impl World {
    /// True where a host is one of a majority that reach each other.
    pub(crate) fn has_majority(&self, host: usize) -> bool {
        self.reached(host).len() * 2 > self.hosts.len()
    }

    /// Submits a command of a host's process.
    pub(crate) fn submit(&mut self, host: usize, token: Token, command: Command) {
        let boot = self.hosts[host].boot;
        let mut submitted = Submitted {
            host,
            boot,
            token,
            command,
            answers: true,
        };
        let unknown = if self.healed { 0 } else { self.setup.unknown_percent };
        let quorum = self.has_majority(host);
        let quick = self.now + 2 + self.rng.below(20);
        let late = self.now + TIMEOUT + self.rng.below(900);
        if quorum && !self.rng.chance(unknown) {
            return self.at(quick, Event::Commit(Box::new(submitted)));
        }
        submitted.answers = false;
        let gives_up = self.now + TIMEOUT;
        self.at(gives_up, Event::Answer(Box::new(submitted.clone()), Box::new(None)));
        match self.rng.below(4) {
            // The answer is lost.
            0 | 1 if quorum => self.at(quick, Event::Commit(Box::new(submitted))),
            // It waits somewhere, and is applied when nobody thinks of it any more.
            0..=2 => self.at(late, Event::Commit(Box::new(submitted))),
            // It is never applied.
            _ => {}
        }
    }

    /// A command reaches a leader: it is applied where there is a majority.
    pub(crate) fn commit(&mut self, submitted: Submitted) {
        if !(0..self.hosts.len()).any(|host| self.has_majority(host)) {
            if submitted.answers {
                self.at(self.now + TIMEOUT, Event::Answer(Box::new(submitted), Box::new(None)));
            }
            return;
        }
        let outcome = apply(&mut self.consensus.head, &submitted.command);
        self.consensus.log.push(submitted.command.clone());
        let length = self.consensus.log.len();
        self.note(format_args!(
            "commit {length} {:?} {:?}: {outcome:?}",
            submitted.token, submitted.command
        ));
        self.judge_commit(&submitted.command, &outcome);
        if submitted.answers {
            let at = self.now + 1 + self.rng.below(15);
            self.at(
                at,
                Event::Answer(Box::new(submitted), Box::new(Some((outcome, length)))),
            );
        }
        for host in 0..self.hosts.len() {
            let at = self.now + 1 + self.rng.below(60);
            self.at(at, Event::Apply(host, length));
        }
    }

    /// A host learns what was committed up to there, if somebody who knows reaches it.
    pub(crate) fn learn(&mut self, host: usize, length: usize) {
        if self.has_majority(host) {
            self.catch_up(host, length);
        } else if self.hosts[host].applied < length {
            self.at(self.now + 100, Event::Apply(host, length));
        }
    }

    /// A host applies what was committed up to there.
    pub(crate) fn catch_up(&mut self, host: usize, length: usize) {
        let host = &mut self.hosts[host];
        while host.applied < length {
            let _ = apply(&mut host.state, &self.consensus.log[host.applied]);
            host.applied += 1;
        }
    }

    /// Has a host of a majority lead. The one before goes on until it notices.
    pub(crate) fn elect(&mut self) {
        let able: Vec<_> = (0..self.hosts.len()).filter(|host| self.has_majority(*host)).collect();
        let now = able.get(self.rng.below(able.len().max(1) as u64) as usize).copied();
        if now == self.consensus.leader {
            return;
        }
        if let Some(before) = self.consensus.leader {
            let at = self.now + self.rng.below(300);
            let boot = self.hosts[before].boot;
            self.at(at, Event::Deposed(before, boot));
        }
        self.consensus.leader = now;
        self.note(format_args!("leader {now:?}"));
        if let Some(leader) = now {
            let boot = self.hosts[leader].boot;
            self.at(self.now + 1, Event::Lead(leader, boot));
        }
    }
}
