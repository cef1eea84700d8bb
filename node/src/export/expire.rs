//! Whether an entry has waited longer for its sink than `export.expire` allows: a pure function.
//!
//! **Invariants.** I1: no wall clock decides: the age is that of the segment's seal, by the clock of the vault. I2: what is not sealed yet never expires, however old it says it is.

use std::time::Duration;

/// `sealed_ns`: when the segment of the entry was sealed, and `now_ns`: now, both by the clock of the vault.
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
