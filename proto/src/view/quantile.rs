//! Quantiles from histograms whose counts only grow: of everything, or of what came between two of them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::control::v1::LatencyHistogram;

/// A quantile of durations, as well as buckets can tell.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Quantile {
    /// The duration.
    pub seconds: f64,
    /// True where it is above: more lies beyond the last bound than the buckets can tell apart.
    pub above: bool,
}

/// The quantile `q` (0 to 1) of the observations that `now` counts and `before` does not. `None` where there are none,
/// or where the two histograms do not belong together.
#[must_use]
pub fn quantile(before: Option<&LatencyHistogram>, now: &LatencyHistogram, q: f64) -> Option<Quantile> {
    let (bounds, total) = difference(before, now)?;
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let (mut lower_seconds, mut below) = (0.0, 0);
    for &(upper_seconds, cumulative) in &bounds {
        if cumulative > below && cumulative as f64 >= rank {
            // Observations count as evenly spread in their bucket, as in Prometheus.
            let share = (rank - below as f64) / (cumulative - below) as f64;
            return Some(Quantile {
                seconds: lower_seconds + (upper_seconds - lower_seconds) * share.clamp(0.0, 1.0),
                above: false,
            });
        }
        (lower_seconds, below) = (upper_seconds, cumulative);
    }
    Some(Quantile {
        seconds: lower_seconds,
        above: true,
    })
}

/// Bounds with cumulative counts, and the total.
fn difference(before: Option<&LatencyHistogram>, now: &LatencyHistogram) -> Option<(Vec<(f64, u64)>, u64)> {
    let counts = now.buckets.iter().map(|b| (b.upper_bound_seconds, b.cumulative_count));
    let Some(before) = before else {
        return Some((counts.collect(), now.count));
    };
    if before.buckets.len() != now.buckets.len() {
        return None;
    }
    let bounds = counts.zip(&before.buckets).map(|((bound, count), old)| {
        let same = bound == old.upper_bound_seconds;
        same.then_some((bound, count.checked_sub(old.cumulative_count)?))
    });
    Some((
        bounds.collect::<Option<Vec<_>>>()?,
        now.count.checked_sub(before.count)?,
    ))
}

#[cfg(test)]
mod tests {
    use crate::control::v1::LatencyBucket;

    use super::*;

    fn histogram(cumulative: [u64; 3], count: u64) -> LatencyHistogram {
        let buckets = [0.001, 0.010, 0.100].into_iter().zip(cumulative);
        LatencyHistogram {
            buckets: buckets
                .map(|(upper_bound_seconds, cumulative_count)| LatencyBucket {
                    upper_bound_seconds,
                    cumulative_count,
                })
                .collect(),
            count,
            sum_seconds: 0.0,
        }
    }

    #[test]
    fn quantiles_table() {
        let at = |seconds| Some(Quantile { seconds, above: false });
        let beyond = Some(Quantile {
            seconds: 0.100,
            above: true,
        });
        // (cumulative, count, q, expected)
        for (cumulative, count, q, expected) in [
            ([0, 0, 0], 0, 0.5, None),
            ([100, 100, 100], 100, 0.5, at(0.0005)),
            ([100, 100, 100], 100, 1.0, at(0.001)),
            ([50, 100, 100], 100, 0.5, at(0.001)),
            ([50, 100, 100], 100, 0.75, at(0.0055)),
            ([0, 0, 10], 10, 0.0, at(0.010)),
            ([98, 98, 98], 100, 0.99, beyond),
            ([0, 0, 0], 1, 0.5, beyond),
        ] {
            let got = quantile(None, &histogram(cumulative, count), q);
            let near = match (got, expected) {
                (Some(a), Some(b)) => a.above == b.above && (a.seconds - b.seconds).abs() < 1e-12,
                (a, b) => a == b,
            };
            assert!(near, "{cumulative:?} of {count} at {q}: {got:?}");
        }
    }

    #[test]
    fn only_what_came_between_counts() {
        let before = histogram([1000, 1000, 1000], 1000);
        let now = histogram([1000, 1000, 1010], 1010);
        let of_all = quantile(None, &now, 0.5).unwrap();
        let between = quantile(Some(&before), &now, 0.5).unwrap();
        assert!(of_all.seconds < 0.001 && between.seconds > 0.010);
        assert_eq!(quantile(Some(&now), &now, 0.5), None, "nothing came between");
    }

    #[test]
    fn histograms_that_do_not_belong_together_give_nothing() {
        let now = histogram([1, 1, 1], 1);
        assert_eq!(quantile(Some(&histogram([5, 5, 5], 5)), &now, 0.5), None);
        assert_eq!(quantile(Some(&LatencyHistogram::default()), &now, 0.5), None);
        let mut other = histogram([0, 0, 0], 0);
        other.buckets[1].upper_bound_seconds = 0.02;
        assert_eq!(quantile(Some(&other), &now, 0.5), None);
        assert_eq!(quantile(None, &LatencyHistogram::default(), 0.5), None);
    }
}
