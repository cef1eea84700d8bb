use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use gophership_proto::control::v1::{Exporter, StatusReply, Zone, ZoneOverride};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::super::poll::Poll;
use super::super::testkit::{BEGAN, answer, busy, member, sample};
use super::*;

const SECOND: u64 = 1_000_000_000;

fn watched(seconds: u64) -> Watch {
    let mut watch = Watch::new(sample(0, busy(0)));
    for n in 1..=seconds {
        watch.take(answer(n, busy(n)));
    }
    watch
}

fn terminal(watch: &Watch, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let now = watch.figures.at_unix_nano;
    terminal
        .draw(|frame| draw(frame, watch, Duration::from_secs(1), now))
        .unwrap();
    terminal
}

fn text(terminal: &Terminal<TestBackend>) -> String {
    let buffer = terminal.backend().buffer();
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let row: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        writeln!(out, "{}", row.trim_end()).unwrap();
    }
    out
}

/// Compares a screen with its file; with `BLESS` set it writes the file.
fn holds(name: &str, screen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/top/draw/{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, screen).unwrap();
    }
    assert_eq!(screen, fs::read_to_string(&path).unwrap(), "{name}:\n{screen}");
}

#[test]
fn everything_fits_on_80_by_24() {
    holds("80x24", &text(&terminal(&watched(90), 80, 24)));
}

#[test]
fn a_member_shows_its_copies_and_a_line_for_each_node() {
    let mut watch = Watch::new(member(1));
    watch.take(Poll::Answer(member(2)));
    holds("cluster-80x24", &text(&terminal(&watch, 80, 24)));
    holds("cluster-120x40", &text(&terminal(&watch, 120, 40)));
}

#[test]
fn exporters_are_shown_whatever_the_shards() {
    let mut watch = Watch::new(member(1));
    watch.take(Poll::Answer(member(2)));
    let shard = watch.figures.shards[0].clone();
    for n in 2..6 {
        let shard = gophership_proto::view::status::ShardView {
            shard: n,
            ..shard.clone()
        };
        watch.figures.shards.push(shard);
    }
    for height in [23, 30, 32, 40] {
        let screen = text(&terminal(&watch, 100, height));
        assert!(screen.contains("\nbackend        retrying"), "{height}: {screen}");
        assert!(screen.contains("node-3         DEAD"), "{height}: {screen}");
    }
}

#[test]
fn a_larger_screen_shows_more() {
    holds("120x40", &text(&terminal(&watched(90), 120, 40)));
}

#[test]
fn silence_and_an_override_stand_out() {
    let mut status = busy(2);
    let zone = status.zone_status.as_mut().unwrap();
    zone.zone = Zone::Red.into();
    zone.forced = true;
    zone.zone_override = Some(ZoneOverride {
        zone: Zone::Red.into(),
        reason: "drill\u{1b}[2J".to_owned(),
        by_uid: Some(1000),
        set_unix_nano: BEGAN,
    });
    let mut watch = watched(1);
    watch.take(answer(2, status));
    watch.take(Poll::Silence("nobody listens on /x: the node has ended".to_owned()));
    let terminal = terminal(&watch, 80, 24);
    holds("silent", &text(&terminal));
    let buffer = terminal.backend().buffer();
    assert_eq!((buffer[(1, 1)].bg, buffer[(1, 2)].bg), (Color::Red, Color::Red));
}

#[test]
fn the_zone_has_its_colour_and_so_has_each_reading() {
    let terminal = terminal(&watched(1), 80, 24);
    let buffer = terminal.backend().buffer();
    assert_eq!(buffer[(1, 1)].bg, Color::Yellow);
    // 0.42, 0.95 and 0.03 of their limits, and 1.3 of a reading that cannot cause Red.
    let colours: Vec<Color> = [3, 4, 6].map(|y| buffer[(16, y)].fg).to_vec();
    assert_eq!(colours, [Color::Green, Color::Red, Color::Yellow]);
}

#[test]
fn before_the_first_interval_there_are_dashes_and_no_rates() {
    let screen = text(&terminal(&watched(0), 80, 24));
    assert!(screen.contains("records/s  -") && !screen.contains("p50 1"), "{screen}");
}

#[test]
fn no_screen_is_too_small_and_no_node_says_too_little() {
    let mut silent = watched(3);
    silent.take(Poll::Silence("gone".to_owned()));
    let bare = Watch::new(sample(0, StatusReply::default()));
    for watch in [&watched(3), &silent, &bare] {
        for (width, height) in [(1, 1), (5, 2), (20, 5), (40, 12), (79, 23), (300, 100)] {
            terminal(watch, width, height);
        }
    }
}

#[test]
fn what_was_dropped_stands_out() {
    let mut status = busy(1);
    let disk = status.disk.as_mut().unwrap();
    (disk.dropped_segments, disk.dropped_bytes) = (2, 128 << 20);
    let mut watch = watched(0);
    watch.take(answer(1, status));
    let screen = text(&terminal(&watch, 80, 24));
    assert!(screen.contains("on full    DROPPED 2 segments, 128 MiB"), "{screen}");
    assert!(screen.contains("debt       100 MiB, oldest 36 s"), "{screen}");
}

#[test]
fn exporters_that_do_not_fit_are_counted() {
    let mut status = busy(1);
    let more = (0..20).map(|i| Exporter {
        name: format!("sink-{i}"),
        ..Exporter::default()
    });
    status.exporters.extend(more);
    let mut watch = watched(0);
    watch.take(answer(1, status));
    let screen = text(&terminal(&watch, 80, 24));
    assert!(screen.contains("and 17 more"), "{screen}");
    assert!(watch.figures.at_unix_nano == BEGAN + SECOND);
}
