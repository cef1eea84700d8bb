//! Links between nodes are cut, both ways or one way, or lose packets; clients reach every node all the time. Needs
//! root, `ip` and `nft`.

use std::fmt;

use rand::seq::IndexedRandom as _;

use super::{ClusterRun, Place, Plan, Report, Seen};
use crate::network::{LOSS_PERCENT, Network};

/// The links that are cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Cut {
    /// The leader hears nobody, and nobody hears it.
    Leader,
    /// A node that does not lead hears nobody, and nobody hears it.
    Owner,
    /// A node hears the others, and they do not hear it.
    Mute,
    /// The others hear a node, and it does not hear them.
    Deaf,
    /// The leader hears the others, and they do not hear it.
    MuteLeader,
    /// The others hear the leader, and it does not hear them.
    DeafLeader,
    /// Two halves; the leader is in the smaller one.
    Halves,
    /// Two nodes do not hear each other; the others hear both.
    Bridge,
    /// Every link loses packets.
    Loss,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => write!(f, "leader isolated"),
            Self::Owner => write!(f, "node isolated"),
            Self::Mute => write!(f, "node unheard"),
            Self::Deaf => write!(f, "node deaf"),
            Self::MuteLeader => write!(f, "leader unheard"),
            Self::DeafLeader => write!(f, "leader deaf"),
            Self::Halves => write!(f, "halves"),
            Self::Bridge => write!(f, "one link"),
            Self::Loss => write!(f, "{LOSS_PERCENT} % loss"),
        }
    }
}

/// Runs the scenario: one round for each cut in turn, each of a random length from `lengths`, in milliseconds.
///
/// # Errors
///
/// The caller is not root or in the host's network, the cluster is not whole again in time, or cannot be replayed.
pub async fn run(plan: &Plan, nodes: usize, cuts: &[Cut], lengths: std::ops::Range<u64>) -> anyhow::Result<Report> {
    let network = Network::new(nodes)?;
    let mut run = ClusterRun::form(plan, "cluster-cut", Place::Network(&network), nodes).await?;
    for number in 0..plan.rounds {
        let cut = cuts[number as usize % cuts.len()];
        let fault = run.begin().await?;
        let leader = run.cluster.leader().await?;
        let links = links(&mut run, cut, leader);
        let before = fault.load.acks();
        for (from, to) in &links {
            network.cut(*from, *to)?;
        }
        if cut == Cut::Loss {
            network.lose()?;
        }
        tokio::time::sleep(run.run.moment(lengths.clone())).await;
        let acked_meanwhile = fault.load.acks() - before;
        network.heal()?;
        let must_be_seen = !matches!(cut, Cut::Bridge | Cut::Loss);
        let covered = |seen: Seen| acked_meanwhile > 0 && (seen.dead > 0 || !must_be_seen);
        run.end(fault, format!("{} {cut}", number + 1), covered).await?;
    }
    run.finish().await
}

/// The directed links that a cut takes. `leader` is the node that leads, or any other that is to take its place.
pub(super) fn links(run: &mut ClusterRun, cut: Cut, leader: usize) -> Vec<(usize, usize)> {
    let all: Vec<usize> = (0..run.cluster.count()).collect();
    let followers: Vec<usize> = all.iter().copied().filter(|i| *i != leader).collect();
    let follower = *followers.choose(&mut run.run.rng).expect("a cluster has several nodes");
    let any = run.any();
    let from = |node: usize| {
        all.iter()
            .filter(move |other| **other != node)
            .map(move |other| (node, *other))
    };
    let to = |node: usize| from(node).map(|(a, b)| (b, a));
    match cut {
        Cut::Leader => from(leader).chain(to(leader)).collect(),
        Cut::Owner => from(follower).chain(to(follower)).collect(),
        Cut::Mute => from(any).collect(),
        Cut::Deaf => to(any).collect(),
        Cut::MuteLeader => from(leader).collect(),
        Cut::DeafLeader => to(leader).collect(),
        Cut::Halves => {
            let mut smaller = vec![leader];
            smaller.extend(followers.iter().copied().take(all.len() / 2 - 1));
            let is_in = |node: &usize| smaller.contains(node);
            let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
            pairs.filter(|(a, b)| is_in(a) != is_in(b)).collect()
        }
        Cut::Bridge => vec![(leader, follower), (follower, leader)],
        Cut::Loss => Vec::new(),
    }
}
