//! Metrics of the listeners' TLS.

use std::sync::Arc;

use super::families::Families;
use crate::tls::ServerTls;

pub(super) fn tls(out: &mut Families, listeners: &[Arc<ServerTls>]) {
    let name = |tls: &ServerTls| tls.listener().trim_start_matches("listeners.");
    out.gauges(
        "gophership_tls_certificate_expiry_timestamp_seconds",
        "When the first certificate of the chain that a listener serves expires, since the Unix epoch",
        listeners
            .iter()
            .map(|tls| ([("listener", name(tls))], tls.expires() as f64)),
    );
    let failed = listeners.iter().flat_map(|tls| {
        let listener = name(tls);
        tls.failed()
            .map(move |(fault, count)| ([("listener", listener), ("reason", fault.label())], count as f64))
    });
    out.counters(
        "gophership_tls_handshakes_failed_total",
        "Handshakes that failed, by listener and reason",
        failed,
    );
}
