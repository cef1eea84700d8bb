//! Verification of a segment: a complete read of its file by each of its holders, reported as it goes.
//!
//! **Invariants**:
//! - I1: a verification that waits (for the zone, for a client that reads slowly) holds nothing that another call
//!   needs, and ends its wait when its client goes away.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use gophership_catalogue::State;
use gophership_catalogue::segment::SegmentRecord;
use gophership_proto::control::v1;
use gophership_somatic::Job;
use gophership_vault::ids::{NodeId, SegmentId};
use gophership_vault::{SegmentFault, VaultError, VerifyReport};
use gophership_vault_replication::decide::accept_loss::CopyState;
use gophership_vault_replication::decide::folder::answers;
use gophership_vault_replication::peer::{PeerError, PeerVerify};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::archive::or_archived;
use super::error::OperateError;
use super::limits::VERIFIES_MAX;
use super::peers;
use super::shown::segment_ref;
use crate::context::NodeContext;
use crate::peers::Peers;

type Message = Result<v1::VerifyProgress, OperateError>;

/// The permits for verifications: their own, since each may wait for as long as the zone is red.
#[derive(Clone, Debug)]
pub(super) struct Verifies {
    permits: Arc<Semaphore>,
}

impl Verifies {
    pub(super) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(VERIFIES_MAX)),
        }
    }

    /// A permit, or the refusal where none is free.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, OperateError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| OperateError::TooManyVerifications)
    }
}

/// Has every holder verify its copy, one after the other. A client that goes away ends it.
pub(super) fn every_copy(
    context: &Arc<NodeContext>,
    id: SegmentId,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Message> + use<> {
    let (sender, receiver) = mpsc::channel(1);
    let context = Arc::clone(context);
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = verify_every_copy(&context, id, permit, &sender) => {}
        }
    });
    stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    })
}

async fn verify_every_copy(
    context: &Arc<NodeContext>,
    id: SegmentId,
    permit: OwnedSemaphorePermit,
    sender: &mpsc::Sender<Message>,
) {
    let own = context.vault.identity().node_id;
    let (holders, mut copies) = context.catalogue.read(|state| holders(state, id));
    let mut permit = Some(permit);
    for node in holders {
        let progress = match &context.peers {
            Some(peers) if node != own => copy_of(peers, node, id).await,
            Some(_) | None => Ok(permit.take().map_or_else(
                || stream::empty().boxed(),
                |permit| own_copy(context, id, permit).boxed(),
            )),
        };
        copies.push(match progress {
            Ok(progress) => match forward(node, progress, sender).await {
                Ok(verdict) => verdict,
                // A single node's error is that of the call.
                Err(error) if context.peers.is_none() => {
                    return drop(sender.send(Err(or_archived(context, id, error))).await);
                }
                Err(error) => not_verified(node, error.to_string()),
            },
            Err(why) => not_verified(node, why),
        });
    }
    // A client that is gone wants no result.
    let result = together(id, copies).map_err(|error| or_archived(context, id, error));
    let _gone = sender.send(result).await;
}

/// The nodes that are to verify their copies of a segment, and the verdicts on copies that are gone with replaced
/// nodes.
fn holders(state: &State, id: SegmentId) -> (Vec<NodeId>, Vec<v1::CopyVerdict>) {
    let holders = match state.segment(id) {
        Some(SegmentRecord::Sealed(seal)) => seal.holders.iter().collect(),
        Some(_) | None => vec![id.node],
    };
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for node in holders {
        match state.facts(node).and_then(|facts| facts.moved_to) {
            None => there.push(node),
            Some(by) => gone.push(v1::CopyVerdict {
                gone: true,
                ..not_verified(
                    node,
                    match by {
                        by if by == node => "it was removed, and its copy is gone with it".to_owned(),
                        by => format!("it was replaced by node {by}, and its copy is gone with it"),
                    },
                )
            }),
        }
    }
    (there, gone)
}

/// Has one holder read its copy whole. Returns what can be read of it, and what is wrong with it in words.
pub(super) async fn state_of_copy(
    context: &Arc<NodeContext>,
    node: NodeId,
    id: SegmentId,
    permit: OwnedSemaphorePermit,
) -> (CopyState, String) {
    let begun = match &context.peers {
        Some(peers) if node != context.vault.identity().node_id => copy_of(peers, node, id).await,
        Some(_) | None => Ok(own_copy(context, id, permit).boxed()),
    };
    let mut progress = match begun {
        Ok(progress) => progress,
        Err(why) => return (CopyState::Unknown, why),
    };
    while let Some(message) = progress.next().await {
        match message {
            Ok(message) if !message.finished => {}
            Ok(message) if message.ok => return (CopyState::Whole, "it has read it just now".to_owned()),
            Ok(message) => {
                let first = message.faults.into_iter().next().unwrap_or_default();
                return (CopyState::InPart, format!("{} ({})", first.what, first.r#where));
            }
            Err(
                error @ (OperateError::Peer(PeerError::Damaged { .. })
                | OperateError::Vault(VaultError::Unreadable { .. })),
            ) => return (CopyState::Unreadable, error.to_string()),
            Err(error) => return (CopyState::Unknown, error.to_string()),
        }
    }
    (CopyState::Unknown, "it ended before its result".to_owned())
}

/// Passes on the progress of one copy, and gives its verdict.
async fn forward(
    node: NodeId,
    mut progress: BoxStream<'static, Message>,
    sender: &mpsc::Sender<Message>,
) -> Result<v1::CopyVerdict, OperateError> {
    while let Some(message) = progress.next().await {
        let message = message?;
        if message.finished {
            return Ok(v1::CopyVerdict {
                node: node.get(),
                ok: message.ok,
                bytes: message.bytes_done,
                digest: message.digest,
                faults: message.faults,
                ..v1::CopyVerdict::default()
            });
        }
        let message = v1::VerifyProgress {
            node: node.get(),
            ..message
        };
        // A client that is gone ends this from outside.
        let _gone = sender.send(Ok(message)).await;
    }
    Ok(not_verified(node, "it ended before its result".to_owned()))
}

fn not_verified(node: NodeId, why: String) -> v1::CopyVerdict {
    v1::CopyVerdict {
        node: node.get(),
        not_verified: why,
        ..v1::CopyVerdict::default()
    }
}

/// The last message, of all copies. Where none was verified it says nothing about the segment.
fn together(id: SegmentId, copies: Vec<v1::CopyVerdict>) -> Result<v1::VerifyProgress, OperateError> {
    let verified: Vec<&v1::CopyVerdict> = copies.iter().filter(|copy| copy.not_verified.is_empty()).collect();
    if verified.is_empty() {
        let why = copies.into_iter().map(|copy| copy.not_verified).collect();
        return Err(OperateError::NoHolder { segment: id, why });
    }
    let bytes = verified.iter().map(|copy| copy.bytes).sum();
    // A digest that checked out is the same everywhere.
    let shown = verified.iter().find(|copy| !copy.ok).or(verified.first());
    Ok(v1::VerifyProgress {
        bytes_done: bytes,
        bytes_total: bytes,
        faults: verified.iter().flat_map(|copy| copy.faults.clone()).collect(),
        finished: true,
        ok: verified.iter().all(|copy| copy.ok),
        digest: shown.map(|copy| copy.digest.clone()).unwrap_or_default(),
        copies,
        ..v1::VerifyProgress::default()
    })
}

/// The verification of another node's copy.
async fn copy_of(peers: &Arc<Peers>, node: NodeId, id: SegmentId) -> Result<BoxStream<'static, Message>, String> {
    let member = peers::member(peers, node)?;
    let client = peers.client.clone();
    let begun = async move { client.verify(node, &member, segment_ref(id)).await };
    let begun = peers.runtime.spawn(begun).await.map_err(|error| error.to_string())?;
    let verify = begun.map_err(|error| error.to_string())?;
    let next = |mut verify: PeerVerify| async {
        let message = verify.next().await.map_err(OperateError::Peer).transpose()?;
        Some((message, verify))
    };
    Ok(stream::unfold(verify, next).boxed())
}

/// Verifies this node's copy on a thread of its own, at the pace that the throttle allows. A slow client misses
/// progress, never the result.
pub(super) fn own_copy(
    context: &NodeContext,
    id: SegmentId,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Message> + use<> {
    let (vault, throttle) = (context.vault.clone(), context.throttle.clone());
    let (progress, shown) = watch::channel(v1::VerifyProgress::default());
    let runtime = Handle::current();
    let verifying = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // What a folder that is not mounted does not give says nothing about the copy.
        answers(&vault.folder_of(id.log())).map_err(OperateError::FolderSilent)?;
        let mut block_began = Instant::now();
        vault
            .verify(id, &mut |bytes_done, bytes_total| {
                progress.send_replace(v1::VerifyProgress {
                    bytes_done,
                    bytes_total,
                    waits_for: throttle.waits_for(Job::Verify).unwrap_or_default(),
                    ..v1::VerifyProgress::default()
                });
                runtime.block_on(async {
                    tokio::select! {
                        // No client waits for the rest, so it is read without pauses.
                        () = progress.closed() => {}
                        () = throttle.pass(Job::Verify, block_began.elapsed()) => {}
                    }
                });
                block_began = Instant::now();
            })
            .map_err(OperateError::from)
    });
    stream::unfold(Some((shown, verifying)), |state| async {
        let (mut shown, verifying) = state?;
        if shown.changed().await.is_ok() {
            let progress = shown.borrow_and_update().clone();
            return Some((Ok(progress), Some((shown, verifying))));
        }
        let result = match verifying.await {
            Ok(report) => report.map(|report| result(&report)),
            Err(error) => Err(OperateError::VerificationEnded(error)),
        };
        Some((result, None))
    })
}

fn result(report: &VerifyReport) -> v1::VerifyProgress {
    v1::VerifyProgress {
        bytes_done: report.bytes,
        bytes_total: report.bytes,
        faults: report.faults.iter().map(fault).collect(),
        finished: true,
        ok: report.ok,
        digest: hex(&report.digest),
        ..v1::VerifyProgress::default()
    }
}

fn fault(fault: &SegmentFault) -> v1::VerifyFault {
    let place = match fault.numbers {
        Some((first, last)) => format!(
            "offset {}, {} bytes, entries {first} to {last}",
            fault.offset, fault.len
        ),
        None => format!("offset {}, {} bytes", fault.offset, fault.len),
    };
    v1::VerifyFault {
        r#where: place,
        what: fault.what.clone(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::{Command, apply};
    use gophership_vault::ids::{Epoch, FileUuid, SegmentIndex, ShardId};
    use gophership_vault::ledger::{OpenRecord, SealRecord, SegmentStats};
    use gophership_vault::{NodeSet, ReplicaSet};
    use uuid::Uuid;

    use super::*;
    use crate::cluster::testkit::{node, nodes};

    fn apply_one(state: &mut State, command: Command) {
        apply(state, &command).unwrap();
    }

    #[test]
    fn a_copy_of_a_replaced_node_is_gone_and_not_asked_for() {
        let mut state = nodes(&["node-1", "node-2"]);
        let (owner, id) = (
            Uuid::from_u128(2),
            SegmentId {
                node: node(2),
                shard: ShardId::new(0),
                index: SegmentIndex::FIRST,
            },
        );
        let up = Command::NodeUp {
            node: node(2),
            storage_uuid: owner,
            boot_uuid: owner,
            seen: None,
            at_ns: 1,
        };
        let open = OpenRecord {
            id,
            epoch: Epoch::FIRST,
            file_uuid: FileUuid(owner),
            replicas: ReplicaSet::ALONE,
        };
        let seal = SealRecord {
            id,
            epoch: Epoch::FIRST,
            stats: SegmentStats::default(),
            digest: [7; 32],
            sealed_ns: 1,
            holders: NodeSet::of(node(2)),
        };
        let added = Command::ReplicaAdded {
            id,
            node: node(1),
            digest: [7; 32],
        };
        let roll = Command::Roll {
            seal: None,
            open,
            at_ns: 1,
        };
        for command in [up, roll, Command::Seal { seal }, added] {
            apply_one(&mut state, command);
        }
        assert_eq!(holders(&state, id), ([1, 2].map(node).to_vec(), vec![]));
        let register = Command::RegisterNode {
            storage_uuid: Uuid::from_u128(3),
            at_ns: 1,
        };
        let replace = Command::DescribeNode {
            node: node(3),
            name: "node-2".to_owned(),
            address: "node-2:9097".to_owned(),
            failure_domain: String::new(),
            replaces: Some(node(2)),
        };
        apply_one(&mut state, register);
        apply_one(&mut state, replace);
        let (there, gone) = holders(&state, id);
        assert_eq!((there, gone.len()), (vec![node(1)], 1));
        assert!(gone[0].gone && gone[0].node == 2, "{gone:?}");
        assert_eq!(
            gone[0].not_verified,
            "it was replaced by node 3, and its copy is gone with it"
        );
        // Where no copy is left to be verified that is an error, which names the copies.
        let error = together(id, gone).unwrap_err().to_string();
        assert!(error.contains("2/0/1: it was replaced by node 3"), "{error}");
    }
}
