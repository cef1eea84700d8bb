//! The control service `gophership.control.v1.Control` (`proto/control.proto`): messages, client and server.
//!
//! **Not here**: gRPC health, a standard service that the node serves beside this one.

/// The messages; [`control_client`](v1::control_client) and [`control_server`](v1::control_server).
pub mod v1 {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("gophership.control.v1");
}

/// Descriptors, for gRPC reflection, of the control service and of OTLP's logs service. A port that serves only one of
/// them names it to the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Size that a chunk of `StreamReplay` stays under, unless one payload alone is larger.
pub const REPLAY_CHUNK_BYTES: usize = 1024 * 1024;

/// A limit on decoded messages with which a client can read any node's `StreamReplay`. tonic's default of 4 MiB is too
/// small for a payload of the default `ingest.max_message` (4 MiB) and what surrounds it.
pub const MAX_REPLAY_CHUNK_BYTES: usize = 64 * 1024 * 1024 + 64 * 1024;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn the_descriptors_hold_all_services_and_all_they_import() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let services: HashSet<String> = set
            .file
            .iter()
            .flat_map(|file| {
                file.service
                    .iter()
                    .map(|service| format!("{}.{}", file.package(), service.name()))
            })
            .collect();
        let expected = [
            "gophership.control.v1.Cluster",
            "gophership.control.v1.Control",
            "opentelemetry.proto.collector.logs.v1.LogsService",
        ];
        assert_eq!(services, expected.map(str::to_owned).into());
        // Reflection clients need each file after those that it imports.
        let mut seen = HashSet::new();
        for file in &set.file {
            assert!(
                file.dependency.iter().all(|import| seen.contains(import.as_str())),
                "{}",
                file.name()
            );
            seen.insert(file.name());
        }
    }

    #[test]
    fn an_lsn_keeps_its_place_on_the_wire() {
        // Stored progress and old clients rely on these numbers.
        assert_eq!(
            v1::Lsn {
                segment_index: 3,
                number: 7
            }
            .encode_to_vec(),
            [0x08, 3, 0x10, 7]
        );
        let entry = v1::ReplayEntry {
            payload: vec![1, 2].into(),
            ..Default::default()
        };
        assert_eq!(entry.encode_to_vec(), [0x42, 2, 1, 2]);
    }
}
