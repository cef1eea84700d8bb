//! Decides which peers are alive, by when each was heard.
//!
//! Times are readings of one monotonic clock, counted from any moment.
//!
//! **Invariants**:
//! - I1: a peer that is heard at least once in `dead_after` is alive.
//! - I2: a dead peer is alive again only when it was heard for a while without a gap that would have made it dead, so
//!   that one on a bad link stays dead and does not come and go.
//! - I3: a time in which nobody looked is no silence: who was stopped itself declares nobody dead.
//!
//! **Not here**: what is done about a dead owner.

use std::collections::BTreeMap;
use std::time::Duration;

use gophership_vault::ids::NodeId;

/// The knowledge about the peers.
#[derive(Debug)]
pub struct Liveness {
    dead_after: Duration,
    /// When the peers were judged last.
    judged: Duration,
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Peer {
    /// It was heard last at this time, or counts as if it were.
    Alive { heard: Duration },
    /// It was silent for too long.
    Dead { run: Option<Run> },
}

/// A time over which a dead peer was heard without a long gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    first: Duration,
    last: Duration,
}

/// A peer that is alive again, or dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is alive again.
    Alive(NodeId),
    /// It was silent for too long.
    Dead(NodeId),
}

impl Liveness {
    /// The peers at the time `now`, at which somebody begins to listen. Each counts as heard just now: it takes a whole
    /// `dead_after` to find one dead.
    pub fn new(peers: impl IntoIterator<Item = NodeId>, dead_after: Duration, now: Duration) -> Self {
        let alive = Peer::Alive { heard: now };
        Self {
            dead_after,
            judged: now,
            peers: peers.into_iter().map(|peer| (peer, alive)).collect(),
        }
    }

    /// Takes another `dead_after`. Each peer that is alive counts as heard at `now`: it was heard at the pace of the
    /// former one, and it takes a whole `dead_after` to find one dead.
    pub fn set_dead_after(&mut self, dead_after: Duration, now: Duration) {
        self.dead_after = dead_after;
        for peer in self.peers.values_mut() {
            if let Peer::Alive { heard } = peer {
                *heard = now;
            }
        }
    }

    /// Says that a peer is alive. One that is not known is not.
    pub fn is_alive(&self, peer: NodeId) -> bool {
        match self.peers.get(&peer) {
            Some(Peer::Alive { .. }) => true,
            Some(Peer::Dead { .. }) | None => false,
        }
    }

    /// Says that nothing was heard of a peer for so long that it is dead. One that was heard since is not silent,
    /// though it may not be alive yet. One that is not known is.
    pub fn is_silent(&self, peer: NodeId, now: Duration) -> bool {
        match self.peers.get(&peer) {
            Some(Peer::Alive { .. }) => false,
            Some(Peer::Dead { run }) => run.is_none_or(|run| now.saturating_sub(run.last) > self.dead_after),
            None => true,
        }
    }

    /// Notes that a peer is to be listened to from `now` on. One that is new counts as heard then.
    pub fn expect(&mut self, peer: NodeId, now: Duration) {
        self.peers.entry(peer).or_insert(Peer::Alive { heard: now });
    }

    /// Notes that a peer was heard at `now`. A peer that is new is alive.
    pub fn heard(&mut self, peer: NodeId, now: Duration) {
        let dead_after = self.dead_after;
        let entry = self.peers.entry(peer).or_insert(Peer::Alive { heard: now });
        match entry {
            Peer::Alive { heard } => *heard = now.max(*heard),
            Peer::Dead { run } => {
                let goes_on = run.filter(|run| now.saturating_sub(run.last) <= dead_after);
                let first = goes_on.map_or(now, |run| run.first);
                *run = Some(Run { first, last: now });
            }
        }
    }

    /// Forgets a peer that is no longer one.
    pub fn forget(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
    }

    /// Decides who is alive at `now`, and says what changed. It is to be called several times in `dead_after`.
    pub fn judge(&mut self, now: Duration) -> Vec<Change> {
        let unseen = now.saturating_sub(self.judged);
        self.judged = now.max(self.judged);
        let was_stopped = unseen > self.dead_after / 2;
        let mut changes = Vec::new();
        for (id, peer) in &mut self.peers {
            match peer {
                // Messages that were sent meanwhile may still be read.
                Peer::Alive { heard } if was_stopped => *heard = now.max(*heard),
                Peer::Alive { heard } if now.saturating_sub(*heard) > self.dead_after => {
                    *peer = Peer::Dead { run: None };
                    changes.push(Change::Dead(*id));
                }
                Peer::Dead { run: Some(run) } if is_back(*run, self.dead_after) => {
                    *peer = Peer::Alive { heard: run.last };
                    changes.push(Change::Alive(*id));
                }
                Peer::Alive { .. } | Peer::Dead { .. } => {}
            }
        }
        changes
    }
}

/// Half the time that makes a peer dead: it is back soon, and cannot come and go more often than it is found dead.
fn is_back(run: Run, dead_after: Duration) -> bool {
    run.last.saturating_sub(run.first) >= dead_after / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::node;

    const DEAD_AFTER: Duration = Duration::from_secs(5);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Listens to node 2 from 1 s on, and judges each half second until `until`. The changes, with their times in ms.
    fn changes(heard_ms: &[u64], until: u64) -> Vec<(u64, bool)> {
        let mut liveness = Liveness::new([node(2)], DEAD_AFTER, at(1_000));
        let mut changes = Vec::new();
        for now in (1_500..=until).step_by(500) {
            for heard in heard_ms.iter().filter(|ms| (now - 500..now).contains(*ms)) {
                liveness.heard(node(2), at(*heard));
            }
            for change in liveness.judge(at(now)) {
                changes.push((now, change == Change::Alive(node(2))));
            }
        }
        let last = changes.last().is_none_or(|(_, alive)| *alive);
        assert_eq!(liveness.is_alive(node(2)), last);
        changes
    }

    #[test]
    fn table() {
        let often: Vec<u64> = (1_000..60_000).step_by(1_000).collect();
        let just_in_time: Vec<u64> = (1_000..60_000).step_by(5_000).collect();
        let bad_link: Vec<u64> = (1_000..60_000).step_by(5_600).collect();
        for (what, heard, expected) in [
            ("heard each second", often.clone(), vec![]),
            ("I1: heard just in time", just_in_time, vec![]),
            ("never heard", vec![], vec![(6_500, false)]),
            ("silent from 3 s on", vec![1_000, 2_000, 3_000], vec![(8_500, false)]),
            ("I2: on a bad link it stays dead", bad_link, vec![(6_500, false)]),
            ("heard once more", vec![1_000, 20_000], vec![(6_500, false)]),
            (
                "heard for a while from 20 s on, and no more",
                vec![1_000, 20_000, 21_000, 22_000, 23_000],
                vec![(6_500, false), (23_500, true), (28_500, false)],
            ),
        ] {
            assert_eq!(changes(&heard, 59_000), expected, "{what}");
        }
    }

    #[test]
    fn i3_who_was_stopped_declares_nobody_dead() {
        let mut liveness = Liveness::new([node(2), node(3)], DEAD_AFTER, at(0));
        assert_eq!(liveness.judge(at(500)), []);
        assert_eq!(liveness.judge(at(60_000)), []);
        liveness.heard(node(3), at(60_001));
        let times = (60_500..=65_000).step_by(500);
        assert!(times.into_iter().all(|ms| liveness.judge(at(ms)).is_empty()));
        assert_eq!(liveness.judge(at(65_001)), [Change::Dead(node(2))]);
        assert!(liveness.is_alive(node(3)));
    }

    #[test]
    fn a_dead_peer_is_silent_until_it_is_heard_and_again_when_it_is_not_heard_for_long() {
        let mut liveness = Liveness::new([node(2)], DEAD_AFTER, at(0));
        let judge = |liveness: &mut Liveness, from: u64, to: u64| {
            (from..=to).step_by(500).for_each(|ms| drop(liveness.judge(at(ms))));
        };
        assert!(!liveness.is_silent(node(2), at(5_000)));
        judge(&mut liveness, 500, 5_500);
        assert!(liveness.is_silent(node(2), at(5_500)));
        liveness.heard(node(2), at(6_000));
        judge(&mut liveness, 6_000, 11_000);
        for (now, is_silent) in [(6_000, false), (11_000, false), (11_001, true)] {
            assert_eq!(liveness.is_silent(node(2), at(now)), is_silent, "{now}");
        }
        assert!(!liveness.is_alive(node(2)), "one hello makes it no target");
        assert!(liveness.is_silent(node(3), at(0)), "it is not known");
    }

    #[test]
    fn another_dead_after_counts_from_the_change_on() {
        let mut liveness = Liveness::new([node(2)], Duration::from_secs(600), at(0));
        liveness.heard(node(2), at(1_000));
        (500..=100_000).step_by(500).for_each(|ms| drop(liveness.judge(at(ms))));
        liveness.set_dead_after(DEAD_AFTER, at(100_000));
        for (now, dead) in [(102_500, false), (105_000, false), (105_001, true)] {
            let expected: &[Change] = if dead { &[Change::Dead(node(2))] } else { &[] };
            assert_eq!(liveness.judge(at(now)), expected, "{now}");
        }
    }

    #[test]
    fn peers_come_and_go() {
        let mut liveness = Liveness::new([], DEAD_AFTER, at(0));
        assert!(!liveness.is_alive(node(2)), "it is not known");
        liveness.expect(node(2), at(1));
        assert!(liveness.is_alive(node(2)), "it is new");
        (500..=5_000).step_by(500).for_each(|ms| drop(liveness.judge(at(ms))));
        liveness.expect(node(2), at(5_001));
        assert_eq!(
            liveness.judge(at(5_500)),
            [Change::Dead(node(2))],
            "it is not new any more"
        );
        liveness.forget(node(2));
        liveness.heard(node(2), at(6_000));
        assert!(liveness.is_alive(node(2)));
        liveness.forget(node(2));
        assert!(!liveness.is_alive(node(2)));
    }
}
