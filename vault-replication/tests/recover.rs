//! Recovery of a dead owner over loopback: three nodes with vaults, consensus and a peers' port each.
#![allow(clippy::unwrap_used)]

#[path = "recover/accepted_loss.rs"]
mod accepted_loss;
#[path = "recover/cluster.rs"]
mod cluster;
#[path = "recover/lost.rs"]
mod lost;
#[path = "recover/node.rs"]
mod node;
#[path = "recover/owner.rs"]
mod owner;
#[path = "recover/peers_gone.rs"]
mod peers_gone;
#[path = "recover/replicas.rs"]
mod replicas;
#[allow(dead_code)] // the tests of the peers' port use the rest
#[path = "peer/support.rs"]
mod support;
