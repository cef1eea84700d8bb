//! Messages of consensus to peers.
//!
//! **Invariants**:
//! - I1: a message is called unreachable only when the peer took nothing of it.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use gophership_proto::peer::v1;
use gophership_proto::peer::v1::consensus_piece::Part;
use gophership_vault::ids::NodeId;
use tokio::sync::mpsc;

use super::client::{PeerClient, limited};
use super::error::PeerError;
use super::limits::SEND_QUEUE;
use crate::consensus::limits::{APPEND_BYTES_BETWEEN_HEARTBEATS, SNAPSHOT_CHUNK_BYTES};
use crate::consensus::network::{Peer, PeerTransport, Pending, TransportError};

impl PeerTransport for PeerClient {
    fn send<'a>(
        &'a self,
        to: &'a Peer,
        message: Vec<u8>,
        within: Duration,
    ) -> Pending<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let node = number(to)?;
            let links = self.links(node, &to.member);
            let mut consensus = if message.len() > APPEND_BYTES_BETWEEN_HEARTBEATS {
                links.bulk
            } else {
                links.consensus
            };
            let message = message.into();
            let call = self.setup.local.call(node, v1::ConsensusMessage { message });
            let sent = limited(node, within, call, |call| async move { consensus.send(call).await });
            sent.await
                .map(|answer| answer.answer.into())
                .map_err(|e| failed(to, &e))
        })
    }

    fn send_file<'a>(
        &'a self,
        to: &'a Peer,
        message: Vec<u8>,
        file: &'a Path,
        within: Duration,
    ) -> Pending<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let node = number(to)?;
            let (sender, mut pieces) = mpsc::channel(SEND_QUEUE);
            let file = file.to_owned();
            let reading = tokio::task::spawn_blocking(move || read(&file, message, &sender));
            let pieces = stream::poll_fn(move |cx| pieces.poll_recv(cx));
            let call = self.setup.local.call(node, pieces);
            let mut bulk = self.links(node, &to.member).bulk;
            let sent = limited(node, within, call, |call| async move { bulk.send_file(call).await }).await;
            let lost = |why: String| TransportError::Unanswered { node: to.node, why };
            let answer = sent.map_err(|e| failed(to, &e))?;
            // The peer finds by the digest that a file ended early; the reason is known here only.
            let read = reading.await.map_err(|e| lost(e.to_string()))?;
            read.map_err(|e| lost(format!("the file cannot be read: {e}")))?;
            Ok(answer.answer.into())
        })
    }
}

fn number(to: &Peer) -> Result<NodeId, TransportError> {
    let node = u32::try_from(to.node).ok().and_then(NodeId::new);
    node.ok_or_else(|| TransportError::Unreachable {
        node: to.node,
        why: "no node has this number".to_owned(),
    })
}

/// Sends the message and the pieces of the file, until nobody takes them.
fn read(file: &Path, message: Vec<u8>, to: &mpsc::Sender<v1::ConsensusPiece>) -> std::io::Result<()> {
    let send = |part| to.blocking_send(v1::ConsensusPiece { part: Some(part) }).is_ok();
    let mut file = std::fs::File::open(file)?;
    if !send(Part::Message(message.into())) {
        return Ok(());
    }
    loop {
        let mut piece = vec![0; SNAPSHOT_CHUNK_BYTES];
        let read = file.read(&mut piece)?;
        piece.truncate(read);
        if read == 0 || !send(Part::Piece(Bytes::from(piece))) {
            return Ok(());
        }
    }
}

fn failed(to: &Peer, e: &PeerError) -> TransportError {
    let (node, why) = (to.node, e.to_string());
    match e {
        PeerError::Unreachable { .. } | PeerError::Refused { .. } => TransportError::Unreachable { node, why },
        PeerError::Unanswered { .. }
        | PeerError::StaleRecovery { .. }
        | PeerError::Failed { .. }
        | PeerError::Damaged { .. }
        | PeerError::Odd { .. } => TransportError::Unanswered { node, why },
    }
}
