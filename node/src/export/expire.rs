//! The expiry of an entry that has waited longer for its sink than `export.expire` allows: a pure function.
//!
//! **Invariants**:
//! - I1: no wall clock decides: the age is that of the segment's seal, by the clock of the vault.
//! - I2: an entry whose segment is not sealed yet never expires, whatever its own times say.

use std::time::Duration;

/// True where an entry has expired. `sealed_ns` is the time of its segment's seal and `now_ns` the present time, both
/// by the clock of the vault.
pub(super) fn is_expired(sealed_ns: Option<u64>, now_ns: u64, expire: Option<Duration>) -> bool {
    let (Some(sealed_ns), Some(expire)) = (sealed_ns, expire) else {
        return false;
    };
    let expire_ns = u64::try_from(expire.as_nanos()).unwrap_or(u64::MAX);
    sealed_ns.saturating_add(expire_ns) < now_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let after = |ns| Some(Duration::from_nanos(ns));
        for (sealed_ns, now_ns, expire, expired) in [
            (Some(10), 15, after(5), false),
            (Some(10), 16, after(5), true),
            (None, u64::MAX, after(5), false),
            (Some(10), u64::MAX, None, false),
            (Some(20), 10, after(5), false),
            (Some(10), u64::MAX, after(u64::MAX), false),
        ] {
            assert_eq!(
                is_expired(sealed_ns, now_ns, expire),
                expired,
                "{sealed_ns:?} {now_ns} {expire:?}"
            );
        }
    }
}
