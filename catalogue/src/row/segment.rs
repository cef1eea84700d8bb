//! The row of a segment.
//!
//! **Invariants**:
//! - I1: a record is written in the oldest version that has all of it, so that a single node's rows are what they
//!   always were.

use std::collections::BTreeSet;

use gophership_vault::ids::{FileUuid, Lsn, NodeId, SegmentId};
use gophership_vault::ledger::{FormerSegment, OpenRecord, SealRecord, SegmentStats, TrimReason};
use gophership_vault::time::TimeRange;
use gophership_vault::{NodeSet, ReplicaSet};

use super::format::{HAS_EVENT, VERSION, value};
use crate::segment::{AcceptedLoss, EarlierLoss, LossOf, RecoveryId, SegmentRecord};
use crate::wire::{Reader, WireError, Writer};

/// The version whose rows name replicas and holders.
const NODES_VERSION: u8 = 2;
/// The newest version: its rows of segments that are being recovered name the recovery.
pub(super) const SEGMENT_VERSION: u8 = 3;

const SEGMENT_OPEN: u8 = 1;
const SEGMENT_RECOVERING: u8 = 2;
const SEGMENT_SEALED: u8 = 3;
const SEGMENT_LOST: u8 = 5;
// 4 is kept for Archived.
const SEGMENT_TRIMMED: u8 = 6;
/// The former state of a lost segment that was on no record.
const SEGMENT_UNRECORDED: u8 = 0;
const TRIM_EMPTY: u8 = 1;
const TRIM_RETENTION: u8 = 2;
const TRIM_DROPPED: u8 = 3;
const HAS_RECEIVED: u8 = 0x01;

/// The oldest version that can hold everything known of a segment.
fn version_of(segment: &SegmentRecord) -> u8 {
    let of_open = |open: &OpenRecord| open.replicas == ReplicaSet::ALONE;
    let of_seal = |seal: &SealRecord| seal.holders == NodeSet::of(seal.id.node);
    let alone = match segment {
        SegmentRecord::Open { open, .. } | SegmentRecord::Recovering { open, .. } => of_open(open),
        SegmentRecord::Sealed(seal) => of_seal(seal),
        SegmentRecord::Lost { was, .. } => match was {
            FormerSegment::Open(open) => of_open(open),
            FormerSegment::Sealed(seal) => of_seal(seal),
            FormerSegment::Unrecorded(_) => true,
        },
        SegmentRecord::Trimmed { .. } => true,
    };
    match segment {
        SegmentRecord::Recovering { recovery, .. } if *recovery != RecoveryId::UNNAMED => SEGMENT_VERSION,
        _ if alone => VERSION,
        _ => NODES_VERSION,
    }
}

/// The value of a segment's row.
pub(super) fn write_segment(segment: &SegmentRecord) -> Writer {
    let version = version_of(segment);
    let state = |state: u8| Writer::default().u8(version).u8(state);
    match segment {
        SegmentRecord::Open { open, opened_ns } => write_open(state(SEGMENT_OPEN), version, open).u64(*opened_ns),
        SegmentRecord::Recovering {
            open,
            opened_ns,
            since_ns,
            recovery,
        } => {
            let w = write_open(state(SEGMENT_RECOVERING), version, open);
            let w = w.u64(*opened_ns).u64(*since_ns);
            if version < SEGMENT_VERSION {
                return w;
            }
            w.u64(recovery.number).uuid(recovery.request)
        }
        SegmentRecord::Sealed(seal) => write_seal(state(SEGMENT_SEALED), version, seal),
        SegmentRecord::Trimmed { why, .. } => state(SEGMENT_TRIMMED).u8(reason_code(*why)),
        SegmentRecord::Lost { was, lost_ns } => {
            let w = state(SEGMENT_LOST).u64(*lost_ns);
            match was {
                FormerSegment::Unrecorded(_) => w.u8(SEGMENT_UNRECORDED),
                FormerSegment::Open(open) => write_open(w.u8(SEGMENT_OPEN), version, open),
                FormerSegment::Sealed(seal) => write_seal(w.u8(SEGMENT_SEALED), version, seal),
            }
        }
    }
}

/// The segment that a row's value describes, behind its version.
pub(super) fn read_segment(id: SegmentId, version: u8, v: &mut Reader<'_>) -> Result<SegmentRecord, WireError> {
    Ok(match v.u8()? {
        SEGMENT_OPEN => SegmentRecord::Open {
            open: read_open(id, version, v)?,
            opened_ns: v.u64()?,
        },
        SEGMENT_RECOVERING => SegmentRecord::Recovering {
            open: read_open(id, version, v)?,
            opened_ns: v.u64()?,
            since_ns: v.u64()?,
            recovery: if version < SEGMENT_VERSION {
                RecoveryId::UNNAMED
            } else {
                RecoveryId {
                    number: v.u64()?,
                    request: v.uuid()?,
                }
            },
        },
        SEGMENT_SEALED => SegmentRecord::Sealed(read_seal(id, version, v)?),
        SEGMENT_TRIMMED => SegmentRecord::Trimmed {
            id,
            why: read_reason(v)?,
        },
        SEGMENT_LOST => {
            let (lost_ns, was) = (v.u64()?, v.u8()?);
            let was = match was {
                SEGMENT_UNRECORDED => FormerSegment::Unrecorded(id),
                SEGMENT_OPEN => FormerSegment::Open(read_open(id, version, v)?),
                SEGMENT_SEALED => FormerSegment::Sealed(read_seal(id, version, v)?),
                found => return Err(v.unknown("former segment state", found)),
            };
            SegmentRecord::Lost { was, lost_ns }
        }
        found => return Err(v.unknown("segment state", found)),
    })
}

/// The stored number of the reason for which a segment was trimmed.
pub(crate) fn reason_code(why: TrimReason) -> u8 {
    match why {
        TrimReason::Empty => TRIM_EMPTY,
        TrimReason::Retention => TRIM_RETENTION,
        TrimReason::Dropped => TRIM_DROPPED,
    }
}

pub(crate) fn read_reason(v: &mut Reader<'_>) -> Result<TrimReason, WireError> {
    match v.u8()? {
        TRIM_EMPTY => Ok(TrimReason::Empty),
        TRIM_RETENTION => Ok(TrimReason::Retention),
        TRIM_DROPPED => Ok(TrimReason::Dropped),
        found => Err(v.unknown("reason of a trim", found)),
    }
}

pub(crate) fn write_open(w: Writer, version: u8, open: &OpenRecord) -> Writer {
    let w = w.u64(open.epoch.get()).uuid(open.file_uuid.0);
    if version < NODES_VERSION {
        return w;
    }
    let copies = u8::try_from(open.replicas.ack_copies()).expect("a set has at most SET_NODES_MAX nodes");
    write_nodes(w.u8(copies), open.replicas.peers())
}

pub(crate) fn read_open(id: SegmentId, version: u8, v: &mut Reader<'_>) -> Result<OpenRecord, WireError> {
    let (epoch, file_uuid) = (v.epoch()?, FileUuid(v.uuid()?));
    let replicas = if version < NODES_VERSION {
        ReplicaSet::ALONE
    } else {
        let (copies, peers) = (v.u8()?, read_nodes(v)?);
        ReplicaSet::new(peers, copies).ok_or_else(|| v.damaged("its replica set can never acknowledge"))?
    };
    Ok(OpenRecord {
        id,
        epoch,
        file_uuid,
        replicas,
    })
}

pub(crate) fn write_nodes(w: Writer, nodes: NodeSet) -> Writer {
    let count = u8::try_from(nodes.len()).expect("a set has at most SET_NODES_MAX nodes");
    nodes.iter().fold(w.u8(count), |w, node| w.u32(node.get()))
}

pub(crate) fn read_nodes(v: &mut Reader<'_>) -> Result<NodeSet, WireError> {
    let mut nodes = NodeSet::EMPTY;
    let mut last = None;
    for _ in 0..v.u8()? {
        let node = v.node()?;
        if last.replace(node) >= Some(node) {
            return Err(v.damaged("its nodes are not in order"));
        }
        nodes = nodes.with(node).ok_or_else(|| v.damaged("it names too many nodes"))?;
    }
    Ok(nodes)
}

/// The value of the row of the nodes that may hold bytes of a segment beside those that its record names.
pub(super) fn write_leftovers(nodes: &BTreeSet<NodeId>) -> Writer {
    let count = u8::try_from(nodes.len()).expect("an owner, its replicas and the holders are few");
    nodes.iter().fold(value().u8(count), |w, node| w.u32(node.get()))
}

pub(super) fn read_leftovers(v: &mut Reader<'_>) -> Result<BTreeSet<NodeId>, WireError> {
    let mut nodes = BTreeSet::new();
    for _ in 0..v.u8()? {
        let node = v.node()?;
        if nodes.last() >= Some(&node) {
            return Err(v.damaged("its nodes are not in order"));
        }
        nodes.insert(node);
    }
    if nodes.is_empty() {
        return Err(v.damaged("it names no node"));
    }
    Ok(nodes)
}

pub(crate) fn write_accepted(w: Writer, loss: &AcceptedLoss) -> Writer {
    write_nodes(w.text(&loss.by).u64(loss.at_ns), loss.reports).text(&loss.passed_over)
}

pub(crate) fn read_accepted(v: &mut Reader<'_>) -> Result<AcceptedLoss, WireError> {
    Ok(AcceptedLoss {
        by: v.text()?,
        at_ns: v.u64()?,
        reports: read_nodes(v)?,
        passed_over: v.text()?,
    })
}

pub(super) fn write_earlier(w: Writer, losses: &[EarlierLoss]) -> Writer {
    w.list(losses, |w, earlier| {
        write_accepted(w.u8(earlier.of as u8), &earlier.loss)
    })
}

pub(super) fn read_earlier(v: &mut Reader<'_>) -> Result<Vec<EarlierLoss>, WireError> {
    let losses = v.list(|v| {
        let of = v.u8()?;
        Ok(EarlierLoss {
            of: LossOf::from_stored(of).ok_or_else(|| v.unknown("kind of loss", of))?,
            loss: read_accepted(v)?,
        })
    })?;
    if losses.is_empty() {
        return Err(v.damaged("it has no loss"));
    }
    Ok(losses)
}

pub(crate) fn write_seal(w: Writer, version: u8, seal: &SealRecord) -> Writer {
    let s = &seal.stats;
    let flags = s.received.map_or(0, |_| HAS_RECEIVED) | s.event.map_or(0, |_| HAS_EVENT);
    let none = TimeRange { min: 0, max: 0 };
    let (received, event) = (s.received.unwrap_or(none), s.event.unwrap_or(none));
    let w = w
        .u64(seal.epoch.get())
        .u64(seal.sealed_ns)
        .bytes(&seal.digest)
        .u64(s.entries)
        .u64(s.records)
        .u64(s.set_apart)
        .u64(s.deferred)
        .u64(s.payload_bytes)
        .u64(s.stored_bytes)
        .u64(s.first_lsn.map_or(0, Lsn::get))
        .u64(s.last_lsn.map_or(0, Lsn::get))
        .u8(flags)
        .u64(received.min)
        .u64(received.max)
        .u64(event.min)
        .u64(event.max);
    if version < NODES_VERSION {
        return w;
    }
    write_nodes(w, seal.holders)
}

pub(crate) fn read_seal(id: SegmentId, version: u8, v: &mut Reader<'_>) -> Result<SealRecord, WireError> {
    let (epoch, sealed_ns, digest) = (v.epoch()?, v.u64()?, v.array()?);
    let mut stats = SegmentStats {
        entries: v.u64()?,
        records: v.u64()?,
        set_apart: v.u64()?,
        deferred: v.u64()?,
        payload_bytes: v.u64()?,
        stored_bytes: v.u64()?,
        first_lsn: v.lsn_or_none()?,
        last_lsn: v.lsn_or_none()?,
        received: None,
        event: None,
    };
    let flags = v.u8()?;
    if flags & !(HAS_RECEIVED | HAS_EVENT) != 0 {
        return Err(v.unknown("seal flags", flags));
    }
    let received = TimeRange {
        min: v.u64()?,
        max: v.u64()?,
    };
    let event = TimeRange {
        min: v.u64()?,
        max: v.u64()?,
    };
    stats.received = (flags & HAS_RECEIVED != 0).then_some(received);
    stats.event = (flags & HAS_EVENT != 0).then_some(event);
    let holders = if version < NODES_VERSION {
        NodeSet::of(id.node)
    } else {
        read_nodes(v)?
    };
    Ok(SealRecord {
        id,
        epoch,
        stats,
        digest,
        sealed_ns,
        holders,
    })
}
