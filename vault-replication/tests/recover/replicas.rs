//! The copies of an owner's frames on other nodes, made in its cutter's thread. The streams are tested elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use gophership_vault::ids::{Epoch, Lsn, NodeId, SegmentId};
use gophership_vault::{BlockSink, OwnedFrame, SegmentHeader, TailFrame, Watermark};
use gophership_vault_replication::copies::Copies;
use gophership_vault_replication::peer::TailHandler;
use gophership_vault_replication::peer::wire::tail::TailMessage;
use gophership_vault_replication::tail::{StreamId, TailAnswer};

/// The copies of all nodes that run.
pub(crate) type AllCopies = Arc<Mutex<BTreeMap<NodeId, Arc<Copies>>>>;

/// Gives each frame to the copies of the other nodes, and their answers to the watermark.
pub(crate) struct ToReplicas {
    pub(crate) own: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) all: AllCopies,
    pub(crate) watermark: Arc<OnceLock<Arc<Watermark>>>,
    /// The nodes that get nothing.
    pub(crate) deaf: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl ToReplicas {
    fn send(&self, id: SegmentId, message: &TailMessage) {
        let others: Vec<_> = self.all.lock().unwrap().clone().into_iter().collect();
        let deaf = self.deaf.lock().unwrap().clone();
        let hears = |node: &NodeId| *node != self.own && !deaf.contains(node);
        for (node, copies) in others.into_iter().filter(|(node, _)| hears(node)) {
            let answers = copies.take(id.log(), StreamId::new(self.epoch, 1), vec![message.clone()]);
            for (of, answer) in answers {
                if let (TailAnswer::Synced(last), Some(watermark)) = (answer, self.watermark.get()) {
                    watermark.peer_synced(node, Lsn::at(of.index, last));
                }
            }
        }
    }
}

impl BlockSink for ToReplicas {
    fn wants_frame(&self) -> bool {
        true
    }

    fn begin(&mut self, header: &SegmentHeader) {
        let stream = StreamId::new(self.epoch, 1);
        self.send(header.id, &TailMessage::Begin(stream, header.clone()));
    }

    fn frame(&mut self, frame: TailFrame<'_>) {
        let frame = Arc::new(OwnedFrame::of(frame.last_lsn, &frame));
        self.send(frame.id, &TailMessage::Frame(frame.into()));
    }

    fn complete(&mut self, _: SegmentId, _: Option<Lsn>, _: [u8; 32]) {}
}
