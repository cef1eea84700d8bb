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

use crate::context::NodeContext;
use crate::node_state::NodeState;
use crate::{metrics, operate};

pub use serve::{AdminError, serve};

/// The source of the status, set once the node's parts exist.
pub type StatusSource = Arc<OnceLock<NodeContext>>;

/// The routes of the admin port.
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

/// The answer of `gs-ctl status -o json`.
async fn api_status(State(source): State<StatusSource>) -> (StatusCode, Json<Value>) {
    let Some(context) = source.get().cloned() else {
        return no_status("the node is starting");
    };
    let status = tokio::task::spawn_blocking(move || view::json(&StatusView::from(operate::status(&context))));
    match status.await {
        Ok(Ok(status)) => (StatusCode::OK, Json(status)),
        Ok(Err(error)) => no_status(&error.to_string()),
        Err(error) => no_status(&error.to_string()),
    }
}

fn no_status(why: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": why })))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::control::testkit::TestNode;

    async fn status(source: &StatusSource) -> (StatusCode, Value) {
        let router = router(NodeState::new("test".to_owned(), None), Arc::clone(source));
        let request = Request::get("/api/v1/status").body(Body::empty()).expect("a request");
        let answer = router.oneshot(request).await.expect("an answer");
        let code = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        (code, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_status_is_as_the_schema_of_gs_ctl_says_once_there_is_one() {
        let source = StatusSource::default();
        let (code, why) = status(&source).await;
        assert_eq!(
            (code, &why["error"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"the node is starting".into())
        );
        let dir = tempfile::tempdir().expect("a folder");
        let node = TestNode::open(dir.path(), 1);
        let control = node.serve(&[]).await;
        assert!(source.set(control.context.clone()).is_ok());
        let (code, shown) = status(&source).await;
        assert_eq!(code, StatusCode::OK);
        let schema = include_str!("../../../gs-ctl/schemas/status.json");
        let schema = serde_json::from_str(schema).expect("a schema");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let faults: Vec<String> = validator.iter_errors(&shown).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?} in {shown:#}");
        assert_eq!(shown["memory"]["budget_bytes"], 1000);
        drop(source);
        control.stop().await;
        node.close();
    }
}
