//! Client, load generator and checker together, against a fake node in this process that keeps its promises or breaks
//! them.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jepsen_like::check::{Replayed, Verdict, check};
use jepsen_like::history::Tally;
use jepsen_like::load::{LoadSpec, Pace, Retry, Workload};
use jepsen_like::payload::{PayloadHash, Sizes};
use tokio::net::TcpListener;

/// The reaction of the fake node to a request, by its number.
#[derive(Clone, Copy, PartialEq)]
enum Deed {
    /// Stores it and acknowledges it.
    Keep,
    /// Refuses it, with a RetryInfo.
    Refuse,
    /// Stores it and closes the connection.
    KeepAndHangUp,
    /// Acknowledges it without storing it.
    Forget,
    /// Stores it twice and acknowledges it.
    KeepTwice,
}

type Store = Arc<Mutex<(u64, Vec<Replayed>)>>;

fn inflate(message: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut plain = message[5..].to_vec();
    if message[0] == 1 {
        plain.clear();
        flate2::read::GzDecoder::new(&message[5..])
            .read_to_end(&mut plain)
            .unwrap();
    }
    plain
}

async fn answer(
    request: Request<Incoming>,
    store: Store,
    deed: fn(u64) -> Deed,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, std::io::Error> {
    assert_eq!(
        request.uri().path(),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
    );
    let message = request
        .into_body()
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let entry = Replayed {
        hash: PayloadHash::of(&inflate(&message)),
        label: String::new(),
    };
    let deed = {
        let mut store = store.lock().unwrap();
        store.0 += 1;
        let deed = deed(store.0);
        let copies = match deed {
            Deed::Keep | Deed::KeepAndHangUp => 1,
            Deed::KeepTwice => 2,
            Deed::Refuse | Deed::Forget => 0,
        };
        store.1.extend(std::iter::repeat_n(entry, copies));
        deed
    };
    let mut trailers = HeaderMap::new();
    let mut body = Bytes::new();
    match deed {
        Deed::KeepAndHangUp => return Err(std::io::Error::other("hung up")),
        Deed::Refuse => {
            trailers.insert("grpc-status", "14".parse().unwrap());
        }
        Deed::Keep | Deed::KeepTwice | Deed::Forget => {
            trailers.insert("grpc-status", "0".parse().unwrap());
            body = Bytes::from_static(&[0; 5]);
        }
    }
    let body = Full::new(body).with_trailers(async { Some(Ok(trailers)) }).boxed();
    Ok(Response::builder()
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap())
}

async fn fake_node(deed: fn(u64) -> Deed) -> (SocketAddr, Store) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Store::default();
    let kept = Arc::clone(&store);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let store = Arc::clone(&store);
            let service = service_fn(move |request| answer(request, Arc::clone(&store), deed));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, kept)
}

async fn run(pace: Pace, retry: Retry, deed: fn(u64) -> Deed) -> (Tally, Verdict) {
    let (address, store) = fake_node(deed).await;
    let spec = LoadSpec {
        connections: 3,
        pace,
        retry,
        timeout: Duration::from_secs(20),
        sizes: Sizes::Mixed,
        bytes_max: 4 << 20,
    };
    let mut workload = Workload::new(spec, 7);
    let running = workload.start(address);
    while running.acks() < 150 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    workload.finish(running).await.unwrap();
    let replay = store.lock().unwrap().1.clone();
    (workload.history.tally(0), check(&workload.history, &replay))
}

const OPEN: Pace = Pace::Open {
    interval: Duration::from_millis(1),
    in_flight_max: 16,
};

#[tokio::test]
async fn a_node_that_keeps_its_promises_is_clean() {
    for pace in [Pace::Closed, OPEN] {
        let (tally, verdict) = run(pace, Retry::Fresh, |number| match number % 20 {
            7 => Deed::Refuse,
            13 => Deed::KeepAndHangUp,
            _ => Deed::Keep,
        })
        .await;
        assert!(verdict.is_clean(), "{verdict:?}");
        assert!(
            tally.acked >= 150 && tally.refused > 0 && tally.unknown > 0,
            "{tally:?}"
        );
        assert!(verdict.stored_unacked > 0 && verdict.retried_copies == 0);
    }
}

#[tokio::test]
async fn a_client_that_sends_the_same_again_explains_its_own_duplicates() {
    let (_, verdict) = run(Pace::Closed, Retry::Same, |number| match number % 20 {
        13 => Deed::KeepAndHangUp,
        _ => Deed::Keep,
    })
    .await;
    assert!(verdict.is_clean(), "{verdict:?}");
    assert!(verdict.retried_copies > 0);
}

#[tokio::test]
async fn a_node_that_forgets_one_acknowledged_request_is_found_out() {
    let (_, verdict) = run(
        OPEN,
        Retry::Fresh,
        |number| if number == 60 { Deed::Forget } else { Deed::Keep },
    )
    .await;
    assert_eq!(verdict.lost.len(), 1);
}

#[tokio::test]
async fn a_node_that_stores_one_twice_is_found_out() {
    let (_, verdict) = run(OPEN, Retry::Same, |number| {
        if number == 60 { Deed::KeepTwice } else { Deed::Keep }
    })
    .await;
    assert_eq!(verdict.duplicates.len(), 1);
}
