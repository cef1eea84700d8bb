//! The admin port: metrics, health, and the status as JSON. It needs no credential, and changes nothing.

mod serve;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;

use crate::metrics;
use crate::node_state::NodeState;

pub use serve::{AdminError, serve};

/// What answers where.
pub fn router(node: Arc<NodeState>) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/v1/status", get(api_status))
        .with_state(node)
}

async fn scrape(State(node): State<Arc<NodeState>>) -> Response {
    match metrics::render(&node) {
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

async fn api_status(State(node): State<Arc<NodeState>>) -> Json<serde_json::Value> {
    Json(status::status(&node))
}
