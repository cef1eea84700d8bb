//! One object, compared with what its manifest, its own index and the seals of its segments say.
//!
//! **Invariants**:
//! - I1: only bytes that were read, or a length, prove damage. What the store did not give is unread.

use gophership_vault::Disposition;
use gophership_vault::ids::SegmentId;
use thiserror::Error;

use super::Found;
use super::index::{ReadError, index_of, same_length};
use crate::error::ObjectError;
use crate::object::{ObjectIndex, Verifier};
use crate::store::{StoreError, StoreReader};

/// The condition of an object.
#[derive(Debug)]
pub enum Condition {
    /// It is as it was written, as far as was looked.
    Whole,
    /// It is not.
    Damaged(Vec<ObjectFault>),
    /// There is no object of its name. This proves nothing unless the store is still the same one.
    Missing,
    /// The store does not give it now, or this version does not know its format.
    Unread(ReadError),
}

/// A fault of an object.
#[derive(Debug, Error)]
pub enum ObjectFault {
    /// A part of it is not as it was written.
    #[error(transparent)]
    Part(#[from] ObjectError),
    /// It has another length than its manifest says.
    #[error("it has {found} bytes, and its manifest says {listed}")]
    Length {
        /// Its bytes.
        found: u64,
        /// Bytes by the manifest.
        listed: u64,
    },
    /// Its bytes have another digest than its manifest says.
    #[error("its bytes do not have the digest that its manifest says")]
    Digest,
    /// It has other segments than its manifest says.
    #[error("it has other segments than its manifest says")]
    Segments,
    /// It has segments of another cluster than its manifest.
    #[error("it has segments of another cluster")]
    OtherCluster,
    /// Its name is not the one that its content leads to.
    #[error("its name is not that of an object with its segments and times")]
    Name,
    /// A segment in it does not have the entries that it was sealed with.
    #[error("segment {0} in it does not have all entries that it was sealed with")]
    NotAsSealed(SegmentId),
}

/// Checks that an object is there with the length that was promised.
pub async fn check_length(store: &StoreReader, object: &Found) -> Condition {
    match same_length(store, object).await {
        Ok(()) => Condition::Whole,
        Err(error) => condition(error),
    }
}

/// Reads all of an object, and checks every byte of it. `read` is told how many bytes more were read.
pub async fn check_bytes(store: &StoreReader, object: &Found, mut read: impl FnMut(u64)) -> Condition {
    match read_all(store, object, &mut read).await {
        Ok(all) if all.faults.is_empty() => Condition::Whole,
        Ok(all) => Condition::Damaged(all.faults),
        Err(error) => condition(error),
    }
}

pub(super) fn condition(error: ReadError) -> Condition {
    match error {
        ReadError::Store(StoreError::NotFound { .. }) => Condition::Missing,
        ReadError::Length { found, listed } => Condition::Damaged(vec![ObjectFault::Length { found, listed }]),
        ReadError::Object(error) if error.disposition() == Disposition::Corrupt => {
            Condition::Damaged(vec![error.into()])
        }
        error @ (ReadError::Store(_) | ReadError::Object(_)) => Condition::Unread(error),
    }
}

/// An object of which every byte was read.
pub(super) struct ReadObject {
    pub(super) index: ObjectIndex,
    /// BLAKE3 over its bytes.
    pub(super) digest: [u8; 32],
    pub(super) faults: Vec<ObjectFault>,
}

pub(super) async fn read_all(
    store: &StoreReader,
    object: &Found,
    read: &mut impl FnMut(u64),
) -> Result<ReadObject, ReadError> {
    same_length(store, object).await?;
    let index = index_of(store, object).await?;
    let mut digest = blake3::Hasher::new();
    let mut take = async |range| {
        let bytes = store.range(&object.key, range).await?;
        digest.update(&bytes);
        read(bytes.len() as u64);
        Ok::<_, StoreError>(bytes)
    };
    let mut verifier = Verifier::new(&index, &take(index.header_range()).await?);
    let mut left = 0..index.blocks().len();
    while !left.is_empty() {
        let run = index.run(left.clone());
        left.start = run.end;
        let from = index.range(run.start).start;
        let bytes = take(from..index.range(run.end - 1).end).await?;
        for block in run {
            let at = index.range(block);
            verifier.block(&bytes[(at.start - from) as usize..(at.end - from) as usize]);
        }
    }
    take(index.tail_range(object.bytes)).await?;
    let verdict = verifier.finish();
    let members = index.members().iter().zip(&verdict.members);
    let not_as_sealed = members.filter(|(_, judged)| !judged.is_as_sealed);
    let not_as_sealed: Vec<_> = not_as_sealed
        .map(|(member, _)| ObjectFault::NotAsSealed(member.header.id))
        .collect();
    let mut faults: Vec<_> = verdict.faults.into_iter().map(ObjectFault::Part).collect();
    faults.extend(not_as_sealed);
    let digest = *digest.finalize().as_bytes();
    if let Some(listed) = &object.listed {
        if digest != listed.digest {
            faults.push(ObjectFault::Digest);
        }
        if !has_segments(&index, &listed.segments) {
            faults.push(ObjectFault::Segments);
        }
    }
    Ok(ReadObject { index, digest, faults })
}

pub(super) fn has_segments(index: &ObjectIndex, segments: &[SegmentId]) -> bool {
    index
        .members()
        .iter()
        .map(|member| member.header.id)
        .eq(segments.iter().copied())
}
