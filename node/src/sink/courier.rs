//! The one loop that sends entries to a sink until each is settled. Live export, replay and dead letters are its hosts.
//!
//! **Owns**: one sink, and the record of entries at which it fails.
//!
//! **Invariants**:
//! - I1: every entry given to [`Courier::deliver`] is settled, set aside, or the sending ended with an [`End`].
//! - I2: requests go out in the order of their entries, but for entries that were set aside.
//! - I3: one request at a time.
//!
//! **Not here**: the meaning of an answer (`answer`), the reaction to it (`verdict`), the decision between entry and
//! sink at fault (`suspects`).

use std::ops::ControlFlow;
use std::time::Duration;

use gophership_catalogue::exporter::EntryId;

use super::answer::Answer;
use super::backoff::Backoff;
use super::limits::OPERATOR_PAUSE;
use super::piece::{Item, Piece};
use super::sink::Sink;
use super::suspects::{FailurePause, RefusedEntry, Suspects};
use super::verdict::{Hold, Rules, Standing, Verdict, decide};

/// The host's decision on a request.
pub(crate) enum Go {
    Send,
    /// It expired.
    Expired,
}

/// The way in which a piece was settled, other than a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    Taken,
    /// The piece held nothing to send.
    Empty,
    Expired,
}

/// The reason for which sending ended before everything was settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The host has something else to do.
    Interrupted,
    /// An answer of the sink ends it.
    Stopped(String),
}

/// The owner of the entries: it decides on requests, and records results.
pub(crate) trait Host {
    /// Called before each request; `again` is true where it was sent before.
    async fn before(&mut self, piece: &Piece, again: bool) -> Go;
    /// Called with each answer.
    fn answered(&mut self, piece: &Piece, answer: &Answer);
    /// Waits for `pause`. `Break` means that the host has something else to do first.
    async fn pause(&mut self, hold: Hold, pause: Duration, piece: Option<&Piece>) -> ControlFlow<()>;
    /// Called when a piece that is too large is sent in two halves.
    fn split(&mut self) {}
    /// Called when a piece is settled.
    async fn settled(&mut self, piece: &Piece, how: Settled) -> ControlFlow<()>;
    /// Called when an entry is refused. The refusal is on record when this returns.
    async fn refused(&mut self, refused: RefusedEntry) -> ControlFlow<()>;
    /// Called when an entry is set aside: others go first.
    fn set_aside(&mut self, entry: EntryId);
    /// Called when an entry that was set aside cannot be read now.
    fn unread(&mut self, _entry: EntryId, _why: &str) {}
    /// Reads an entry again that was set aside; `None` where nothing of it could be sent.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be read now.
    async fn read(&mut self, entry: EntryId) -> Result<Option<Item>, String>;
}

/// The sender of entries to one sink (see the module).
pub(crate) struct Courier {
    sink: Sink,
    rules: Rules,
    suspects: Suspects,
    /// Pauses between failures in a row, and between attempts at suspects when there is nothing else to send.
    backoff: Backoff,
}

/// A piece, and a flag that is true where it comes from a batch at which the sink failed too often.
struct Work {
    piece: Piece,
    hunted: bool,
}

/// The result of a request.
enum Sent {
    Taken,
    Empty,
    Expired,
    Halve { size: bool, why: String },
    SetAside { failures: u32, why: String },
    Refused(String),
}

impl Courier {
    pub(crate) fn new(sink: Sink, rules: Rules) -> Self {
        Self {
            sink,
            rules,
            suspects: Suspects::default(),
            backoff: Backoff::default(),
        }
    }

    /// Number of entries that are set aside.
    pub(crate) fn suspects(&self) -> u64 {
        self.suspects.len()
    }

    /// The most entries that the next piece should have.
    pub(crate) fn entries_max(&self) -> usize {
        self.suspects.neighbours_max().unwrap_or(usize::MAX)
    }

    /// The time until a suspect is tried again when there is nothing else to send.
    pub(crate) fn rest(&mut self) -> Duration {
        self.backoff.next(None)
    }

    /// Forgets the entries that were set aside: the host will give them again.
    pub(crate) fn forget(&mut self) {
        self.suspects.forget_all();
        self.backoff = Backoff::default();
    }

    /// Sends a piece until each entry of it is settled or set aside.
    pub(crate) async fn deliver<H: Host>(&mut self, whole: Piece, host: &mut H) -> Result<(), End> {
        // The last element is sent next.
        let mut works = vec![Work {
            piece: whole,
            hunted: false,
        }];
        while let Some(work) = works.pop() {
            self.step(work, &mut works, host).await?;
            while let Some(entry) = self.suspects.due() {
                self.try_suspect(entry, host).await?;
            }
        }
        Ok(())
    }

    /// Tries the suspect with the fewest attempts, when there is nothing else to send.
    pub(crate) async fn try_one<H: Host>(&mut self, host: &mut H) -> Result<(), End> {
        match self.suspects.least_tried() {
            Some((entry, _)) => self.try_suspect(entry, host).await,
            None => Ok(()),
        }
    }

    /// Settles the entries that were set aside, when no neighbours follow any more.
    pub(crate) async fn finish<H: Host>(&mut self, host: &mut H) -> Result<(), End> {
        while let Some((entry, failures)) = self.suspects.least_tried() {
            if self.rules.last_tries.is_some_and(|tries| failures >= tries) {
                self.refuse(entry, host).await?;
                continue;
            }
            let pause = self.backoff.next(None);
            going_on(host.pause(Hold::Retry, pause, None).await)?;
            self.try_suspect(entry, host).await?;
        }
        Ok(())
    }

    async fn try_suspect<H: Host>(&mut self, entry: EntryId, host: &mut H) -> Result<(), End> {
        let item = match host.read(entry).await {
            Ok(Some(item)) => item,
            Ok(None) => return self.refuse(entry, host).await,
            // It stays set aside: an entry that the sink did not refuse is no dead letter.
            Err(why) => {
                self.suspects.unread(entry);
                host.unread(entry, &why);
                return Ok(());
            }
        };
        let mut works = vec![Work {
            piece: Piece { items: vec![item] },
            hunted: true,
        }];
        while let Some(work) = works.pop() {
            self.step(work, &mut works, host).await?;
        }
        Ok(())
    }

    /// Makes a suspect a refused entry.
    async fn refuse<H: Host>(&mut self, entry: EntryId, host: &mut H) -> Result<(), End> {
        match self.suspects.remove(entry) {
            Some(refused) => going_on(host.refused(refused).await),
            None => Ok(()),
        }
    }

    /// Sends one piece, and acts on its answer. Pieces that are left of it go on `works`.
    async fn step<H: Host>(&mut self, work: Work, works: &mut Vec<Work>, host: &mut H) -> Result<(), End> {
        let sent = self.send(&work, host).await?;
        let piece = work.piece;
        match sent {
            Sent::Taken => {
                going_on(host.settled(&piece, Settled::Taken).await)?;
                self.backoff = Backoff::default();
                if let Some(entry) = piece.only().filter(|_| piece.done().is_some()) {
                    self.suspects.cleared(entry);
                }
                self.suspects.taken();
                self.convict(host).await
            }
            Sent::Empty => going_on(host.settled(&piece, Settled::Empty).await),
            Sent::Expired => {
                piece
                    .items
                    .iter()
                    .for_each(|item| drop(self.suspects.remove(item.entry)));
                going_on(host.settled(&piece, Settled::Expired).await)
            }
            Sent::Halve { size, why } => match piece.halves() {
                Ok((first, second)) => {
                    if size {
                        host.split();
                    }
                    let hunted = work.hunted || !size;
                    works.extend([second, first].map(|piece| Work { piece, hunted }));
                    Ok(())
                }
                Err(one) => self.refuse_piece(&one, why, host).await,
            },
            Sent::SetAside { failures, why } => {
                let Some(item) = piece.items.first() else { return Ok(()) };
                let entry = item.entry;
                // The entry's other parts come with it when it is tried again.
                works.retain(|work| work.piece.only() != Some(entry));
                self.suspects.failed_alone(entry, failures, piece.records(), why);
                host.set_aside(entry);
                self.convict(host).await
            }
            Sent::Refused(why) => self.refuse_piece(&piece, why, host).await,
        }
    }

    async fn convict<H: Host>(&mut self, host: &mut H) -> Result<(), End> {
        for refused in self.suspects.convicted() {
            going_on(host.refused(refused).await)?;
        }
        Ok(())
    }

    async fn refuse_piece<H: Host>(&mut self, piece: &Piece, why: String, host: &mut H) -> Result<(), End> {
        let Some(item) = piece.items.first() else { return Ok(()) };
        drop(self.suspects.remove(item.entry));
        let refused = RefusedEntry {
            entry: item.entry,
            records: piece.records(),
            why,
            more_follows: item.more_follows,
        };
        going_on(host.refused(refused).await)
    }

    /// Sends a piece until its answer requires something other than a retry.
    async fn send<H: Host>(&mut self, work: &Work, host: &mut H) -> Result<Sent, End> {
        let piece = &work.piece;
        if piece.records() == 0 {
            // A deferred request that proved empty.
            return Ok(Sent::Empty);
        }
        let out = piece.outgoing();
        let mut backoff = Backoff::default();
        let (mut failed, mut exhausted, mut again) = (0, 0, false);
        loop {
            match host.before(piece, std::mem::replace(&mut again, true)).await {
                Go::Send => {}
                Go::Expired => return Ok(Sent::Expired),
            }
            let answer = self.sink.send(&out).await;
            host.answered(piece, &answer);
            let standing = Standing {
                entries: piece.items.len(),
                divisible: is_divisible(&answer, piece),
                failed,
                exhausted,
                hunted: work.hunted || self.suspects.hunts(),
                failures_in_row: self.suspects.failures_in_row(),
            };
            let verdict = decide(&answer, standing, &self.rules);
            let why = answer.why().unwrap_or_default().to_owned();
            match &answer {
                Answer::Failed { .. } => {
                    failed += 1;
                    self.suspects.failed();
                }
                Answer::Exhausted(_) => exhausted += 1,
                Answer::Accepted
                | Answer::AcceptedInPart { .. }
                | Answer::Retry { .. }
                | Answer::TooLarge(_)
                | Answer::Refused(_)
                | Answer::Operator(_) => {}
            }
            let (hold, pause) = match verdict {
                Verdict::Taken => return Ok(Sent::Taken),
                Verdict::Refuse => return Ok(Sent::Refused(why)),
                Verdict::Stop => return Err(End::Stopped(why)),
                Verdict::Halve { size: true } => return Ok(Sent::Halve { size: true, why }),
                Verdict::Halve { size: false } => {
                    self.pause_after_failure(&answer, piece, host).await?;
                    return Ok(Sent::Halve { size: false, why });
                }
                Verdict::SetAside => {
                    self.pause_after_failure(&answer, piece, host).await?;
                    return Ok(Sent::SetAside { failures: failed, why });
                }
                Verdict::Again(Hold::Retry, after) => (Hold::Retry, backoff.next(after)),
                Verdict::Again(Hold::Operator, _) => (Hold::Operator, OPERATOR_PAUSE),
            };
            going_on(host.pause(hold, pause, Some(piece)).await)?;
        }
    }

    async fn pause_after_failure<H: Host>(&mut self, answer: &Answer, piece: &Piece, host: &mut H) -> Result<(), End> {
        let Answer::Failed { after, .. } = answer else {
            return Ok(());
        };
        let pause = match (self.suspects.pause(), after) {
            (FailurePause::None, None) => return Ok(()),
            (FailurePause::None, Some(after)) => *after,
            (FailurePause::Steady(pause), after) => pause.max(after.unwrap_or_default()),
            (FailurePause::Growing, after) => self.backoff.next(*after),
        };
        going_on(host.pause(Hold::Retry, pause, Some(piece)).await)
    }
}

/// True where a piece can be sent in parts, for an answer that asks for that.
fn is_divisible(answer: &Answer, piece: &Piece) -> bool {
    matches!(answer, Answer::TooLarge(_) | Answer::Exhausted(_)) && piece.clone().halves().is_ok()
}

fn going_on(flow: ControlFlow<()>) -> Result<(), End> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(End::Interrupted),
    }
}
