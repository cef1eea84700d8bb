//! The log, written into a buffer.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use tracing::{debug, error, info, warn};

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that `log` writes as JSON, followed by the counts that are logged after `later`.
fn lines(later: Duration, log: impl FnOnce()) -> Vec<serde_json::Value> {
    let buffer = Buffer::default();
    let repeats = Arc::new(Repeats::default());
    let writer = buffer.clone();
    let layer = layer(false, move || writer.clone()).with_filter(OncePerSecond::new(Arc::clone(&repeats)));
    let subscriber = tracing_subscriber::registry().with(LevelFilter::DEBUG).with(layer);
    tracing::subscriber::with_default(subscriber, || {
        log();
        repeats.log_left_out(Instant::now() + later);
    });
    let bytes = buffer.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    String::from_utf8(bytes)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[test]
fn i1_i2_a_line_that_repeats_is_given_once_and_the_rest_told_with_a_count() {
    let lines = lines(Duration::from_secs(1), || {
        for count in 0..100 {
            warn!(count, "budget.request.refused");
        }
        info!("another.line.given");
    });
    let messages: Vec<_> = lines
        .iter()
        .map(|line| line["message"].as_str().expect("a message"))
        .collect();
    assert_eq!(
        messages,
        ["budget.request.refused", "another.line.given", "log.line.repeated"]
    );
    assert_eq!((&lines[0]["level"], &lines[0]["count"]), (&"WARN".into(), &0.into()));
    let told = &lines[2];
    assert_eq!(
        (&told["level"], &told["line"], &told["count"]),
        (&"WARN".into(), &"budget.request.refused".into(), &99.into())
    );
}

#[test]
fn i3_each_line_that_tells_of_lost_records_is_given() {
    let lines = lines(Duration::from_secs(1), || {
        for segment in 0..5 {
            error!(number = segment, "segment.dropped");
            error!(number = segment, "another.line.repeated");
        }
    });
    let dropped = lines.iter().filter(|line| line["message"] == "segment.dropped");
    assert_eq!(dropped.count(), 5, "{lines:?}");
    let others = lines.iter().filter(|line| line["message"] == "another.line.repeated");
    assert_eq!(others.count(), 1, "{lines:?}");
}

#[test]
fn i3_each_line_that_says_who_asked_is_given() {
    let lines = lines(Duration::from_secs(1), || {
        for _ in 0..3 {
            info!(exporter = "a", by = "uid 0", "export.pause.set");
        }
    });
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn lines_about_different_things_are_all_given() {
    let lines = lines(Duration::from_secs(1), || {
        for (exporter, to) in [("h", "up"), ("h", "down"), ("z", "up"), ("z", "up")] {
            info!(exporter, to, "a.subject.changed");
        }
    });
    let given: Vec<_> = lines.iter().map(|line| (&line["exporter"], &line["to"])).collect();
    let none = &serde_json::Value::Null;
    assert_eq!(
        given,
        [
            (&"h".into(), &"up".into()),
            (&"h".into(), &"down".into()),
            (&"z".into(), &"up".into()),
            (none, none)
        ]
    );
    assert_eq!(
        (&lines[3]["line"], &lines[3]["count"]),
        (&"a.subject.changed".into(), &1.into())
    );
}

#[test]
fn i4_with_too_many_subjects_lines_are_counted_by_their_place() {
    let lines = lines(Duration::from_secs(1), || {
        for segment in 0..3_000 {
            warn!(segment, "segment.file.missing");
        }
    });
    let given = lines
        .iter()
        .filter(|line| line["message"] == "segment.file.missing")
        .count();
    let left_out: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert!(given <= 1_100, "{given}");
    assert_eq!(given as u64 + left_out, 3_000);
}

#[test]
fn nothing_is_told_before_the_second_is_over_or_where_nothing_was_left_out() {
    let repeated = || {
        for _ in 0..3 {
            warn!("line.is.repeated");
        }
    };
    assert_eq!(lines(Duration::ZERO, repeated).len(), 1);
    assert_eq!(lines(Duration::from_secs(5), || warn!("line.is.single")).len(), 1);
}

#[test]
fn lines_that_were_asked_for_are_given_in_full() {
    let lines = lines(Duration::from_secs(1), || {
        for _ in 0..5 {
            debug!("line.was.asked");
        }
    });
    assert_eq!(lines.len(), 5);
}

#[test]
fn a_filter_is_levels_and_targets_and_leaves_the_rest_at_info() {
    for (filter, expected) in [
        ("", Ok("info,openraft=error")),
        ("debug", Ok("debug")),
        ("WARN", Ok("WARN")),
        ("off", Ok("off")),
        (
            "gophership::export=debug",
            Ok("info,openraft=error,gophership::export=debug"),
        ),
        ("warn, h2=trace,", Ok("warn,h2=trace")),
        ("[span{field=1}]=debug", Ok("info,openraft=error,[span{field=1}]=debug")),
        ("openraft=info", Ok("info,openraft=info")),
        ("dbug", Err("\"dbug\" is no level")),
        ("info,gophership", Err("\"gophership\" is no level")),
        ("gophership=dbug", Err("\"gophership=dbug\" is not target=level")),
        ("=debug", Err("\"=debug\" is not target=level")),
        (
            "gophership::export=",
            Err("\"gophership::export=\" is not target=level"),
        ),
    ] {
        let found = directives(filter);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{filter:?}");
        if let Ok(directives) = found {
            EnvFilter::builder().parse(&directives).expect(filter);
        }
    }
}
