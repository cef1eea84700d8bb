//! The demonstration's table.

use std::time::Duration;

use super::load::Outcomes;
use super::one_node::Replay;
use super::{one_node, three_nodes};

/// A row of the table.
pub(crate) type Line = (&'static str, String);

/// Prints the results.
pub(crate) fn print(rows: &[Line]) {
    for (name, value) in rows {
        println!("{name:<34} {value}");
    }
}

/// The results with one node.
pub(crate) fn of_one(story: &one_node::Story) -> Vec<Line> {
    let mut rows = acknowledged(&story.outcomes, &story.replay, story.load_time, "kills included");
    let ready = story.kills.iter().map(|k| format!("{} ms", k.ready_again.as_millis()));
    let ready: Vec<String> = ready.collect();
    let kills = format!("{} times, ready again after {}", story.kills.len(), ready.join(" and "));
    rows.push(("kill -9", kills));
    rows.push(unknown(&story.replay));
    rows.extend(replayed(&story.replay));
    rows.extend(exported(story));
    rows
}

/// The results with a cluster.
pub(crate) fn of_three(story: &three_nodes::Story) -> Vec<Line> {
    let formed = format!(
        "{} nodes, {:.1} s after their start",
        story.nodes,
        story.formed_after.as_secs_f64()
    );
    let mut rows = vec![("a cluster", formed)];
    rows.extend(acknowledged(
        &story.outcomes,
        &story.replay,
        story.load_time,
        "the loss included",
    ));
    let led = if story.led { ", which led the cluster" } else { "" };
    let lost = format!("{}{led}: kill -9, and its folder deleted", story.lost_name);
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    rows.extend([
        ("lost", lost),
        ("longest time without an ack", seconds(story.longest_gap)),
        ("found dead after", seconds(story.detected_after)),
        (
            "recovered after",
            format!(
                "{}, {} segments",
                seconds(story.recovered_after),
                story.recovered_segments
            ),
        ),
    ]);
    rows.push(unknown(&story.replay));
    rows.extend(replayed(&story.replay));
    rows
}

fn acknowledged(outcomes: &Outcomes, replay: &Replay, load_time: Duration, note: &str) -> Vec<Line> {
    let v = &replay.verdict;
    let seconds = load_time.as_secs_f64();
    let mut latencies = outcomes.latencies.clone();
    latencies.sort_unstable();
    let rates = format!(
        "{:.0} records/s, {:.1} MiB/s, {note}",
        v.acked_records as f64 / seconds,
        mib(outcomes.acked_bytes) / seconds
    );
    let latency = format!(
        "p50 {}  p99 {}  longest {}",
        at(&latencies, 50.0),
        at(&latencies, 99.0),
        at(&latencies, 100.0)
    );
    vec![
        (
            "acknowledged",
            format!("{} records in {} batches", v.acked_records, v.acked),
        ),
        ("", rates),
        ("time to a durable acknowledgement", latency),
    ]
}

fn unknown(replay: &Replay) -> Line {
    let v = &replay.verdict;
    (
        "answer unknown (in flight then)",
        format!("{} batches, of which {} were stored", v.unknown, v.unknown_stored),
    )
}

fn replayed(replay: &Replay) -> Vec<Line> {
    let v = &replay.verdict;
    let replayed = format!(
        "{} records in {} batches, {:.0} MiB/s",
        v.replayed_records,
        v.replayed,
        mib(replay.bytes) / replay.time.as_secs_f64()
    );
    vec![
        ("replayed", replayed),
        ("acknowledged and missing", v.missing.to_string()),
        ("replayed and never sent", v.phantoms.to_string()),
        ("replayed twice", v.duplicates.to_string()),
    ]
}

fn exported(story: &one_node::Story) -> Vec<Line> {
    let dead = format!(
        "{:.1} s; the debt grew to {:.0} MiB, {} pivots from the live path to the vault",
        story.sink_down.as_secs_f64(),
        mib(story.exported.debt_bytes_max),
        story.exported.pivots
    );
    let paid = format!("{:.1} s after the load", story.debt_paid_after.as_secs_f64());
    let missing = format!(
        "{}; {} batches came more than once, around the kills",
        story.delivered.missing, story.delivered.duplicates
    );
    vec![
        ("the sink was dead", dead),
        ("debt paid", paid),
        ("acknowledged, missing at the sink", missing),
    ]
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// A percentile as text.
fn at(sorted: &[Duration], percent: f64) -> String {
    let Some(last) = sorted.len().checked_sub(1) else {
        return "-".to_owned();
    };
    let value = sorted[((last as f64) * percent / 100.0).round() as usize];
    format!("{:.1} ms", value.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_from_what_there_is() {
        let all: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(
            (at(&all, 50.0), at(&all, 99.0), at(&all, 100.0)),
            ("51.0 ms".into(), "99.0 ms".into(), "100.0 ms".into())
        );
        assert_eq!(at(&[], 50.0), "-");
    }
}
