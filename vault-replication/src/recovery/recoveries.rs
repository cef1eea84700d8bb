//! Recovers the segments that their owners left, while this node leads the cluster.
//!
//! **Owns**: a thread that next_round at the catalogue and drives one engine for each segment.
//!
//! **Invariants**:
//! - I1: nothing is begun, and nothing goes on, while another node leads.
//! - I2: the recoveries at once are bounded, and one that waits for reports gives its place to others in turn.
//! - I3: one that could not be carried out is begun anew, after a pause that grows.
//!
//! **Not here**: one recovery (`led_recovery`); the part of this node as a holder (`participant`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gophership_catalogue::State;
use gophership_catalogue::node::{NodeRecord, NodeState};
use gophership_catalogue::segment::SegmentRecord;
use gophership_vault::RecoveryNumber;
use gophership_vault::ids::{Epoch, NodeId, SegmentId};
use gophership_vault::ledger::OpenRecord;

use super::leader::Waiting;
use super::led_recovery::LedRecovery;
use super::noted_events::NotedEvents;
use super::parts::Parts;
use super::requests::{Answered, LeadMessage};
use crate::decide::accept_loss::{Hope, Left};
use crate::limits::{RECOVERIES_MAX, RECOVERY_PAUSE, RECOVERY_ROUND, RECOVERY_TURN, RECOVERY_WALK};

/// A recovery that this node leads, for an operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryView {
    /// The segment.
    pub segment: SegmentId,
    /// The number of its recovery, once the catalogue has granted it.
    pub number: Option<RecoveryNumber>,
    /// The time since this node began it.
    pub since: Duration,
    /// The thing that it waits for.
    pub waits: Waiting,
    /// What is left, where an operator may have it end with that; else the way in which it may still end by itself.
    pub may_accept_loss: Result<Left, Hope>,
}

/// The recoveries that this node leads.
pub struct Recoveries {
    views: Arc<Mutex<Vec<(Instant, RecoveryView)>>>,
    stop: Sender<LeadMessage>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recoveries {
    /// Begins to look.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let (stop, messages) = channel();
        let views = Arc::<Mutex<Vec<(Instant, RecoveryView)>>>::default();
        let lead = Lead::new(parts, Arc::clone(&views), &stop);
        let thread = thread::Builder::new().name("recoveries".to_owned());
        let thread = thread.spawn(move || lead.run(&messages))?;
        Ok(Self {
            views,
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The recoveries that this node leads at present, by segment.
    pub fn list(&self) -> Vec<RecoveryView> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let present = |(begun, view): &(Instant, RecoveryView)| RecoveryView {
            since: begun.elapsed(),
            ..view.clone()
        };
        views.iter().map(present).collect()
    }

    /// Ends. What other nodes were asked for may still be done there.
    pub fn stop(&self) {
        // A thread that is gone has ended.
        let _gone = self.stop.send(LeadMessage::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("segment.recovery.panicked");
        }
    }
}

impl Drop for Recoveries {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The pause before a recovery is begun anew.
#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    length: Duration,
}

/// A node, as far as it depends on it which segments are left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    node: NodeId,
    epoch: Option<Epoch>,
    is_dead: bool,
    /// Its name has moved to another number: it never comes back.
    is_replaced: bool,
    /// True where new segments may have a copy on it.
    is_active: bool,
    /// When its present epoch was seen first.
    up_since: Instant,
    /// When every node had found it dead, where it is overdue.
    overdue_since: Option<Instant>,
}

/// The nodes as they were at the last walk over all segments.
struct Walked {
    at: Instant,
    nodes: Vec<Seen>,
    /// True where more were left than could be begun.
    more: bool,
}

/// When the present epoch of each node was seen first.
#[derive(Default)]
struct Boots(BTreeMap<NodeId, (Option<Epoch>, Instant)>);

impl Boots {
    /// Notes the epoch of a node at `now`, and says when it was seen first.
    fn up_since(&mut self, node: NodeId, epoch: Option<Epoch>, now: Instant) -> Instant {
        let seen = self.0.entry(node).or_insert((epoch, now));
        if seen.0 != epoch {
            *seen = (epoch, now);
        }
        seen.1
    }
}

/// The thread that leads.
struct Lead {
    parts: Arc<Parts>,
    views: Arc<Mutex<Vec<(Instant, RecoveryView)>>>,
    messages: Sender<LeadMessage>,
    led: BTreeMap<SegmentId, LedRecovery>,
    paused: BTreeMap<SegmentId, Pause>,
    walked: Option<Walked>,
    boots: Boots,
    noted: NotedEvents,
}

impl Lead {
    fn new(parts: Parts, views: Arc<Mutex<Vec<(Instant, RecoveryView)>>>, messages: &Sender<LeadMessage>) -> Self {
        Self {
            parts: Arc::new(parts),
            views,
            messages: messages.clone(),
            led: BTreeMap::new(),
            paused: BTreeMap::new(),
            walked: None,
            boots: Boots::default(),
            noted: NotedEvents::default(),
        }
    }

    fn run(mut self, messages: &Receiver<LeadMessage>) {
        let mut next_round = Instant::now();
        loop {
            match messages.recv_timeout(next_round.saturating_duration_since(Instant::now())) {
                Ok(LeadMessage::Answered(answered)) => self.answered(answered),
                Ok(LeadMessage::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.round();
                    next_round = Instant::now() + RECOVERY_ROUND;
                }
            }
            self.sweep();
            self.show();
        }
    }

    fn answered(&mut self, answered: Answered) {
        let led = self.led.get_mut(&answered.id);
        if let Some(led) = led.filter(|led| led.request == answered.recovery) {
            led.answered(&self.parts, &self.messages, answered);
        }
    }

    fn round(&mut self) {
        let (nodes, replaced): (Vec<NodeRecord>, Vec<bool>) = self.parts.catalogue.read(|state| {
            let all = state.nodes().map(|node| (*node, state.is_replaced(node.id)));
            all.unzip()
        });
        let now = Instant::now();
        // NotedEvents by followers, too: one that is elected need not begin to wait.
        let (boots, heartbeats) = (&mut self.boots, &self.parts.heartbeats);
        let see = |(node, is_replaced): (&NodeRecord, bool)| {
            let up_since = boots.up_since(node.id, node.epoch(), now);
            Seen {
                node: node.id,
                epoch: node.epoch(),
                is_dead: heartbeats.is_dead(node.id, now.saturating_duration_since(up_since)),
                is_replaced,
                is_active: node.state == NodeState::Active,
                up_since,
                overdue_since: heartbeats.overdue_since(node.id),
            }
        };
        let seen: Vec<Seen> = nodes.iter().zip(replaced).map(see).collect();
        if !(self.parts.leads)() {
            self.led.clear();
            self.paused.clear();
            self.walked = None;
            self.noted = NotedEvents::default();
            return;
        }
        let is_dead = |seen: &&Seen| seen.is_dead && !seen.is_replaced && seen.node != self.parts.node;
        let dead = seen.iter().filter(is_dead).map(|seen| seen.node).collect();
        self.noted.submit_new(&self.parts, dead);
        let alive = self.alive(&nodes);
        for led in self.led.values_mut() {
            led.follow_record(&self.parts, &self.messages, &alive);
        }
        self.sweep();
        self.walk(seen);
    }

    /// The nodes that can be reached, and whether each may hold segments.
    fn alive(&self, nodes: &[NodeRecord]) -> BTreeMap<NodeId, bool> {
        let mut reached: BTreeSet<NodeId> = (self.parts.members)().into_keys().collect();
        reached.insert(self.parts.node);
        reached.retain(|node| self.parts.heartbeats.is_alive(*node));
        let takes_copies = |node: NodeId| {
            let mut records = nodes.iter().filter(|record| record.id == node);
            records.any(|record| record.state == NodeState::Active)
        };
        reached.into_iter().map(|node| (node, takes_copies(node))).collect()
    }

    /// Finds the segments that are left, where that may have changed, and begins to recover them.
    fn walk(&mut self, nodes: Vec<Seen>) {
        let is_new = |walked: &Walked| walked.nodes != nodes || walked.more || walked.at.elapsed() > RECOVERY_WALK;
        if !self.walked.as_ref().is_none_or(is_new) && self.paused.is_empty() {
            return;
        }
        let left = self.parts.catalogue.read(|state| left(state, &nodes, self.parts.node));
        self.paused.retain(|id, _| left.iter().any(|(open, _)| open.id == *id));
        let mut more = false;
        for (open, opened_ns) in left {
            let waits = self
                .paused
                .get(&open.id)
                .is_some_and(|pause| pause.until > Instant::now());
            if waits || self.led.contains_key(&open.id) {
                continue;
            }
            if self.led.values().filter(|led| !led.has_ended).count() >= RECOVERIES_MAX {
                more = true;
                break;
            }
            let led = LedRecovery::begin(&self.parts, &self.messages, open, opened_ns);
            self.led.insert(open.id, led);
        }
        if more {
            self.make_room();
        }
        let at = Instant::now();
        self.walked = Some(Walked { at, nodes, more });
    }

    /// Ends the oldest recovery that has had its turn and only waits for others.
    fn make_room(&mut self) {
        let waits = |led: &LedRecovery| matches!(led.waiting(), Waiting::Reports(_) | Waiting::Contradiction(_));
        let had_its_turn = |led: &&mut LedRecovery| !led.has_ended && led.begun.elapsed() > RECOVERY_TURN && waits(led);
        let oldest = self.led.values_mut().filter(had_its_turn).min_by_key(|led| led.begun);
        if let Some(oldest) = oldest {
            oldest.supersede(&self.parts, &self.messages);
        }
    }

    /// Removes the recoveries that have ended.
    fn sweep(&mut self) {
        let ended: Vec<SegmentId> = self
            .led
            .values()
            .filter(|led| led.has_ended)
            .map(LedRecovery::id)
            .collect();
        for id in ended {
            let Some(led) = self.led.get(&id) else { continue };
            if !led.has_sealed {
                self.led.remove(&id);
                let length = self.paused.get(&id).map_or(RECOVERY_PAUSE.0, |pause| pause.length * 2);
                let length = length.min(RECOVERY_PAUSE.1);
                let until = Instant::now() + length;
                self.paused.insert(id, Pause { until, length });
            } else if led.is_done() {
                self.led.remove(&id);
                self.paused.remove(&id);
            }
        }
    }

    fn show(&self) {
        let running = self.led.values().filter(|led| !led.has_ended);
        let view = |led: &LedRecovery| {
            let view = RecoveryView {
                segment: led.id(),
                number: led.number,
                since: Duration::ZERO,
                waits: led.waiting(),
                may_accept_loss: led.may_accept_loss(),
            };
            (led.begun, view)
        };
        *self.views.lock().unwrap_or_else(PoisonError::into_inner) = running.map(view).collect();
    }
}

/// The segments that are to be recovered, and when each was opened: nobody writes them any more and nobody has sealed
/// them, or nothing more can be acknowledged in them.
fn left(state: &State, nodes: &[Seen], own: NodeId) -> Vec<(OpenRecord, u64)> {
    let is_left = |open: &OpenRecord| is_ownerless(open, nodes, own) || needs_other_peers(open, nodes);
    let of_record = |record: &SegmentRecord| match record {
        SegmentRecord::Recovering { open, opened_ns, .. } => Some((*open, *opened_ns)),
        SegmentRecord::Open { open, opened_ns } => is_left(open).then_some((*open, *opened_ns)),
        SegmentRecord::Sealed(_) | SegmentRecord::Trimmed { .. } | SegmentRecord::Lost { .. } => None,
    };
    state.not_sealed().filter_map(of_record).collect()
}

/// True where the owner of an open segment is dead, or goes on in a newer epoch. This node itself is not dead.
fn is_ownerless(open: &OpenRecord, nodes: &[Seen], own: NodeId) -> bool {
    let owner = nodes.iter().find(|seen| seen.node == open.id.node);
    owner.is_none_or(|owner| owner.epoch > Some(open.epoch) || (owner.is_dead && owner.node != own))
}

/// True where an open segment is to have other peers. One of its peers never comes back, and a node lives that can take
/// its place: else the loss of one more could take an entry that is acknowledged. Or it has too few living peers for an
/// acknowledgement, and others would have more. Its recovery rests on the owner's file, and gives the owner an epoch in
/// which segments have other peers. Where no further node lives, peers that are dead and not replaced are no reason: a
/// new set would have the same ones.
///
/// So is one with a peer that is overdue since after its owner's epoch began, where a node lives that takes copies:
/// else no other of its peers could be stopped. The epoch that follows chose its peers without the overdue one, as far
/// as its owner could, so that there is one new epoch for each time that a node is overdue.
fn needs_other_peers(open: &OpenRecord, nodes: &[Seen]) -> bool {
    let owner_since = nodes
        .iter()
        .find(|seen| seen.node == open.id.node)
        .map(|owner| owner.up_since);
    let (mut peers, mut others, mut replaced, mut overdue, mut takes) = (0, 0, false, false, false);
    for seen in nodes.iter().filter(|seen| seen.node != open.id.node) {
        let is_peer = open.replicas.peers().contains(seen.node);
        let lives = !seen.is_dead && !seen.is_replaced && seen.epoch.is_some();
        replaced |= is_peer && seen.is_replaced;
        overdue |= is_peer && seen.overdue_since.is_some() && seen.overdue_since > owner_since;
        takes |= !is_peer && lives && seen.is_active;
        peers += usize::from(is_peer && lives);
        others += usize::from(!is_peer && lives);
    }
    let too_few = peers + 1 < open.replicas.ack_copies();
    (replaced && others > 0) || (too_few && (replaced || others > 0)) || (overdue && takes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{node, opened};

    #[test]
    fn a_segment_is_left_without_its_owner_or_without_peers_that_could_come_back() {
        const ALIVE: u8 = 0;
        const DEAD: u8 = 1;
        const REPLACED: u8 = 2;
        const NEVER_UP: u8 = 3;
        const OVERDUE: u8 = 4;
        const OVERDUE_BEFORE: u8 = 5;
        const LEAVES: u8 = 6;
        let open = opened(1, &[2, 3]);
        for (what, nodes, expected) in [
            ("all are alive", &[ALIVE, ALIVE, ALIVE][..], (false, false)),
            ("its owner is dead", &[DEAD, ALIVE, ALIVE], (true, false)),
            ("one peer was replaced", &[ALIVE, REPLACED, ALIVE], (false, false)),
            ("and a fourth is dead", &[ALIVE, REPLACED, ALIVE, DEAD], (false, false)),
            ("and a fourth is alive", &[ALIVE, REPLACED, ALIVE, ALIVE], (false, true)),
            ("both peers are dead", &[ALIVE, DEAD, DEAD], (false, false)),
            ("and a fourth as well", &[ALIVE, DEAD, DEAD, DEAD], (false, false)),
            (
                "and a fourth was never up",
                &[ALIVE, DEAD, DEAD, NEVER_UP],
                (false, false),
            ),
            ("and a fourth lives", &[ALIVE, DEAD, DEAD, ALIVE], (false, true)),
            (
                "one peer and a fourth live",
                &[ALIVE, ALIVE, DEAD, ALIVE],
                (false, false),
            ),
            ("one peer is overdue", &[ALIVE, OVERDUE, ALIVE], (false, false)),
            ("and a fourth is dead", &[ALIVE, OVERDUE, ALIVE, DEAD], (false, false)),
            ("and a fourth leaves", &[ALIVE, OVERDUE, ALIVE, LEAVES], (false, false)),
            ("and a fourth is alive", &[ALIVE, ALIVE, OVERDUE, ALIVE], (false, true)),
            (
                "only the fourth is overdue",
                &[ALIVE, ALIVE, ALIVE, OVERDUE],
                (false, false),
            ),
            (
                "one was overdue when its owner began",
                &[ALIVE, OVERDUE_BEFORE, ALIVE, ALIVE],
                (false, false),
            ),
            ("both peers were replaced", &[ALIVE, REPLACED, REPLACED], (false, true)),
            (
                "one was replaced and one is dead",
                &[ALIVE, DEAD, REPLACED],
                (false, true),
            ),
        ] {
            let (before, began) = (Instant::now(), Instant::now() + Duration::from_secs(1));
            let mut nodes: Vec<Seen> = (1..)
                .zip(nodes)
                .map(|(n, is)| Seen {
                    node: node(n),
                    epoch: (*is != NEVER_UP).then_some(open.epoch),
                    is_dead: [DEAD, OVERDUE, OVERDUE_BEFORE].contains(is),
                    is_replaced: *is == REPLACED,
                    is_active: *is != LEAVES,
                    up_since: began,
                    overdue_since: match *is {
                        OVERDUE => Some(began + Duration::from_secs(1)),
                        OVERDUE_BEFORE => Some(before),
                        _ => None,
                    },
                })
                .collect();
            let is_left =
                |nodes: &[Seen], own| (is_ownerless(&open, nodes, node(own)), needs_other_peers(&open, nodes));
            assert_eq!(is_left(&nodes, 4), expected, "{what}");
            assert!(!is_left(&nodes, 1).0, "{what}, as the owner sees it");
            nodes[0].epoch = open.epoch.checked_next();
            assert!(is_left(&nodes, 1).0, "{what}, and its owner goes on in a newer epoch");
        }
    }

    #[test]
    fn a_node_counts_as_up_from_when_its_epoch_was_seen_first() {
        let (mut boots, begun) = (Boots::default(), Instant::now());
        let epoch = |n| Some(Epoch::new(n).unwrap());
        let at = |second| begun + Duration::from_secs(second);
        for (second, n, seen, up_since) in [
            (0, 2, None, 0),
            (4, 2, None, 0),
            (5, 2, epoch(1), 5),
            (5, 3, epoch(1), 5),
            (9, 2, epoch(1), 5),
            (10, 2, epoch(2), 10),
            (12, 3, epoch(1), 5),
        ] {
            assert_eq!(boots.up_since(node(n), seen, at(second)), at(up_since), "{second}");
        }
    }
}
