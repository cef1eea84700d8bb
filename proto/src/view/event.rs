//! Events: what operators and the cluster did.

use schemars::JsonSchema;
use serde::Serialize;

use super::some_text;
use crate::control::v1::{Event, ListEventsReply};

/// Something that changed the state of the cluster.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct EventView {
    /// From 1, and rising by one.
    pub number: u64,
    /// Its time, by the clock of the node that was asked or that found it.
    pub at_unix_nano: u64,
    /// The operator, or `node` where nobody asked for it.
    pub who: String,
    /// The kind, such as `exporter_paused`. Kinds are added.
    pub what: String,
    /// The thing that it happened to: `node 3`, `segment 1/0/7`, `exporter NAME`, `job 4`, `setting NAME`.
    pub subject: String,
    /// More about it.
    pub detail: Option<String>,
}

/// A page of events, oldest first.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct EventList {
    /// The events.
    pub events: Vec<EventView>,
    /// The number behind which the next page begins, where there is one.
    pub next: Option<u64>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            number: event.number,
            at_unix_nano: event.at_unix_nano,
            who: event.who,
            what: event.what,
            subject: event.subject,
            detail: some_text(event.detail),
        }
    }
}

impl From<ListEventsReply> for EventList {
    fn from(reply: ListEventsReply) -> Self {
        let last = reply.events.last().map(|event| event.number);
        Self {
            next: last.filter(|_| reply.more),
            events: reply.events.into_iter().map(EventView::from).collect(),
        }
    }
}
