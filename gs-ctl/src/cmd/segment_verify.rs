//! `gs-ctl segment verify`: by the node that holds the segment, or here on a file.

use std::path::Path;

use gophership_proto::control::v1::SegmentRef;
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
}

#[derive(Debug, Serialize, JsonSchema)]
struct FaultView {
    r#where: String,
    what: String,
}

impl Verdict {
    fn outcome(&self) -> Outcome {
        if self.ok { Outcome::Done } else { Outcome::Damage }
    }
}

impl Answer for Verdict {
    fn table(&self) -> String {
        let verdict = if self.ok {
            "every byte is as it was sealed"
        } else {
            "DAMAGED"
        };
        let mut text = pairs(&[
            ("Segment", self.segment.clone()),
            ("Verdict", verdict.to_owned()),
            ("Read", human::bytes(self.bytes)),
            ("BLAKE3", self.digest.clone()),
        ]);
        for fault in &self.faults {
            text += &format!("Fault    {}: {}\n", fault.r#where, fault.what);
        }
        text
    }
}

/// Makes the node verify its copy.
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
        faults.extend(report.faults.into_iter().map(|f| FaultView {
            r#where: f.r#where,
            what: f.what,
        }));
        if report.finished {
            drop(bar);
            let segment = format!("{}/{}/{}", name.node, name.shard, name.index);
            let verdict = Verdict {
                segment,
                ok: report.ok,
                bytes: report.bytes_total,
                digest: report.digest,
                faults,
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
    };
    print(&verdict, format)?;
    Ok(verdict.outcome())
}
