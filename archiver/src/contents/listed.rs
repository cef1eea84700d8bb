//! The objects that the manifests of a cluster list.

use std::pin::Pin;

use futures_util::stream::{self, LocalBoxStream, Peekable};
use futures_util::{Stream, StreamExt, TryStreamExt};
use gophership_vault::ids::ClusterId;

use super::Found;
use super::chain::{Candidate, Chain, ContentsFault, Taken};
use crate::limits::{MANIFEST_BYTES_MAX, MANIFESTS_AT_ONCE};
use crate::round::Manifest;
use crate::store::{MANIFESTS, StoreError, StoreReader, manifest_key_of, parse_manifest_key};

/// The clusters that have manifests in a store.
///
/// # Errors
///
/// The store does not say.
pub async fn clusters(store: &StoreReader) -> Result<Vec<ClusterId>, StoreError> {
    let names = store.folders(MANIFESTS).await?;
    Ok(names
        .iter()
        .filter_map(|name| name.parse().ok().map(ClusterId))
        .collect())
}

/// The objects that a cluster's manifests list, from the newest manifest to the oldest, and what is wrong with the
/// chain of manifests. After [`ContentsFault::Listing`] nothing follows. An object may come twice where two manifests
/// of one number list it.
pub fn listed(store: &StoreReader, cluster: ClusterId) -> impl Stream<Item = Result<Found, ContentsFault>> + use<'_> {
    manifests(store, cluster).flat_map(|read| match read {
        Ok((manifest, _)) => {
            let found = manifest.objects.into_iter().map(|listed| Ok(Found::of(listed)));
            stream::iter(found).left_stream()
        }
        Err(fault) => stream::iter([Err(fault)]).right_stream(),
    })
}

/// The manifests of a cluster, from the newest to the oldest, each with the hash of its bytes, and what is wrong with
/// their chain. The first is the end of the chain, as far as the store has it. After [`ContentsFault::Listing`] nothing
/// follows.
pub fn manifests(
    store: &StoreReader,
    cluster: ClusterId,
) -> impl Stream<Item = Result<(Manifest, [u8; 32]), ContentsFault>> + use<'_> {
    stream::once(open(store, cluster)).flat_map(|opened| match opened {
        Ok(reading) => reading.manifests().left_stream(),
        Err(error) => stream::iter([Err(ContentsFault::Listing(error))]).right_stream(),
    })
}

/// A chain that is being read.
struct Reading<'a> {
    fetched: Peekable<LocalBoxStream<'a, (u64, Candidate)>>,
    chain: Chain,
    is_over: bool,
}

async fn open(store: &StoreReader, cluster: ClusterId) -> Result<Reading<'_>, StoreError> {
    let folder = format!("{MANIFESTS}/{}", cluster.0);
    let named = store
        .list(&folder)
        .try_filter_map(async |(key, _)| Ok(parse_manifest_key(&key)));
    // Some 16 bytes each, so that the names of millions take megabytes.
    let mut names: Vec<(u64, [u8; 4])> = named.try_collect().await?;
    names.sort_unstable_by(|a, b| b.cmp(a));
    let fetched = stream::iter(names)
        .map(move |(seq, hash)| async move { (seq, fetch(store, cluster, seq, hash).await) })
        .buffered(MANIFESTS_AT_ONCE);
    Ok(Reading {
        fetched: fetched.boxed_local().peekable(),
        chain: Chain::new(cluster),
        is_over: false,
    })
}

async fn fetch(store: &StoreReader, cluster: ClusterId, seq: u64, name_hash: [u8; 4]) -> Candidate {
    let key = manifest_key_of(cluster, seq, name_hash);
    match store.get(&key, MANIFEST_BYTES_MAX).await {
        Ok(bytes) => Candidate::of(store.id(), cluster, key, seq, name_hash, &bytes),
        Err(source) => Candidate {
            read: Err(match &source {
                StoreError::TooLarge { .. } => ContentsFault::Changed {
                    key,
                    what: source.to_string(),
                },
                _ => ContentsFault::Unread { key, source },
            }),
            name_hash,
        },
    }
}

impl<'a> Reading<'a> {
    fn manifests(self) -> impl Stream<Item = Result<(Manifest, [u8; 32]), ContentsFault>> + use<'a> {
        stream::unfold(self, async |mut reading| {
            reading.next().await.map(|taken| (taken, reading))
        })
        .flat_map(|taken| {
            let manifests = taken.manifests.into_iter().map(Ok);
            stream::iter(taken.faults.into_iter().map(Err).chain(manifests))
        })
    }

    /// What the next number gives.
    async fn next(&mut self) -> Option<Taken> {
        let Some((seq, first)) = self.fetched.next().await else {
            let is_first_time = !std::mem::replace(&mut self.is_over, true);
            return self.chain.end().filter(|_| is_first_time).map(|fault| Taken {
                faults: vec![fault],
                ..Taken::default()
            });
        };
        let mut candidates = vec![first];
        while let Some((_, more)) = Pin::new(&mut self.fetched).next_if(|(next, _)| *next == seq).await {
            candidates.push(more);
        }
        Some(self.chain.take(seq, candidates))
    }
}
