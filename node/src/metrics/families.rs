//! Families of metrics under construction, in the order in which they are written.

use std::time::Duration;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// The labels of a row: names and values.
type Labels<'a, const N: usize> = [(&'a str, &'a str); N];

/// Families, in order.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.counters(name, help, [([], value)]);
    }

    /// A counter with a row for each set of labels.
    pub(super) fn counters<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'a, N>, f64)>,
    ) {
        let metrics = rows.into_iter().map(|(labels, value)| {
            let mut metric = Metric::from_label(pairs(&labels));
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
            metric
        });
        self.push(name, help, MetricType::COUNTER, metrics.collect());
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [([], value)]);
    }

    /// A gauge with a row for each set of labels.
    pub(super) fn gauges<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'a, N>, f64)>,
    ) {
        let metrics = rows.into_iter().map(|(labels, value)| {
            let mut metric = Metric::from_label(pairs(&labels));
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
            metric
        });
        self.push(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// A histogram. A row holds its upper bound in seconds (`None`: the rest) and the count of the bucket itself.
    pub(super) fn histogram(&mut self, name: &str, help: &str, rows: &[(Option<f64>, u64)], sum: Duration) {
        let mut histogram = Histogram::default();
        let mut so_far = 0;
        let mut buckets = Vec::new();
        for (bound, count) in rows {
            so_far += count;
            if let Some(bound) = bound {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(so_far);
                buckets.push(bucket);
            }
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(so_far);
        histogram.set_sample_sum(sum.as_secs_f64());
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, vec![metric]);
    }

    /// All families, followed by `more`, in the text format.
    ///
    /// # Errors
    ///
    /// The encoder's error, which only a fault in this folder can cause.
    pub(super) fn encode(mut self, more: Vec<MetricFamily>) -> Result<String, prometheus::Error> {
        self.0.extend(more);
        prometheus::TextEncoder::new().encode_to_string(&self.0)
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        // The text format has no form for a family without a row.
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_end_at_infinity() {
        let mut out = Families::default();
        out.histogram(
            "x_seconds",
            "help",
            &[(Some(0.1), 2), (Some(1.0), 3), (None, 4)],
            Duration::from_secs(7),
        );
        let text = out.encode(Vec::new()).unwrap();
        for line in [
            "x_seconds_bucket{le=\"0.1\"} 2",
            "x_seconds_bucket{le=\"1\"} 5",
            "x_seconds_bucket{le=\"+Inf\"} 9",
            "x_seconds_sum 7",
            "x_seconds_count 9",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
