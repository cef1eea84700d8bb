//! What is sent to a sink.

use bytes::Bytes;

/// One request, ready to be sent, and to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// An `ExportLogsServiceRequest`.
    pub(crate) payload: Bytes,
    /// `node/shard/segment:number,count`: of the first entry in it, and how many there are.
    pub(crate) entry: String,
}
