//! A network of the run's own: each node in a network namespace, all on one bridge, whose links are cut and made to
//! lose packets. Needs root, `ip` and `nft`.
//!
//! The bridge lies in a namespace of the harness, so nothing of it is seen outside, and it goes with the harness. The
//! harness reaches every node whatever is cut between them.
//!
//! **Owns**: [`Network`]; [`isolate`], which gives this process its namespace; [`clean_up`].
//!
//! **Invariants**:
//! - I1: the nodes' namespaces are removed when it is dropped.
#![allow(unsafe_code)]

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, test_kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::mount::is_root;
use crate::tool::run;

/// Begins the names of all namespaces of the harness; the process id of the harness follows.
const PREFIX: &str = "jepsen-like-";
/// Share of the packets that a lossy link drops, in percent.
pub const LOSS_PERCENT: u32 = 30;

/// A bridge and the hosts on it, numbered from 0.
#[derive(Debug)]
pub struct Network {
    hosts: usize,
}

/// Gives this process a network namespace of its own. To be called before there is a second thread.
///
/// # Errors
///
/// The caller is not root.
pub fn isolate() -> anyhow::Result<()> {
    ensure!(is_root(), "needs root: a network of its own");
    // SAFETY: the descriptors stay shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("cannot make a network namespace")?;
    ip(&["link", "set", "lo", "up"])
}

impl Network {
    /// Makes the bridge and the hosts. The process must be in a namespace of its own ([`isolate`]).
    ///
    /// # Errors
    ///
    /// `ip` or `nft` is not installed, or the kernel lacks bridges.
    pub fn new(hosts: usize) -> anyhow::Result<Self> {
        let made = Self { hosts };
        ip(&["link", "add", "bridge", "type", "bridge"])?;
        ip(&["addr", "add", "10.77.0.254/24", "dev", "bridge"])?;
        ip(&["link", "set", "bridge", "up"])?;
        for host in 0..hosts {
            let (name, link) = (namespace(host), link(host));
            let address = format!("{}/24", made.address(host));
            ip(&["netns", "add", &name])?;
            ip(&[
                "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ])?;
            ip(&["link", "set", &link, "master", "bridge", "up"])?;
            ip(&["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        nft(&format!(
            "table bridge faults {{\n\
             set cut {{ type ifname . ifname; }}\n\
             set lossy {{ type ifname; }}\n\
             chain forward {{\n\
             type filter hook forward priority 0\n\
             iifname . oifname @cut drop\n\
             iifname @lossy numgen random mod 100 < {LOSS_PERCENT} drop\n\
             }}\n}}\n"
        ))?;
        Ok(made)
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        let last = u8::try_from(host + 1).expect("there are few hosts");
        Ipv4Addr::new(10, 77, 0, last)
    }

    /// The command line that starts a program on a host.
    pub fn launcher(&self, host: usize) -> Vec<String> {
        let name = namespace(host);
        ["ip", "netns", "exec", &name].map(str::to_owned).to_vec()
    }

    /// Drops everything on its way from one host to another. The other direction stays as it is.
    ///
    /// # Errors
    ///
    /// `nft` fails.
    pub fn cut(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let (from, to) = (link(from), link(to));
        nft(&format!("add element bridge faults cut {{ {from} . {to} }}\n"))
    }

    /// Drops [`LOSS_PERCENT`] of the packets between all hosts.
    ///
    /// # Errors
    ///
    /// `nft` fails.
    pub fn lose(&self) -> anyhow::Result<()> {
        let links: Vec<_> = (0..self.hosts).map(link).collect();
        nft(&format!("add element bridge faults lossy {{ {} }}\n", links.join(", ")))
    }

    /// Ends all faults.
    ///
    /// # Errors
    ///
    /// `nft` fails.
    pub fn heal(&self) -> anyhow::Result<()> {
        nft("flush set bridge faults cut\nflush set bridge faults lossy\n")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            // One that was never made is no matter.
            let _ = ip(&["netns", "delete", &namespace(host)]);
        }
        let _ = ip(&["link", "delete", "bridge"]);
        let _ = nft("delete table bridge faults\n");
    }
}

/// Removes the namespaces that dead harnesses left. Returns a list of what was done.
///
/// # Errors
///
/// One of them cannot be removed.
pub fn clean_up() -> anyhow::Result<Vec<String>> {
    let Ok(all) = std::fs::read_dir("/run/netns") else {
        return Ok(Vec::new());
    };
    let mut done = Vec::new();
    for entry in all {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some((owner, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        let owner = owner.parse().ok().and_then(Pid::from_raw);
        if owner.is_none_or(|pid| test_kill_process(pid).is_err()) {
            ip(&["netns", "delete", &name])?;
            done.push(format!("removed the network namespace {name}"));
        }
    }
    Ok(done)
}

fn namespace(host: usize) -> String {
    format!("{PREFIX}{}-{host}", std::process::id())
}

fn link(host: usize) -> String {
    format!("host{host}")
}

fn nft(commands: &str) -> anyhow::Result<()> {
    let child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.context("cannot run nft: is it installed?")?;
    child
        .stdin
        .take()
        .expect("it is piped")
        .write_all(commands.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "nft refused {commands:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(words))
}
