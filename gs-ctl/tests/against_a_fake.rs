//! `gs-ctl` as a process, against a control service that answers from memory: exporters, dead letters, overrides,
//! status.
#![allow(clippy::unwrap_used)] // the helpers are of the tests

mod support;

use std::io::{BufRead, BufReader};

use serde_json::Value;
use support::{Fake, ctl};
use tempfile::TempDir;

fn fake() -> (TempDir, Fake) {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::at(&dir.path().join("x.sock"));
    (dir, fake)
}

fn json(fake: &Fake, words: &[&str]) -> Value {
    let run = fake.ctl(&[words, &["-o", "json"]].concat());
    assert_eq!(run.code, 0, "{words:?}: {}", run.err);
    serde_json::from_str(&run.out).unwrap()
}

/// The committed schema of what these words answer.
fn schema_of(words: &[&str]) -> &'static str {
    match words {
        ["status", ..] => "status",
        ["cluster", "status", ..] => "cluster-status",
        ["cluster", "provision", ..] => "cluster-provision",
        ["node", "list", ..] => "node-list",
        ["raft", "status", ..] => "raft-status",
        ["exporter", "list", ..] => "exporter-list",
        ["exporter", "remove", ..] => "config-set",
        ["exporter", "forget", ..] => "exporter-forget",
        ["exporter", ..] => "exporter",
        ["dead-letter", "list", ..] => "dead-letter-list",
        ["dead-letter", "show", ..] => "dead-letter-show",
        ["dead-letter", "replay", ..] => "dead-letter-replay",
        ["dead-letter", "drop", ..] => "dead-letter-drop",
        ["events", ..] => "events",
        ["config", "get", ..] => "config-get",
        ["config", "diff", ..] => "config-diff",
        ["config", "set", ..] => "config-set",
        ["archive", ..] => "archive-status",
        ["override", ..] => "override",
        ["top", ..] => "top",
        other => panic!("{other:?} has no schema"),
    }
}

/// The codes are those of plugins of monitoring systems, and what is wrong is on stdout, even that no node answers.
#[test]
fn check_says_in_its_first_line_and_its_code_whether_something_is_wrong() {
    let (dir, fake) = fake();
    let run = fake.ctl(&["check"]);
    assert_eq!(run.code, 2, "{}", run.out);
    assert!(run.out.starts_with("CRITICAL: "), "{}", run.out);
    let run = fake.ctl(&["check", "-o", "json"]);
    assert_eq!(run.code, 2);
    support::fits("check", &serde_json::from_str(&run.out).unwrap());

    let nobody = dir.path().join("nobody.sock");
    let run = support::ctl(&nobody, &["check"]);
    assert_eq!(run.code, 3, "{}", run.out);
    assert!(run.out.starts_with("UNKNOWN: "), "{}", run.out);
    assert_eq!(run.err, "");
}

/// Every command that answers with data, in each of the three formats.
#[test]
fn every_command_answers_in_every_format_on_stdout() {
    let (_dir, fake) = fake();
    let commands: [(&[&str], &str, &str); 25] = [
        (&["status"], "Zone", "zone:"),
        (&["cluster", "status"], "node 1", "under_replicated_segments: 12"),
        (&["cluster", "provision", "--abort"], "forgotten", "forgotten: true"),
        (&["node", "list"], "RAFT", "nodes:"),
        (&["raft", "status"], "MATCHED", "members:"),
        (&["events"], "exporter_paused", "events:"),
        (&["config", "get"], "KEY is not set", "settings:"),
        (&["config", "diff"], "ITS OWN", "nodes:"),
        (
            &["config", "set", "vault.retention", "72h", "--seen", "7"],
            "72h",
            "version: 8",
        ),
        (
            &["config", "set", "archive.url=s3://logs/a=b", "archive.region=none"],
            "s3://logs/a=b",
            "key: \"archive.region\"",
        ),
        (
            &["archive", "pause", "--for", "90m"],
            "until 2023-11-14T23:43:20Z; uid 0 paused it",
            "paused_until_unix_nano: \"1700005400000000000\"",
        ),
        (&["archive", "resume"], "s3://logs", "paused_until_unix_nano: null"),
        (&["exporter", "remove", "backend"], "exporter.backend", "new: null"),
        (&["exporter", "list"], "NAME", "exporters:"),
        (&["exporter", "pause", "backend"], "paused", "state: \"paused\""),
        (
            &["exporter", "resume", "backend"],
            "catching_up",
            "state: \"catching_up\"",
        ),
        (
            &["exporter", "seek", "backend", "--to", "now"],
            "Exporter",
            "name: \"backend\"",
        ),
        (&["dead-letter", "list"], "LETTER", "letters:"),
        (
            &["dead-letter", "show", "backend", "1/0/42:7"],
            "\"payload_hex\":\"ff01\"",
            "payload_hex: \"ff01\"",
        ),
        (
            &["dead-letter", "show", "backend", "1/0/42:8"],
            "\"resourceLogs\"",
            "payload_hex: null",
        ),
        (&["dead-letter", "replay", "backend", "1/0/42:7"], "Taken", "taken: 2"),
        (
            &["dead-letter", "drop", "backend", "--all", "--accept-loss"],
            "Dropped",
            "dropped: 3",
        ),
        (
            &["override", "--zone", "red", "--reason", "drill"],
            "OVERRIDE",
            "zone: \"red\"",
        ),
        (&["override", "--clear"], "yellow", "forced: false"),
        (&["top", "--count", "1", "--interval", "100ms"], "zone=yellow", "zone:"),
    ];
    for (words, in_table, in_yaml) in commands {
        let table = fake.ctl(words);
        assert_eq!((table.code, table.err.as_str()), (0, ""), "{words:?}");
        assert!(table.out.contains(in_table), "{words:?}: {}", table.out);
        assert!(
            !table.out.contains('\u{1b}'),
            "{words:?}: what a sink says is made harmless"
        );
        support::fits(schema_of(words), &json(&fake, words));
        let yaml = fake.ctl(&[words, &["-o", "yaml"]].concat());
        assert_eq!((yaml.code, yaml.err.as_str()), (0, ""), "{words:?}");
        assert!(yaml.out.contains(in_yaml), "{words:?}: {}", yaml.out);
    }
    fake.end();
}

#[test]
fn a_node_is_stopped_at_once_or_when_nothing_is_against_it() {
    let (_dir, fake) = fake();
    let now = fake.ctl(&["node", "stop"]);
    assert!(
        now.code == 1 && now.out.contains("1 of 3 voters would be left"),
        "{}",
        now.out
    );
    let then = fake.ctl(&["node", "stop"]);
    assert!(then.code == 0 && then.out.contains("can be stopped"), "{}", then.out);
    fake.end();
    let (_dir, fake) = self::fake();
    let waited = fake.ctl(&["node", "stop", "--wait", "--timeout", "2m"]);
    assert!(
        waited.code == 0 && waited.err.contains("waiting: 1 of 3 voters"),
        "{} {}",
        waited.out,
        waited.err
    );
    fake.end();
}

#[test]
fn an_exporter_is_set_from_a_file_or_from_standard_input_and_by_no_other_way() {
    let (dir, fake) = fake();
    let file = dir.path().join("b.yaml");
    std::fs::write(&file, "name: b").unwrap();
    let set = fake.ctl(&["exporter", "set", file.to_str().unwrap(), "--dry-run"]);
    assert!(set.code == 0 && set.out.contains("nothing: --dry-run"), "{}", set.out);
    assert!(
        fake.asked()
            .last()
            .unwrap()
            .contains("exporter: Some(\"name: b\"), seen: None, dry_run: true")
    );
    let other = fake.ctl(&["config", "set", "exporter.b", "name: b"]);
    assert!(
        other.code == 2 && other.err.contains("gs-ctl exporter set FILE"),
        "{}",
        other.err
    );
    let several = fake.ctl(&["config", "set", "a=1", "b=2", "--seen", "7"]);
    assert!(
        several.code == 2 && several.err.contains("of several"),
        "{}",
        several.err
    );
    let unknown = fake.ctl(&["config", "get", "vault.retentoin"]);
    assert!(
        unknown.code == 1 && unknown.err.contains("no setting vault.retentoin"),
        "{}",
        unknown.err
    );
    assert!(
        !fake.ctl(&["config", "get", "vault"]).out.contains("exporter"),
        "only those below it"
    );
    fake.end();
}

#[test]
fn a_cluster_is_shown_with_what_it_lacks_and_who_moved() {
    let (_dir, fake) = fake();
    let table = fake.ctl(&["cluster", "status"]).out;
    for line in [
        "Cluster   prod, answered by node-1\n",
        "Leader    node-1 (node 1)\n",
        "Acks      with 2 of 3 copies\n",
        "Segments  1,200 sealed, 12 with fewer than 3 LIVE COPIES, 2 RECOVERING (oldest ",
        "May stop  node-1\n",
        "6 WRONG\n! node-3 (node 4) is not heard for 18 s\n    -> start it with its data, which a recovery may need;",
        "! 12 sealed segments have fewer than 3 live copies, 2 of them just one: lose no further node\n    -> start \
         node-3\n",
        "! segment 3/0/7 is recovered for 61 s: it waits for 1 more report of nodes that have a copy, or",
        "! node-5 is configured at 10.0.0.5:9097, and has never joined\n    -> start it with an empty node.data_dir:",
        "! node-2 takes no logs: too few copies\n",
        " 1  node-1  yes           leader   takes    green       12  5.0 GiB              0         3  30 d\n",
        " 2  node-2  yes           voter    REFUSES  RED          0        -              0         3  ",
        " 3  node-3  moved to 4    none     ?        ?            ?        ?              -         3  -\n",
        " 4  node-3  NO, for 18 s  learner  ?        ?            ?        ?  8.0 MiB, 31 s         3  -\n",
    ] {
        assert!(table.contains(line), "{line:?} in\n{table}");
    }
    let too_wide = table.lines().find(|line| line.chars().count() > 100);
    assert_eq!(too_wide, None, "{table}");
    let nodes = fake.ctl(&["node", "list"]).out;
    for line in [
        " 1  node-1  active      yes           leader       7         3  2023-11-14T22:13:20Z  rack-1  10.0.0.1:9097",
        " 3  node-3  moved to 4  NO, for 14 s  none ",
    ] {
        assert!(nodes.contains(line), "{line:?} in\n{nodes}");
    }
    assert!(
        fake.ctl(&["cluster", "status", "-o", "wide"])
            .out
            .contains(nodes.as_str())
    );
    let raft = fake.ctl(&["raft", "status"]).out;
    assert!(raft.contains(" 4  node-3  no           -  10.0.0.3:9097"), "{raft}");
    let first = fake.ctl(&["cluster", "provision"]);
    assert!(first.out.contains("begins; the others join"), "{}", first.out);
    let again = fake.ctl(&["cluster", "provision"]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    assert!(again.out.contains("is there already"), "{}", again.out);
    fake.end();
}

#[test]
fn every_verb_ends_at_a_node_that_is_stopped_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("gophership.sock");
    // As with a stopped node, the kernel takes connections, and nobody answers.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let asked = [
        &["status"][..],
        &["cluster", "status"],
        &["replay", "list"],
        &["segment", "verify", "1/0/1"],
        &["tail"],
    ];
    std::thread::scope(|scope| {
        for words in asked {
            let socket = &socket;
            scope.spawn(move || {
                let run = support::ctl(socket, words);
                assert_eq!((run.code, run.out.as_str()), (3, ""), "{words:?}: {}", run.err);
                assert!(run.err.contains("kill -CONT PID"), "{words:?}: {}", run.err);
            });
        }
    });
}

#[test]
fn status_shows_zone_debt_exporters_and_what_was_dropped() {
    let (_dir, fake) = fake();
    let table = fake.ctl(&["status"]).out;
    for line in [
        "Zone         yellow since 2023-11-14T22:13:20Z",
        "tier refuse_ingest, when full: drop_oldest",
        "DROPPED      2 segments not yet exported, 30 entries, 128 MiB",
        "Debt         5.0 GiB in 40,000 entries, the oldest ",
        "backend   retrying  5.0 GiB",
        "lake      live",
    ] {
        assert!(table.contains(line), "{line}\n{table}");
    }
    assert!(table.lines().all(|l| l.chars().count() <= 100), "{table}");
    let json = json(&fake, &["status"]);
    assert_eq!(
        (&json["zone"]["zone"], &json["zone"]["override"], &json["pivots"]),
        (&"yellow".into(), &Value::Null, &4.into())
    );
    assert_eq!(json["exporters"][0]["positions"][0]["done_lsn"], "42:7");
    assert_eq!(json["debt"]["deferred_entries"], 7);
    assert_eq!(json["disk"]["ballast_bytes"], 64 << 20);
    fake.end();
}

#[test]
fn an_override_is_shown_with_who_and_why() {
    let (_dir, fake) = fake();
    let forced = fake
        .ctl(&["override", "--zone", "red", "--reason", " drill\nof today "])
        .out;
    assert!(
        forced.contains("OVERRIDE by uid 1000 since 2023-11-14T22:13:20Z: drill of today"),
        "{forced}"
    );
    assert!(forced.contains("absent: not counted by this kernel"), "{forced}");
    let cleared = fake.ctl(&["override", "--clear"]).out;
    assert!(
        !cleared.contains("OVERRIDE") && cleared.contains("3 green to yellow"),
        "{cleared}"
    );
    fake.end();
}

#[test]
fn what_an_exporter_would_lose_must_be_accepted_and_a_letter_can_be_looked_into() {
    let (_dir, fake) = fake();
    let refused = fake.ctl(&["exporter", "forget", "old"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("--accept-loss"), "{}", refused.err);
    let forgotten = fake.ctl(&["exporter", "forget", "old", "--accept-loss", "-o", "json"]);
    assert_eq!(forgotten.code, 0, "{}", forgotten.err);
    assert!(forgotten.out.contains("\"dead_letters\": 2"), "{}", forgotten.out);
    let shown = fake.ctl(&["dead-letter", "show", "backend", "1/0/42:7"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let line: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(
        (&line["entry"], &line["payload_hex"]),
        (&"1/0/42:7".into(), &"ff01".into())
    );
    let shown = fake.ctl(&["dead-letter", "show", "backend", "1/0/42:8"]);
    let line: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(line["x-gophership-not-utf8-hex"], serde_json::json!(["61ff62"]));
    fake.end();
}

#[test]
fn a_wide_list_cuts_nothing() {
    let (_dir, fake) = fake();
    let answer = "127.0.0.1:4317: Connection refused (os error 111): nobody listens there";
    let (cut, whole) = (
        fake.ctl(&["exporter", "list"]),
        fake.ctl(&["exporter", "list", "-o", "wide"]),
    );
    assert!(!cut.out.contains(answer) && cut.out.contains("..."), "{}", cut.out);
    assert!(whole.out.contains(answer), "{}", whole.out);
    fake.end();
}

#[test]
fn what_a_lost_node_owes_is_shown_with_who_sends_it() {
    let (_dir, fake) = fake();
    let owed = "by lost node 3: 5.0 MiB in 1,200 entries and what 2 unsealed segments hold; NOBODY sends it, it waits \
                for the recovery of 2 of its segments";
    let list = fake.ctl(&["exporter", "list"]).out;
    assert!(list.ends_with(&format!("backend is owed {owed}\n")), "{list}");
    let one = fake.ctl(&["exporter", "describe", "backend"]).out;
    assert!(one.contains(owed), "{one}");
    let cluster = fake.ctl(&["cluster", "status"]).out;
    assert!(
        cluster.contains("node 3 is lost and owes exporter backend 1200 entries"),
        "{cluster}"
    );
    fake.end();
}

#[test]
fn a_cursor_at_the_end_of_a_segment_is_shown_in_words() {
    let (_dir, fake) = fake();
    let shown = fake.ctl(&["exporter", "describe", "lake"]).out;
    assert!(shown.contains("1/0 to the end of segment 3"), "{shown}");
    assert_eq!(
        json(&fake, &["exporter", "describe", "lake"])["positions"][0]["done_lsn"],
        "3:end"
    );
    fake.end();
}

#[test]
fn a_seek_names_its_place() {
    let (_dir, fake) = fake();
    for (to, asked) in [
        ("now", "Some(Now(true))"),
        ("oldest", "Some(Oldest(true))"),
        ("2023-11-14T22:13:20Z", "Some(TimeUnixNano(1700000000000000000))"),
    ] {
        assert_eq!(fake.ctl(&["exporter", "seek", "lake", "--to", to]).code, 0);
        assert_eq!(fake.asked(), [asked]);
    }
    assert_eq!(fake.ctl(&["exporter", "seek", "lake", "--to", "-15m"]).code, 0);
    let unknown = fake.ctl(&["exporter", "pause", "nobody"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (1, ""));
    assert!(unknown.err.contains("there is no exporter nobody"), "{}", unknown.err);
    fake.end();
}

#[test]
fn a_replay_whose_start_was_not_answered_is_asked_for_again_by_its_request() {
    let (_dir, fake) = fake();
    let start = |more: &[&str]| fake.ctl(&[&["replay", "start", "--sink", "exporter:backend"][..], more].concat());
    let first = start(&[]);
    assert_eq!(first.code, 1, "{}", first.err);
    let id = first
        .err
        .split("--request ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let id = id.unwrap_or_else(|| panic!("it names no request: {}", first.err));
    assert!(
        first.err.contains(&format!("request {id} was not answered")),
        "{}",
        first.err
    );
    let second = start(&["--request", id]);
    assert!(
        second.err.contains(&format!("request {id} was not answered")),
        "{}",
        second.err
    );
    assert!(!start(&[]).err.contains(id), "another command is another request");
    fake.end();
}

#[test]
fn dead_letters_are_listed_over_all_pages_or_as_many_as_were_asked_for() {
    let (_dir, fake) = fake();
    let names = |list: &Value| -> Vec<String> {
        let letters = list["letters"].as_array().unwrap().iter();
        letters
            .map(|l| format!("{} {}", l["exporter"].as_str().unwrap(), l["letter"].as_str().unwrap()))
            .collect()
    };
    let all = json(&fake, &["dead-letter", "list"]);
    let place = |n: usize| {
        let letter = &all["letters"][n];
        (letter["segment_held"].clone(), letter["copies"].clone())
    };
    assert_eq!(
        place(0),
        (false.into(), vec![2, 3].into()),
        "its copies let the segment go"
    );
    assert_eq!(place(1), (true.into(), Value::Array(vec![])));
    assert_eq!(place(3), (true.into(), vec![2].into()), "one copy does not");
    assert_eq!(
        names(&all),
        [
            "backend 1/0/42:7",
            "backend 1/0/42:8",
            "backend 1/0/42:9",
            "lake 1/0/42:7"
        ]
    );
    assert_eq!(fake.asked().len(), 2, "pages");
    assert_eq!(
        names(&json(&fake, &["dead-letter", "list", "--exporter", "lake"])).len(),
        1
    );
    let some = fake.ctl(&["dead-letter", "list", "--limit", "3"]);
    assert_eq!((some.code, some.out.lines().count()), (0, 4));
    assert!(some.err.contains("3 of 4 are shown"), "{}", some.err);
    assert!(
        ["copy on 2, 3", "held", "gone", "INVALID_ARGUMENT: bad timestamp"]
            .iter()
            .all(|shown| some.out.contains(shown)),
        "{}",
        some.out
    );
    fake.end();
}

#[test]
fn dead_letters_are_replayed_and_dropped_by_name_or_all_on_request() {
    let (dir, fake) = fake();
    let named = fake.ctl(&["dead-letter", "replay", "backend", "1/0/42:7", "1/0/42:8"]);
    assert_eq!(named.code, 0, "{}", named.err);
    assert_eq!(fake.asked()[0].matches("DeadLetterRef").count(), 2);
    let all = fake.ctl(&["dead-letter", "replay", "backend", "--all"]);
    assert_eq!(all.code, 1, "one is still a dead letter");
    assert!(
        all.out.contains("400 bad timestamp") && all.out.contains("Not tried"),
        "{}",
        all.out
    );
    assert!(fake.asked()[0].contains("refs: []"));
    for refused in [
        &["dead-letter", "drop", "backend", "--all"][..],
        &["dead-letter", "drop", "backend", "--accept-loss"],
        &["dead-letter", "drop", "backend", "1/0/42:7"],
        &["dead-letter", "replay", "backend"],
    ] {
        assert_eq!(fake.ctl(refused).code, 2, "{refused:?}");
    }
    assert!(fake.asked().is_empty(), "nothing reached the node");
    let by_variable = |words: &[&str]| {
        let mut run = assert_cmd::Command::cargo_bin("gs-ctl").unwrap();
        run.env("GS_SOCKET", dir.path().join("x.sock"))
            .args(words)
            .output()
            .unwrap()
    };
    let usage = String::from_utf8(by_variable(&["dead-letter", "replay"]).stderr).unwrap();
    assert!(usage.contains("Usage: ") && !usage.contains("--socket"), "{usage}");
    assert!(by_variable(&["exporter", "list"]).status.success());
    fake.asked();
    for (words, names) in [
        (["dead-letter", "replay", "backend"].as_slice(), "--all"),
        (&["segment", "verify"], "--file"),
    ] {
        let refused = fake.ctl(words);
        let said = refused.err.split("Usage").next().unwrap();
        assert!(refused.code == 2 && said.contains(names), "{said}");
    }
    let words = ["dead-letter", "drop", "backend", "1/0/42:7", "--accept-loss"];
    assert_eq!(fake.ctl(&words).code, 0);
    assert_eq!(fake.asked()[0].matches("DeadLetterRef").count(), 1);
    fake.end();
}

#[test]
fn without_a_node_each_command_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("no.sock");
    for words in [
        &["exporter", "list"][..],
        &["dead-letter", "list"],
        &["override", "--clear"],
        &["top", "--count", "1"],
    ] {
        let run = ctl(&nowhere, words);
        assert_eq!((run.code, run.out.as_str()), (3, ""), "{words:?}");
        assert!(run.err.contains("no.sock"), "{}", run.err);
    }
    let drop_first = ctl(&nowhere, &["dead-letter", "drop", "backend", "--all"]);
    assert_eq!(drop_first.code, 2, "what cannot be is said before a node is looked for");
    assert!(drop_first.err.contains("--accept-loss"), "{}", drop_first.err);
}

#[test]
fn help_and_completions_know_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    let help = ctl(dir.path(), &["--help"]).out;
    for command in ["top", "exporter", "dead-letter", "override"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let run = ctl(dir.path(), &["completions", shell]);
        assert_eq!(run.code, 0);
        for word in ["dead-letter", "accept-loss", "override", "interval"] {
            assert!(run.out.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn events_are_listed_over_all_pages_and_followed() {
    let (dir, fake) = fake();
    let shown = json(&fake, &["events", "--since", "1700000000"]);
    let numbers: Vec<_> = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["number"].as_u64())
        .collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    let asked = fake.asked();
    assert!(
        asked
            .iter()
            .all(|asked| asked.contains("since_unix_nano: 1700000000000000000")),
        "{asked:?}"
    );
    let mut following = std::process::Command::new(env!("CARGO_BIN_EXE_gs-ctl"))
        .args(["events", "--follow", "-o", "json", "--socket"])
        .arg(dir.path().join("x.sock"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(following.stdout.take().unwrap()).lines();
    // The fourth comes only to one who asks again.
    let whats = lines
        .take(4)
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["what"].clone());
    let whats: Vec<Value> = whats.collect();
    following.kill().unwrap();
    following.wait().unwrap();
    assert_eq!(whats, ["node_up", "exporter_paused", "node_dead", "node_removed"]);
}
