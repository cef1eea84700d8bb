//! Splitting against prost: what both halves decode to is what the whole did.

#[path = "support/generate.rs"]
#[expect(dead_code, reason = "shared with the tests of the skim")]
mod generate;
#[path = "support/mirror.rs"]
mod mirror;

use generate::{nested, request};
use gophership_proto::otlp::skim::must_skim;
use gophership_proto::otlp::split::{Halves, split};
use mirror::Request;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

/// Each record with everything that it stands below, as bytes, since a NaN does not equal itself.
fn records(payload: &[u8]) -> Vec<[Vec<u8>; 5]> {
    let mut found = Vec::new();
    for logs in Request::decode(payload).expect("well-formed").resource_logs {
        let resource = logs.resource.map(|r| r.encode_to_vec()).unwrap_or_default();
        for scoped in logs.scope_logs {
            let scope = scoped.scope.map(|s| s.encode_to_vec()).unwrap_or_default();
            for record in scoped.log_records {
                found.push([
                    resource.clone(),
                    logs.schema_url.clone(),
                    scope.clone(),
                    scoped.schema_url.clone(),
                    record.encode_to_vec(),
                ]);
            }
        }
    }
    found
}

fn halves(payload: &[u8]) -> Option<Halves> {
    split(payload).expect("well-formed")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn i1_i3_both_halves_have_the_records_of_the_whole(requests in vec(request(), 1..4)) {
        let payload: Vec<u8> = requests.iter().flat_map(Message::encode_to_vec).collect();
        let whole = records(&payload);
        let Some(halves) = halves(&payload) else {
            prop_assert!(whole.len() < 2);
            return Ok(());
        };
        let (first, second) = (records(&halves.first), records(&halves.second));
        prop_assert_eq!((first.len(), second.len()), (whole.len() / 2, whole.len().div_ceil(2)));
        for (half, said) in [(&halves.first, halves.first_records), (&halves.second, halves.second_records)] {
            prop_assert_eq!(must_skim(half, 7).expect("well-formed").records, said);
        }
        prop_assert_eq!([first, second].concat(), whole);
    }

    #[test]
    fn a_payload_splits_down_to_single_records(request in request()) {
        let mut pending = vec![request.encode_to_vec()];
        let mut single = Vec::new();
        while let Some(payload) = pending.pop() {
            match halves(&payload) {
                Some(halves) => pending.extend([halves.second, halves.first]),
                None => single.extend(records(&payload)),
            }
        }
        prop_assert_eq!(single, records(&request.encode_to_vec()));
    }

    #[test]
    fn what_is_not_well_formed_is_refused(payload in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(split(&payload).is_err(), must_skim(&payload, 0).is_err());
    }
}

#[test]
fn i2_what_is_unknown_stays_in_both_halves() {
    let record = |n: u8| nested(2, &nested(3, &[n, 0xff], 0), 0);
    let unknown = |n: u8| nested(9, &[n], 0);
    // A scope that stands behind its records, with a key and a length that are longer than they need be.
    let scope_logs = [
        unknown(1),
        record(1),
        record(2),
        unknown(2),
        nested(1, &nested(1, b"s", 0), 3),
    ]
    .concat();
    let resource_logs = [nested(1, b"", 2), nested(2, &scope_logs, 2), unknown(3)].concat();
    let payload = [unknown(4), nested(1, &resource_logs, 0), unknown(5)].concat();
    let halves = halves(&payload).expect("two records");
    let half = |n: u8| {
        let scope_logs = [unknown(1), record(n), unknown(2), nested(1, &nested(1, b"s", 0), 3)].concat();
        let resource_logs = [nested(1, b"", 2), nested(2, &scope_logs, 0), unknown(3)].concat();
        [unknown(4), nested(1, &resource_logs, 0), unknown(5)].concat()
    };
    assert_eq!((halves.first, halves.second), (half(1), half(2)));
}

#[test]
fn fewer_than_two_records_are_not_split() {
    let record = nested(1, &nested(2, &nested(2, b"", 0), 0), 0);
    assert_eq!(split(b""), Ok(None));
    assert_eq!(split(&record), Ok(None));
    let halves = halves(&[record.clone(), record.clone()].concat()).expect("two records");
    assert_eq!((halves.first, halves.second), (record.clone(), record));
}
