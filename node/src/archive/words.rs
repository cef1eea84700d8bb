//! Names of objects, and errors in words.

use std::fmt::Display;

use gophership_archiver::store::object_key;
use gophership_catalogue::archive::{ArchiveObject, LeaseNumber};
use gophership_vault::ids::ClusterId;

/// The name of an object, in the attempt that is given.
pub(crate) fn key_of(cluster: ClusterId, lease: LeaseNumber, object: &ArchiveObject, attempt: u32) -> String {
    let first = object.members.first().expect("an object has a member");
    object_key(cluster, first.node, first.index, lease, attempt, object.received.min)
}

/// An error and its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = join(&text, &more);
        }
        cause = error.source();
    }
    text
}

fn join(text: &dyn Display, more: &dyn Display) -> String {
    format!("{text}: {more}")
}
