//! `gs-ctl archive` on a store, without a node: what `ls`, `cat`, `verify` and `restore` share.

pub(super) mod cat;
pub(super) mod ls;
pub(super) mod restore;
pub(super) mod verify;

use std::pin::pin;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;
use gophership_archiver::contents::{ContentsFault, Found, ReadError, clusters, listed, manifests, scan};
use gophership_archiver::store::{StoreReader, StoreSettings, open_reader};
use gophership_vault::Disposition;
use gophership_vault::ids::ClusterId;
use gophership_vault::time::TimeRange;

use crate::arg::archive::{StoreArgs, TimesArgs};
use crate::arg::when::now_unix_nano;
use crate::out::human;
use crate::out::outcome::{Failure, Outcome};

async fn open(url: &str, asked: &StoreArgs) -> anyhow::Result<StoreReader> {
    // Another one may have been installed by a library, and serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = StoreSettings {
        url: url.to_owned(),
        endpoint: asked.endpoint.clone(),
        region: asked.region.clone(),
        unsafe_store: false,
    };
    Ok(open_reader(&settings).await?)
}

/// The cluster whose manifests are read.
async fn cluster_of(store: &StoreReader, asked: &StoreArgs) -> anyhow::Result<ClusterId> {
    let there = clusters(store).await.context("cannot list the manifests")?;
    match (asked.cluster.map(ClusterId), there.as_slice()) {
        (Some(asked), there) if there.contains(&asked) => Ok(asked),
        (None, [one]) => Ok(*one),
        (_, []) => bail!(
            "archive {} has no manifest: --scan takes the objects that are there",
            store.url()
        ),
        (None, _) => {
            let text = format!(
                "archive {} has several clusters: name one of them with --cluster: {}",
                store.url(),
                described(store, &there).await
            );
            Err(Failure::Usage(text).into())
        }
        (Some(asked), _) => {
            let text = format!(
                "archive {} has no manifest of cluster {}, but of: {}",
                store.url(),
                asked.0,
                described(store, &there).await
            );
            Err(Failure::Usage(text).into())
        }
    }
}

/// Clusters, each with its newest manifest, so that somebody can tell them apart.
async fn described(store: &StoreReader, clusters: &[ClusterId]) -> String {
    let mut all = Vec::new();
    for cluster in clusters {
        let mut newest = pin!(manifests(store, *cluster).filter_map(async |read| read.ok()));
        all.push(match newest.next().await {
            Some((manifest, _)) => {
                let until = manifest.objects.iter().map(|object| object.received.max).max();
                let (seq, until) = (manifest.seq, human::time(until));
                format!(
                    "{} (newest manifest {seq}, of entries received until {until})",
                    cluster.0
                )
            }
            None => format!("{} (no manifest of it can be read)", cluster.0),
        });
    }
    all.join(", ")
}

/// The objects that were asked for.
async fn objects<'a>(
    store: &'a StoreReader,
    asked: &StoreArgs,
) -> anyhow::Result<(Option<ClusterId>, LocalBoxStream<'a, Result<Found, ContentsFault>>)> {
    if asked.scan {
        let cluster = asked.cluster.map(ClusterId);
        let found = scan(store).filter(move |found| {
            let is_wanted = found
                .as_ref()
                .is_ok_and(|object| cluster.is_none_or(|cluster| is_of(&object.key, cluster)));
            std::future::ready(is_wanted || found.is_err())
        });
        return Ok((cluster, found.boxed_local()));
    }
    let cluster = cluster_of(store, asked).await?;
    Ok((Some(cluster), listed(store, cluster).boxed_local()))
}

/// True where an object has the name of one of the cluster's: with the first digits of its id.
fn is_of(key: &str, cluster: ClusterId) -> bool {
    let digits = &cluster.0.simple().to_string()[..8];
    let file = key.rsplit('/').next().and_then(|file| file.strip_prefix(digits));
    file.is_some_and(|rest| rest.starts_with('-'))
}

fn times(asked: &TimesArgs) -> anyhow::Result<TimeRange> {
    let now = now_unix_nano();
    let end = asked.to.map(|to| to.unix_nano(now));
    let range = TimeRange {
        min: asked.from.map_or(0, |from| from.unix_nano(now)),
        max: end.map_or(u64::MAX, |end| end.saturating_sub(1)),
    };
    if range.min > range.max || end == Some(0) {
        return Err(Failure::Usage("the range is empty: --to must be later than --from".to_owned()).into());
    }
    Ok(range)
}

/// The worse of two outcomes of something that was damaged, or could not be read.
pub(super) fn worse(before: Outcome, is_damage: bool) -> Outcome {
    match (before, is_damage) {
        (Outcome::Damage, _) | (_, true) => Outcome::Damage,
        (Outcome::Done | Outcome::Failed | Outcome::GaveUp, false) => Outcome::Failed,
    }
}

fn is_damage(error: &ReadError) -> bool {
    match error {
        ReadError::Store(error) => error.disposition() == Disposition::Corrupt,
        ReadError::Object(error) => error.disposition() == Disposition::Corrupt,
        ReadError::Length { .. } => true,
    }
}

/// An error and its causes.
fn story(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
