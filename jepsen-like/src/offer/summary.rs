//! Summary of an open-loop run: per phase for people and machines, per second for a plot.
//!
//! **Owns**: [`Summary`], [`per_second_csv`]. Pure. Percentiles are exact: every latency is kept.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::probe::Reading;
use super::schedule::{Pattern, Phase};
use super::{Ending, Offered, Sample};
use crate::history::Outcome;

/// Lateness of sends in milliseconds above which the sender was too slow for a judgement.
const LATENESS_MAX_MS: f64 = 1.0;

/// Quantiles of latencies, in milliseconds.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p99_9: f64,
    /// The greatest latency.
    pub max: f64,
}

impl Quantiles {
    /// Quantiles of these latencies, in any order.
    pub fn of(latencies: impl Iterator<Item = Duration>) -> Self {
        let mut sorted: Vec<_> = latencies.collect();
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else {
            return Self::default();
        };
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted[rank.saturating_sub(1).min(last)].as_secs_f64() * 1e3
        };
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: at(1.0),
        }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            p50,
            p90,
            p99,
            p99_9,
            max,
        } = self;
        write!(f, "{p50:>9.3} {p90:>9.3} {p99:>9.3} {p99_9:>9.3} {max:>9.3}")
    }
}

/// Refusals of one gRPC code.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Refusals {
    /// Number of refusals.
    pub count: usize,
    /// Time from send to refusal.
    pub time_to_refusal_ms: Quantiles,
    /// Number of refusals with a RetryInfo in both trailers.
    pub with_retry_info: usize,
    /// The least and the greatest delay that they asked for, in milliseconds.
    pub retry_delay_ms: Option<[f64; 2]>,
}

/// Summary of one phase.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseSummary {
    /// The phase.
    pub phase: Phase,
    /// Length in seconds.
    pub seconds: f64,
    /// Requests that were due.
    pub offered: usize,
    /// Requests that were acknowledged.
    pub acked: usize,
    /// Refusals by gRPC code.
    pub refused: BTreeMap<u8, Refusals>,
    /// Requests without an answer in time.
    pub timed_out: usize,
    /// Requests whose connection was lost.
    pub lost: usize,
    /// Requests that were due and not sent, because too many were unanswered.
    pub not_offered: usize,
    /// Requests that were due and not sent, because there was no connection.
    pub no_connection: usize,
    /// Latency of acknowledged requests from the time at which they were due.
    pub ack_from_due_ms: Quantiles,
    /// Latency of acknowledged requests from the time at which they were sent.
    pub ack_from_send_ms: Quantiles,
    /// Delay from the time at which requests were due to the time at which they were sent.
    pub send_lateness_ms: Quantiles,
}

/// Summary of a whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Uncompressed bytes of each request.
    pub request_bytes: usize,
    /// CPU time of this process for a thousand requests, in milliseconds.
    pub own_cpu_ms_per_1000: f64,
    /// The most anonymous memory that the node held at any reading.
    pub rss_anon_max_bytes: Option<u64>,
    /// Phases of non-zero length.
    pub phases: Vec<PhaseSummary>,
}

impl Summary {
    /// Summarises a run.
    pub fn new(pattern: &Pattern, offered: &Offered, readings: &[Reading], own_cpu: Duration) -> Self {
        let phases = Phase::ALL
            .into_iter()
            .filter(|phase| !pattern.phase_length(*phase).is_zero());
        let phases = phases.map(|phase| {
            let of_phase = offered
                .samples
                .iter()
                .filter(|sample| pattern.phase(sample.due) == phase);
            PhaseSummary::new(phase, pattern.phase_length(phase), &of_phase.collect::<Vec<_>>())
        });
        Self {
            request_bytes: offered.request_bytes,
            own_cpu_ms_per_1000: own_cpu.as_secs_f64() * 1e6 / offered.samples.len().max(1) as f64,
            rss_anon_max_bytes: readings.iter().filter_map(|reading| reading.rss_anon_bytes).max(),
            phases: phases.collect(),
        }
    }
}

impl PhaseSummary {
    fn new(phase: Phase, length: Duration, samples: &[&Sample]) -> Self {
        let count = |ending| samples.iter().filter(|sample| sample.ending == ending).count();
        let acked = || {
            samples
                .iter()
                .filter(|sample| sample.ending == Ending::Answered(Outcome::Acked))
        };
        let sent = samples
            .iter()
            .filter(|sample| matches!(sample.ending, Ending::Answered(_)));
        Self {
            phase,
            seconds: length.as_secs_f64(),
            offered: samples.len(),
            acked: acked().count(),
            refused: refused(samples),
            timed_out: count(Ending::Answered(Outcome::TimedOut)),
            lost: count(Ending::Answered(Outcome::ConnectionLost)),
            not_offered: count(Ending::InFlightMax),
            no_connection: count(Ending::NoConnection),
            ack_from_due_ms: Quantiles::of(acked().map(|sample| sample.answered - sample.due)),
            ack_from_send_ms: Quantiles::of(acked().map(|sample| sample.answered - sample.sent)),
            send_lateness_ms: Quantiles::of(sent.map(|sample| sample.sent - sample.due)),
        }
    }
}

fn refused(samples: &[&Sample]) -> BTreeMap<u8, Refusals> {
    let mut by_code: BTreeMap<u8, Vec<(&Sample, bool)>> = BTreeMap::new();
    for sample in samples {
        if let Ending::Answered(Outcome::Refused { code, retry_info, .. }) = sample.ending {
            by_code.entry(code).or_default().push((sample, retry_info));
        }
    }
    let sum = |refusals: Vec<(&Sample, bool)>| {
        let delays = refusals.iter().filter_map(|(sample, _)| sample.retry_delay);
        let delays = delays.map(|delay| delay.as_secs_f64() * 1e3);
        Refusals {
            count: refusals.len(),
            time_to_refusal_ms: Quantiles::of(refusals.iter().map(|(sample, _)| sample.answered - sample.sent)),
            with_retry_info: refusals.iter().filter(|(_, retry_info)| *retry_info).count(),
            retry_delay_ms: delays.fold(None, |found, delay| {
                let [least, greatest] = found.unwrap_or([delay; 2]);
                Some([delay.min(least), delay.max(greatest)])
            }),
        }
    };
    by_code
        .into_iter()
        .map(|(code, refusals)| (code, sum(refusals)))
        .collect()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "phase   seconds  offered    acked  refused timedout     lost notoffer   noconn    acked/s"
        )?;
        for phase in &self.phases {
            let refused: usize = phase.refused.values().map(|refusals| refusals.count).sum();
            writeln!(
                f,
                "{:<7} {:>7.1} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10.1}",
                phase.phase.name(),
                phase.seconds,
                phase.offered,
                phase.acked,
                refused,
                phase.timed_out,
                phase.lost,
                phase.not_offered,
                phase.no_connection,
                phase.acked as f64 / phase.seconds.max(0.001),
            )?;
        }
        writeln!(
            f,
            "\nmilliseconds                   p50       p90       p99     p99.9       max"
        )?;
        for phase in &self.phases {
            let name = phase.phase.name();
            writeln!(f, "{name:<7} ack from due   {}", phase.ack_from_due_ms)?;
            writeln!(f, "{name:<7} ack from send  {}", phase.ack_from_send_ms)?;
            writeln!(f, "{name:<7} sent late by   {}", phase.send_lateness_ms)?;
            for (code, refusals) in &phase.refused {
                writeln!(f, "{name:<7} refused, {code:<5} {}", refusals.time_to_refusal_ms)?;
                let share = 100.0 * refusals.with_retry_info as f64 / refusals.count as f64;
                write!(
                    f,
                    "        {} of code {code}, RetryInfo in both places: {share:.1} %",
                    refusals.count
                )?;
                match refusals.retry_delay_ms {
                    Some([least, greatest]) => writeln!(f, ", delay {least:.0} to {greatest:.0} ms")?,
                    None => writeln!(f)?,
                }
            }
        }
        if let Some(bytes) = self.rss_anon_max_bytes {
            writeln!(
                f,
                "\nthe node's RssAnon was {:.1} MiB at most",
                bytes as f64 / 1_048_576.0
            )?;
        }
        let late = self
            .phases
            .iter()
            .map(|phase| phase.send_lateness_ms.p99)
            .fold(0.0, f64::max);
        if late >= LATENESS_MAX_MS {
            writeln!(
                f,
                "\nrequests left up to {late:.1} ms late (p99): give this process a core of its own"
            )?;
        }
        let (bytes, cpu) = (self.request_bytes, self.own_cpu_ms_per_1000);
        write!(f, "requests of {bytes} bytes; own CPU for 1000: {cpu:.1} ms")
    }
}

#[derive(Default)]
struct Second {
    offered: usize,
    acked: Vec<Duration>,
    refused: usize,
    unknown: usize,
    not_offered: usize,
    rss_anon_bytes: Option<u64>,
    zone: Option<f64>,
}

/// CSV with one line for each second. A request counts in the second in which it was due; latencies are of acknowledged
/// requests, from that time.
pub fn per_second_csv(samples: &[Sample], readings: &[Reading]) -> String {
    let mut seconds: BTreeMap<u64, Second> = BTreeMap::new();
    for sample in samples {
        let second = seconds.entry(sample.due.as_secs()).or_default();
        second.offered += 1;
        match sample.ending {
            Ending::Answered(Outcome::Acked) => second.acked.push(sample.answered - sample.due),
            Ending::Answered(Outcome::Refused { .. }) => second.refused += 1,
            Ending::Answered(Outcome::TimedOut | Outcome::ConnectionLost) => second.unknown += 1,
            Ending::InFlightMax | Ending::NoConnection => second.not_offered += 1,
        }
    }
    for reading in readings {
        let second = seconds.entry(reading.at.as_secs()).or_default();
        second.rss_anon_bytes = second.rss_anon_bytes.max(reading.rss_anon_bytes);
        second.zone = reading.zone.or(second.zone);
    }
    let mut csv = "second,offered,acked,refused,unknown,not_offered,p50_ms,p99_ms,rss_anon_mib,zone\n".to_owned();
    for (number, second) in seconds {
        let latency = Quantiles::of(second.acked.iter().copied());
        let rss = second
            .rss_anon_bytes
            .map(|bytes| format!("{:.1}", bytes as f64 / 1_048_576.0));
        let zone = second.zone.map(|zone| zone.to_string());
        let (p50, p99) = match second.acked.is_empty() {
            true => Default::default(),
            false => (format!("{:.3}", latency.p50), format!("{:.3}", latency.p99)),
        };
        let Second {
            offered,
            refused,
            unknown,
            not_offered,
            ..
        } = second;
        writeln!(
            csv,
            "{number},{offered},{},{refused},{unknown},{not_offered},{p50},{p99},{},{}",
            second.acked.len(),
            rss.unwrap_or_default(),
            zone.unwrap_or_default(),
        )
        .expect("a String takes every write");
    }
    csv
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::payload::PayloadId;

    fn sample(due_ms: u64, sent_ms: u64, answered_ms: u64, ending: Ending) -> Sample {
        Sample {
            id: PayloadId::default(),
            fingerprint: Fingerprint::of(b""),
            link: None,
            due: Duration::from_millis(due_ms),
            sent: Duration::from_millis(sent_ms),
            answered: Duration::from_millis(answered_ms),
            ending,
            retry_delay: Some(Duration::from_secs(1)),
        }
    }

    #[test]
    fn quantiles_are_the_values_at_their_ranks() {
        let found = Quantiles::of((1..=1000).rev().map(Duration::from_millis));
        assert_eq!(
            [found.p50, found.p90, found.p99, found.p99_9, found.max],
            [500.0, 900.0, 990.0, 999.0, 1000.0]
        );
        assert_eq!(Quantiles::of(std::iter::empty()), Quantiles::default());
    }

    #[test]
    fn every_request_counts_once_and_latency_counts_from_the_due_time() {
        let refused = Outcome::Refused {
            code: 14,
            retry_info: true,
            settled: true,
        };
        let samples = [
            sample(0, 40, 50, Ending::Answered(Outcome::Acked)),
            sample(10, 10, 12, Ending::Answered(refused)),
            sample(20, 20, 20, Ending::InFlightMax),
            sample(1500, 1500, 9000, Ending::Answered(Outcome::TimedOut)),
        ];
        let phase = PhaseSummary::new(
            Phase::Before,
            Duration::from_secs(2),
            &samples.iter().collect::<Vec<_>>(),
        );
        assert_eq!(
            (phase.offered, phase.acked, phase.timed_out, phase.not_offered),
            (4, 1, 1, 1)
        );
        assert_eq!((phase.ack_from_due_ms.max, phase.ack_from_send_ms.max), (50.0, 10.0));
        let refusals = &phase.refused[&14];
        assert_eq!((refusals.count, refusals.with_retry_info), (1, 1));
        assert_eq!(
            (refusals.time_to_refusal_ms.p50, refusals.retry_delay_ms),
            (2.0, Some([1000.0; 2]))
        );
        let reading = Reading {
            at: Duration::from_millis(700),
            rss_anon_bytes: Some(3 << 20),
            zone: Some(2.0),
        };
        let csv = per_second_csv(&samples, &[reading]);
        let lines: Vec<_> = csv.lines().skip(1).collect();
        assert_eq!(lines, ["0,3,1,1,0,1,50.000,50.000,3.0,2", "1,1,0,0,1,0,,,,"]);
    }
}
