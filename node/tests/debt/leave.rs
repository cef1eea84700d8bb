//! A node leaves its cluster: drained, stopped, removed. Nothing that it had is lost, and its name is free.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use gophership_proto::control::v1;

use crate::cluster::{Cluster, payload, until};
use crate::records;
use crate::sink::Sink;

const LEAVES: &str = "node-3";

/// Waits until a replay at node 0 ends without an error. All of these records are in it: what a holder alone has that
/// is held for dead for a moment is named as missing by one that ends with an error.
fn until_all_replayed(cluster: &Cluster, all: &[String]) {
    let seen = || format!("{:?} {}", cluster.replay(0).1, cluster.logs());
    let is_whole = || {
        let (replayed, ended) = cluster.replay(0);
        let replayed: BTreeSet<Vec<u8>> = replayed.into_iter().collect();
        let missing = all.iter().filter(|text| !replayed.contains(&payload(text))).count();
        assert!(
            ended.is_some() || missing == 0,
            "{missing} of {}; {}",
            all.len(),
            cluster.logs()
        );
        ended.is_none()
    };
    until("a replay that is whole", is_whole, seen);
}

#[test]
fn a_node_that_leaves_takes_nothing_with_it_and_may_join_anew() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let mut cluster = Cluster::form(dir.path(), 4, &sink);
    let mut all = Vec::new();
    for i in 0..4 {
        let of_node = records(&format!("of node {i}"), 20);
        cluster.send(i, &of_node);
        cluster.seal(i);
        all.extend(of_node);
    }
    // What is open is sealed by the others once it is stopped.
    let open = records("open", 5);
    cluster.send(3, &open);
    all.extend(open);

    let refused = cluster.remove_node(0, LEAVES, false).unwrap_err();
    assert!(refused.message().contains("are not sealed"), "{refused}");
    let refused = cluster.remove_node(0, LEAVES, true).unwrap_err();
    assert!(
        refused.message().contains("is running"),
        "whatever is accepted: {refused}"
    );
    assert!(cluster.drain(0, LEAVES, true).unwrap().dry_run);
    let (state, number) = cluster.state_of(1, LEAVES);
    assert_eq!(state, "active", "nothing was changed");
    cluster.send(3, &["x".to_owned()]);
    all.push("x".to_owned());
    cluster.drain(1, LEAVES, false).unwrap();
    until(
        "a node that takes no more logs",
        || cluster.answers(3, "too late") == Some(503),
        || cluster.logs(),
    );
    let state = || (cluster.state_of(0, LEAVES).0, cluster.obstacles(0, LEAVES));
    until(
        "copies on the nodes that stay, and nothing against its end",
        || state() == ("drained".to_owned(), Vec::new()),
        || format!("{:?} {}", state(), cluster.logs()),
    );
    cluster.kill(3);
    cluster.until_removed(0, LEAVES);
    // As where the answer was lost.
    for called in [LEAVES.to_owned(), number.to_string()] {
        let again = cluster.remove_node(1, &called, false).unwrap();
        assert_eq!((again.state.as_str(), again.node), ("removed", number), "{called}");
    }
    for i in 0..3 {
        let seen = || format!("{:?}", cluster.state_of(i, LEAVES));
        until("a removed node", || cluster.state_of(i, LEAVES).0 == "removed", seen);
    }
    cluster.wipe(3);
    // What it refused may have been stored before it knew that it leaves.
    until_all_replayed(&cluster, &all);

    cluster.start(3);
    cluster.until_ready(3);
    let is_new = || {
        let (state, anew) = cluster.state_of(0, LEAVES);
        state == "active" && anew > number
    };
    until("a node under a number of its own", is_new, || {
        format!("{:?} {}", cluster.state_of(0, LEAVES), cluster.logs())
    });
    cluster.send(3, &["again".to_owned()]);
}

#[test]
fn a_node_stops_itself_only_where_the_others_go_on_without_it_and_status_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let mut cluster = Cluster::form(dir.path(), 3, &sink);
    (0..3).for_each(|i| cluster.send(i, &records(&format!("of node {i}"), 3)));
    cluster.kill(2);
    let against = |cluster: &Cluster| {
        let named = |node: &v1::ClusterNode| node.name == "node-0";
        let nodes = cluster.status(0).nodes.into_iter();
        let by_status = nodes
            .filter(named)
            .map(|node| node.obstacles)
            .next()
            .unwrap_or_default();
        (cluster.stop_itself(0), by_status, cluster.obstacles(0, "node-0"))
    };
    // What is recovered changes meanwhile, and with it what each of them says.
    let all_say_so = || {
        let (refused, by_status, can_stop) = against(&cluster);
        refused.iter().any(|why| why.contains("voters")) && refused == by_status && refused == can_stop
    };
    until("a node that is needed, by all that say so", all_say_so, || {
        format!("{:?} {}", against(&cluster), cluster.logs())
    });
    // Nothing was changed.
    cluster.until_ready(0);
    cluster.send(0, &["goes on".to_owned()]);

    cluster.start(2);
    cluster.until_ready(2);
    let stops = || cluster.stop_itself(0).is_empty();
    until("a node that may stop", stops, || {
        format!("{:?} {}", against(&cluster), cluster.logs())
    });
    assert_eq!(cluster.until_ended(0), Some(0));
    let log = cluster.log(0);
    assert!(
        log.contains("node.stop.asked") && log.contains("node.stop.done"),
        "{log}"
    );
    cluster.send(1, &["without it".to_owned()]);
    let stopped = || -> Vec<String> {
        let stopped = cluster
            .events(1)
            .into_iter()
            .filter(|event| event.what == "node_stopped");
        stopped.map(|event| event.subject).collect()
    };
    // The record of this node may come later than the acknowledgement of another one.
    until("the event of a stop", || !stopped().is_empty(), || cluster.logs());
    let stopped = stopped();
    let [subject] = &stopped[..] else { panic!("{stopped:?}") };
    assert!(subject.ends_with("(node-0)"), "{subject}");
}

#[test]
fn a_node_that_was_removed_while_it_was_away_says_so_takes_nothing_and_stops_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::form(dir.path(), 4, &Sink::start());
    let number = cluster.state_of(0, LEAVES).1;
    // It is heard no more, like one behind a cut of the network.
    cluster.signal(3, "-STOP");
    cluster.until_removed(0, LEAVES);
    cluster.signal(3, "-CONT");
    // By its own record, or by the word of its peers.
    let is_why = |text: &str| text.contains("removed") && text.contains(&format!("node {number}"));
    let says_so = || {
        let answer = cluster.readiness(3);
        answer.is_some_and(|(status, text)| status == 503 && is_why(&text))
    };
    until("a node that knows that it was removed", says_so, || {
        format!("{:?} {}", cluster.readiness(3), cluster.logs())
    });
    until(
        "a node that refuses logs",
        || cluster.answers(3, "x") == Some(503),
        || cluster.logs(),
    );
    let problems = || cluster.bad_segments(3).1;
    let is_all = || matches!(&problems()[..], [only] if is_why(only));
    until("one problem: that it was removed", is_all, || {
        format!("{:?} {}", problems(), cluster.logs())
    });
    let is_removed = || cluster.state_of(3, LEAVES).0 == "removed";
    until("a node that shows itself as removed", is_removed, || {
        format!("{:?} {}", cluster.state_of(3, LEAVES), cluster.logs())
    });

    let code = cluster.stop(3);
    let log = cluster.log(3);
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("cluster.node.gone").count(), 1, "{log}");
    assert!(!log.contains("panicked") && log.contains("node.stop.done"), "{log}");
    assert!(!log.contains("cut_short"), "{log}");
}

/// The voters, as a node says, and whether each is alive.
fn voters(cluster: &Cluster, i: usize) -> Vec<(String, bool)> {
    let nodes = cluster.status(i).nodes.into_iter();
    let votes = |node: &v1::ClusterNode| ["leader", "voter"].contains(&node.role.as_str());
    nodes.filter(votes).map(|node| (node.name, node.alive)).collect()
}

/// Waits until three nodes vote, as a node says, all of which are alive, and returns them. While one voter takes the
/// place of another, four do: a further one that is lost then may have been needed for that.
fn three_voters(cluster: &Cluster, i: usize) -> Vec<String> {
    let mut three = Vec::new();
    let vote = || {
        three = voters(cluster, i);
        three.len() == 3 && three.iter().all(|(_, alive)| *alive)
    };
    until("three voters that are there", vote, || {
        format!("{:?} {}", voters(cluster, i), cluster.logs())
    });
    three.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_node_that_was_away_while_all_others_were_replaced_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::form(dir.path(), 4, &Sink::start());
    // Three of the four vote; while the fourth is away, each of them can be replaced.
    let voting = three_voters(&cluster, 0);
    let away = (0..4).find(|i| !voting.contains(&format!("node-{i}"))).unwrap();
    cluster.kill(away);
    for i in (0..4).filter(|i| *i != away) {
        cluster.kill(i);
        cluster.wipe(i);
        cluster.start(i);
        cluster.until_ready(i);
        three_voters(&cluster, i);
    }
    cluster.start(away);
    cluster.until_ready(away);
    cluster.send(away, &["is back".to_owned()]);
}

#[test]
fn what_the_others_write_goes_on_without_a_node_that_is_overdue_so_that_a_further_one_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::form(dir.path(), 4, &Sink::start());
    (0..3).for_each(|i| cluster.send(i, &records(&format!("of node {i}"), 3)));
    let voters = three_voters(&cluster, 0);
    let away = (0..4).find(|i| !voters.contains(&format!("node-{i}"))).unwrap();
    cluster.kill(away);
    let left: Vec<usize> = (0..4).filter(|i| *i != away).collect();
    let against = || -> Vec<_> {
        let name = |i: &usize| format!("node-{i}");
        left.iter().map(|i| cluster.obstacles(left[0], &name(i))).collect()
    };
    let none_is_needed = || against().iter().all(Vec::is_empty);
    until("nodes of which each can be stopped", none_is_needed, || {
        format!("{:?} {}", against(), cluster.logs())
    });
    left.iter().for_each(|i| cluster.send(*i, &["goes on".to_owned()]));
}

#[test]
fn of_two_nodes_that_are_asked_to_stop_at_once_where_one_may_no_more_than_one_stops() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::form(dir.path(), 3, &Sink::start());
    let at_once = Barrier::new(2);
    let stopped = || {
        let stop = |i| {
            at_once.wait();
            cluster.stop_itself(i)
        };
        thread::scope(|scope| {
            let asked = [0, 1].map(|i| scope.spawn(move || stop(i)));
            asked.map(|asked| asked.join().unwrap())
        })
    };
    // Each may hear of the other, and refuse.
    let mut refused = [vec![], vec![]];
    let one_stops = || {
        refused = stopped();
        refused.iter().any(Vec::is_empty)
    };
    until("a node that stops", one_stops, || cluster.logs());
    let stops: Vec<usize> = (0..2).filter(|i| refused[*i].is_empty()).collect();
    assert_eq!(stops.len(), 1, "{refused:?}");
    assert_eq!(cluster.until_ended(stops[0]), Some(0));
    cluster.send(2, &["without it".to_owned()]);
}

#[test]
fn a_node_that_is_lost_for_good_is_made_up_for_another_takes_its_share_and_one_that_is_drained_leaves_nothing_lacking()
{
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    sink.take(usize::MAX);
    let mut cluster = Cluster::form(dir.path(), 4, &sink);
    let mut all = Vec::new();
    for i in 0..4 {
        let of_node = records(&format!("of node {i}"), 10);
        cluster.send(i, &of_node);
        cluster.seal(i);
        all.extend(of_node);
    }
    let lost = cluster.number(3);
    cluster.kill(3);
    cluster.wipe(3);
    let status = |cluster: &Cluster| {
        let status = cluster.status(0);
        (
            status.recovering_segments,
            status.under_replicated_segments,
            status.sealed_segments,
        )
    };
    let is_whole = |cluster: &Cluster| {
        let (recovering, lacking, sealed) = status(cluster);
        recovering == 0 && lacking == 0 && sealed >= 4
    };
    let seen = || format!("{:?} {}", status(&cluster), cluster.logs());
    until("three copies of everything on three nodes", || is_whole(&cluster), seen);
    cluster.until_removed(0, LEAVES);

    // In its place another one comes, under a number of its own.
    cluster.start(3);
    cluster.until_ready(3);
    let mut number = lost;
    let is_new = || {
        let (state, named) = cluster.state_of(0, LEAVES);
        number = named;
        state == "active" && number != lost
    };
    until("a node under a number of its own", is_new, || {
        format!("{:?} {}", cluster.state_of(0, LEAVES), cluster.logs())
    });
    let has_share = || {
        cluster.send(0, &["shared".to_owned()]);
        let sealed = cluster.seal(0);
        let list = cluster.sealed(0).into_iter();
        list.filter(|segment| segment.segment == Some(sealed))
            .any(|segment| segment.replicas.contains(&number))
    };
    until("new segments on the node that came", has_share, || cluster.logs());

    cluster.drain(0, "node-2", false).unwrap();
    let drained = || cluster.state_of(0, "node-2").0 == "drained";
    until("a drained node", drained, || {
        format!("{:?} {}", cluster.state_of(0, "node-2"), cluster.logs())
    });
    cluster.kill(2);
    cluster.until_removed(0, "node-2");
    let seen = || format!("{:?} {}", status(&cluster), cluster.logs());
    until("three copies of everything without it", || is_whole(&cluster), seen);
    until_all_replayed(&cluster, &all);
}
