//! The admin port: metrics, health, and what `gs-ctl -o json` shows of node and cluster. It needs no credential, and
//! changes nothing.
//!
//! - `serve`: the port. `api`: answers as JSON.

mod api;
mod serve;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics;
use crate::node_state::NodeState;

pub(crate) use api::StatusSource;
pub use serve::{AdminError, serve};

/// The routes of the admin port.
pub(crate) fn router(node: Arc<NodeState>, status: StatusSource) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Arc::clone(&node))
        .merge(api::routes(node, status))
}

async fn scrape(State(node): State<Arc<NodeState>>) -> Response {
    // The catalogue of a cluster may be busy for a moment.
    let rendered = tokio::task::spawn_blocking(move || metrics::render(&node).map_err(|e| e.to_string())).await;
    match rendered.unwrap_or_else(|e| Err(e.to_string())) {
        Ok(text) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn livez(State(node): State<Arc<NodeState>>) -> Response {
    match node.live() {
        Ok(()) => "alive\n".into_response(),
        Err(worker) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("ingest worker {worker} has not run for 30 s: restart the node\n"),
        )
            .into_response(),
    }
}

async fn readyz(State(node): State<Arc<NodeState>>) -> Response {
    match node.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
