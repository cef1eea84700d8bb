//! `gophership dev`: a node to try things out, with hints for the next steps.

use crate::config::Config;
use crate::run;

/// Prints the addresses, and runs a node.
///
/// # Errors
///
/// As [`run::run`].
pub fn dev(config: &Config) -> anyhow::Result<()> {
    eprintln!(
        "a node on loopback; its data stays in {data}\n\
         \x20 OTLP/gRPC   {grpc}    OTEL_EXPORTER_OTLP_ENDPOINT=http://{grpc}\n\
         \x20 OTLP/HTTP   {http}    OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}\n\
         \x20 metrics     http://{admin}/metrics\n\
         \x20 status      gs-ctl --socket {data}/gophership.sock status\n\
         \x20 replay      gs-ctl --socket {data}/gophership.sock replay start --sink -\n\
         Ctrl-C ends it.",
        data = config.node.data_dir.display(),
        grpc = config.listeners.otlp_grpc.address,
        http = config.listeners.otlp_http.address,
        admin = config.listeners.admin.address,
    );
    run::run(config, None)
}
