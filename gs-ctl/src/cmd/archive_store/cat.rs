//! `gs-ctl archive cat`: the records of an object, or of a range of time.

use std::ops::ControlFlow;

use futures_util::Stream;
use futures_util::stream;
use gophership_archiver::contents::{ContentsFault, Found, Part, PlanFault, RangePlan};
use gophership_archiver::store::StoreReader;
use gophership_vault::ids::ClusterId;
use gophership_vault::time::TimeRange;

use super::{is_damage, objects, open, story, times, worse};
use crate::arg::archive::{StoreArgs, TimesArgs};
use crate::arg::format::Format;
use crate::cmd::archive::printed;
use crate::out::file_sink::Payloads;
use crate::out::outcome::{Failure, Outcome};
use crate::out::output::write_while_read;

/// Prints the records of an object of a store.
pub(in crate::cmd) async fn cat_object(
    url: &str,
    key: &str,
    asked: &StoreArgs,
    format: Format,
) -> anyhow::Result<Outcome> {
    let store = open(url, asked).await?;
    let object = Found {
        bytes: store.len(key).await?,
        key: key.to_owned(),
        listed: None,
    };
    print_range(&store, None, stream::iter([Ok(object)]), TimeRange::ALL, format).await
}

/// Prints the records of a range of time.
pub(in crate::cmd) async fn cat_range(
    url: &str,
    range: &TimesArgs,
    asked: &StoreArgs,
    format: Format,
) -> anyhow::Result<Outcome> {
    let range = times(range)?;
    let store = open(url, asked).await?;
    let (cluster, objects) = objects(&store, asked).await?;
    print_range(&store, cluster, objects, range, format).await
}

async fn print_range(
    store: &StoreReader,
    cluster: Option<ClusterId>,
    objects: impl Stream<Item = Result<Found, ContentsFault>>,
    range: TimeRange,
    format: Format,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Done;
    let plan = RangePlan::of(store, objects, cluster, range, |fault| match fault {
        PlanFault::Contents(fault) => {
            outcome = worse(outcome, fault.is_damage());
            eprintln!("gs-ctl: {}", story(fault));
        }
        PlanFault::Object(key, error) => {
            outcome = worse(outcome, is_damage(&error));
            eprintln!("gs-ctl: {key} is not printed: {}", story(error));
        }
    })
    .await;
    if let [_, _, ..] = plan.clusters().as_slice() {
        let names = plan.clusters().iter().map(|id| id.0.to_string()).collect::<Vec<_>>();
        let text = format!(
            "the range has entries of several clusters: name one of them with --cluster: {}",
            names.join(", ")
        );
        return Err(Failure::Usage(text).into());
    }
    let (mut payloads, mut written) = (Payloads::default(), Ok(true));
    plan.read(store, |part| {
        match part {
            Part::Entries(member, entries) => {
                let (text, all) = printed(member, entries, &mut payloads, format);
                if !all {
                    outcome = Outcome::Damage;
                }
                written = write_while_read(text.as_bytes());
            }
            Part::Lost {
                key,
                segment,
                entries,
                error,
            } => {
                outcome = worse(outcome, is_damage(&error));
                let which = entries.map_or("all entries".to_owned(), |(first, last)| {
                    format!("entries {first} to {last}")
                });
                eprintln!(
                    "gs-ctl: {which} of segment {segment} are not printed: {key}: {}",
                    story(error)
                );
            }
        }
        match &written {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) | Err(_) => ControlFlow::Break(()),
        }
    })
    .await;
    Ok(if written? { outcome } else { Outcome::Done })
}
