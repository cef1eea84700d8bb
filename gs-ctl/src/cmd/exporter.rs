//! `gs-ctl exporter`.

use gophership_proto::control::v1::seek_exporter_request::To;
use gophership_proto::control::v1::{ExporterRef, ListExportersRequest, SeekExporterRequest};

use crate::cli::{Exporter, SeekTo};
use crate::connect::Client;
use crate::exporters::{ExporterList, ExporterView};
use crate::outcome::{Failure, Outcome, refused};
use crate::output::{Format, print};
use crate::when::now_unix_nano;

/// Does what was asked; each but the list answers with the exporter as it then is.
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
        Exporter::Pause { name } => node.pause_exporter(ExporterRef { name }).await,
        Exporter::Resume { name } => node.resume_exporter(ExporterRef { name }).await,
        Exporter::Seek { name, to } => {
            let to = match to {
                SeekTo::Now => To::Now(true),
                SeekTo::Oldest => To::Oldest(true),
                SeekTo::Time(when) => To::TimeUnixNano(when.unix_nano(now_unix_nano())),
            };
            node.seek_exporter(SeekExporterRequest { name, to: Some(to) }).await
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
