//! The steps of a sequence, and the derivation of a sequence from its seed.

use crate::gate::POINTS;
use crate::rng::Rng;
use crate::sink::Mood;

/// The longest sequence.
pub(crate) const STEPS_MAX: u64 = 12;

/// Settings that hold for a whole sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Setup {
    /// The cutter writes blocks as they come, so that a segment has several; otherwise it writes one when it is full.
    pub(crate) small_blocks: bool,
    /// A segment is rolled by every tick; otherwise a tick writes the idle mark.
    pub(crate) rolls_by_age: bool,
    /// Entries expire after a day. No sequence takes a day, whatever the wall clock says.
    pub(crate) expires: bool,
}

/// The moment of a crash: a point of the gate, and the number of passes before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Point {
    pub(crate) name: &'static str,
    pub(crate) after: u8,
}

/// The position of a flipped bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spot {
    /// In the last entry of a WAL file.
    WalEnd(u32),
    /// In the last entry of the oldest WAL file that holds some.
    OldestWalEnd(u32),
    /// In an entry of a WAL file.
    WalEntry(u32),
    /// Anywhere in the written part of a WAL file, its header page included.
    WalByte(u32),
    /// Anywhere in a segment file.
    Segment(u32),
}

/// The destination of a seek.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seek {
    Now,
    Oldest,
}

/// One step. Its random parts were drawn before: the same step does the same, whichever steps stand before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Appends payloads of these sizes, and waits for each ack or for all at the end.
    Append { sizes: Vec<usize>, one_by_one: bool },
    /// Two ticks of the writer, in which it rolls or writes the idle mark.
    Tick,
    /// Ends the node cleanly.
    Stop,
    /// Ends the node cleanly and starts it.
    Restart,
    /// Appends, and crashes on the way or at the end. `torn` decides what is left of bytes that were never synced.
    Crash { at: Point, sizes: Vec<usize>, torn: u64 },
    /// Appends while no segment can be written, the last payload when all others are acknowledged, and crashes: every
    /// WAL file of the boot is left over.
    CrashUnsealed { sizes: Vec<usize>, torn: u64 },
    /// Crashes in a start, or in the recovery behind it.
    CrashInStart { at: Point, torn: u64 },
    /// Keeps a copy of the catalogue.
    CopyCatalogue,
    /// Removes the catalogue: a start is refused. Then the catalogue is put back.
    LoseCatalogue,
    /// Puts an older backup of the catalogue back.
    OldCatalogue(u8),
    /// Makes the catalogue anew from the files and its own content, or, where it is lost, from the files alone.
    Rebuild { is_lost: bool },
    /// Accepts, as an operator, the loss of one of the segments that cannot be read.
    AcceptLoss(u8),
    /// Flips a bit of a file while the node is down.
    Flip { spot: Spot, bit: u8 },
    /// Makes a file impossible to open from now on.
    Bar(u8),
    /// Makes a page of a segment file unreadable from now on.
    BadPage { file: u8, page: u8 },
    /// Makes every file readable again.
    Unbar,
    /// Makes something fail once in a start, or in the recovery behind it.
    FailInStart(Point),
    /// Starts the node with a full disk.
    Fill,
    /// Starts the node with room for this many KiB; where that is used up it drops the oldest segments, or refuses.
    Narrow { kib: u32, drops: bool },
    /// Starts the node with room again.
    MakeRoom,
    /// Makes the wall clock jump by this many hours.
    Clock(i32),
    /// Changes the sink's mood.
    Sink(Mood),
    /// Pauses or resumes the exporter.
    Pause(bool),
    /// Starts the node without the exporter, and forgets the exporter.
    ForgetExporter,
    /// Commits the exporter's cursor.
    KeepCursor,
    /// Moves the exporter's cursor.
    Seek(Seek),
    /// Starts the node with no retention, so that released segments go.
    Expire,
    /// Waits until the exporter has sent everything, to a sink of this mood.
    Settle(Mood),
}

/// The sequence of a seed.
pub(crate) fn sequence(seed: u64) -> (Setup, Vec<Step>) {
    let mut rng = Rng::new(seed);
    let setup = Setup {
        small_blocks: rng.chance(50),
        rolls_by_age: rng.chance(30),
        expires: rng.chance(30),
    };
    let count = 3 + rng.below(STEPS_MAX - 2);
    let mut steps = vec![append(&mut rng)];
    while (steps.len() as u64) < count {
        match rng.below(100) {
            0..16 => steps.extend(broken_recovery(&mut rng)),
            16..25 => steps.extend(older_than_the_data(&mut rng)),
            25..34 => steps.extend(unreadable_for_now(&mut rng)),
            34..38 => steps.extend(full(&mut rng)),
            38..44 => steps.extend(operator(&mut rng)),
            _ => {
                let next = next(&mut rng, steps.last());
                steps.push(next);
            }
        }
    }
    steps.truncate(STEPS_MAX as usize);
    (setup, steps)
}

/// Steps that put back a catalogue from before the newest data, and then start, or do what an operator does.
fn older_than_the_data(rng: &mut Rng) -> Vec<Step> {
    let end = if rng.chance(50) { Step::Restart } else { crash(rng) };
    let old = Step::OldCatalogue(rng.next() as u8);
    let mut steps = vec![Step::CopyCatalogue, append(rng), end, old];
    match rng.below(10) {
        0..7 => steps.push(Step::Restart),
        7..9 => steps.extend([Step::Rebuild { is_lost: false }, Step::Restart]),
        _ => steps.extend([Step::Restart, Step::AcceptLoss(rng.next() as u8)]),
    }
    steps
}

/// Steps that append more than there is room for.
fn full(rng: &mut Rng) -> Vec<Step> {
    let mut append = || Step::Append {
        sizes: (0..6).map(|_| 40_000 + rng.below(10_000) as usize).collect(),
        one_by_one: rng.chance(50),
    };
    let appends = [append(), append()];
    let narrow = Step::Narrow {
        kib: 1550 + rng.below(300) as u32,
        drops: rng.chance(70),
    };
    let mood = rng.pick(&[(2, Mood::Dead), (1, Mood::Takes)]);
    [vec![Step::Sink(mood), narrow], appends.into()].concat()
}

/// Steps of an operator while the exporter has a debt.
fn operator(rng: &mut Rng) -> Vec<Step> {
    let act = rng.pick(&[
        (2, Step::ForgetExporter),
        (1, Step::Rebuild { is_lost: true }),
        (2, Step::Pause(true)),
        (1, Step::Seek(Seek::Now)),
    ]);
    let behind = if rng.chance(50) { append(rng) } else { crash(rng) };
    let settle = Step::Settle(Mood::Takes);
    vec![
        Step::Sink(Mood::Dead),
        append(rng),
        act,
        Step::Sink(Mood::Takes),
        behind,
        settle,
    ]
}

/// Steps with a crash that leaves two or more files of one boot unsealed, a crash or a fault in their recovery, damage
/// at the end of the oldest before or after that, and a start that finds it.
fn broken_recovery(rng: &mut Rng) -> Vec<Step> {
    let mut sizes = vec![40_000 + rng.below(5_000) as usize, 300, 300];
    for _ in 0..1 + rng.below(2) {
        sizes.extend([48_000, 200]);
    }
    let crash = Step::CrashUnsealed {
        sizes,
        torn: rng.next(),
    };
    let which = rng.next() as u32;
    let damage = Step::Flip {
        spot: rng.pick(&[(3, Spot::OldestWalEnd(which)), (1, Spot::WalEnd(which))]),
        bit: rng.below(8) as u8,
    };
    let at = Point {
        name: rng.pick(&[
            (2, "file.remove"),
            (1, "file.rename"),
            (2, "ledger.asked"),
            (1, "ledger.done"),
            (3, "segment.write"),
        ]),
        after: rng.below(6) as u8,
    };
    let broken = if rng.chance(80) {
        Step::CrashInStart { at, torn: rng.next() }
    } else {
        fail_in_start(rng)
    };
    if rng.chance(60) {
        vec![crash, damage, broken, Step::Restart]
    } else {
        vec![crash, broken, damage, Step::Restart]
    }
}

/// Steps with a segment that cannot be read now and that the sink does not have, entries behind it, and a sink that
/// accepts everything again.
fn unreadable_for_now(rng: &mut Rng) -> Vec<Step> {
    let end = if rng.chance(50) { Step::Stop } else { crash(rng) };
    let which = rng.next() as u8;
    let bar = if rng.chance(75) {
        Step::Bar(which)
    } else {
        Step::BadPage {
            file: which,
            page: rng.below(4) as u8,
        }
    };
    let mut steps = vec![Step::Sink(Mood::Dead), append(rng), end, bar, append(rng)];
    if rng.chance(25) {
        steps.push(Step::AcceptLoss(rng.next() as u8));
    }
    steps.push(Step::Settle(Mood::Takes));
    steps
}

/// The next step. Faults come together more often than chance would have it: damage after a crash, a crash in the start
/// that finds the damage.
fn next(rng: &mut Rng, before: Option<&Step>) -> Step {
    match before {
        Some(Step::Crash { .. } | Step::Stop) if rng.chance(50) => flip(rng),
        Some(Step::Flip { .. } | Step::OldCatalogue(_) | Step::Bar(_)) if rng.chance(45) => crash_in_start(rng),
        Some(Step::OldCatalogue(_)) if rng.chance(20) => Step::Rebuild { is_lost: false },
        Some(Step::OldCatalogue(_)) if rng.chance(50) => Step::Restart,
        Some(Step::Restart | Step::CrashInStart { .. }) if rng.chance(12) => Step::AcceptLoss(rng.next() as u8),
        Some(Step::Bar(_)) if rng.chance(40) => Step::Restart,
        _ => any(rng),
    }
}

fn any(rng: &mut Rng) -> Step {
    type Make = fn(&mut Rng) -> Step;
    let make: Make = rng.pick::<Make>(&[
        (30, append),
        (6, |_| Step::Tick),
        (3, |_| Step::Stop),
        (12, |_| Step::Restart),
        (16, crash),
        (3, crash_in_start),
        (6, |_| Step::CopyCatalogue),
        (1, |_| Step::LoseCatalogue),
        (7, |rng| Step::OldCatalogue(rng.next() as u8)),
        (6, flip),
        (7, |rng| Step::Bar(rng.next() as u8)),
        (4, |rng| Step::BadPage {
            file: rng.next() as u8,
            page: rng.below(16) as u8,
        }),
        (5, |_| Step::Unbar),
        (4, fail_in_start),
        (2, |_| Step::Fill),
        (4, |rng| Step::Narrow {
            kib: 1500 + rng.below(400) as u32,
            drops: rng.chance(70),
        }),
        (2, |_| Step::MakeRoom),
        (4, |rng| Step::Rebuild {
            is_lost: rng.chance(50),
        }),
        (4, |rng| Step::AcceptLoss(rng.next() as u8)),
        (4, |rng| Step::Pause(rng.chance(70))),
        (2, |_| Step::ForgetExporter),
        (4, |rng| Step::Clock(rng.pick(&[(3, 2000), (1, -2000), (1, 30)]))),
        (12, |rng| {
            Step::Sink(rng.pick(&[(3, Mood::Takes), (4, Mood::Dead), (2, Mood::Refuses), (2, Mood::Breaks)]))
        }),
        (6, |_| Step::KeepCursor),
        (3, |rng| Step::Seek(rng.pick(&[(1, Seek::Now), (2, Seek::Oldest)]))),
        (6, |_| Step::Expire),
        (8, |rng| {
            Step::Settle(rng.pick(&[(4, Mood::Takes), (2, Mood::Refuses), (2, Mood::Breaks)]))
        }),
    ]);
    make(rng)
}

/// One to seven payloads; two of the largest size do not fit into one segment.
fn sizes(rng: &mut Rng) -> Vec<usize> {
    let count = 1 + rng.below(7);
    (0..count)
        .map(|_| {
            let (from, to) = rng.pick(&[(6, (0, 300)), (3, (2_000, 9_000)), (2, (40_000, 50_000))]);
            (from + rng.below(to - from)) as usize
        })
        .collect()
}

fn append(rng: &mut Rng) -> Step {
    Step::Append {
        sizes: sizes(rng),
        one_by_one: rng.chance(60),
    }
}

fn point(rng: &mut Rng) -> Point {
    Point {
        name: POINTS[rng.below(POINTS.len() as u64) as usize],
        after: rng.below(8) as u8,
    }
}

fn crash(rng: &mut Rng) -> Step {
    Step::Crash {
        at: point(rng),
        sizes: sizes(rng),
        torn: rng.next(),
    }
}

fn crash_in_start(rng: &mut Rng) -> Step {
    Step::CrashInStart {
        at: point(rng),
        torn: rng.next(),
    }
}

fn fail_in_start(rng: &mut Rng) -> Step {
    Step::FailInStart(Point {
        name: rng.pick(&[
            (4, "segment.write"),
            (1, "file.rename"),
            (1, "file.remove"),
            (1, "wal.allocate"),
        ]),
        after: rng.below(4) as u8,
    })
}

fn flip(rng: &mut Rng) -> Step {
    let at = rng.next() as u32;
    Step::Flip {
        spot: rng.pick(&[
            (4, Spot::WalEnd(at)),
            (2, Spot::WalEntry(at)),
            (2, Spot::WalByte(at)),
            (4, Spot::Segment(at)),
        ]),
        bit: rng.below(8) as u8,
    }
}
