//! A watch as lines: one for each interval, with the same figures as on the screen.

use schemars::JsonSchema;
use serde::Serialize;

use super::draw::cluster::copy;
use super::figures::{ExporterFigures, Figures, IntervalFigures, NodeFigures};
use super::poll::Poller;
use super::stop::{Stop, seen};
use super::watch::{Silence, Watch};
use crate::arg::cli::Top;
use crate::arg::format::Format;
use crate::arg::when::now_unix_nano;
use crate::out::human;
use crate::out::outcome::Outcome;
use crate::out::output::{json, write_while_read};
use crate::out::yaml;
use crate::view::zone::override_text;

/// Writes lines until the count, a signal, or a reader that went away ends it.
pub(super) async fn run(mut watch: Watch, mut poller: Poller, asked: &Top, format: Format) -> anyhow::Result<Outcome> {
    let mut stop = Stop::new()?;
    let mut left = asked.count;
    loop {
        let poll = tokio::select! {
            poll = poller.next() => poll,
            () = stop.asked() => return Ok(Outcome::Done),
        };
        let Some(poll) = poll else {
            return seen(&watch);
        };
        watch.take(poll);
        if !write_while_read(text(&watch, format, now_unix_nano())?.as_bytes())? {
            return Ok(Outcome::Done);
        }
        left = left.map(|n| n - 1);
        if left == Some(0) {
            return seen(&watch);
        }
    }
}

fn text(watch: &Watch, format: Format, now: u64) -> anyhow::Result<String> {
    let line = || {
        json(&match &watch.silence {
            None => Line::Figures(&watch.figures),
            Some(silence) => Line::NoAnswer(NoAnswer {
                at_unix_nano: now,
                no_answer_since_unix_nano: silence.since_unix_nano,
                why: &silence.why,
            }),
        })
    };
    Ok(match format {
        Format::Table | Format::Wide => match &watch.silence {
            None => plain(&watch.figures, now),
            Some(silence) => silent(silence, now),
        },
        Format::Json => format!("{}\n", line()?),
        Format::Yaml => format!("---\n{}", yaml::document(&line()?)),
    })
}

/// One interval.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Line<'a> {
    /// The node answered.
    Figures(&'a Figures),
    /// It did not.
    NoAnswer(NoAnswer<'a>),
}

/// An interval without an answer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NoAnswer<'a> {
    at_unix_nano: u64,
    no_answer_since_unix_nano: u64,
    why: &'a str,
}

fn silent(silence: &Silence, now: u64) -> String {
    format!(
        "{} no answer since {}: {}\n",
        human::time(now),
        human::time(silence.since_unix_nano),
        human::one_line(&silence.why)
    )
}

/// `name=value` pairs, separated by single spaces; an unknown value is a dash.
fn plain(figures: &Figures, now: u64) -> String {
    let of = |f: fn(&IntervalFigures) -> String| figures.interval.as_ref().map_or_else(|| "-".to_owned(), f);
    let (memory, disk) = (figures.memory, &figures.disk);
    let on_full = disk.on_full.as_ref().map_or_else(String::new, |p| format!("/{p}"));
    let debt = figures.debt.map_or_else(
        || "-".to_owned(),
        |d| format!("{}/{}", human::bytes(d.bytes), human::age(d.oldest_unix_nano, now)),
    );
    let words = [
        ("zone", zone(figures)),
        ("ready", if figures.node.ready { "yes" } else { "no" }.to_owned()),
        ("records/s", of(|i| human::rate(i.records_per_second))),
        ("bytes/s", of(|i| human::bytes(i.bytes_per_second as u64))),
        ("deferred/s", of(|i| human::rate(i.deferred_entries_per_second))),
        ("refused/s", of(refused)),
        ("ack_p50", of(|i| human::quantile(i.ack_p50))),
        ("ack_p99", of(|i| human::quantile(i.ack_p99))),
        ("append_p99", of(|i| human::quantile(i.append_p99))),
        (
            "memory",
            format!(
                "{}/{}",
                human::bytes(memory.held_bytes),
                human::percent(memory.held_bytes, memory.budget_bytes)
            ),
        ),
        (
            "disk",
            format!(
                "{}/{}{on_full}",
                human::percent(disk.used_bytes, disk.limit_bytes),
                disk.tier
            ),
        ),
        ("debt", debt),
        ("exporters", exporters(&figures.exporters)),
    ];
    // A value with a space in it would look like two.
    let words = words.into_iter().chain(of_cluster(figures));
    let words: Vec<String> = words
        .map(|(name, value)| format!("{name}={}", value.replace(' ', "")))
        .collect();
    format!("{} {}\n", human::time(figures.at_unix_nano), words.join(" "))
}

/// What a member of a cluster has besides.
fn of_cluster(figures: &Figures) -> Vec<(&'static str, String)> {
    let copied = figures.shards.iter().filter(|shard| !shard.replicas.is_empty());
    let copies = copied.clone().flat_map(|shard| {
        let copies = shard.replicas.iter();
        copies.map(move |replica| format!("{}>{}:{}", shard.shard, replica.node, copy(replica)))
    });
    let copies: Vec<String> = copies.collect();
    if copies.is_empty() {
        return Vec::new();
    }
    let node = |figures: &NodeFigures| {
        let rate = figures.records_per_second.map_or_else(|| "-".to_owned(), human::rate);
        let state = match (&figures.node.report, figures.node.alive) {
            (Some(report), _) => format!("{}:{rate}/s", report.zone),
            (None, true) => "no-report".to_owned(),
            (None, false) => "DEAD".to_owned(),
        };
        format!("{}:{state}", human::one_line(&figures.node.called()))
    };
    let nodes = figures.nodes.iter().filter(|figures| figures.node.moved_to.is_none());
    let nodes: Vec<String> = nodes.map(node).collect();
    vec![
        ("unacked", human::count(copied.map(|shard| shard.unacked_entries).sum())),
        ("copies_behind", copies.join("+")),
        (
            "nodes",
            if nodes.is_empty() {
                "-".to_owned()
            } else {
                nodes.join("+")
            },
        ),
    ]
}

fn zone(figures: &Figures) -> String {
    figures.zone.as_ref().map_or_else(
        || "-".to_owned(),
        |z| {
            let forced = if override_text(z).is_some() { "(OVERRIDE)" } else { "" };
            format!("{}{forced}", z.zone)
        },
    )
}

fn refused(interval: &IntervalFigures) -> String {
    let reasons: Vec<String> = interval
        .refused
        .iter()
        .map(|r| format!("{}:{}", human::one_line(&r.reason), human::rate(r.per_second)))
        .collect();
    if reasons.is_empty() {
        "0".to_owned()
    } else {
        reasons.join("+")
    }
}

fn exporters(exporters: &[ExporterFigures]) -> String {
    let shown: Vec<String> = exporters
        .iter()
        .map(|e| {
            let sent = e.sent_records_per_second.map_or_else(|| "-".to_owned(), human::rate);
            format!(
                "{}:{}:{}:{sent}/s",
                human::one_line(&e.exporter.name),
                e.exporter.state,
                human::bytes(e.exporter.debt_bytes)
            )
        })
        .collect();
    if shown.is_empty() {
        "-".to_owned()
    } else {
        shown.join("+")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::poll::Poll;
    use super::super::testkit::{BEGAN, answer, busy, member, sample};
    use super::*;

    fn watched() -> Watch {
        let mut watch = Watch::new(sample(0, busy(0)));
        watch.take(answer(1, busy(1)));
        watch
    }

    #[test]
    fn a_line_holds_the_figures_of_the_screen() {
        let line = text(&watched(), Format::Table, BEGAN + 1_000_000_000).unwrap();
        assert_eq!(
            line,
            "2023-11-14T22:13:21Z zone=yellow ready=yes records/s=48,210 bytes/s=10MiB deferred/s=2.0 \
             refused/s=budget:12 ack_p50=1.0ms ack_p99=5.0ms append_p99=10µs memory=1.0GiB/25% disk=43%/normal/refuse \
             debt=100MiB/36s exporters=archive-lake:live:0B:48,000/s+backend:retrying:100MiB:0/s\n"
        );
    }

    #[test]
    fn a_line_of_a_member_has_its_copies_and_the_nodes() {
        let mut watch = Watch::new(member(1));
        watch.take(Poll::Answer(member(2)));
        let line = text(&watch, Format::Table, BEGAN).unwrap();
        let ends = " unacked=24 copies_behind=0>2:0+0>3:480KiB/48sSTUCK+1>2:0+1>3:480KiB/48sSTUCK \
                    nodes=node-1:green:48,210/s+node-2:no-report+node-3:DEAD\n";
        assert!(line.ends_with(ends), "{line}");
    }

    #[test]
    fn every_format_is_one_line_or_document_an_interval() {
        let mut watch = watched();
        let json = text(&watch, Format::Json, BEGAN).unwrap();
        assert_eq!(json.lines().count(), 1);
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["interval"]["records_per_second"], 48_210.0);
        assert_eq!(value["exporters"][1]["state"], "retrying");
        assert!(text(&watch, Format::Yaml, BEGAN).unwrap().starts_with("---\nat: "));
        watch.take(Poll::Silence("it\nended".to_owned()));
        assert_eq!(
            text(&watch, Format::Table, BEGAN + 5_000_000_000).unwrap(),
            "2023-11-14T22:13:25Z no answer since 2023-11-14T22:13:21Z: it ended\n"
        );
        let value: Value = serde_json::from_str(&text(&watch, Format::Json, BEGAN).unwrap()).unwrap();
        assert_eq!(value["no_answer_since_unix_nano"], (BEGAN + 1_000_000_000).to_string());
        assert!(value["interval"].is_null(), "old figures are not told as new ones");
    }
}
