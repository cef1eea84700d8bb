//! `gs-ctl schema`: the JSON Schemas of the commands' answers with `-o json`.

use clap::ValueEnum;
use gophership_proto::view::archive::{ArchiveList, ArchiveStatusView};
use gophership_proto::view::cluster::{ClusterView, NodeList};
use gophership_proto::view::event::EventList;
use gophership_proto::view::exporter::ExporterView;
use gophership_proto::view::schema;
use gophership_proto::view::segment::SegmentList;
use gophership_proto::view::status::StatusView;
use gophership_proto::view::zone::ZoneView;
use serde_json::Value;

use super::archive::ArchiveVerdict;
use super::archive_store::ls::ObjectList;
use super::archive_store::verify::StoreVerdict;
use super::check::CheckView;
use super::config::{SettingDiffs, SettingList, SettingsChanged};
use super::dead_letter::{Dropped, Replayed, Shown};
use super::exporter::Forgotten;
use super::replay_start::Summary;
use super::restore::RestoreView;
use super::segment_describe::DetailView;
use super::segment_verify::Verdict;
use super::wal_dump::DumpView;
use crate::arg::schema_name::SchemaName;
use crate::out::outcome::Outcome;
use crate::out::output::write_stdout;
use crate::top::Line;
use crate::view::cluster::{NodeChangeView, ProvisionView, RaftView};
use crate::view::exporters::ExporterList;
use crate::view::jobs::{JobList, JobView};
use crate::view::letters::LetterList;

/// The name of a schema and the schema itself.
fn named(name: SchemaName) -> (String, Value) {
    let schema = match name {
        SchemaName::Status => schema::<StatusView>,
        SchemaName::Check => schema::<CheckView>,
        SchemaName::ClusterStatus => schema::<ClusterView>,
        SchemaName::ClusterProvision => schema::<ProvisionView>,
        SchemaName::ClusterRestore => schema::<RestoreView>,
        SchemaName::NodeList => schema::<NodeList>,
        SchemaName::NodeChange => schema::<NodeChangeView>,
        SchemaName::RaftStatus => schema::<RaftView>,
        SchemaName::Events => schema::<EventList>,
        SchemaName::ConfigGet => schema::<SettingList>,
        SchemaName::ConfigSet => schema::<SettingsChanged>,
        SchemaName::ConfigDiff => schema::<SettingDiffs>,
        SchemaName::Top => schema::<Line<'static>>,
        SchemaName::ExporterList => schema::<ExporterList>,
        SchemaName::Exporter => schema::<ExporterView>,
        SchemaName::ExporterForget => schema::<Forgotten>,
        SchemaName::DeadLetterList => schema::<LetterList>,
        SchemaName::DeadLetterShow => schema::<Shown>,
        SchemaName::DeadLetterReplay => schema::<Replayed>,
        SchemaName::DeadLetterDrop => schema::<Dropped>,
        SchemaName::Override => schema::<ZoneView>,
        SchemaName::SegmentList => schema::<SegmentList>,
        SchemaName::SegmentDescribe => schema::<DetailView>,
        SchemaName::SegmentVerify => schema::<Verdict>,
        SchemaName::ReplayList => schema::<JobList>,
        SchemaName::ReplayJob => schema::<JobView>,
        SchemaName::ReplayFile => schema::<Summary>,
        SchemaName::ArchiveStatus => schema::<ArchiveStatusView>,
        SchemaName::ArchiveList => schema::<ArchiveList>,
        SchemaName::ArchiveVerify => schema::<ArchiveVerdict>,
        SchemaName::ArchiveVerifyStore => schema::<StoreVerdict>,
        SchemaName::ArchiveLs => schema::<ObjectList>,
        SchemaName::WalDump => schema::<DumpView>,
    };
    let value = name.to_possible_value().expect("no schema is hidden");
    (value.get_name().to_owned(), schema(value.get_name()))
}

/// Prints a schema.
pub(super) fn print(asked: SchemaName) -> anyhow::Result<Outcome> {
    let (_, schema) = named(asked);
    write_stdout(format!("{schema:#}\n").as_bytes())?;
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
        for (name, schema) in SchemaName::value_variants().iter().map(|name| named(*name)) {
            let (path, text) = (folder.join(format!("{name}.json")), format!("{schema:#}\n"));
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
