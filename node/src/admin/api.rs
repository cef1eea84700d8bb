//! `/api/v1`: the answers of `gs-ctl -o json`, read-only.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::get;
use gophership_proto::control::v1;
use gophership_proto::view;
use gophership_proto::view::cluster::{ClusterView, NodeList};
use gophership_proto::view::event::EventList;
use gophership_proto::view::segment::SegmentList;
use gophership_proto::view::status::StatusView;
use gophership_vault::ids::{NodeId, SegmentId, SegmentIndex, ShardId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::node_state::NodeState;
use crate::operate::{OperateError, Viewer, Wanted};
use crate::readiness::NotReady;

/// The source of what is shown, set once the node's parts exist.
pub(crate) type StatusSource = Arc<OnceLock<Viewer>>;

type Answer = (StatusCode, Json<Value>);

/// The node, and what is shown once its parts exist.
type Source = (Arc<NodeState>, StatusSource);

pub(super) fn routes(node: Arc<NodeState>, source: StatusSource) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/cluster", get(cluster))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/segments", get(segments))
        .route("/api/v1/events", get(events))
        .with_state((node, source))
}

/// The answer of `gs-ctl status -o json`.
async fn status(State(source): State<Source>) -> Answer {
    match viewer(&source) {
        Ok(viewer) => shown(viewer.status().await.map(StatusView::from)),
        Err(starting) => starting,
    }
}

/// The answer of `gs-ctl cluster status -o json`.
async fn cluster(State(source): State<Source>) -> Answer {
    match viewer(&source) {
        Ok(viewer) => shown(viewer.cluster_status().await.map(ClusterView::from)),
        Err(starting) => starting,
    }
}

/// The answer of `gs-ctl node list -o json`.
async fn nodes(State(source): State<Source>) -> Answer {
    match viewer(&source) {
        Ok(viewer) => shown(viewer.cluster_status().await.map(NodeList::from)),
        Err(starting) => starting,
    }
}

/// The part of the list that is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    shard: Option<u16>,
    /// Only segments that lack copies on live nodes.
    #[serde(default)]
    lacking: bool,
    /// At most so many; 0 or none: as many as one answer has.
    limit: Option<u32>,
    /// `NODE/SHARD/INDEX`, as in `next` of the page before.
    after: Option<String>,
}

/// A page of the answer of `gs-ctl segment list -o json`.
async fn segments(State(source): State<Source>, Query(page): Query<Page>) -> Answer {
    let viewer = match viewer(&source) {
        Ok(viewer) => viewer,
        Err(starting) => return starting,
    };
    let after = match page.after.as_deref().map(segment_id) {
        Some(None) => {
            return error(
                StatusCode::BAD_REQUEST,
                "after names no segment: it is NODE/SHARD/INDEX",
            );
        }
        Some(Some(after)) => Some(after),
        None => None,
    };
    let wanted = Wanted {
        shard: page.shard.map(ShardId::new),
        lacking: page.lacking,
    };
    let listed = viewer.list_segments(wanted, after, page.limit.unwrap_or(0));
    shown(listed.await.map(SegmentList::from))
}

/// The events that are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventPage {
    /// Only those behind this number, as in `next` of the page before.
    #[serde(default)]
    after: u64,
    /// Only those of this time or later, RFC 3339.
    since: Option<jiff::Timestamp>,
    /// At most so many; 0 or none: as many as one answer has.
    #[serde(default)]
    limit: u32,
}

/// A page of the answer of `gs-ctl events -o json`.
async fn events(State(source): State<Source>, Query(page): Query<EventPage>) -> Answer {
    let since = page.since.map_or(0, jiff::Timestamp::as_nanosecond);
    let asked = v1::ListEventsRequest {
        after: page.after,
        since_unix_nano: u64::try_from(since).unwrap_or(0),
        limit: page.limit,
    };
    match viewer(&source) {
        Ok(viewer) => shown(viewer.list_events(asked).await.map(EventList::from)),
        Err(starting) => starting,
    }
}

fn segment_id(name: &str) -> Option<SegmentId> {
    let mut parts = name.split('/').map(|part| part.parse::<u32>().ok());
    let mut next = || parts.next().flatten();
    let id = SegmentId {
        node: NodeId::new(next()?)?,
        shard: ShardId::new(u16::try_from(next()?).ok()?),
        index: SegmentIndex::new(next()?)?,
    };
    parts.next().is_none().then_some(id)
}

fn viewer((node, source): &Source) -> Result<&Viewer, Answer> {
    source.get().ok_or_else(|| {
        let why = node.ready().err().unwrap_or(NotReady::Starting);
        error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())
    })
}

fn shown(answer: Result<impl Serialize, OperateError>) -> Answer {
    let answer = match &answer {
        Ok(answer) => view::json(answer).map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match answer {
        Ok(answer) => (StatusCode::OK, Json(answer)),
        Err(why) => error(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn error(code: StatusCode, why: &str) -> Answer {
    (code, Json(json!({ "error": why })))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::admin::router;
    use crate::control::testkit::{TestNode, payload};

    async fn get_json(source: &StatusSource, path: &str) -> (StatusCode, Value) {
        let router = router(NodeState::new("test".to_owned(), false), Arc::clone(source));
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = router.oneshot(request).await.expect("an answer");
        let code = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        (code, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn is_as(schema: &str, shown: &Value) {
        let schema = serde_json::from_str(schema).expect("a schema");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let faults: Vec<String> = validator.iter_errors(shown).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?} in {shown:#}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_shown_is_as_the_schemas_of_gs_ctl_say_once_there_is_something() {
        let source = StatusSource::default();
        let answers = [
            ("/api/v1/status", include_str!("../../../gs-ctl/schemas/status.json")),
            (
                "/api/v1/cluster",
                include_str!("../../../gs-ctl/schemas/cluster-status.json"),
            ),
            ("/api/v1/nodes", include_str!("../../../gs-ctl/schemas/node-list.json")),
            (
                "/api/v1/segments",
                include_str!("../../../gs-ctl/schemas/segment-list.json"),
            ),
            ("/api/v1/events", include_str!("../../../gs-ctl/schemas/events.json")),
        ];
        for (path, _) in answers {
            let (code, why) = get_json(&source, path).await;
            assert_eq!(
                (code, &why["error"]),
                (StatusCode::SERVICE_UNAVAILABLE, &"starting".into()),
                "{path}"
            );
        }
        let dir = tempfile::tempdir().expect("a folder");
        let mut node = TestNode::open(dir.path(), 1);
        node.append(0, 1, &payload(1, 100));
        let node = node.reopen();
        let control = node.serve(&[]).await;
        assert!(source.set(Viewer::new(control.context.clone())).is_ok());
        for (path, schema) in answers {
            let (code, shown) = get_json(&source, path).await;
            assert_eq!(code, StatusCode::OK, "{path}");
            is_as(schema, &shown);
        }
        let (_, shown) = get_json(&source, "/api/v1/status").await;
        assert_eq!(shown["memory"]["budget_bytes"], 1000);
        let (_, shown) = get_json(&source, "/api/v1/segments?limit=1").await;
        let first = &shown["segments"][0];
        assert_eq!(
            (&first["segment"], &first["state"]),
            (&"1/0/1".into(), &"sealed".into())
        );
        let holder = &first["holders"][0];
        assert_eq!(
            (&holder["node"], &holder["state"], &holder["why"]),
            (&json!(1), &json!("has"), &Value::Null)
        );
        assert_eq!(shown["next"], "1/0/1");
        let (_, shown) = get_json(&source, "/api/v1/segments?after=1/0/1").await;
        let behind = shown["segments"].as_array().expect("a list");
        assert!(behind.iter().all(|segment| segment["segment"] != "1/0/1"), "{shown:#}");
        assert_eq!(shown["next"], Value::Null);
        let (_, shown) = get_json(&source, "/api/v1/events").await;
        let known = shown["events"].as_array().expect("a list");
        assert_eq!(known[0]["what"], "node_up", "{shown:#}");
        let last = known.len();
        let (_, shown) = get_json(&source, &format!("/api/v1/events?after={}&limit=1", last - 1)).await;
        assert_eq!(
            (&shown["events"][0]["number"], &shown["next"]),
            (&json!(last), &Value::Null)
        );
        let (_, shown) = get_json(&source, "/api/v1/events?limit=1").await;
        assert_eq!(shown["next"], 1);
        let (_, shown) = get_json(&source, "/api/v1/events?since=2500-01-01T00:00:00Z").await;
        assert_eq!(shown["events"], json!([]));
        let (code, _) = get_json(&source, "/api/v1/events?since=yesterday").await;
        assert_eq!(code, StatusCode::BAD_REQUEST);
        for bad in ["after=1/0", "after=0/0/1", "after=1/0/1/1", "limt=3"] {
            let (code, _) = get_json(&source, &format!("/api/v1/segments?{bad}")).await;
            assert_eq!(code, StatusCode::BAD_REQUEST, "{bad}");
        }
        // Nothing is changed through it.
        let post = Request::post("/api/v1/segments")
            .body(Body::empty())
            .expect("a request");
        let router = router(NodeState::new("test".to_owned(), false), Arc::clone(&source));
        assert_eq!(
            router.oneshot(post).await.expect("an answer").status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
        drop(source);
        control.stop().await;
        node.close();
    }
}
