//! `gs-ctl schema`: the JSON Schemas of what the commands answer with `-o json`.

use gophership_proto::view::exporter::ExporterView;
use gophership_proto::view::schema;
use gophership_proto::view::status::StatusView;
use gophership_proto::view::zone::ZoneView;
use serde_json::Value;

use super::dead_letter::{Dropped, Replayed, Shown};
use super::exporter::Forgotten;
use super::replay_start::Summary;
use super::segment_describe::DetailView;
use super::segment_list::SegmentList;
use super::segment_verify::Verdict;
use super::wal_dump::DumpView;
use crate::exporters::ExporterList;
use crate::jobs::{JobList, JobView};
use crate::letters::LetterList;
use crate::outcome::Outcome;
use crate::output::say;
use crate::top::Line;

/// A name of a schema, and what makes it.
type Named = (&'static str, fn(&str) -> Value);

/// All schemas.
const SCHEMAS: [Named; 17] = [
    ("status", schema::<StatusView>),
    ("top", schema::<Line<'static>>),
    ("exporter-list", schema::<ExporterList>),
    ("exporter", schema::<ExporterView>),
    ("exporter-forget", schema::<Forgotten>),
    ("dead-letter-list", schema::<LetterList>),
    ("dead-letter-show", schema::<Shown>),
    ("dead-letter-replay", schema::<Replayed>),
    ("dead-letter-drop", schema::<Dropped>),
    ("override", schema::<ZoneView>),
    ("segment-list", schema::<SegmentList>),
    ("segment-describe", schema::<DetailView>),
    ("segment-verify", schema::<Verdict>),
    ("replay-list", schema::<JobList>),
    ("replay-job", schema::<JobView>),
    ("replay-file", schema::<Summary>),
    ("wal-dump", schema::<DumpView>),
];

/// The names of the schemas.
pub(crate) fn names() -> Vec<&'static str> {
    SCHEMAS.iter().map(|(name, _)| *name).collect()
}

/// Prints a schema.
pub(super) fn print(asked: &str) -> anyhow::Result<Outcome> {
    // The command line takes no other names.
    for (name, schema) in SCHEMAS.iter().filter(|(name, _)| *name == asked) {
        say(format!("{:#}\n", schema(name)).as_bytes())?;
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_schemas_in_the_repository_are_those_of_the_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        for (name, schema) in SCHEMAS {
            let (path, text) = (folder.join(format!("{name}.json")), format!("{:#}\n", schema(name)));
            if std::env::var_os("GS_TEST_WRITE_SCHEMAS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == text,
                "{} is out of date: run this test with GS_TEST_WRITE_SCHEMAS=1 and look at the difference",
                path.display()
            );
        }
    }
}
