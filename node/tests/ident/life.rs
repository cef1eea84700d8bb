//! A cluster from three nodes to the replacement of one.

use std::fs;

use gophership_vault::ids::NodeId;

use super::node::{Node, Site, until};

fn id(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

async fn until_all_vote(nodes: &[&Node], wanted: &[u64]) {
    for node in nodes {
        until("all vote", async || (node.voters() == wanted).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_provision_at_once_and_one_with_data_becomes_the_first_of_one_cluster() {
    let site = Site::new();
    let before = site.make_single(2);
    let starting: Vec<_> = (1..=3).map(|n| site.start(n)).collect();
    let status = starting[1].status().await;
    assert!(status.unprovisioned.unwrap().has_data);
    assert_eq!(starting[0].status().await.cluster_id, "");
    assert_eq!(starting[2].status().await.name, "prod");

    let (one, other) = tokio::join!(starting[0].provision(), starting[2].provision());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((one.node.as_str(), other.node.as_str()), ("node-2", "node-2"));
    assert_eq!(one.cluster_id, before.cluster_id.0.to_string());
    assert_eq!(one.cluster_id, other.cluster_id);
    assert!(one.already != other.already, "one begins it, and the other finds it");

    let mut nodes = Vec::new();
    for starting in starting {
        nodes.push(starting.member().await);
    }
    assert_eq!(nodes[1].identity(), before, "without a copy or a loss");
    let begun: Vec<bool> = nodes.iter().map(Node::began).collect();
    assert_eq!(begun, [false, true, false]);
    for node in &nodes {
        assert_eq!(node.identity().cluster_id, before.cluster_id);
        until("what was there is seen", async || {
            node.read(|state| state.setting("of").is_some_and(|s| s.value == "node-2"))
                .then_some(())
        })
        .await;
    }
    let mut ids: Vec<u32> = nodes.iter().map(|node| node.identity().node_id.get()).collect();
    assert_eq!(ids[1], 1);
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    until_all_vote(&nodes.iter().collect::<Vec<_>>(), &[1, 2, 3]).await;
    for (n, node) in nodes.iter().enumerate() {
        let id = node.identity().node_id;
        // What a node has put on record is known to the others a moment later.
        let facts = until("a node is described", async || {
            nodes[0].read(|state| state.facts(id).cloned())
        });
        let facts = facts.await;
        assert_eq!(
            (facts.name, facts.failure_domain),
            (format!("node-{}", n + 1), format!("rack-{}", n + 1))
        );
    }

    let nodes = wiped_node_joins_anew(&site, nodes).await;
    all_restart(&site, nodes).await;
}

/// Stops node 3, and starts it with an empty folder, and then again with the old one.
async fn wiped_node_joins_anew(site: &Site, mut nodes: Vec<Node>) -> Vec<Node> {
    let third = nodes.pop().unwrap();
    let old = third.identity();
    third.stop().await;
    let aside = site.folder(3).with_extension("old");
    fs::rename(site.folder(3), &aside).unwrap();
    let third = site.start(3).member().await;
    let new = third.identity();
    assert_eq!((new.cluster_id, new.node_id), (old.cluster_id, id(4)));
    assert_ne!(new.storage_uuid, old.storage_uuid);
    until("the name has moved", async || {
        let moved = |node: &Node| node.read(|state| state.facts(old.node_id).and_then(|facts| facts.moved_to));
        (moved(&nodes[0]) == Some(id(4)) && moved(&third) == Some(id(4))).then_some(())
    })
    .await;
    let mut wanted: Vec<u64> = [&nodes[0], &nodes[1], &third]
        .map(|node| u64::from(node.identity().node_id.get()))
        .into();
    wanted.sort_unstable();
    until_all_vote(&[&nodes[0], &nodes[1], &third], &wanted).await;
    until("the old number leaves", async || {
        let members = nodes[0].consensus().members;
        (!members.contains_key(&u64::from(old.node_id.get()))).then_some(())
    })
    .await;
    assert!(
        nodes[0].read(|state| state.node(old.node_id).is_some()),
        "its record stays"
    );

    third.stop().await;
    let put_aside = site.folder(3).with_extension("new");
    fs::rename(site.folder(3), &put_aside).unwrap();
    fs::rename(&aside, site.folder(3)).unwrap();
    let error = site.start(3).error().await;
    assert!(
        error.contains("node-3 has joined anew as node 4") && error.contains("empty"),
        "{error}"
    );
    fs::rename(site.folder(3), &aside).unwrap();
    fs::rename(&put_aside, site.folder(3)).unwrap();
    nodes.push(site.start(3).member().await);
    nodes
}

/// Stops all, and starts them again: nobody waits for an operator, and nobody begins a second cluster.
async fn all_restart(site: &Site, nodes: Vec<Node>) {
    let ids: Vec<_> = nodes.iter().map(Node::identity).collect();
    for node in nodes {
        node.stop().await;
    }
    let starting: Vec<_> = (1..=3).map(|n| site.start(n)).collect();
    let mut nodes = Vec::new();
    for starting in starting {
        nodes.push(starting.member().await);
    }
    assert_eq!(nodes.iter().map(Node::identity).collect::<Vec<_>>(), ids);
    let leader = until("a leader is known to all", async || {
        let known: Vec<_> = nodes.iter().map(|node| node.consensus().leader).collect();
        known
            .iter()
            .all(|leader| leader.is_some() && *leader == known[0])
            .then_some(known[0])
    });
    assert!(leader.await.is_some());
    for node in nodes {
        node.stop().await;
    }
}
