//! The row of an event.

use super::format::value;
use crate::event::{Event, What};
use crate::wire::{Reader, WireError, Writer};

pub(crate) fn write_event(event: &Event) -> Writer {
    let w = value().u64(event.at_ns).u8(event.what as u8);
    w.text(&event.who).text(&event.subject).text(&event.detail)
}

pub(crate) fn read_event(v: &mut Reader<'_>) -> Result<Event, WireError> {
    Ok(Event {
        at_ns: v.u64()?,
        what: read_what(v)?,
        who: v.text()?,
        subject: v.text()?,
        detail: v.text()?,
    })
}

pub(crate) fn read_what(v: &mut Reader<'_>) -> Result<What, WireError> {
    let what = v.u8()?;
    What::from_stored(what).ok_or_else(|| v.unknown("kind of an event", what))
}
