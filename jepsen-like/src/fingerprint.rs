//! A cheap proof of equal bytes, for streams too fast for BLAKE3: together with a payload's id it identifies its bytes.
//!
//! **Owns**: [`Fingerprint`]. Two parts combine into the fingerprint of the whole without being read again.

use std::fmt;

use crc32fast::Hasher;

/// CRC32 and length of a payload. It is no name on its own: payloads of equal length may share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Fingerprint of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::new(crc32fast::hash(bytes), bytes.len())
    }

    /// Fingerprint of bytes with this CRC32 and this length.
    pub fn new(crc32: u32, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self(u64::from(crc32) << 32 | u64::from(bytes))
    }

    /// The fingerprint as a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The fingerprint that [`Self::get`] turned into a number.
    pub fn from_stored(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// CRC32 over three parts in order.
pub(crate) fn crc_of(head: &[u8], middle: &Hasher, end: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.combine(middle);
    hasher.update(end);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_give_the_crc_of_the_whole() {
        let mut middle = Hasher::new();
        middle.update(b"the same in many");
        let whole = Fingerprint::of(b"head the same in many ends");
        assert_eq!(Fingerprint::new(crc_of(b"head ", &middle, b" ends"), 26), whole);
        assert_ne!(Fingerprint::new(crc_of(b"heed ", &middle, b" ends"), 26), whole);
    }
}
