//! `gs-ctl exporter`.

use gophership_proto::control::v1::seek_exporter_request::To;
use gophership_proto::control::v1::{ExporterRef, ForgetExporterRequest, ListExportersRequest, SeekExporterRequest};
use gophership_proto::view::exporter::ExporterView;
use schemars::JsonSchema;
use serde::Serialize;

use super::config;
use crate::arg::cli::Exporter;
use crate::arg::format::Format;
use crate::arg::seek_to::SeekTo;
use crate::arg::when::now_unix_nano;
use crate::connect::Client;
use crate::out::human;
use crate::out::outcome::{Failure, Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::pairs;
use crate::view::exporters::ExporterList;

/// What went with an exporter that was forgotten.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Forgotten {
    exporter: String,
    debt_entries: u64,
    debt_bytes: u64,
    dead_letters: u64,
}

impl Answer for Forgotten {
    fn table(&self) -> String {
        pairs(&[
            ("Exporter", human::one_line(&self.exporter)),
            (
                "Not sent",
                format!(
                    "{} entries, {}",
                    human::count(self.debt_entries),
                    human::bytes(self.debt_bytes)
                ),
            ),
            ("Dead letters", human::count(self.dead_letters)),
        ])
    }
}

/// Runs the command. Each but the list answers with the exporter's new state.
pub(crate) async fn exporter(node: &mut Client, asked: Exporter, format: Format) -> anyhow::Result<Outcome> {
    let answer = match asked {
        Exporter::List => {
            print(
                &ExporterList {
                    exporters: all(node).await?,
                },
                format,
            )?;
            return Ok(Outcome::Done);
        }
        Exporter::Describe { name } => {
            let found = all(node).await?.into_iter().find(|e| e.name == name);
            let unknown = || {
                Failure::Refused(format!(
                    "there is no exporter {name:?}; `gs-ctl exporter list` shows them"
                ))
            };
            print(&found.ok_or_else(unknown)?, format)?;
            return Ok(Outcome::Done);
        }
        Exporter::Set { file, change } => return config::set_exporter(node, &file, change, format).await,
        Exporter::Remove { name, change } => return config::remove_exporter(node, &name, change, format).await,
        Exporter::Pause { name } => node.pause_exporter(ExporterRef { name }).await,
        Exporter::Resume { name } => node.resume_exporter(ExporterRef { name }).await,
        Exporter::Forget { name, accept_loss } => {
            let asked = ForgetExporterRequest {
                name: name.clone(),
                accept_loss,
            };
            let answer = node.forget_exporter(asked).await;
            let lost = answer.map_err(|e| refused(&e))?.into_inner();
            let forgotten = Forgotten {
                exporter: name,
                debt_entries: lost.debt_entries,
                debt_bytes: lost.debt_bytes,
                dead_letters: lost.dead_letters,
            };
            print(&forgotten, format)?;
            return Ok(Outcome::Done);
        }
        Exporter::Seek { name, to, accept_loss } => {
            let to = match to {
                SeekTo::Now => To::Now(true),
                SeekTo::Oldest => To::Oldest(true),
                SeekTo::Time(when) => To::TimeUnixNano(when.unix_nano(now_unix_nano())),
            };
            let to = Some(to);
            node.seek_exporter(SeekExporterRequest { name, to, accept_loss }).await
        }
    };
    let exporter = answer.map_err(|e| refused(&e))?.into_inner();
    print(&ExporterView::from(exporter), format)?;
    Ok(Outcome::Done)
}

async fn all(node: &mut Client) -> Result<Vec<ExporterView>, Failure> {
    let exporters = node
        .list_exporters(ListExportersRequest {})
        .await
        .map_err(|e| refused(&e))?
        .into_inner()
        .exporters;
    Ok(exporters.into_iter().map(ExporterView::from).collect())
}
