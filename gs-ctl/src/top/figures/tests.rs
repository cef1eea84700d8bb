use gophership_proto::control::v1::{Exporter, RefusedCount};

use super::super::testkit::{busy, sample};
use super::*;

fn between(before: StatusReply, now: StatusReply, seconds: u64) -> Option<IntervalFigures> {
    figures(Some(&sample(10, before)), &sample(10 + seconds, now)).interval
}

#[test]
fn rates_are_of_the_time_between_two_answers() {
    // (seconds between, growth in node-seconds, records/s, bytes/s, deferred/s, refused/s)
    for (seconds, growth, records, bytes, deferred, refused) in [
        (1, 1, 48_210.0, 10_485_760.0, 2.0, 12.0),
        (2, 1, 24_105.0, 5_242_880.0, 1.0, 6.0),
        (1, 3, 144_630.0, 31_457_280.0, 6.0, 36.0),
        (1, 0, 0.0, 0.0, 0.0, 0.0),
    ] {
        let got = between(busy(5), busy(5 + growth), seconds).unwrap();
        assert_eq!(
            (
                got.records_per_second,
                got.bytes_per_second,
                got.deferred_entries_per_second,
                got.refused_per_second
            ),
            (records, bytes, deferred, refused),
            "{growth} in {seconds} s"
        );
        assert!(got.refused_per_second.is_sign_positive());
        assert_eq!(got.entries_per_second, 200.0 * growth as f64 / seconds as f64);
    }
}

#[test]
fn i1_the_first_answer_has_no_rates() {
    let first = figures(None, &sample(0, busy(5)));
    assert_eq!(first.interval, None);
    assert!(first.exporters.iter().all(|e| e.sent_records_per_second.is_none()));
    assert_eq!(
        first.memory.budget_bytes,
        4 << 30,
        "what needs no other answer is there"
    );
}

#[test]
fn i2_answers_of_two_boots_or_nodes_are_not_held_against_each_other() {
    let mut restarted = busy(6);
    restarted.node.as_mut().unwrap().epoch = 8;
    assert_eq!(between(busy(5), restarted, 1), None);
    let mut other = busy(6);
    other.node.as_mut().unwrap().storage_uuid = "t".to_owned();
    assert_eq!(between(busy(5), other, 1), None);
    assert_eq!(between(busy(5), busy(6), 0), None, "no time has passed");
    assert!(between(busy(5), busy(6), 1).is_some());
}

#[test]
fn refusals_are_told_by_reason_and_only_where_they_occurred() {
    let mut now = busy(6);
    now.refused.push(RefusedCount {
        reason: "starting".to_owned(),
        count: 40,
    });
    let refused = between(busy(5), now, 2).unwrap().refused;
    let told: Vec<_> = refused.iter().map(|r| (r.reason.as_str(), r.per_second)).collect();
    assert_eq!(told, [("starting", 20.0), ("budget", 6.0)]);
}

#[test]
fn latencies_are_of_what_came_between() {
    let got = between(busy(5), busy(6), 1).unwrap();
    let near = |q: Option<Quantile>, seconds: f64| (q.unwrap().seconds - seconds).abs() < 1e-9;
    assert!(near(got.ack_p50, 0.001) && near(got.ack_p99, 0.005), "{got:?}");
    assert!(near(got.append_p99, 0.000_009_9), "{got:?}");
    let idle = between(busy(5), busy(5), 1).unwrap();
    assert_eq!((idle.ack_p50, idle.ack_p99, idle.append_p99), (None, None, None));
    let mut untold = busy(6);
    untold.latency = None;
    assert_eq!(between(busy(5), untold, 1).unwrap().ack_p50, None);
}

#[test]
fn exporters_are_compared_by_name() {
    let rates = |before, now| -> Vec<Option<f64>> {
        let figures = figures(Some(&sample(0, before)), &sample(2, now));
        figures.exporters.iter().map(|e| e.sent_records_per_second).collect()
    };
    assert_eq!(rates(busy(5), busy(6)), [Some(24_000.0), Some(0.0)]);
    let mut turned = busy(6);
    turned.exporters.reverse();
    assert_eq!(rates(busy(5), turned), [Some(0.0), Some(24_000.0)]);
    let mut grown = busy(6);
    grown.exporters.push(Exporter {
        name: "new".to_owned(),
        sent_records: 500,
        ..Exporter::default()
    });
    assert_eq!(rates(busy(5), grown), [Some(24_000.0), Some(0.0), None]);
}

#[test]
fn a_node_that_says_little_is_shown_all_the_same() {
    let bare = figures(
        Some(&sample(0, StatusReply::default())),
        &sample(1, StatusReply::default()),
    );
    assert_eq!((bare.zone, bare.debt, bare.exporters.len()), (None, None, 0));
    assert_eq!(bare.interval.unwrap().records_per_second, 0.0);
}
