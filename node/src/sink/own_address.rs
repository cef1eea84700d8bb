//! Check for a sink that is the node itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use tokio::net::lookup_host;

use super::limits::CONNECT_TIMEOUT;

/// True where one of the addresses of `authority` (`host:port`) is one that the node listens on.
///
/// # Errors
///
/// The reason for which its name has no address, in words.
pub(crate) async fn reaches_self(authority: &str, own: &[SocketAddr]) -> Result<bool, String> {
    match tokio::time::timeout(CONNECT_TIMEOUT, lookup_host(authority)).await {
        Ok(Ok(mut found)) => Ok(found.any(|address| is_own(address, own))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the name service does not answer".to_owned()),
    }
}

/// True where bytes sent to `sink` arrive at one of the addresses that the node listens on.
fn is_own(sink: SocketAddr, own: &[SocketAddr]) -> bool {
    reaches(sink, own, &is_local)
}

fn reaches(sink: SocketAddr, own: &[SocketAddr], is_local: &dyn Fn(IpAddr) -> bool) -> bool {
    let ip = sink.ip().to_canonical();
    own.iter().any(|own| {
        let listens_on = own.ip().to_canonical();
        // An unspecified address is the host itself, on either side.
        own.port() == sink.port()
            && (listens_on == ip || ip.is_unspecified() || (listens_on.is_unspecified() && is_local(ip)))
    })
}

/// True where the address is one of this host's: only those can be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let local = |ip: IpAddr| ip.is_loopback() || ip == IpAddr::from([10, 0, 0, 1]);
        let reaches = |sink: &str, own: &str| reaches(sink.parse().unwrap(), &[own.parse().unwrap()], &local);
        for (sink, own, own_address) in [
            ("127.0.0.1:4317", "127.0.0.1:4317", true),
            ("127.0.0.1:4318", "127.0.0.1:4317", false),
            ("127.0.0.2:4317", "127.0.0.1:4317", false),
            ("127.0.0.1:4317", "0.0.0.0:4317", true),
            ("10.0.0.1:4317", "0.0.0.0:4317", true),
            ("10.0.0.2:4317", "0.0.0.0:4317", false),
            ("10.0.0.1:4317", "[::]:4317", true),
            ("[::1]:4317", "[::]:4317", true),
            ("0.0.0.0:4317", "127.0.0.1:4317", true),
            ("[::ffff:127.0.0.1]:4317", "127.0.0.1:4317", true),
        ] {
            assert_eq!(reaches(sink, own), own_address, "{sink} to {own}");
        }
    }

    #[test]
    fn an_address_of_this_host_can_be_told_from_another() {
        assert!(is_local(IpAddr::from([127, 0, 0, 1])));
        // TEST-NET-1, which no host has.
        assert!(!is_local(IpAddr::from([192, 0, 2, 1])));
    }
}
