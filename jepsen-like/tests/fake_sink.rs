//! The recording sink against clients in this process: the answers of each mode, and the records.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use jepsen_like::history::Outcome;
use jepsen_like::offer::{Burst, Ending, OfferSpec, Pattern, Summary, Templates, offer};
use jepsen_like::payload::PayloadId;
use jepsen_like::sink::{Mode, RETRY_AFTER, Sink};

const SHORT: Pattern = Pattern {
    rate: 200.0,
    length: Duration::from_millis(500),
    burst: None,
};

fn spec(sink: &Sink) -> OfferSpec {
    OfferSpec {
        connections: 3,
        records: 10,
        gzip_percent: 50,
        // What is answered at all is answered in this time on a busy machine, too.
        timeout: Duration::from_secs(60),
        ..OfferSpec::new(sink.grpc, SHORT)
    }
}

async fn endings(mode: Mode) -> (Vec<Ending>, Sink) {
    let sink = Sink::start(mode).await.unwrap();
    let mut spec = spec(&sink);
    if mode == Mode::Hang {
        spec.timeout = Duration::from_secs(2);
    }
    let offered = offer(spec, || {}).await.unwrap();
    assert_eq!(offered.samples.len(), 100);
    (offered.samples.iter().map(|sample| sample.ending).collect(), sink)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_open_loop_offers_is_recorded_once_with_equal_bytes_and_in_order() {
    let sink = Sink::start(Mode::Ok).await.unwrap();
    let burst = Burst {
        rate: 400.0,
        at: Duration::from_millis(200),
        length: Duration::from_millis(100),
    };
    let pattern = Pattern {
        burst: Some(burst),
        ..SHORT
    };
    let spec = OfferSpec { pattern, ..spec(&sink) };
    let offered = offer(spec, || {}).await.unwrap();
    let summary = Summary::new(&pattern, &offered, &[], Duration::ZERO);
    let acked: Vec<_> = summary
        .phases
        .iter()
        .map(|phase| (phase.offered, phase.acked))
        .collect();
    assert_eq!(acked, [(40, 40); 3]);
    let history = offered.history();
    let replayed = sink.ledger().replayed();
    assert_eq!(replayed.len(), 120);
    let found = jepsen_like::check::check(&history, &replayed);
    assert!(
        found.lost.is_empty() && found.phantoms.is_empty() && found.duplicates.is_empty(),
        "{found:?}"
    );
    // The open loop is no exporter, so it sends no such header.
    assert_eq!(sink.summary().miscounted, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_carry_their_code_and_their_delay() {
    for (mode, wanted, told) in [
        (Mode::Unavailable, 14, false),
        (Mode::RetryLater, 14, true),
        (Mode::Throttled, 8, true),
        (Mode::Invalid, 3, false),
        (Mode::Unauthenticated, 16, false),
        (Mode::NotFound, 12, false),
    ] {
        let (endings, sink) = endings(mode).await;
        for ending in endings {
            let Ending::Answered(Outcome::Refused { code, retry_info, .. }) = ending else {
                panic!("{mode:?}: {ending:?}");
            };
            assert_eq!((code, retry_info), (wanted, told), "{mode:?}");
        }
        assert!(sink.ledger().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_or_breaks_off_or_is_down_records_nothing() {
    let lost = Ending::Answered(Outcome::ConnectionLost);
    let late = Ending::Answered(Outcome::TimedOut);
    for (mode, wanted) in [(Mode::Reset, lost), (Mode::Hang, late)] {
        let (endings, sink) = endings(mode).await;
        assert!(endings.iter().all(|ending| *ending == wanted), "{mode:?}: {endings:?}");
        assert!(sink.ledger().is_empty());
    }
    let sink = Sink::start(Mode::Down).await.unwrap();
    while tokio::net::TcpStream::connect(sink.grpc).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(offer(spec(&sink), || {}).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_was_down_comes_back_on_the_same_port_and_the_open_loop_connects_again() {
    let sink = std::sync::Arc::new(Sink::start(Mode::Ok).await.unwrap());
    let dying = std::sync::Arc::clone(&sink);
    let switcher = tokio::spawn(async move {
        while dying.payloads() < 20 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        dying.switch(Mode::Down);
        while tokio::net::TcpStream::connect(dying.grpc).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let taken = dying.payloads();
        dying.switch(Mode::Ok);
        taken
    });
    let pattern = Pattern {
        length: Duration::from_secs(10),
        ..SHORT
    };
    let spec = OfferSpec { pattern, ..spec(&sink) };
    let offered = offer(spec, || {}).await.unwrap();
    let taken = switcher.await.unwrap();
    assert!(sink.payloads() > taken, "nothing came after the sink was back");
    let acked = |ending| ending == Ending::Answered(Outcome::Acked);
    let count = offered.samples.iter().filter(|sample| acked(sample.ending)).count();
    assert!(count <= sink.payloads());
    // The first three connections are links 0 to 2.
    assert!(
        offered
            .samples
            .iter()
            .any(|sample| acked(sample.ending) && sample.link > Some(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http_is_answered_with_statuses_and_retry_after_and_records_what_it_accepts() {
    for (mode, status, retry_after) in [
        (Mode::Ok, 200, None),
        (Mode::Unavailable, 503, None),
        (Mode::RetryLater, 503, Some(RETRY_AFTER)),
        (Mode::Throttled, 429, Some(RETRY_AFTER)),
        (Mode::Invalid, 400, None),
        (Mode::Unauthenticated, 401, None),
        (Mode::NotFound, 404, None),
        (Mode::TooLarge, 413, None),
    ] {
        let sink = Sink::start(mode).await.unwrap();
        let templates = Templates::new("r", 4, 200, 1_000, 1);
        let mut body = Vec::new();
        for sequence in 0..2 {
            let id = PayloadId {
                connection: 0,
                sequence,
            };
            body.extend_from_slice(&templates.stamped(id, false).pieces.concat()[5..]);
        }
        let stream = tokio::net::TcpStream::connect(sink.http).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::post("/v1/logs")
            .header("host", "sink")
            .header("x-gophership-entry", "1/0/1:1,2");
        let response = sender
            .send_request(request.body(Full::new(Bytes::from(body))).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), status, "{mode:?}");
        let told = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(told, retry_after.map(|delay| delay.as_secs().to_string()), "{mode:?}");
        response.into_body().collect().await.unwrap();
        let summary = sink.summary();
        assert_eq!(
            (summary.payloads, summary.miscounted),
            if mode == Mode::Ok { (2, 0) } else { (0, 0) }
        );
        driver.abort();
    }
}
