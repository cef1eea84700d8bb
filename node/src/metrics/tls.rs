//! Metrics of the listeners' TLS.

use std::sync::Arc;

use super::Families;
use crate::tls::ServerTls;

pub(super) fn tls(out: &mut Families, listeners: &[Arc<ServerTls>]) {
    let name = |tls: &ServerTls| tls.listener().trim_start_matches("listeners.").to_owned();
    let expiries: Vec<(String, f64)> = listeners.iter().map(|tls| (name(tls), tls.expires() as f64)).collect();
    let expiries: Vec<_> = expiries
        .iter()
        .map(|(listener, at)| ([("listener", &**listener)], *at))
        .collect();
    let rows: Vec<_> = expiries.iter().map(|(labels, at)| (&labels[..], *at)).collect();
    out.gauge(
        "gophership_tls_certificate_expiry_timestamp_seconds",
        "When the first certificate of the chain that a listener serves expires, since the Unix epoch",
        &rows,
    );
    let failed: Vec<(String, &'static str, f64)> = listeners
        .iter()
        .flat_map(|tls| {
            tls.failed()
                .map(|(fault, count)| (name(tls), fault.label(), count as f64))
        })
        .collect();
    let failed: Vec<_> = failed
        .iter()
        .map(|(listener, reason, count)| ([("listener", &**listener), ("reason", *reason)], *count))
        .collect();
    let rows: Vec<_> = failed.iter().map(|(labels, count)| (&labels[..], *count)).collect();
    out.counter(
        "gophership_tls_handshakes_failed_total",
        "Handshakes that failed, by listener and reason",
        &rows,
    );
}
