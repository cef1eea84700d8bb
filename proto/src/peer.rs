//! The services by which the nodes of a cluster talk to each other (`proto/peer.proto`): messages, clients and servers.

/// The messages, and a client and a server for each service.
pub mod v1 {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("gophership.peer.v1");
}
