//! OTLP's own messages and the client of its logs service, generated from the `.proto` files, for code that makes
//! requests. Received payloads are never decoded into them (see [`crate::otlp`]).

mod generated {
    #![allow(missing_docs, unreachable_pub, rustdoc::all, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/otlp.rs"));
}

pub use generated::opentelemetry::proto::{collector, common, logs, resource};
