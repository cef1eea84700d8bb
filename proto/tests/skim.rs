//! The skim against prost: generated requests, soups of arbitrary fields, and mutations of both.

#[path = "support/generate.rs"]
mod generate;
#[path = "support/mirror.rs"]
mod mirror;
#[path = "support/oracle.rs"]
mod oracle;

use generate::{mutate, mutation, nested, request, soup};
use oracle::{assert_same, reference};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn i1_a_generated_request_is_accepted_as_prost_does(request in request(), received_ns in any::<u64>()) {
        let payload = request.encode_to_vec();
        prop_assert!(reference(&payload, received_ns).is_some());
        assert_same(&payload, received_ns);
    }

    #[test]
    fn i1_a_mutated_request_gets_prosts_verdict(request in request(), mutations in vec(mutation(), 1..4)) {
        let mut payload = request.encode_to_vec();
        for mutation in &mutations {
            mutate(&mut payload, mutation);
            assert_same(&payload, 7);
        }
    }

    #[test]
    fn i1_a_soup_of_fields_gets_prosts_verdict(parts in vec(soup(), 0..4)) {
        let body = parts.concat();
        assert_same(&body, 7);
        // The same soup as a ResourceLogs, a ScopeLogs, a LogRecord, a body, and an attribute.
        let resource_logs = nested(1, &body, 0);
        let scope_logs = nested(1, &nested(2, &body, 0), 0);
        let log_record = nested(1, &nested(2, &nested(2, &body, 0), 0), 0);
        let any_value = nested(1, &nested(2, &nested(2, &nested(5, &body, 0), 0), 0), 0);
        let key_value = nested(1, &nested(1, &nested(1, &body, 0), 0), 0);
        for payload in [resource_logs, scope_logs, log_record, any_value, key_value] {
            assert_same(&payload, 7);
        }
    }

    #[test]
    fn i1_arbitrary_bytes_get_prosts_verdict(payload in vec(any::<u8>(), 0..200)) {
        assert_same(&payload, 7);
    }

    #[test]
    fn i1_concatenated_requests_add_up(first in request(), second in request()) {
        let payload = [first.encode_to_vec(), second.encode_to_vec()].concat();
        assert_same(&payload, 7);
    }
}
