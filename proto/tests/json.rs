//! Both JSON directions against prost: the line of a payload says what prost reads from that payload.

#[path = "support/generate.rs"]
mod generate;
#[path = "support/mirror.rs"]
mod mirror;

use generate::{mutate, mutation, nested, request, soup};
use gophership_proto::otlp::json::{WriteError, to_protobuf, write_line};
use gophership_proto::otlp::skim::must_skim;
use mirror::Request;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

/// Writes the payload as JSON, reads the line back, and compares both payloads where nothing may differ.
fn assert_same_both_ways(payload: &[u8]) {
    let mut line = Vec::new();
    let written = write_line(payload, Some("entry"), &mut line);
    let skim = match must_skim(payload, 0) {
        Ok(skim) => skim,
        Err(error) => {
            assert!(
                matches!(written, Err(WriteError::NotOtlp(found)) if found == error),
                "{written:?}"
            );
            return;
        }
    };
    written.expect("what the skim accepts can be written");
    let mut again = Vec::new();
    to_protobuf(&line, usize::MAX, &mut again)
        .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&line)));
    assert!(again.len() <= line.len());
    let skim_again = must_skim(&again, 0).expect("what is made from JSON is OTLP");
    assert_eq!(
        (skim.records, skim.min_event_ns, skim.max_event_ns),
        (skim_again.records, skim_again.min_event_ns, skim_again.max_event_ns)
    );
    if !skim.non_utf8 {
        let text = |payload| format!("{:?}", Request::decode(payload).expect("the skim accepted it"));
        // Compared as text, in which one NaN equals another.
        assert_eq!(text(&again[..]), text(payload));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_request_survives_both_directions(request in request()) {
        assert_same_both_ways(&request.encode_to_vec());
    }

    #[test]
    fn a_mutated_request_is_refused_or_survives_both_directions(
        request in request(),
        mutations in vec(mutation(), 1..4),
    ) {
        let mut payload = request.encode_to_vec();
        for mutation in &mutations {
            mutate(&mut payload, mutation);
            assert_same_both_ways(&payload);
        }
    }

    #[test]
    fn fields_in_any_order_and_number_survive_both_directions(parts in vec(soup(), 0..4)) {
        let body = parts.concat();
        let log_record = nested(1, &nested(2, &nested(2, &body, 0), 0), 0);
        let any_value = nested(1, &nested(2, &nested(2, &nested(5, &body, 0), 0), 0), 0);
        let resource = nested(1, &nested(1, &body, 0), 0);
        for payload in [log_record, any_value, resource, body] {
            assert_same_both_ways(&payload);
        }
    }
}
