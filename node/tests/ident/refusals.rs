//! What does not become a cluster, each with the way out.

use std::fs;

use gophership_vault::DataDir;

use super::node::{Node, Site, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_with_data_are_refused_by_name() {
    let site = Site::new();
    site.make_single(1);
    site.make_single(3);
    let starting: Vec<_> = (1..=3).map(|n| site.start(n)).collect();
    // All must answer: a node that is not up yet has no data that anybody knows of.
    for node in &starting {
        node.status().await;
    }
    for node in &starting {
        let refused = node.provision().await.unwrap_err().message().to_owned();
        assert!(
            refused.contains("node-1 and node-3") || refused.contains("node-3 and node-1"),
            "{refused}"
        );
        assert!(refused.contains("empty node.data_dir"), "{refused}");
    }
    for node in starting {
        node.cancel().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_invitation_is_accepted_until_it_is_forgotten() {
    let site = Site::new();
    // Node 2 is alone, and keeps its own invitation.
    let second = site.start(2);
    let alone = second.provision().await.unwrap_err().message().to_owned();
    assert!(
        alone.contains("1 of 3 nodes accepted the invitation, and 2 must"),
        "{alone}"
    );
    second.cancel().await;
    assert!(site.folder(2).join("invitation.json").exists(), "it is kept");

    let second = site.start(2);
    let invited = second.status().await.unprovisioned.unwrap();
    assert_eq!(invited.invited_by, "node-2");
    // With data at node 1 the first is node 1, whose invitation node 2 does not accept beside its own.
    let identity = site.make_single(1);
    let first = site.start(1);
    first.status().await;
    let refused = first.provision().await.unwrap_err().message().to_owned();
    assert!(
        refused.contains("node-2 has accepted the invitation of node-2"),
        "{refused}"
    );
    assert!(refused.contains("--abort on node-2"), "{refused}");

    assert!(second.abort().await.unwrap());
    assert!(!second.abort().await.unwrap());
    assert!(!site.folder(2).join("invitation.json").exists());
    let done = second.provision().await.unwrap();
    assert_eq!(done.cluster_id, identity.cluster_id.0.to_string());
    let (first, second) = (first.member().await, second.member().await);
    assert_eq!(first.identity(), identity);
    assert_eq!(second.identity().cluster_id, identity.cluster_id);

    // A node with data of its own joins nobody, and says how it could.
    site.make_single(3);
    let error = site.start(3).error().await;
    assert!(
        error.contains("has data of its own") && error.contains("empty node.data_dir"),
        "{error}"
    );

    // The folder of a member is no single node's any more, and no other cluster's.
    second.stop().await;
    let single = DataDir::open(&site.folder(2), true).err().expect("refused").to_string();
    assert!(single.contains("belongs to cluster \"prod\""), "{single}");
    let lost = site.folder(2).join("catalogue.redb");
    fs::remove_file(&lost).unwrap();
    let error = site.start(2).error().await;
    assert!(error.contains("catalogue.redb is gone"), "{error}");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_another_cluster_of_the_same_name_is_refused_once_that_is_sure() {
    let site = Site::new();
    let all: Vec<_> = (1..=3).map(|n| site.start(n)).collect();
    all[0].provision().await.unwrap();
    let mut members: Vec<Node> = Vec::new();
    for starting in all {
        members.push(starting.member().await);
    }
    for member in members {
        member.stop().await;
    }
    // The others begin anew.
    for n in [1, 2] {
        fs::rename(site.folder(n), site.folder(n).with_extension("old")).unwrap();
    }
    let (first, second) = (site.start(1), site.start(2));
    first.status().await;
    second.status().await;
    let other = first.provision().await.unwrap().cluster_id;
    let (first, second) = (first.member().await, second.member().await);
    second.stop().await;

    // One other node says so. It may be the one whose folder is wrong.
    let third = site.start(3);
    let waiting = until("it is said", async || {
        let waiting = third.status().await.waiting?;
        waiting.remedy.contains(&other).then_some(waiting)
    })
    .await;
    assert!(
        waiting
            .what
            .starts_with("1 more node, since a majority is needed: 1 of 3"),
        "{waiting:?}"
    );
    assert!(waiting.peers[0].said.contains("of another cluster"), "{waiting:?}");
    let second = site.start(2).member().await;
    let error = third.error().await;
    assert!(
        error.contains("node-1 and that of node-2 to another one of the same name") && error.contains(&other),
        "{error}"
    );
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_of_one_name_does_not_take_it_while_the_first_restarts() {
    let site = Site::new();
    let mut nodes = site.three().await;
    let identity = nodes[2].identity();
    let second = site.start_second(3);
    let says = async |text: &str| {
        until(text, async || {
            format!("{:?}", second.status().await).contains(text).then_some(())
        })
        .await;
    };
    says("two nodes cannot have one name").await;
    nodes.pop().unwrap().stop().await;
    says("none that is to join answers at").await;
    let again = site.start(3).member().await;
    assert_eq!(again.identity(), identity);
    second.cancel().await;
    nodes.push(again);
    for node in nodes {
        node.stop().await;
    }
}
