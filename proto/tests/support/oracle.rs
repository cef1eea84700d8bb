//! Compares the skim with prost: same verdict, same counts, same times, and the UTF-8 flag of prost's own strings.

use gophership_proto::otlp::skim::{Skim, must_skim};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

use crate::mirror::Request;

/// The result that prost gives for `payload`; `None` where it refuses.
pub(crate) fn reference(payload: &[u8], received_ns: u64) -> Option<Skim> {
    let request = Request::decode(payload).ok()?;
    let times = || {
        request
            .resource_logs
            .iter()
            .flat_map(|resource_logs| &resource_logs.scope_logs)
            .flat_map(|scope_logs| &scope_logs.log_records)
            .map(|record| {
                [record.time_unix_nano, record.observed_time_unix_nano]
                    .into_iter()
                    .find(|&time| time != 0)
                    .unwrap_or(received_ns)
            })
    };
    Some(Skim {
        records: u32::try_from(times().count()).expect("a test payload holds few records"),
        min_event_ns: times().min().unwrap_or(0),
        max_event_ns: times().max().unwrap_or(0),
        // The generated types hold strings, so all they can refuse beyond the mirror is a string that is not UTF-8.
        non_utf8: ExportLogsServiceRequest::decode(payload).is_err(),
    })
}

/// Panics where the skim and prost disagree.
pub(crate) fn assert_same(payload: &[u8], received_ns: u64) {
    let skim = must_skim(payload, received_ns);
    assert_eq!(
        skim.ok(),
        reference(payload, received_ns),
        "{skim:?} for {payload:02x?}"
    );
    if let Err(error) = skim {
        assert!(error.offset <= payload.len(), "{error:?} for {} bytes", payload.len());
    }
}
