//! The body of the fuzz target; it is no part of the crate's interface.

use std::io;
use std::ops::Range;

use gophership_vault::ids::Lsn;

use crate::object::{ObjectIndex, Verdict, read_index, verify};

/// The object that changes are made to.
pub const GOLDEN: &[u8] = include_bytes!("../testdata/v1/two-segments.binpb.zst");

/// The documented manifest.
#[cfg(feature = "store")]
pub const GOLDEN_MANIFEST: &[u8] = include_bytes!("../testdata/v1/manifest.json");

/// Reads `input` as a manifest.
///
/// # Panics
///
/// What was read is not read again from the bytes that it is written as.
#[cfg(feature = "store")]
pub fn manifest(input: &[u8]) {
    if let Ok(manifest) = crate::round::Manifest::decode(input) {
        let again = crate::round::Manifest::decode(&manifest.encode());
        assert_eq!(again.ok().as_ref(), Some(&manifest));
    }
}

/// Entries as they were read: position and payload.
pub type Entries = Vec<(Lsn, Vec<u8>)>;

/// Reads an object in memory: its index, the verdict on it, and the entries of all whole blocks. `None` where it has no
/// readable index.
pub fn read(bytes: &[u8]) -> Option<(ObjectIndex, Verdict, Entries)> {
    let mut read = |range: Range<u64>| -> io::Result<Vec<u8>> {
        assert!(
            range.start <= range.end && range.end <= bytes.len() as u64,
            "{range:?} lies outside of {} bytes",
            bytes.len()
        );
        Ok(bytes[range.start as usize..range.end as usize].to_vec())
    };
    let index = read_index(bytes.len() as u64, &mut read).ok()?;
    let mut entries = Vec::new();
    let verdict = verify(&index, &mut read, &mut |_, block| {
        entries.extend(block.entries().map(|entry| (entry.lsn, entry.payload.to_vec())));
    })
    .expect("memory can be read");
    Some((index, verdict, entries))
}

/// Reads the golden object with changes as `input` says (three bytes each: place, and what is flipped there; a byte
/// that is left cuts it off), `input` itself, and objects with `input` as the body of their index, with a right CRC.
///
/// # Panics
///
/// A change is not noticed, or something is read that was never written.
pub fn object(input: &[u8]) {
    let (_, _, whole) = read(GOLDEN).expect("the golden object");
    let mut changed = GOLDEN.to_vec();
    let changes = input.chunks_exact(3);
    let cut = changes.remainder().first().copied();
    for change in changes {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % changed.len();
        changed[at] ^= change[2];
    }
    if let Some(cut) = cut {
        changed.truncate(GOLDEN.len() - usize::from(cut) % GOLDEN.len());
    }
    let found = read(&changed);
    let is_whole = found.as_ref().is_some_and(|(_, verdict, _)| verdict.is_whole());
    assert_eq!(is_whole, changed == GOLDEN, "a change is noticed, and nothing else is");
    for entry in found.into_iter().flat_map(|(_, _, entries)| entries) {
        assert!(whole.contains(&entry), "an entry that was never written");
    }
    read(input);
    read(&with_index(input));
}

/// An object of which the index frame has this body, with a right CRC and a seek table that names it.
pub fn with_index(body: &[u8]) -> Vec<u8> {
    let mut out = GOLDEN[..20].to_vec();
    let index_at = out.len();
    out.extend_from_slice(&0x184D_2A5Au32.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32 + 8).to_le_bytes());
    out.extend_from_slice(b"GAI1");
    out.extend_from_slice(body);
    let crc = crc32fast::hash(&out[index_at + 8..]);
    out.extend_from_slice(&crc.to_le_bytes());
    let index_len = (out.len() - index_at) as u32;
    out.extend_from_slice(&0x184D_2A5Eu32.to_le_bytes());
    out.extend_from_slice(&25u32.to_le_bytes());
    for size in [20, 0, index_len, 0, 2] {
        out.extend_from_slice(&size.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(&0x8F92_EAB1u32.to_le_bytes());
    out
}
