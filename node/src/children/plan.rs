//! The files and addresses of a node, and its configuration.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context;

use crate::config::Listener;

/// Time without a sign of a node after which it counts as dead. Processes of one machine hear of each other quickly.
pub(crate) const DEAD_AFTER_SECONDS: u64 = 2;

/// The addresses of a node, all on loopback.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Addresses {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) peer: SocketAddr,
}

impl Addresses {
    /// Ports that are free at this moment.
    pub(crate) fn free() -> io::Result<Self> {
        // All are held until the last is found, or two of them would be the same.
        let held = [(); 4].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let mut found = [SocketAddr::from(([127, 0, 0, 1], 0)); 4];
        for (slot, listener) in found.iter_mut().zip(held) {
            *slot = listener?.local_addr()?;
        }
        let [grpc, http, admin, peer] = found;
        Ok(Self {
            grpc,
            http,
            admin,
            peer,
        })
    }

    /// The usual ports, each higher by 100 for each node before this one. `number` counts from 1.
    pub(crate) fn usual(number: u16) -> Self {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port + 100 * (number - 1)));
        Self {
            grpc: at(4317),
            http: at(4318),
            admin: at(9091),
            peer: at(9097),
        }
    }
}

/// The files and addresses of a node.
#[derive(Clone)]
pub(crate) struct NodePlan {
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    pub(crate) addresses: Addresses,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
}

impl NodePlan {
    /// A node of its own, with its files in `dir`.
    pub(crate) fn alone(dir: &Path, name: &str, addresses: Addresses) -> Self {
        Self {
            name: name.to_owned(),
            data: dir.join(name),
            addresses,
            config: dir.join(format!("{name}.yaml")),
            log: dir.join(format!("{name}.log")),
        }
    }

    /// Nodes `node-1`, `node-2` and so on, with their files in `dir`.
    pub(crate) fn several(dir: &Path, addresses: &[Addresses]) -> Vec<Self> {
        let plan = |(i, addresses): (usize, &Addresses)| Self::alone(dir, &format!("node-{}", i + 1), *addresses);
        addresses.iter().enumerate().map(plan).collect()
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data.join("gophership.sock")
    }

    /// The log of the node's process.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    pub(super) fn admin(&self) -> Listener {
        Listener {
            address: self.addresses.admin,
            tls: None,
            insecure: false,
        }
    }

    /// Writes the configuration of the node: of one of its own where `cluster` is empty, else as one of these. `rest`
    /// is added as it is.
    pub(crate) fn write(&self, cluster: &[Self], rest: &str) -> anyhow::Result<()> {
        let Addresses {
            grpc,
            http,
            admin,
            peer,
        } = self.addresses;
        let cluster = match cluster {
            [] => String::new(),
            nodes => format!(
                "  peer: {{ address: \"{peer}\", insecure: true }}\n{}",
                cluster_of(nodes)
            ),
        };
        let text = format!(
            "node: {{ name: {}, data_dir: {:?}, shutdown_delay: 0s }}\n\
             listeners:\n  otlp_grpc: {{ address: \"{grpc}\" }}\n  otlp_http: {{ address: \"{http}\" }}\n  \
             admin: {{ address: \"{admin}\" }}\n{cluster}{rest}",
            self.name,
            self.data.display().to_string()
        );
        fs::write(&self.config, text).with_context(|| format!("cannot write {}", self.config.display()))
    }
}

/// The part of a configuration that makes these nodes a cluster.
fn cluster_of(plans: &[NodePlan]) -> String {
    let peer = |plan: &NodePlan| format!("{{ name: {}, address: \"{}\" }}", plan.name, plan.addresses.peer);
    let peers: Vec<String> = plans.iter().map(peer).collect();
    format!(
        "cluster: {{ name: local, peers: [{}], replicas: {}, dead_after: {DEAD_AFTER_SECONDS}s }}\n",
        peers.join(", "),
        plans.len().min(3)
    )
}
