//! The ingest path from a socket to the vault, driven by raw clients.

// Helpers are test code too.
#![allow(clippy::unwrap_used)]

mod client;
mod harness;
mod payloads;

mod budget;
mod connections;
mod fence;
mod grpc;
mod http;
mod replicas;
mod tls;
mod zones;

use std::future::Future;

/// Runs a test's client.
fn run<T>(client: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(client)
}
