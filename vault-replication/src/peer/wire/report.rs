//! What a node holds of a segment, in parts: the head, then runs of entries.

use gophership_proto::peer::v1;
use gophership_proto::peer::v1::report_part::Part;
use gophership_vault::ids::{EntryNumber, FileUuid, NodeId};
use gophership_vault::{Durable, EntryRange, HeldReport};

use super::{Wire, WireError, at_most, node, number, number_or_zero, required, uuid, uuid_bytes, value};
use crate::peer::limits::{REPORT_PART_ENTRIES, SEGMENT_ENTRIES_MAX};

/// The parts of a report, in order. Only one of them is in memory beside it.
pub(crate) fn report_to_wire(report: HeldReport) -> impl Iterator<Item = v1::ReportPart> {
    let entries: usize = report.entries.ranges().iter().map(|run| run.crcs.len()).sum();
    let head = v1::ReportHead {
        holder: report.holder.get(),
        file_uuid: report.file_uuid.map(|file| uuid_bytes(file.0)).unwrap_or_default(),
        durable_to: number_or_zero(report.durable.to),
        durable_all: report.durable.all,
        durable_end: number_or_zero(report.durable.end),
        unread: number_or_zero(report.unread),
        is_damaged: report.is_damaged,
        is_doubtful: report.is_doubtful,
        entries: u32::try_from(entries).expect("the entries of a segment have numbers of 32 bits"),
    };
    let (mut run, mut at) = (0, 0);
    let runs = std::iter::from_fn(move || {
        let of: &EntryRange = report.entries.ranges().get(run)?;
        let end = of.crcs.len().min(at + REPORT_PART_ENTRIES);
        let part = v1::ReportRun {
            first: of.first.get() + at as u32,
            crcs: of.crcs[at..end].iter().flat_map(|crc| crc.to_le_bytes()).collect(),
        };
        (run, at) = if end == of.crcs.len() { (run + 1, 0) } else { (run, end) };
        Some(Part::Run(part))
    });
    let parts = std::iter::once(Part::Head(head)).chain(runs);
    parts.map(|part| v1::ReportPart { part: Some(part) })
}

/// A report that is being read.
pub(crate) struct ReportReader {
    report: HeldReport,
    /// Entries that are to follow.
    missing: u32,
    last: Option<EntryNumber>,
}

impl ReportReader {
    /// Begins with the first part, which the node `holder` sent.
    pub(crate) fn begin(first: v1::ReportPart, holder: NodeId) -> Wire<Self> {
        let Part::Head(head) = required("a part of a report", first.part)? else {
            return Err(WireError::Missing("the head of a report"));
        };
        if node("a report's holder", head.holder)? != holder {
            return Err(WireError::Other("a report's holder"));
        }
        at_most("entries of a report", head.entries.into(), SEGMENT_ENTRIES_MAX.into())?;
        let file_uuid = match head.file_uuid.is_empty() {
            true => None,
            false => Some(FileUuid(uuid("a WAL file's id", &head.file_uuid)?)),
        };
        if file_uuid.is_none() && head.entries > 0 {
            return Err(WireError::Missing("the WAL file of what is held"));
        }
        Ok(Self {
            report: HeldReport {
                file_uuid,
                durable: Durable {
                    to: EntryNumber::new(head.durable_to),
                    all: head.durable_all,
                    end: EntryNumber::new(head.durable_end),
                },
                unread: EntryNumber::new(head.unread),
                is_damaged: head.is_damaged,
                is_doubtful: head.is_doubtful,
                ..HeldReport::nothing(holder)
            },
            missing: head.entries,
            last: None,
        })
    }

    /// Takes the next part.
    pub(crate) fn add(&mut self, part: v1::ReportPart) -> Wire<()> {
        let Part::Run(run) = required("a part of a report", part.part)? else {
            return Err(WireError::Disorder("the parts of a report"));
        };
        let (crcs, odd) = run.crcs.as_chunks::<4>();
        if crcs.is_empty() || !odd.is_empty() {
            return Err(value("the length of a run of CRCs", run.crcs.len() as u64));
        }
        at_most("entries of a part", crcs.len() as u64, self.missing.into())?;
        let first = number("the first entry of a run", run.first)?;
        let last = first.get().checked_add(crcs.len() as u32 - 1);
        if self.last >= Some(first) || last.is_none() {
            return Err(WireError::Disorder("the entries of a report"));
        }
        let mut next = Some(first);
        for crc in crcs {
            let number = next.ok_or(WireError::Disorder("the entries of a report"))?;
            self.report.entries.push(number, u32::from_le_bytes(*crc));
            next = number.checked_next();
        }
        self.last = last.and_then(EntryNumber::new);
        self.missing -= crcs.len() as u32;
        Ok(())
    }

    /// The report, when all of it came.
    pub(crate) fn end(self) -> Wire<HeldReport> {
        if self.missing == 0 {
            Ok(self.report)
        } else {
            Err(WireError::Disorder("the entries of a report"))
        }
    }
}
