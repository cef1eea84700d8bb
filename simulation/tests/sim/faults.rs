//! The faults of a run and when they happen. All follow from the seed, before the run begins, so that a run can be
//! repeated with fewer of them.

use crate::bug::Bug;
use crate::disk::Failure;
use crate::rng::Rng;

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A process ends; the page cache survives.
    Kill { host: usize, down: u64 },
    /// The power of a host is cut.
    Power { host: usize, down: u64 },
    /// The power of all hosts is cut at once; they come back one after the other.
    PowerAll { down: u64 },
    /// A host loses its disk, and comes back under a new node id.
    Wipe { host: usize, down: u64 },
    /// A bit flips in what was synced on a host.
    Flip { host: usize },
    /// An operation on a host's files fails, after so many that do not.
    Disk { host: usize, after: u32, failure: Failure },
    /// A process stands still.
    Pause { host: usize, ms: u64 },
    /// A wall clock jumps, by so many hours.
    Clock { host: usize, hours: i64 },
    /// Nothing passes from one host to another.
    OneWay { from: usize, to: usize, ms: u64 },
    /// A host reaches nobody, and nobody reaches it.
    Isolate { host: usize, ms: u64 },
    /// The streams from and to a host end.
    EndStreams { host: usize },
    /// A leader recovers a host's segments although the host lives.
    Suspect { host: usize },
    /// Another host leads, if a majority hears it, while the one before has not noticed.
    Elect { host: usize },
}

/// A fault and its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timed {
    pub(crate) at: u64,
    pub(crate) fault: Fault,
}

/// The settings of a whole run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) hosts: usize,
    /// Hosts that take load, the first ones.
    pub(crate) owners: usize,
    pub(crate) shards: u16,
    /// Entries at which a segment is rolled.
    pub(crate) segment_entries: u32,
    /// Time at which the load ends and all faults are mended.
    pub(crate) load_ms: u64,
    /// The longest time between two requests of a client.
    pub(crate) pace_ms: u64,
    /// The share of commands, in percent, whose answer is lost or that are never or late applied.
    pub(crate) unknown_percent: u64,
    /// The share of messages outside of streams, in percent, that are lost, and of those that come twice.
    pub(crate) loss_percent: u64,
    /// A bug in the drivers, which the oracle must see.
    pub(crate) bug: Option<Bug>,
}

/// Faults that break a rule only together, and that chance seldom brings together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bundle {
    /// An owner dies and comes back while two leaders recover its segments, each with other reports.
    Contested,
    /// An owner lives and hears nothing of a recovery, while a replica promises, starts again, and another one is late.
    HalfFenced,
    /// A copy is damaged and loses its mark, its owner opens it again, and is away before it has sent the rest.
    Reopened,
}

/// The setup and the faults of a seed, in order of their times.
pub(crate) fn plan(seed: u64) -> (Setup, Vec<Timed>) {
    let mut rng = Rng::new(seed.wrapping_mul(2).wrapping_add(1));
    let bundle = rng.pick(&[(5, None), (3, Some(Bundle::Contested)), (2, Some(Bundle::HalfFenced))]);
    plan_with(seed, rng, bundle)
}

/// The setup and the faults of a seed, with this bundle among them.
pub(crate) fn plan_around(seed: u64, bundle: Bundle) -> (Setup, Vec<Timed>) {
    plan_with(seed, Rng::new(seed), Some(bundle))
}

fn plan_with(seed: u64, mut rng: Rng, bundle: Option<Bundle>) -> (Setup, Vec<Timed>) {
    let hosts = match bundle {
        // A leader needs a majority without the owner and the late one.
        Some(Bundle::HalfFenced) => 5,
        // The loss of one copy is all that a promise bears: nobody else may have the entries.
        Some(Bundle::Reopened) => 3,
        Some(Bundle::Contested) | None => rng.pick(&[(5, 3), (2, 4), (3, 5)]),
    };
    let mut setup = Setup {
        seed,
        hosts,
        owners: 1 + rng.below(3) as usize,
        shards: rng.pick(&[(3, 1), (1, 2)]),
        segment_entries: 1 + rng.below(12) as u32,
        load_ms: 600 + rng.below(1400),
        pace_ms: rng.pick(&[(1, 10), (2, 30), (1, 80)]),
        unknown_percent: rng.pick(&[(1, 0), (2, 10), (1, 30)]),
        loss_percent: rng.pick(&[(1, 0), (2, 5), (1, 20)]),
        bug: None,
    };
    let mut faults = Vec::new();
    // The promises speak of the loss of one copy of a segment.
    let mut may_destroy = rng.chance(60);
    match bundle {
        Some(Bundle::Contested) => faults.extend(contested(&mut rng, &setup)),
        Some(Bundle::HalfFenced) => faults.extend(half_fenced(&mut rng, &setup)),
        Some(Bundle::Reopened) => {
            may_destroy = false;
            setup.owners = 1;
            (setup.segment_entries, setup.load_ms, setup.pace_ms) = (20 + rng.below(30) as u32, 1800, 10);
            faults.extend(reopened(&mut rng));
        }
        None => {}
    }
    for _ in 0..1 + rng.below(9) {
        let at = 50 + rng.below(setup.load_ms - 50);
        let fault = fault(&mut rng, hosts, &mut may_destroy);
        faults.push(Timed { at, fault });
        // Faults that come together find more than those that stand alone.
        if rng.chance(40) {
            let at = at + rng.below(60);
            let fault = self::fault(&mut rng, hosts, &mut may_destroy);
            faults.push(Timed { at, fault });
        }
    }
    faults.sort_by_key(|timed| timed.at);
    (setup, faults)
}

fn contested(rng: &mut Rng, setup: &Setup) -> Vec<Timed> {
    let host = rng.below(setup.owners as u64) as usize;
    let at = 100 + rng.below(setup.load_ms - 150);
    let down = 270 + rng.below(120);
    let dies = rng.pick(&[
        (3, Fault::Kill { host, down }),
        (3, Fault::Power { host, down }),
        (2, Fault::Isolate { host, ms: down }),
    ]);
    let [first, second] = [1, 2].map(|other| (host + other) % setup.hosts);
    let takes_over = at + 270 + rng.below(120);
    vec![
        Timed { at, fault: dies },
        Timed {
            at: at + 240,
            fault: Fault::Elect { host: first },
        },
        Timed {
            at: takes_over,
            fault: Fault::Elect { host: second },
        },
    ]
}

fn half_fenced(rng: &mut Rng, setup: &Setup) -> Vec<Timed> {
    let host = rng.below(setup.owners as u64) as usize;
    let at = 100 + rng.below(setup.load_ms - 150);
    let [leader, late, one, other] = [1, 2, 3, 4].map(|other| (host + other) % setup.hosts);
    let cut = |with, ms| [(leader, with), (with, leader)].map(|(from, to)| Fault::OneWay { from, to, ms });
    let mut faults = vec![(0, Fault::Elect { host: leader }), (5, Fault::Suspect { host })];
    faults.extend(cut(host, 900).map(|cut| (1, cut)));
    faults.extend(cut(late, 200 + rng.below(200)).map(|cut| (1, cut)));
    for replica in [one, other] {
        let (dies, down) = (80 + rng.below(110), 5 + rng.below(20));
        // The owner would hear of the fence from it, too.
        let (from, to, ms) = (replica, host, dies);
        faults.push((1, Fault::OneWay { from, to, ms }));
        faults.push((dies, Fault::Kill { host: replica, down }));
    }
    let timed = faults.into_iter().map(|(after, fault)| Timed { at: at + after, fault });
    timed.collect()
}

/// Host 0 owns all segments.
fn reopened(rng: &mut Rng) -> Vec<Timed> {
    let at = 150 + rng.below(300);
    let (host, late) = rng.pick(&[(1, (1, 2)), (1, (2, 1))]);
    let back = 5 + rng.below(10);
    let away = back + 1 + rng.below(60);
    let faults = [
        // What the damaged copy has is on no other replica.
        (
            0,
            Fault::OneWay {
                from: 0,
                to: late,
                ms: 600,
            },
        ),
        (50, Fault::Flip { host }),
        (51, Fault::Power { host, down: back }),
        (51 + away, Fault::Kill { host: 0, down: 900 }),
    ];
    let timed = faults.into_iter().map(|(after, fault)| Timed { at: at + after, fault });
    timed.collect()
}

fn fault(rng: &mut Rng, hosts: usize, may_destroy: &mut bool) -> Fault {
    let host = rng.below(hosts as u64) as usize;
    let down = 5 + rng.below(400);
    let ms = 20 + rng.below(500);
    match rng.below(if *may_destroy { 100 } else { 86 }) {
        0..12 => Fault::Kill { host, down },
        12..26 => Fault::Power { host, down },
        26..32 => Fault::PowerAll { down },
        32..38 => Fault::Pause { host, ms },
        38..41 => Fault::Clock {
            host,
            hours: rng.pick(&[(2, 2000), (1, -2000), (1, 1)]),
        },
        41..52 => Fault::OneWay {
            from: host,
            to: (host + 1 + rng.below(hosts as u64 - 1) as usize) % hosts,
            ms,
        },
        52..59 => Fault::Isolate { host, ms },
        59..64 => Fault::EndStreams { host },
        64..70 => Fault::Suspect { host },
        70..74 => Fault::Elect { host },
        74..86 => Fault::Disk {
            host,
            after: rng.below(12) as u32,
            failure: rng.pick(&[(2, Failure::Kill), (3, Failure::Power), (2, Failure::Error)]),
        },
        destroys => {
            *may_destroy = false;
            if destroys < 93 {
                Fault::Wipe { host, down }
            } else {
                Fault::Flip { host }
            }
        }
    }
}
