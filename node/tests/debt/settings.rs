//! The settings of a cluster: set at one node, in force on all.

use std::collections::BTreeSet;
use std::fs;

use gophership_proto::control::v1;
use tonic::Code;

use crate::cluster::{Cluster, until};
use crate::sink::Sink;
use crate::{records, until_taken};

const REFUSED: v1::ExporterState = v1::ExporterState::Refused;

/// The setting of this name at a node.
fn setting(cluster: &Cluster, i: usize, key: &str) -> v1::Setting {
    let found = cluster.settings(i).into_iter().find(|setting| setting.key == key);
    found.unwrap_or_default()
}

fn value(cluster: &Cluster, i: usize, key: &str) -> String {
    setting(cluster, i, key).value.unwrap_or_default()
}

/// Waits until the setting of this name at a node is as it is to be.
fn until_setting(cluster: &Cluster, i: usize, key: &str, is_so: impl Fn(&v1::Setting) -> bool) {
    let seen = || format!("node {i}: {:?}{}", setting(cluster, i, key), cluster.logs());
    until("a setting", || is_so(&setting(cluster, i, key)), seen);
}

/// Waits until a node seals, by the age of what it takes in alone, a segment that it had not sealed before.
fn until_sealed_by_age(cluster: &Cluster, i: usize, round: &str) {
    let own = cluster.number(i);
    let sealed = || -> BTreeSet<u32> {
        let all = cluster.sealed(i).into_iter().filter_map(|segment| segment.segment);
        all.filter(|segment| segment.node == own)
            .map(|segment| segment.index)
            .collect()
    };
    let before = sealed();
    cluster.send(i, &records(round, 1));
    let more = || sealed().len() > before.len();
    until("a segment that is sealed by its age", more, || {
        format!("node {i}: {:?}{}", sealed(), cluster.logs())
    });
}

#[test]
fn a_setting_is_in_force_at_once_on_all_nodes_later_on_one_that_was_away_and_after_a_restart_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    cluster.kill(2);
    // Its default, five minutes, is longer than what is waited for here.
    let changed = cluster.set(0, "vault.segment_age", "1000ms").unwrap();
    assert_eq!(
        (changed.old.as_deref(), changed.new.as_deref()),
        (Some("5m"), Some("1s"))
    );
    (0..2).for_each(|i| until_sealed_by_age(&cluster, i, "at once"));
    cluster.start(2);
    cluster.until_ready(2);
    until_sealed_by_age(&cluster, 2, "was away");
    (0..3).for_each(|i| cluster.kill(i));
    (0..3).for_each(|i| cluster.start(i));
    (0..3).for_each(|i| cluster.until_ready(i));
    for i in 0..3 {
        until_sealed_by_age(&cluster, i, "after a restart");
        until_setting(&cluster, i, "vault.segment_age", |found| {
            found.from == "cluster" && found.own.is_none() && found.not_in_force.is_empty()
        });
    }

    // Files that say something else are told in one item.
    cluster.set(1, "cluster.repair_after", "1500ms").unwrap();
    let found = || cluster.problems(0).join("\n");
    // Until a node has looked at a setting, that is not in force there.
    let is_told = || {
        let found = found();
        found.contains("the configuration of node-0, node-1, node-2 says something else than the cluster")
            && found.contains("settings count: cluster.repair_after => gs-ctl config diff")
            && !found.contains("is not in force")
    };
    until("files that say something else, and nothing more", is_told, found);
    (0..3).for_each(|i| cluster.kill(i));
    (0..3).for_each(|i| cluster.start(i));
    (0..3).for_each(|i| cluster.until_ready(i));
    for i in 0..3 {
        until_setting(&cluster, i, "cluster.repair_after", |found| {
            let told = (
                found.value.as_deref(),
                found.own.as_deref(),
                found.not_in_force.as_str(),
            );
            told == (Some("1500ms"), Some("1s"), "")
        });
    }
}

#[test]
fn settings_of_the_cluster_itself_are_in_force_without_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    // Longer than anything that is waited for here, and what the nodes begin with.
    cluster.set(0, "cluster.dead_after", "10m").unwrap();
    (0..3).for_each(|i| cluster.kill(i));
    (0..3).for_each(|i| cluster.start(i));
    (0..3).for_each(|i| cluster.until_ready(i));
    cluster.kill(2);
    cluster.set(0, "cluster.dead_after", "1s").unwrap();
    let down = cluster.number(2);
    for i in 0..2 {
        let is_dead = || {
            let nodes = cluster.status(i).nodes;
            nodes.iter().any(|node| node.id == down && !node.alive)
        };
        until("a node that is found dead", is_dead, || cluster.logs());
    }
    // On a busy machine a node may be silent for a second.
    cluster.set(0, "cluster.dead_after", "10s").unwrap();
    // One that was away needs no second start.
    cluster.start(2);
    cluster.until_ready(2);
    cluster.set(1, "cluster.replicas", "2").unwrap();
    for i in 0..3 {
        until_setting(&cluster, i, "cluster.dead_after", |found| {
            found.value.as_deref() == Some("10s") && found.not_in_force.is_empty()
        });
        let copies = || {
            cluster.send(i, &records("two copies", 1));
            let sealed = cluster.seal(i);
            let all = cluster.sealed(i).into_iter();
            all.filter(|segment| segment.segment == Some(sealed))
                .map(|segment| segment.replicas.len())
                .next()
        };
        until("a segment with two copies", || copies() == Some(2), || cluster.logs());
    }
}

#[test]
fn of_two_operators_the_later_one_is_told_what_stands_and_a_fault_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let cluster = Cluster::form(dir.path(), 3, &sink);
    let retention = "vault.retention";
    let seen = setting(&cluster, 0, retention).version;
    let change = |i: usize, value: &str, dry_run| {
        let request = v1::ChangeSettingRequest {
            key: retention.to_owned(),
            value: Some(value.to_owned()),
            seen: Some(seen),
            dry_run,
            ..v1::ChangeSettingRequest::default()
        };
        cluster.change_setting(i, &request)
    };
    let dry = change(0, "48h", true).unwrap();
    assert_eq!(
        (dry.old.as_deref(), dry.new.as_deref(), dry.version),
        (Some("24h"), Some("2d"), seen)
    );
    assert_eq!(value(&cluster, 0, retention), "24h", "nothing was changed");
    let first = change(0, "48h", false).unwrap();
    let refused = change(1, "72h", false).unwrap_err();
    let says = format!("it is 2d by now, at version {} ", first.version);
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&says), "{refused}");
    let events = cluster.events(0);
    let told = events.iter().rfind(|event| event.what == "setting_changed").unwrap();
    assert_eq!(
        (told.subject.as_str(), told.detail.as_str()),
        ("setting vault.retention", "from 24h to 2d")
    );
    assert!(told.who.contains("uid"), "{told:?}");

    // Nodes come to hold each other for dead, and to use a setting, in their own time.
    let stands = || {
        let settings = cluster.settings(0).into_iter();
        let settings: Vec<_> = settings.map(|found| (found.key, found.value, found.version)).collect();
        let changes = cluster
            .events(0)
            .into_iter()
            .filter(|event| event.what == "setting_changed");
        (settings, changes.count())
    };
    let before = stands();
    for (key, value, says) in [
        ("vault.retentoin", "1h", "did you mean `vault.retention`?"),
        (
            "vault.segment_age",
            "1ms",
            "vault.segment_age: \"1ms\" is not accepted; accepted: ",
        ),
        (
            "cluster.replicas",
            "4",
            "cluster.replicas: \"4\" needs 4 peers, and cluster.peers has 3",
        ),
        ("vault.disk_limit", "20GiB", "vault.disk_limit is a node's own"),
        (
            "cluster.name",
            "x",
            "cluster.name stays what it was when the cluster was provisioned",
        ),
        ("cluster.peers", "x", "cluster.peers is a node's own"),
        ("zone.override.1", "red", "is not a key"),
    ] {
        let refused = cluster.set(0, key, value).unwrap_err();
        assert!(
            refused.code() == Code::InvalidArgument && refused.message().contains(says),
            "{refused}"
        );
    }
    let remove = v1::ChangeSettingRequest {
        key: retention.to_owned(),
        ..v1::ChangeSettingRequest::default()
    };
    assert!(
        cluster
            .change_setting(0, &remove)
            .unwrap_err()
            .message()
            .contains("is not removed")
    );
    assert_eq!(stands(), before);
}

#[test]
fn an_exporter_reaches_all_nodes_without_a_signal_and_its_secret_leaves_no_trace() {
    const SECRET: &str = "f00dfeed-of-a-file";
    let dir = tempfile::tempdir().unwrap();
    let (sink, other) = (Sink::start(), Sink::start());
    sink.take(usize::MAX);
    other.take(usize::MAX);
    let cluster = Cluster::form(dir.path(), 3, &sink);
    let file = dir.path().join("key");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let described = |name: &str, key: &str| {
        format!(
            "name: {name}\notlp_http:\n  endpoint: http://{}\n  compression: none\n  headers: {{ x-key: '{key}' }}\n",
            other.address
        )
    };
    let written_out = cluster.set_exporter(0, &described("b", SECRET)).unwrap_err();
    assert!(
        written_out
            .message()
            .contains("exporter.b.otlp_http.headers.x-key is written out"),
        "{written_out}"
    );
    let reference = format!("${{file:{}}}", file.display());
    let set = cluster.set_exporter(0, &described("b", &reference)).unwrap();
    assert_eq!((set.key.as_str(), set.old), ("exporter.b", None));
    (0..3).for_each(|i| cluster.until_exporter(i, "b"));
    let all = [0, 1, 2].map(|i| records(&format!("at {i}"), 3));
    (0..3).for_each(|i| cluster.send(i, &all[i]));
    until_taken(&other, &cluster, &all.concat());
    assert_eq!(other.keys(), BTreeSet::from([SECRET.to_owned()]));

    // One that a node has the secret of, and the others have not.
    let refused = cluster.set_exporter(1, &described("c", "${env:KEY_OF_0}")).unwrap_err();
    assert!(refused.message().contains("KEY_OF_0, which is not set"), "{refused}");
    cluster
        .set_exporter(0, &described("c", "Bearer ${env:KEY_OF_0}"))
        .unwrap();
    cluster.until_exporter(0, "c");
    let state = |i| {
        cluster
            .exporter(i, "c")
            .map(|exporter| (exporter.state(), exporter.refused))
    };
    for i in [1, 2] {
        let lacks = || state(i).is_some_and(|(state, why)| state == REFUSED && why.contains("KEY_OF_0"));
        until("an exporter that lacks a secret", lacks, || format!("{:?}", state(i)));
        let told = cluster.pause_exporter(i, "c").unwrap_err();
        assert!(told.message().contains("KEY_OF_0, which is not set"), "{told}");
        let states = || cluster.metric(i, "gophership_export_state");
        let is_shown = || states().contains(&("{exporter=\"c\"}".to_owned(), 8.0));
        until("the state of a refused exporter", is_shown, || {
            format!("{:?}", states())
        });
    }
    for (i, lacking) in [(0, 0.0), (1, 1.0), (2, 1.0)] {
        let counted = || cluster.metric(i, "gophership_settings_not_in_force");
        let is_so = || counted() == [(String::new(), lacking)];
        until("the count of settings not in force", is_so, || {
            format!("{i}: {:?}", counted())
        });
    }
    // All of them have looked: it is said once.
    let found = || cluster.problems(0).join("\n");
    let is_told = || {
        let told = found();
        let lacks = "setting exporter.c is not in force (on node-1, node-2): ";
        told.contains(lacks) && told.contains("KEY_OF_0") && !told.contains("exporter c ")
    };
    until("nodes that lack a secret", is_told, found);
    let runs = || state(0).is_some_and(|(state, _)| state != REFUSED);
    until("an exporter that has its secret", runs, || format!("{:?}", state(0)));

    // One whose sink is a node: that node does not take it, neither as a setting nor beside the others.
    let into = |name: &str, i: usize| {
        format!(
            "name: {name}\notlp_http: {{ endpoint: \"http://{}\" }}\n",
            cluster.otlp_http(i)
        )
    };
    let refused = cluster.set_exporter(0, &into("d", 0)).unwrap_err();
    assert!(refused.message().contains("this node itself"), "{refused}");
    cluster.set_exporter(1, &into("d", 0)).unwrap();
    (1..3).for_each(|i| cluster.until_exporter(i, "d"));
    let seen = || {
        cluster
            .exporter(0, "d")
            .map(|exporter| (exporter.state(), exporter.refused))
    };
    let is_refused = || seen().is_some_and(|(state, why)| state == REFUSED && why.contains("this node itself"));
    until("an exporter that would go round in a circle", is_refused, || {
        format!("{:?}", seen())
    });
    for i in [1, 2] {
        let state = || cluster.exporter(i, "d").map(|exporter| exporter.state());
        let runs = || state().is_some_and(|state| state != REFUSED && state != v1::ExporterState::Paused);
        until("an exporter that goes on", runs, || format!("{i}: {:?}", state()));
    }
    let remove = v1::ChangeSettingRequest {
        key: "exporter.d".to_owned(),
        ..v1::ChangeSettingRequest::default()
    };
    cluster.change_setting(1, &remove).unwrap();

    let answers = (0..3).map(|i| {
        let (settings, events) = (cluster.settings(i), cluster.events(i));
        format!("{settings:?}{events:?}{:?}", cluster.status(i))
    });
    for (i, answer) in answers.enumerate() {
        assert!(
            answer.contains("exporter.b") && answer.contains(&reference),
            "the reference is shown"
        );
        for secret in [SECRET, "secret-0"] {
            assert!(!answer.contains(secret), "node {i} answers with it");
            for (path, bytes) in cluster.bytes_of(i) {
                let is_in = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!is_in, "{} has it", path.display());
            }
        }
    }

    let remove = v1::ChangeSettingRequest {
        key: "exporter.b".to_owned(),
        ..v1::ChangeSettingRequest::default()
    };
    assert!(cluster.forget_exporter(2, "b").is_err(), "it is configured");
    cluster.change_setting(2, &remove).unwrap();
    let forgotten = || cluster.forget_exporter(2, "b").is_ok();
    until("an exporter that can be forgotten", forgotten, || cluster.logs());
    let is_gone = |i| cluster.settings(i).iter().all(|setting| setting.key != "exporter.b");
    until("a setting that is gone", || (0..3).all(is_gone), || cluster.logs());
}
