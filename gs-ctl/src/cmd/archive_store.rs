//! `gs-ctl archive` on a store, without a node: what `ls`, `cat`, `verify` and `restore` share.

pub(super) mod cat;
pub(super) mod ls;
pub(super) mod restore;
pub(super) mod verify;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;
use gophership_archiver::contents::{ContentsFault, Found, ReadError, clusters, listed, scan};
use gophership_archiver::store::{StoreReader, StoreSettings, open_reader};
use gophership_vault::Disposition;
use gophership_vault::ids::ClusterId;
use gophership_vault::time::TimeRange;

use crate::arg::archive::{StoreArgs, TimesArgs};
use crate::arg::when::now_unix_nano;
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
    let names = || there.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(", ");
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
                names()
            );
            Err(Failure::Usage(text).into())
        }
        (Some(asked), _) => {
            let text = format!(
                "archive {} has no manifest of cluster {}, but of: {}",
                store.url(),
                asked.0,
                names()
            );
            Err(Failure::Usage(text).into())
        }
    }
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
