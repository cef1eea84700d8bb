//! The admin port: metrics, health, and the status as JSON. It needs no credential, and changes nothing.

mod serve;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;

use gophership_proto::view;
use gophership_proto::view::status::StatusView;
use serde_json::{Value, json};

use crate::control::{self, ControlContext};
use crate::metrics;
use crate::node_state::NodeState;

pub use serve::{AdminError, serve};

/// What is asked for the status, from the moment at which there is something to ask.
pub type StatusSource = Arc<OnceLock<ControlContext>>;

/// What answers where.
pub fn router(node: Arc<NodeState>, status: StatusSource) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(node)
        .route("/api/v1/status", get(api_status))
        .with_state(status)
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

/// The same as `gs-ctl status -o json`.
async fn api_status(State(source): State<StatusSource>) -> (StatusCode, Json<Value>) {
    let Some(context) = source.get().cloned() else {
        return no_status("the node is starting");
    };
    let status = tokio::task::spawn_blocking(move || view::json(&StatusView::from(control::status(&context))));
    match status.await {
        Ok(Ok(status)) => (StatusCode::OK, Json(status)),
        Ok(Err(error)) => no_status(&error.to_string()),
        Err(error) => no_status(&error.to_string()),
    }
}

fn no_status(why: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": why })))
}
