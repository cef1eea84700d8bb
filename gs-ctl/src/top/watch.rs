//! The state of a watch. Pure: polls come in, figures to show go out.
//!
//! **Invariants**:
//! - I1: silence is never shown as quiet: it leaves a gap in every history, and the figures before it are marked.

use super::figures::{Figures, figures};
use super::history::History;
use super::poll::{Poll, Sample};

/// The figures to show.
pub(super) struct Watch {
    before: Box<Sample>,
    pub(super) figures: Figures,
    pub(super) silence: Option<Silence>,
    pub(super) records: History,
    pub(super) ack_micros: History,
    pub(super) held: History,
    pub(super) debt: History,
}

/// A period in which the node does not answer.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Silence {
    /// Time of its last answer.
    pub(super) since_unix_nano: u64,
    pub(super) why: String,
}

impl Watch {
    pub(super) fn new(first: Box<Sample>) -> Self {
        let figures = figures(None, &first);
        Self {
            before: first,
            figures,
            silence: None,
            records: History::default(),
            ack_micros: History::default(),
            held: History::default(),
            debt: History::default(),
        }
    }

    pub(super) fn take(&mut self, poll: Poll) {
        match poll {
            Poll::Answer(sample) => {
                self.figures = figures(Some(&self.before), &sample);
                self.before = sample;
                self.silence = None;
                self.remember();
            }
            Poll::Silence(why) => {
                self.silence = Some(Silence {
                    since_unix_nano: self.before.at_unix_nano,
                    why,
                });
                for history in [&mut self.records, &mut self.ack_micros, &mut self.held, &mut self.debt] {
                    history.push(None);
                }
            }
        }
    }

    fn remember(&mut self) {
        let interval = self.figures.interval.as_ref();
        self.records.push(interval.map(|i| i.records_per_second as u64));
        self.ack_micros
            .push(interval.and_then(|i| i.ack_p99).map(|p| (p.seconds * 1e6) as u64));
        self.held.push(Some(self.figures.memory.held_bytes));
        self.debt.push(self.figures.debt.map(|d| d.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{answer, busy, sample};
    use super::*;

    #[test]
    fn i1_silence_is_told_from_when_it_began_and_leaves_a_gap() {
        let mut watch = Watch::new(sample(0, busy(0)));
        watch.take(answer(1, busy(1)));
        let last = watch.figures.at_unix_nano;
        watch.take(Poll::Silence("gone".to_owned()));
        watch.take(Poll::Silence("still gone".to_owned()));
        let silence = watch.silence.clone().unwrap();
        assert_eq!((silence.since_unix_nano, silence.why.as_str()), (last, "still gone"));
        assert_eq!(watch.records.last(9), [Some(48_210), None, None]);
        watch.take(answer(4, busy(4)));
        assert_eq!(watch.silence, None);
        assert_eq!(watch.records.last(9), [Some(48_210), None, None, Some(48_210)]);
    }

    #[test]
    fn a_restart_is_no_burst_of_anything() {
        let mut watch = Watch::new(sample(0, busy(9)));
        let mut after = busy(1);
        after.node.as_mut().unwrap().epoch += 1;
        watch.take(answer(1, after));
        assert_eq!(watch.figures.interval, None);
        assert_eq!(
            (watch.records.last(1), watch.ack_micros.last(1)),
            (vec![None], vec![None])
        );
    }
}
