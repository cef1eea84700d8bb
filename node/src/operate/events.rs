//! Shows events.

use gophership_catalogue::State;
use gophership_catalogue::event::{Event, EventNumber};
use gophership_proto::control::v1;
use gophership_vault::ids::NodeId;

use super::limits::EVENTS_LISTED_MAX;
use crate::context::NodeContext;

/// A page of the events that are asked for, oldest first.
pub(super) fn list(context: &NodeContext, asked: &v1::ListEventsRequest) -> v1::ListEventsReply {
    let limit = match asked.limit as usize {
        0 => EVENTS_LISTED_MAX,
        limit => limit.min(EVENTS_LISTED_MAX),
    };
    context.catalogue.read(|state| {
        let shown = |of| shown(state, of);
        let wanted = |(_, event): &(EventNumber, &Event)| event.at_ns >= asked.since_unix_nano;
        let mut behind = state.events_after(asked.after).filter(wanted);
        let events = behind.by_ref().take(limit).map(shown).collect();
        let more = behind.next().is_some();
        v1::ListEventsReply { events, more }
    })
}

fn shown(state: &State, (number, event): (EventNumber, &Event)) -> v1::Event {
    v1::Event {
        number,
        at_unix_nano: event.at_ns,
        who: event.who.clone(),
        what: event.what.name().to_owned(),
        subject: with_name(state, &event.subject),
        detail: event.detail.clone(),
    }
}

/// What an event is about; a node with the name that is on record.
fn with_name(state: &State, subject: &str) -> String {
    let node = subject
        .strip_prefix("node ")
        .and_then(|number| NodeId::new(number.parse().ok()?));
    match node.and_then(|node| state.facts(node)) {
        Some(facts) => format!("{subject} ({})", facts.name),
        None => subject.to_owned(),
    }
}
