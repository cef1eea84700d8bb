//! `gs-ctl archive`: objects of the archive, read from files and without a node.
//!
//! **Not here**: objects in a store (`archive_store`).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use gophership_archiver::ObjectError;
use gophership_archiver::object::{Member, ObjectEntry, ObjectIndex, read_index, verify};
use gophership_proto::control::v1::{Lsn, PayloadEncoding, ReplayEntry};
use gophership_vault::entry::{Encoding, EntryState};
use schemars::JsonSchema;
use serde::Serialize;

use super::segment_verify::FaultView;
use super::tail::shown;
use crate::arg::format::Format;
use crate::out::file_sink::{self, NotWritable, Payloads};
use crate::out::human;
use crate::out::outcome::Outcome;
use crate::out::output::{Answer, print, write_while_read};
use crate::out::table::{Table, pairs};

/// Bytes before the payload of an entry that bears its origin.
const ORIGIN_BYTES: usize = 24;

/// An object in a file.
struct Object {
    file: File,
    bytes: u64,
}

impl Object {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let bytes = file
            .metadata()
            .with_context(|| format!("cannot look at {}", path.display()))?
            .len();
        Ok(Self { file, bytes })
    }

    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    fn index(&self) -> Result<ObjectIndex, ObjectError> {
        read_index(self.bytes, &mut |range| self.read(range))
    }
}

/// Prints the records of an object.
pub(super) fn cat(path: &Path, format: Format) -> anyhow::Result<Outcome> {
    let object = Object::open(path)?;
    let index = object.index().with_context(|| path.display().to_string())?;
    let mut payloads = Payloads::default();
    let mut outcome = Outcome::Done;
    for number in 0..index.blocks().len() {
        let bytes = object
            .read(index.range(number))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let block = match index.decode(number, &bytes) {
            Ok(block) => block,
            Err(fault) => {
                let row = &index.blocks()[number];
                let segment = index.member_of(number).header.id;
                eprintln!(
                    "gs-ctl: entries {} to {} of segment {segment} are damaged: {}, {fault}",
                    row.first,
                    row.last,
                    path.display()
                );
                outcome = Outcome::Damage;
                continue;
            }
        };
        let (out, all) = printed(index.member_of(number), block.entries(), &mut payloads, format);
        if !all {
            outcome = Outcome::Damage;
        }
        if !write_while_read(out.as_bytes())? {
            return Ok(Outcome::Done);
        }
    }
    Ok(outcome)
}

/// The records of entries as text, and true where all could be shown; the others are named on stderr.
pub(super) fn printed<'a>(
    member: &Member,
    entries: impl IntoIterator<Item = ObjectEntry<'a>>,
    payloads: &mut Payloads,
    format: Format,
) -> (String, bool) {
    let (mut out, mut all) = (String::new(), true);
    for entry in entries {
        let entry = as_replayed(member, &entry);
        let name = file_sink::name(&entry);
        match shown(&entry, &name, payloads, format) {
            Ok(text) => out += &text,
            Err(NotWritable(why)) => {
                eprintln!("gs-ctl: entry {name} cannot be shown: {why}");
                all = false;
            }
        }
    }
    (out, all)
}

fn as_replayed(member: &Member, entry: &ObjectEntry<'_>) -> ReplayEntry {
    let id = member.header.id;
    let payload = match entry.meta.state.contains(EntryState::ORIGIN) {
        true => entry.payload.get(ORIGIN_BYTES..).unwrap_or_default(),
        false => entry.payload,
    };
    ReplayEntry {
        node: id.node.get(),
        shard: id.shard.get().into(),
        lsn: Some(Lsn {
            segment_index: id.index.get(),
            number: entry.lsn.number().get(),
        }),
        received_unix_nano: entry.meta.received_ns,
        record_count: entry.meta.record_count,
        deferred: entry.meta.state.contains(EntryState::DEFERRED),
        encoding: match entry.meta.encoding {
            Encoding::Identity => PayloadEncoding::Identity,
            Encoding::Gzip => PayloadEncoding::Gzip,
            Encoding::Zstd => PayloadEncoding::Zstd,
            Encoding::Deflate => PayloadEncoding::Deflate,
        }
        .into(),
        payload: payload.to_vec().into(),
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ArchiveVerdict {
    /// True where every object is whole, and has each of its segments as it was sealed.
    ok: bool,
    objects: Vec<ObjectView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ObjectView {
    file: String,
    /// True where every byte is as it was written.
    whole: bool,
    bytes: u64,
    segments: Vec<MemberView>,
    faults: Vec<FaultView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MemberView {
    cluster_id: String,
    /// node/shard/index
    segment: String,
    entries: u64,
    records: u64,
    /// Numbers of entries that are missing in it.
    missing: u64,
    /// BLAKE3 over the entries, as the segment was sealed.
    sealed_digest: String,
    /// BLAKE3 over the entries that were read.
    digest: String,
    /// True where the two are the same: every entry is there, bit for bit.
    as_sealed: bool,
}

/// Reads objects whole, and compares what is in them with the digests of the seals. What was read is shown where others
/// cannot be read, too.
pub(super) fn verify_files(paths: &[PathBuf], format: Format) -> anyhow::Result<Outcome> {
    let (mut objects, mut unread) = (Vec::new(), Vec::new());
    for path in paths {
        match verify_file(path) {
            Ok(object) => objects.push(object),
            Err(error) => unread.push(error),
        }
    }
    let is_sealed = |object: &ObjectView| object.segments.iter().all(|segment| segment.as_sealed);
    let verdict = ArchiveVerdict {
        ok: unread.is_empty() && objects.iter().all(|object| object.whole && is_sealed(object)),
        objects,
    };
    if unread.is_empty() || !verdict.objects.is_empty() {
        print(&verdict, format)?;
    }
    if let Some(last) = unread.pop() {
        unread.iter().for_each(|error| eprintln!("gs-ctl: {error:#}"));
        return Err(last);
    }
    Ok(if verdict.ok { Outcome::Done } else { Outcome::Damage })
}

fn verify_file(path: &Path) -> anyhow::Result<ObjectView> {
    let object = Object::open(path)?;
    let mut view = ObjectView {
        file: path.display().to_string(),
        whole: false,
        bytes: object.bytes,
        segments: Vec::new(),
        faults: Vec::new(),
    };
    let index = match object.index() {
        Ok(index) => index,
        Err(ObjectError::Damaged { offset, what }) => {
            view.faults.push(FaultView::at(offset, what.to_owned()));
            return Ok(view);
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let verdict = verify(&index, &mut |range| object.read(range), &mut |_, _| ());
    let verdict = verdict.with_context(|| path.display().to_string())?;
    view.whole = verdict.is_whole();
    let members = index.members().iter().zip(&verdict.members);
    view.segments = members
        .map(|(member, judged)| MemberView {
            cluster_id: member.header.cluster_id.0.to_string(),
            segment: member.header.id.to_string(),
            entries: member.stats.entries,
            records: member.stats.records,
            missing: member
                .holes
                .iter()
                .map(|hole| u64::from(hole.last.get() - hole.first.get()) + 1)
                .sum(),
            sealed_digest: human::hex(&member.sealed_digest),
            digest: human::hex(&judged.digest),
            as_sealed: judged.is_as_sealed,
        })
        .collect();
    let faults = verdict.faults.into_iter().filter_map(|fault| match fault {
        ObjectError::Damaged { offset, what } => Some(FaultView::at(offset, what.to_owned())),
        ObjectError::Format { .. } | ObjectError::Unreadable { .. } => None,
    });
    view.faults = faults.collect();
    Ok(view)
}

impl Answer for ArchiveVerdict {
    fn table(&self) -> String {
        self.objects.iter().map(ObjectView::text).collect::<Vec<_>>().join("\n")
    }
}

impl ObjectView {
    fn text(&self) -> String {
        let verdict = match (self.whole, self.segments.iter().all(|segment| segment.as_sealed)) {
            (true, true) => "every entry is as it was sealed",
            (true, false) => "whole, but entries were lost before it was written",
            (false, _) => "DAMAGED",
        };
        let mut text = pairs(&[
            ("Object", self.file.clone()),
            ("Verdict", verdict.to_owned()),
            ("Read", human::bytes(self.bytes)),
        ]);
        for fault in &self.faults {
            text += &format!("Fault    {}\n", fault.text());
        }
        let mut table = Table::new(&["SEGMENT", ">ENTRIES", ">RECORDS", ">MISSING", "VERDICT", "BLAKE3"]);
        for segment in &self.segments {
            table.row(vec![
                segment.segment.clone(),
                human::count(segment.entries),
                human::count(segment.records),
                human::count(segment.missing),
                if segment.as_sealed {
                    "as sealed"
                } else {
                    "NOT AS SEALED"
                }
                .to_owned(),
                segment.digest.clone(),
            ]);
        }
        format!("{text}\n{}", table.text())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../archiver/testdata/v1/two-segments.binpb.zst")
    }

    #[test]
    fn a_verified_object_names_its_segments_and_a_damaged_one_the_place() {
        let whole = verify_file(&golden()).unwrap();
        assert!(whole.whole);
        assert!(whole.segments.iter().all(|segment| segment.as_sealed));
        let text = whole.text();
        assert!(text.contains("Verdict  every entry is as it was sealed\n"), "{text}");
        assert!(text.contains("1/3/42"), "{text}");

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.binpb.zst");
        let mut bytes = fs::read(golden()).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(
            verify_files(&[golden(), path.clone()], Format::Json).unwrap(),
            Outcome::Damage
        );
        let text = verify_file(&path).unwrap().text();
        assert!(
            text.contains("Verdict  DAMAGED\n") && text.contains("Fault    offset 20: "),
            "{text}"
        );
        assert!(text.contains("NOT AS SEALED"), "{text}");

        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let text = verify_file(&path).unwrap().text();
        assert!(text.contains("there is no seek table"), "{text}");
        assert_eq!(
            cat(&path, Format::Json).unwrap_err().to_string(),
            path.display().to_string()
        );
    }

    #[test]
    fn an_entry_of_an_object_is_named_and_encoded_as_a_replay_does() {
        let object = Object::open(&golden()).unwrap();
        let index = object.index().unwrap();
        let block = index.decode(0, &object.read(index.range(0)).unwrap()).unwrap();
        let entries: Vec<ReplayEntry> = block
            .entries()
            .map(|entry| as_replayed(index.member_of(0), &entry))
            .collect();
        let named = |name: &str| entries.iter().find(|entry| file_sink::name(entry) == name).unwrap();
        let deferred = named("1/3/42:5,1");
        assert_eq!((deferred.encoding(), deferred.deferred), (PayloadEncoding::Gzip, true));
        assert!(
            named("1/3/42:8,1").payload.starts_with(b"entry 8 "),
            "behind its origin"
        );
        // The golden payloads are no logs, which is said and is not everything.
        assert_eq!(cat(&golden(), Format::Json).unwrap(), Outcome::Damage);
    }
}
