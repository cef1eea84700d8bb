//! A request to a sink.

use bytes::Bytes;

/// One request, ready to be sent, and to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// An `ExportLogsServiceRequest`.
    pub(crate) payload: Bytes,
    /// The value of `x-gophership-entry`, `node/shard/segment:number,count`: the first entry in the request, and the
    /// number of entries.
    pub(crate) entry: String,
}
