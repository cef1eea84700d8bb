//! A network of nodes in one process, with switches for its faults.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::limits::SNAPSHOT_CHUNK_BYTES;
use super::network::{Peer, PeerReceiver, PeerTransport, Pending, TransportError};

/// The network. Its clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct InProcessNetwork(Arc<Mutex<Wires>>);

#[derive(Debug, Default)]
struct Wires {
    nodes: HashMap<u64, Arc<dyn PeerReceiver>>,
    cut: HashSet<(u64, u64)>,
    mute: HashSet<(u64, u64)>,
    delay: Duration,
    bytes_per_second: Option<u32>,
}

impl InProcessNetwork {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a node on the network, or takes it off.
    pub fn set_node(&self, node: u64, receiver: Option<Arc<dyn PeerReceiver>>) {
        match receiver {
            Some(receiver) => drop(self.wires().nodes.insert(node, receiver)),
            None => drop(self.wires().nodes.remove(&node)),
        }
    }

    /// The transport by which node `from` sends.
    pub fn transport(&self, from: u64) -> Arc<dyn PeerTransport> {
        Arc::new(InProcessTransport {
            network: self.clone(),
            from,
        })
    }

    /// Cuts, or joins, the way from one node to another.
    pub fn set_cut(&self, from: u64, to: u64, cut: bool) {
        set(&mut self.wires().cut, (from, to), cut);
    }

    /// Loses, or no longer loses, the answers to what one node sends to another.
    pub fn set_mute(&self, from: u64, to: u64, mute: bool) {
        set(&mut self.wires().mute, (from, to), mute);
    }

    /// Cuts, or joins, all ways to and from a node.
    pub fn set_isolated(&self, node: u64, isolated: bool) {
        let others: Vec<u64> = self.wires().nodes.keys().copied().filter(|id| *id != node).collect();
        for other in others {
            self.set_cut(node, other, isolated);
            self.set_cut(other, node, isolated);
        }
    }

    /// Delays every message.
    pub fn set_delay(&self, delay: Duration) {
        self.wires().delay = delay;
    }

    /// Lets every message take the time that a link of this rate needs for it.
    pub fn set_rate(&self, bytes_per_second: u32) {
        self.wires().bytes_per_second = Some(bytes_per_second);
    }
}

fn set(ways: &mut HashSet<(u64, u64)>, way: (u64, u64), on: bool) {
    if on {
        ways.insert(way);
    } else {
        ways.remove(&way);
    }
}

#[derive(Debug)]
struct InProcessTransport {
    network: InProcessNetwork,
    from: u64,
}

impl InProcessTransport {
    /// The receiver at the other end, after the time that so many bytes take.
    async fn reach(&self, to: u64, bytes: usize) -> Result<Arc<dyn PeerReceiver>, TransportError> {
        let (delay, rate) = {
            let wires = self.network.wires();
            (wires.delay, wires.bytes_per_second)
        };
        let on_the_way = rate.map_or(0.0, |rate| bytes as f64 / f64::from(rate));
        let delay = delay + Duration::from_secs_f64(on_the_way);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let wires = self.network.wires();
        let found = (!wires.cut.contains(&(self.from, to))).then(|| wires.nodes.get(&to).cloned());
        found.flatten().ok_or_else(|| TransportError::Unreachable {
            node: to,
            why: "there is no way to it".to_owned(),
        })
    }

    /// The answer, unless the way back is cut, or answers are lost.
    fn back(&self, to: u64, answer: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let wires = self.network.wires();
        if wires.cut.contains(&(to, self.from)) || wires.mute.contains(&(self.from, to)) {
            return Err(TransportError::Unanswered {
                node: to,
                why: "the answer was lost".to_owned(),
            });
        }
        Ok(answer)
    }
}

impl PeerTransport for InProcessTransport {
    fn send<'a>(
        &'a self,
        to: &'a Peer,
        message: Vec<u8>,
        _within: Duration,
    ) -> Pending<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let receiver = self.reach(to.node, message.len()).await?;
            let answer = receiver.receive(self.from, message).await;
            self.back(to.node, answer)
        })
    }

    fn send_file<'a>(
        &'a self,
        to: &'a Peer,
        message: Vec<u8>,
        file: &'a Path,
        _within: Duration,
    ) -> Pending<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let receiver = self.reach(to.node, message.len()).await?;
            let (sender, pieces) = mpsc::channel(4);
            let file = file.to_owned();
            let reading = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
                let mut file = std::fs::File::open(file)?;
                loop {
                    let mut piece = vec![0; SNAPSHOT_CHUNK_BYTES];
                    let read = file.read(&mut piece)?;
                    piece.truncate(read);
                    if read == 0 || sender.blocking_send(piece).is_err() {
                        return Ok(());
                    }
                }
            });
            let answer = receiver.receive_file(self.from, message, pieces).await;
            let lost = |why: String| TransportError::Unanswered { node: to.node, why };
            let read = reading.await.map_err(|e| lost(e.to_string()))?;
            read.map_err(|e| lost(e.to_string()))?;
            self.back(to.node, answer)
        })
    }
}
