//! The stored form of the catalogue: one row for each record, its bytes as `docs/formats.md` has them.
//!
//! A key is a kind (u8) and big-endian numbers, so that rows sort as their records do; a value is a version (u8) and
//! little-endian fields.
//!
//! **Invariants**:
//! - I1: reading back written bytes yields the same record.
//! - I2: any other bytes are an error, never a panic and never a guess.
//! - I3: a number of a format, kind, state or version is never reused.
//!
//! **Not here**: the storage of rows (`local/store.rs`).

use gophership_vault::Identity;
use gophership_vault::ids::{ClusterId, Epoch, NodeId, SegmentId, SegmentIndex};
use gophership_vault::ledger::KeptClock;
use gophership_vault::time::TimeRange;
use uuid::Uuid;

use crate::dropped::{DroppedKey, DroppedRange};
use crate::job::JobId;
use crate::node::{Boot, NodeFacts, NodeRecord, NodeState};
use crate::state::{Change, Counters, Setting, ShardRecord, State};
use crate::wire::{Reader, WireError, Writer};

use self::format::{
    COUNTERS_VERSION, DEAD_LETTER_VERSION, HAS_EVENT, KIND_ARCHIVE, KIND_ARCHIVE_OBJECT, KIND_CLOCK, KIND_CONFIGURED,
    KIND_CONFIGURED_SOMEWHERE, KIND_COPY_LOSS_ACCEPTED, KIND_COUNTERS, KIND_CURSOR, KIND_DEAD_LETTER, KIND_DROPPED,
    KIND_EARLIER_LOSSES, KIND_EVENT, KIND_EXPORT_TAKEN, KIND_EXPORTER, KIND_FACTS, KIND_JOB, KIND_LEFTOVERS,
    KIND_LOSS_ACCEPTED, KIND_NODE, KIND_RESTORE, KIND_SEGMENT, KIND_SETTING, KIND_SHARD, SHARD_VERSION, VERSIONED, key,
    value,
};

pub use self::format::VERSION;

pub(crate) mod archive;
pub(crate) mod event;
pub(crate) mod export;
mod format;
pub(crate) mod job;
pub(crate) mod restore;
pub(crate) mod segment;

/// A row as it is stored; a value of `None` removes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// Every row of a state, in the order of their keys.
pub fn rows(state: &State) -> impl Iterator<Item = Row> {
    state.changes().map(|change| row_of(&change))
}

/// The state that these rows hold.
///
/// # Errors
///
/// A row is invalid, or the counters are missing: without them a number could be granted twice.
pub fn state_of<'a>(rows: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<State, WireError> {
    let mut state = State::default();
    let mut counted = false;
    for (key, value) in rows {
        let change = change_of(key, value)?;
        counted |= matches!(change, Change::Counters(_));
        state.install(change);
    }
    if counted {
        Ok(state)
    } else {
        Err(Reader::of_row(&[KIND_COUNTERS], &[]).damaged("it is missing"))
    }
}

/// The row that a change writes or removes.
pub fn row_of(change: &Change) -> Row {
    let (key, value) = match change {
        Change::Counters(counters) => (key(KIND_COUNTERS), Some(write_counters(*counters))),
        Change::Node(node) => (key(KIND_NODE).u32_be(node.id.get()), Some(write_node(node))),
        Change::Facts(node, facts) => (key(KIND_FACTS).u32_be(node.get()), Some(write_facts(facts))),
        Change::Shard((node, shard), record) => (
            key(KIND_SHARD).u32_be(node.get()).u16_be(shard.get()),
            Some(write_shard(record)),
        ),
        Change::Segment(segment) => (segment_key(segment.id()), Some(segment::write_segment(segment))),
        Change::SegmentGone(id) => (segment_key(*id), None),
        Change::Leftovers(id, nodes) => (leftovers_key(*id), Some(segment::write_leftovers(nodes))),
        Change::LeftoversGone(id) => (leftovers_key(*id), None),
        Change::LossAccepted(id, loss) => (
            key_of(KIND_LOSS_ACCEPTED, *id),
            Some(segment::write_accepted(value(), loss)),
        ),
        Change::LossAcceptedGone(id) => (key_of(KIND_LOSS_ACCEPTED, *id), None),
        Change::CopyLossAccepted(id, loss) => (
            key_of(KIND_COPY_LOSS_ACCEPTED, *id),
            Some(segment::write_accepted(value(), loss)),
        ),
        Change::CopyLossAcceptedGone(id) => (key_of(KIND_COPY_LOSS_ACCEPTED, *id), None),
        Change::EarlierLosses(id, losses) => (
            key_of(KIND_EARLIER_LOSSES, *id),
            Some(segment::write_earlier(value(), losses)),
        ),
        Change::EarlierLossesGone(id) => (key_of(KIND_EARLIER_LOSSES, *id), None),
        Change::Clock(node, mark) => (
            key(KIND_CLOCK).u32_be(node.get()),
            Some(value().u64(mark.now_ns).u64(mark.credit_ns)),
        ),
        Change::Dropped(dropped) => (dropped_key(dropped.key()), Some(write_dropped(dropped))),
        Change::DroppedGone(key) => (dropped_key(*key), None),
        Change::Job(id, job) => (key(KIND_JOB).u64_be(id.get()), Some(job::write_job(job))),
        Change::JobGone(id) => (key(KIND_JOB).u64_be(id.get()), None),
        Change::Setting(name, setting) => (key(KIND_SETTING).bytes(name.as_bytes()), Some(write_setting(setting))),
        Change::SettingGone(name) => (key(KIND_SETTING).bytes(name.as_bytes()), None),
        Change::Exporter(name, record) => (export::exporter_key(name), Some(export::write_exporter(record))),
        Change::ExporterGone(name) => (export::exporter_key(name), None),
        Change::Configured(node, names) => (
            key(KIND_CONFIGURED).u32_be(node.get()),
            Some(export::write_configured(names)),
        ),
        Change::ConfiguredGone(node) => (key(KIND_CONFIGURED).u32_be(node.get()), None),
        Change::ConfiguredSomewhere(name) => (export::configured_somewhere_key(name), Some(value())),
        Change::ConfiguredSomewhereGone(name) => (export::configured_somewhere_key(name), None),
        Change::Cursor(name, shard, done) => (export::cursor_key(name, *shard), Some(export::write_cursor(*done))),
        Change::CursorGone(name, shard) => (export::cursor_key(name, *shard), None),
        Change::ExportTaken(name, owner, taken) => (
            export::taken_key(name, *owner),
            Some(value().u32(taken.node.get()).u64(taken.term)),
        ),
        Change::ExportTakenGone(name, owner) => (export::taken_key(name, *owner), None),
        Change::DeadLetter(letter) => (
            export::dead_letter_key(&letter.exporter, letter.entry()),
            Some(export::write_dead_letter(letter)),
        ),
        Change::Event(number, event) => (key(KIND_EVENT).u64_be(*number), Some(event::write_event(event))),
        Change::EventGone(number) => (key(KIND_EVENT).u64_be(*number), None),
        Change::Archive(counters) => (key(KIND_ARCHIVE), Some(archive::write_counters(counters))),
        Change::ArchiveObject(lease, object) => (
            key(KIND_ARCHIVE_OBJECT).u64_be(*lease),
            Some(archive::write_object(object)),
        ),
        Change::Restore(record) => (key(KIND_RESTORE), Some(restore::write_restore(record))),
        Change::ArchiveObjectGone(lease) => (key(KIND_ARCHIVE_OBJECT).u64_be(*lease), None),
        Change::DeadLetterGone(name, entry) => (export::dead_letter_key(name, *entry), None),
    };
    Row {
        key: key.done(),
        value: value.map(Writer::done),
    }
}

/// The change that a stored row represents.
///
/// # Errors
///
/// The bytes are no row.
pub fn change_of(key: &[u8], value: &[u8]) -> Result<Change, WireError> {
    let mut k = Reader::of_row(key, key);
    let mut v = Reader::of_row(key, value);
    let kind = k.u8()?;
    let version = v.version(match kind {
        KIND_COUNTERS => COUNTERS_VERSION,
        KIND_NODE | KIND_SETTING => VERSIONED,
        KIND_SHARD => SHARD_VERSION,
        KIND_SEGMENT => segment::SEGMENT_VERSION,
        KIND_DEAD_LETTER => DEAD_LETTER_VERSION,
        KIND_JOB => job::JOB_VERSION,
        _ => VERSION,
    })?;
    let change = match kind {
        KIND_COUNTERS => Change::Counters(Counters {
            next_node: NodeId::new(v.u32()?),
            next_job: JobId::new(v.u64()?),
            settings_version: read_version(version, &mut v)?,
            forgotten: if version < COUNTERS_VERSION {
                None
            } else {
                Some(export::read_generation(&mut v)?)
            },
        }),
        KIND_NODE => Change::Node(read_node(k.node_be()?, version, &mut v)?),
        KIND_SHARD => Change::Shard((k.node_be()?, k.shard_be()?), read_shard(version, &mut v)?),
        KIND_SEGMENT => Change::Segment(segment::read_segment(read_id(&mut k)?, version, &mut v)?),
        KIND_LEFTOVERS => Change::Leftovers(read_id(&mut k)?, segment::read_leftovers(&mut v)?),
        KIND_LOSS_ACCEPTED => Change::LossAccepted(read_id(&mut k)?, segment::read_accepted(&mut v)?),
        KIND_COPY_LOSS_ACCEPTED => Change::CopyLossAccepted(read_id(&mut k)?, segment::read_accepted(&mut v)?),
        KIND_EARLIER_LOSSES => Change::EarlierLosses(read_id(&mut k)?, segment::read_earlier(&mut v)?),
        KIND_JOB => Change::Job(
            JobId::new(k.u64_be()?).ok_or_else(|| k.damaged("job 0"))?,
            job::read_job(version, &mut v)?,
        ),
        KIND_SETTING => {
            let name = k.rest_str()?;
            Change::Setting(
                name,
                Setting {
                    set_ns: v.u64()?,
                    value: v.text()?,
                    version: read_version(version, &mut v)?,
                },
            )
        }
        KIND_CLOCK => Change::Clock(
            k.node_be()?,
            KeptClock {
                now_ns: v.u64()?,
                credit_ns: v.u64()?,
            },
        ),
        KIND_DROPPED => Change::Dropped(read_dropped(&mut k, &mut v)?),
        KIND_FACTS => Change::Facts(k.node_be()?, read_facts(&mut v)?),
        KIND_EXPORTER => export::read_exporter(&mut k, &mut v)?,
        KIND_CONFIGURED_SOMEWHERE => Change::ConfiguredSomewhere(k.name()?),
        KIND_CONFIGURED => Change::Configured(k.node_be()?, export::read_configured(&mut v)?),
        KIND_CURSOR => export::read_cursor(&mut k, &mut v)?,
        KIND_EXPORT_TAKEN => export::read_taken(&mut k, &mut v)?,
        KIND_DEAD_LETTER => export::read_dead_letter(version, &mut k, &mut v)?,
        KIND_EVENT => Change::Event(k.u64_be()?, event::read_event(&mut v)?),
        KIND_RESTORE => Change::Restore(restore::read_restore(&mut v)?),
        KIND_ARCHIVE => Change::Archive(archive::read_counters(&mut v)?),
        KIND_ARCHIVE_OBJECT => Change::ArchiveObject(k.u64_be()?, archive::read_object(&mut v)?),
        found => return Err(k.unknown("kind", found)),
    };
    k.end()?;
    v.end()?;
    Ok(change)
}

/// The identity that a catalogue file carries.
pub(crate) fn write_identity(identity: &Identity) -> Vec<u8> {
    value()
        .uuid(identity.cluster_id.0)
        .u32(identity.node_id.get())
        .uuid(identity.storage_uuid)
        .done()
}

/// See [`write_identity`].
pub(crate) fn read_identity(bytes: &[u8]) -> Result<Identity, WireError> {
    let mut v = Reader::of_row(b"identity", bytes);
    v.version(VERSION)?;
    let identity = Identity {
        cluster_id: ClusterId(v.uuid()?),
        node_id: v.node()?,
        storage_uuid: v.uuid()?,
    };
    v.end()?;
    Ok(identity)
}

fn segment_key(id: SegmentId) -> Writer {
    key_of(KIND_SEGMENT, id)
}

fn leftovers_key(id: SegmentId) -> Writer {
    key_of(KIND_LEFTOVERS, id)
}

fn key_of(kind: u8, id: SegmentId) -> Writer {
    key(kind)
        .u32_be(id.node.get())
        .u16_be(id.shard.get())
        .u32_be(id.index.get())
}

fn read_id(k: &mut Reader<'_>) -> Result<SegmentId, WireError> {
    Ok(SegmentId {
        node: k.node_be()?,
        shard: k.shard_be()?,
        index: k.index_be()?,
    })
}

fn dropped_key((node, shard, first): DroppedKey) -> Writer {
    key(KIND_DROPPED)
        .u32_be(node.get())
        .u16_be(shard.get())
        .u32_be(first.get())
}

/// Adds the version used by compare-and-set, and marks it at the front. A row from before versions stays as it is.
fn versioned(version: u64, fields: impl FnOnce(Writer) -> Writer) -> Writer {
    match version {
        0 => fields(value()),
        version => fields(Writer::default().u8(VERSIONED)).u64(version),
    }
}

fn read_version(version: u8, v: &mut Reader<'_>) -> Result<u64, WireError> {
    if version < VERSIONED { Ok(0) } else { v.u64() }
}

fn write_counters(c: Counters) -> Writer {
    let fields = |w: Writer| {
        w.u32(c.next_node.map_or(0, NodeId::get))
            .u64(c.next_job.map_or(0, JobId::get))
    };
    match c.forgotten {
        None => versioned(c.settings_version, fields),
        Some(generation) => fields(Writer::default().u8(COUNTERS_VERSION))
            .u64(c.settings_version)
            .u64(generation.get()),
    }
}

fn write_node(n: &NodeRecord) -> Writer {
    versioned(n.version, |w| {
        let w = w.u8(n.state as u8).uuid(n.storage_uuid).u64(n.registered_ns);
        match n.boot {
            Some(boot) => w.u64(boot.epoch.get()).uuid(boot.boot_uuid).u64(boot.up_ns),
            None => w.u64(0).uuid(Uuid::nil()).u64(0),
        }
    })
}

fn read_node(id: NodeId, version: u8, v: &mut Reader<'_>) -> Result<NodeRecord, WireError> {
    let state = v.u8()?;
    let state = NodeState::from_stored(state).ok_or_else(|| v.unknown("node state", state))?;
    let (storage_uuid, registered_ns) = (v.uuid()?, v.u64()?);
    let (epoch, boot_uuid, up_ns) = (Epoch::new(v.u64()?), v.uuid()?, v.u64()?);
    let boot = epoch.map(|epoch| Boot {
        epoch,
        boot_uuid,
        up_ns,
    });
    Ok(NodeRecord {
        id,
        storage_uuid,
        state,
        registered_ns,
        boot,
        version: read_version(version, v)?,
    })
}

fn write_facts(facts: &NodeFacts) -> Writer {
    let w = value()
        .text(&facts.name)
        .text(&facts.address)
        .text(&facts.failure_domain);
    w.u32(facts.moved_to.map_or(0, NodeId::get))
}

fn read_facts(v: &mut Reader<'_>) -> Result<NodeFacts, WireError> {
    Ok(NodeFacts {
        name: v.text()?,
        address: v.text()?,
        failure_domain: v.text()?,
        moved_to: NodeId::new(v.u32()?),
    })
}

fn write_shard(s: &ShardRecord) -> Writer {
    let fields = |w: Writer| w.u32(s.next_index.get()).u64(s.trimmed_empty).u64(s.trimmed_retention);
    match s.trimmed_dropped {
        0 => fields(value()),
        dropped => fields(Writer::default().u8(SHARD_VERSION)).u64(dropped),
    }
}

fn read_shard(version: u8, v: &mut Reader<'_>) -> Result<ShardRecord, WireError> {
    let next_index = SegmentIndex::new(v.u32()?).ok_or_else(|| v.damaged("next index 0"))?;
    Ok(ShardRecord {
        next_index,
        trimmed_empty: v.u64()?,
        trimmed_retention: v.u64()?,
        trimmed_dropped: if version == SHARD_VERSION { v.u64()? } else { 0 },
    })
}

fn write_dropped(d: &DroppedRange) -> Writer {
    let event = d.event.unwrap_or(TimeRange { min: 0, max: 0 });
    value()
        .u32(d.last.get())
        .u64(d.entries)
        .u64(d.sealed_ns)
        .u8(d.event.map_or(0, |_| HAS_EVENT))
        .u64(event.min)
        .u64(event.max)
}

fn read_dropped(k: &mut Reader<'_>, v: &mut Reader<'_>) -> Result<DroppedRange, WireError> {
    let (node, shard, first) = (k.node_be()?, k.shard_be()?, k.index_be()?);
    let last = SegmentIndex::new(v.u32()?).ok_or_else(|| v.damaged("segment 0"))?;
    let (entries, sealed_ns, flags) = (v.u64()?, v.u64()?, v.u8()?);
    if flags & !HAS_EVENT != 0 {
        return Err(v.unknown("flags of what was dropped", flags));
    }
    let event = TimeRange {
        min: v.u64()?,
        max: v.u64()?,
    };
    Ok(DroppedRange {
        node,
        shard,
        first,
        last,
        entries,
        sealed_ns,
        event: (flags != 0).then_some(event),
    })
}

fn write_setting(s: &Setting) -> Writer {
    versioned(s.version, |w| w.u64(s.set_ns).text(&s.value))
}

#[cfg(test)]
pub(crate) mod tests;
