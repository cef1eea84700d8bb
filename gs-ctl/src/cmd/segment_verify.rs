//! `gs-ctl segment verify`: by the nodes that hold the segment, or here on a file.

use std::path::Path;

use gophership_proto::control::v1::{CopyVerdict, SegmentRef, VerifyFault};
use gophership_vault::dump;
use schemars::JsonSchema;
use serde::Serialize;

use crate::arg::format::Format;
use crate::arg::segment_name::SegmentName;
use crate::connect::Client;
use crate::out::human;
use crate::out::outcome::{Failure, Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::progress::Bar;
use crate::out::table::pairs;

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Verdict {
    segment: String,
    ok: bool,
    bytes: u64,
    digest: String,
    faults: Vec<FaultView>,
    /// The copies, one for each holder; none where a file was verified without a node.
    copies: Vec<CopyView>,
}

/// A holder's copy.
#[derive(Debug, Serialize, JsonSchema)]
struct CopyView {
    /// The holder.
    node: u32,
    /// True where everything checks out; null where it was not verified.
    ok: Option<bool>,
    /// The reason why it was not verified.
    not_verified: Option<String>,
    /// True where the holder was replaced by another node, and its copy is gone with it: nobody can verify it.
    gone: bool,
    bytes: u64,
    digest: Option<String>,
    faults: Vec<FaultView>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FaultView {
    r#where: String,
    what: String,
}

impl FaultView {
    /// A fault of a file at this offset.
    pub(super) fn at(offset: u64, what: String) -> Self {
        Self {
            r#where: format!("offset {offset}"),
            what,
        }
    }

    /// Its place and what it is.
    pub(super) fn text(&self) -> String {
        format!("{}: {}", self.r#where, self.what)
    }
}

impl From<CopyVerdict> for CopyView {
    fn from(copy: CopyVerdict) -> Self {
        let is_verified = copy.not_verified.is_empty();
        Self {
            node: copy.node,
            ok: is_verified.then_some(copy.ok),
            bytes: copy.bytes,
            digest: is_verified.then_some(copy.digest),
            faults: copy.faults.into_iter().map(FaultView::from).collect(),
            not_verified: (!is_verified).then_some(copy.not_verified),
            gone: copy.gone,
        }
    }
}

impl From<VerifyFault> for FaultView {
    fn from(fault: VerifyFault) -> Self {
        Self {
            r#where: fault.r#where,
            what: fault.what,
        }
    }
}

impl Verdict {
    fn outcome(&self) -> Outcome {
        match (self.ok, self.unverified()) {
            (false, _) => Outcome::Damage,
            (true, 0) => Outcome::Done,
            (true, _) => Outcome::Failed,
        }
    }

    /// The number of copies that are there, and were not verified.
    fn unverified(&self) -> usize {
        self.copies
            .iter()
            .filter(|copy| copy.ok.is_none() && !copy.gone)
            .count()
    }
}

impl Answer for Verdict {
    fn table(&self) -> String {
        let verdict = match (self.ok, self.unverified()) {
            (false, _) => "DAMAGED".to_owned(),
            (true, 0) => "every byte is as it was sealed".to_owned(),
            (true, few) => format!(
                "{few} of {} copies NOT VERIFIED; the rest is as it was sealed",
                self.copies.len()
            ),
        };
        let mut rows = vec![
            ("Segment", self.segment.clone()),
            ("Verdict", verdict),
            ("Read", human::bytes(self.bytes)),
            ("BLAKE3", self.digest.clone()),
        ];
        // One copy has said it all.
        let copies = self.copies.iter().filter(|_| self.copies.len() > 1);
        rows.extend(copies.map(|copy| {
            let found = match (copy.ok, &copy.not_verified) {
                (Some(true), _) => format!("ok, {}", human::bytes(copy.bytes)),
                (Some(false), _) => format!("DAMAGED, BLAKE3 {}", copy.digest.as_deref().unwrap_or("-")),
                (None, why) => {
                    let verdict = if copy.gone { "gone" } else { "NOT VERIFIED" };
                    format!("{verdict}: {}", human::one_line(why.as_deref().unwrap_or("-")))
                }
            };
            ("Copy", format!("node {}: {found}", copy.node))
        }));
        let mut text = pairs(&rows);
        let of_copies = self
            .copies
            .iter()
            .flat_map(|copy| copy.faults.iter().map(move |fault| (Some(copy.node), fault)));
        let of_file = self
            .faults
            .iter()
            .map(|fault| (None, fault))
            .filter(|_| self.copies.is_empty());
        for (node, fault) in of_copies.chain(of_file) {
            let on = node
                .filter(|_| self.copies.len() > 1)
                .map_or_else(String::new, |node| format!("node {node}, "));
            text += &format!("Fault    {on}{}: {}\n", fault.r#where, fault.what);
        }
        text
    }
}

/// Has every holder verify its copy.
pub(crate) async fn verify(node: &mut Client, name: SegmentName, format: Format) -> anyhow::Result<Outcome> {
    let asked = SegmentRef {
        node: name.node,
        shard: name.shard,
        index: name.index,
    };
    let mut reports = node.verify_segment(asked).await.map_err(|e| refused(&e))?.into_inner();
    let bar = Bar::new();
    let mut faults = Vec::new();
    while let Some(report) = reports.message().await.map_err(|e| refused(&e))? {
        bar.show(report.bytes_done, report.bytes_total, &report.waits_for);
        if !report.waits_for.is_empty() {
            bar.line(&format!("waiting: {}", report.waits_for));
        }
        faults.extend(report.faults.into_iter().map(FaultView::from));
        if report.finished {
            drop(bar);
            let segment = format!("{}/{}/{}", name.node, name.shard, name.index);
            let verdict = Verdict {
                segment,
                ok: report.ok,
                bytes: report.bytes_total,
                digest: report.digest,
                faults,
                copies: report.copies.into_iter().map(CopyView::from).collect(),
            };
            print(&verdict, format)?;
            return Ok(verdict.outcome());
        }
    }
    Err(Failure::Unreachable("the node ended the verification before its result: nothing is proved".to_owned()).into())
}

/// Verifies a file without a node, against its own header and footer.
pub(crate) fn verify_file(path: &Path, format: Format) -> anyhow::Result<Outcome> {
    let bar = Bar::new();
    let (id, report) = dump::verify_file(path, &mut |done, total| bar.show(done, total, ""))?;
    drop(bar);
    let faults = report.faults.iter().map(|f| FaultView {
        r#where: format!("offset {}, {} bytes", f.offset, f.len),
        what: f.what.clone(),
    });
    let verdict = Verdict {
        segment: id.to_string(),
        ok: report.ok,
        bytes: report.bytes,
        digest: human::hex(&report.digest),
        faults: faults.collect(),
        copies: Vec::new(),
    };
    print(&verdict, format)?;
    Ok(verdict.outcome())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(node: u32, found: Option<bool>) -> CopyVerdict {
        CopyVerdict {
            node,
            not_verified: if found.is_none() { "it was not heard lately" } else { "" }.to_owned(),
            ok: found == Some(true),
            bytes: 2048,
            faults: Vec::from_iter((found == Some(false)).then(|| VerifyFault {
                r#where: "offset 9, 1 bytes".to_owned(),
                what: "a CRC".to_owned(),
            })),
            ..CopyVerdict::default()
        }
    }

    fn verdict(copies: &[CopyVerdict]) -> Verdict {
        let copies: Vec<CopyView> = copies.iter().cloned().map(CopyView::from).collect();
        Verdict {
            segment: "1/0/7".to_owned(),
            ok: copies.iter().all(|copy| copy.ok != Some(false)),
            bytes: 4096,
            digest: String::new(),
            faults: Vec::new(),
            copies,
        }
    }

    #[test]
    fn a_damaged_copy_is_named_and_one_that_was_not_verified_is_no_success() {
        let whole = verdict(&[copy(1, Some(true)), copy(2, Some(true))]);
        assert_eq!(whole.outcome(), Outcome::Done);
        let unknown = verdict(&[copy(1, Some(true)), copy(3, None)]);
        assert_eq!(unknown.outcome(), Outcome::Failed);
        let text = unknown.table();
        assert!(text.contains("Verdict  1 of 2 copies NOT VERIFIED"), "{text}");
        assert!(
            text.contains("Copy     node 3: NOT VERIFIED: it was not heard lately\n"),
            "{text}"
        );
        let gone = CopyVerdict {
            gone: true,
            ..copy(3, None)
        };
        let replaced = verdict(&[copy(1, Some(true)), gone]);
        assert_eq!(replaced.outcome(), Outcome::Done);
        let text = replaced.table();
        assert!(text.contains("Verdict  every byte is as it was sealed\n"), "{text}");
        assert!(
            text.contains("Copy     node 3: gone: it was not heard lately\n"),
            "{text}"
        );
        let damaged = verdict(&[copy(1, Some(true)), copy(2, Some(false)), copy(3, None)]);
        assert_eq!(damaged.outcome(), Outcome::Damage);
        let text = damaged.table();
        assert!(text.contains("Copy     node 1: ok, 2.0 KiB\n"), "{text}");
        assert!(text.contains("Fault    node 2, offset 9, 1 bytes: a CRC\n"), "{text}");
    }
}
