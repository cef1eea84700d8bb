//! Addresses on loopback.
//!
//! **Owns**: [`own_address`].

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A loopback address for one server, at which no other test, process or outgoing connection takes a port: one that
/// stops listening for a while finds its port free again. It comes again after 254 others.
pub fn own_address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = TAKEN.fetch_add(1, Ordering::Relaxed) % 254 + 1;
    let host = u8::try_from(number).expect("it is at most 254");
    Ipv4Addr::new(127, 1 + high % 250, low, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_on_loopback_and_each_is_another() {
        let (one, other) = (own_address(), own_address());
        assert!(one.is_loopback() && other.is_loopback());
        assert_ne!(one, other);
        assert_ne!(one, Ipv4Addr::LOCALHOST);
    }
}
