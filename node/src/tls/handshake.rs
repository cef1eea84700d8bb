//! Reasons for which a TLS handshake fails: a closed list, for the metric and the log.

use std::io;

use rustls::{Error, InvalidMessage};

/// The reason for which a client's TLS handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    /// The client spoke without TLS.
    Plaintext,
    /// The client showed no certificate, and the listener asks for one.
    NoClientCertificate,
    /// The client's certificate is of no authority that the listener trusts, or not valid now.
    BadClientCertificate,
    /// The client did not accept the node's certificate: most often it does not trust that, or connected by another
    /// name.
    RefusedByClient,
    /// The client speaks no TLS 1.3, or none of the protocols of this port.
    Unsupported,
    /// The client's bytes are no handshake.
    Malformed,
    /// The handshake took too long.
    TimedOut,
    /// The client went away, as probes do.
    BrokenOff,
}

impl HandshakeFault {
    /// Number of reasons.
    pub const COUNT: usize = 8;

    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Plaintext,
        Self::NoClientCertificate,
        Self::BadClientCertificate,
        Self::RefusedByClient,
        Self::Unsupported,
        Self::Malformed,
        Self::TimedOut,
        Self::BrokenOff,
    ];

    /// The reason behind the error of a handshake.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match tls {
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::Plaintext,
            Some(Error::NoCertificatesPresented) => Self::NoClientCertificate,
            Some(Error::InvalidCertificate(_)) => Self::BadClientCertificate,
            Some(Error::AlertReceived(_)) => Self::RefusedByClient,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Self::Unsupported,
            Some(_) => Self::Malformed,
            None if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            None => Self::BrokenOff,
        }
    }

    /// The metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::NoClientCertificate => "no_client_certificate",
            Self::BadClientCertificate => "bad_client_certificate",
            Self::RefusedByClient => "refused_by_client",
            Self::Unsupported => "unsupported",
            Self::Malformed => "malformed",
            Self::TimedOut => "timed_out",
            Self::BrokenOff => "broken_off",
        }
    }

    /// The remedy; `None` for a reason that is not worth a log line.
    #[must_use]
    pub const fn hint(self) -> Option<&'static str> {
        match self {
            Self::Plaintext => Some(
                "the client speaks without TLS: give it an https:// endpoint, or take `insecure: true` from its \
                 settings",
            ),
            Self::NoClientCertificate => {
                Some("this listener has a client_ca: give the client a certificate and its key")
            }
            Self::BadClientCertificate => {
                Some("the client's certificate must be valid now and signed by an authority in client_ca")
            }
            Self::RefusedByClient => {
                Some("the client must trust the authority of this node's certificate, and use a name that is in it")
            }
            Self::Unsupported => Some("the client must speak TLS 1.3, and the port's protocol"),
            Self::Malformed | Self::TimedOut | Self::BrokenOff => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, PeerIncompatible};

    use super::*;

    #[test]
    fn each_end_of_a_handshake_has_its_reason() {
        use HandshakeFault::*;
        let tls = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, fault) in [
            (
                tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)),
                Plaintext,
            ),
            (tls(Error::NoCertificatesPresented), NoClientCertificate),
            (
                tls(Error::InvalidCertificate(CertificateError::Expired)),
                BadClientCertificate,
            ),
            (
                tls(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                BadClientCertificate,
            ),
            (tls(Error::AlertReceived(AlertDescription::UnknownCA)), RefusedByClient),
            (
                tls(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic)),
                Unsupported,
            ),
            (tls(Error::NoApplicationProtocol), Unsupported),
            (tls(Error::InvalidMessage(InvalidMessage::MessageTooLarge)), Malformed),
            (io::ErrorKind::TimedOut.into(), TimedOut),
            (io::ErrorKind::UnexpectedEof.into(), BrokenOff),
            (io::ErrorKind::ConnectionReset.into(), BrokenOff),
        ] {
            assert_eq!(HandshakeFault::of(&error), fault, "{error}");
        }
    }

    #[test]
    fn every_reason_has_its_own_place_and_label() {
        let labels: std::collections::HashSet<_> = HandshakeFault::ALL.into_iter().map(HandshakeFault::label).collect();
        assert_eq!(labels.len(), HandshakeFault::COUNT);
        for (index, fault) in HandshakeFault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
        }
    }
}
