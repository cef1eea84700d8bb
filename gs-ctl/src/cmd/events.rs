//! `gs-ctl events`: what operators and the cluster did.

use std::time::Duration;

use gophership_proto::control::v1::{Event, ListEventsRequest};
use gophership_proto::view::event::{EventList, EventView};

use crate::arg::cli::Events;
use crate::arg::format::Format;
use crate::arg::when::now_unix_nano;
use crate::connect::Client;
use crate::out::human;
use crate::out::outcome::{Outcome, refused};
use crate::out::output::{Answer, json, print, write_while_read};
use crate::out::table::Table;
use crate::out::yaml;

/// Interval at which new events are asked for.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// Characters of a detail in a list.
const DETAIL_CHARS: usize = 60;

impl Answer for EventList {
    fn table(&self) -> String {
        rows(self, |detail| human::cut(detail, DETAIL_CHARS))
    }

    fn wide(&self) -> String {
        rows(self, human::one_line)
    }
}

fn rows(list: &EventList, shown: impl Fn(&str) -> String) -> String {
    let mut table = Table::new(&["TIME", "WHO", "WHAT", "TO", "MORE"]);
    for e in &list.events {
        table.row(vec![
            human::time(e.at_unix_nano),
            human::one_line(&e.who),
            human::one_line(&e.what),
            human::one_line(&e.subject),
            e.detail.as_deref().map(&shown).unwrap_or_default(),
        ]);
    }
    table.text()
}

/// Shows the events that are kept; with `--follow` one after the other, and those that come.
pub(crate) async fn events(node: &mut Client, asked: &Events, format: Format) -> anyhow::Result<Outcome> {
    let since_unix_nano = asked.since.map_or(0, |since| since.unix_nano(now_unix_nano()));
    let mut after = 0;
    if !asked.follow {
        let events = behind(node, &mut after, since_unix_nano).await?;
        let events = events.into_iter().map(EventView::from).collect();
        print(&EventList { events, next: None }, format)?;
        return Ok(Outcome::Done);
    }
    loop {
        let mut out = String::new();
        for event in behind(node, &mut after, since_unix_nano).await? {
            out += &line(EventView::from(event), format)?;
        }
        if !write_while_read(out.as_bytes())? {
            return Ok(Outcome::Done);
        }
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
}

/// All events behind `after`, which is moved behind them.
async fn behind(node: &mut Client, after: &mut u64, since_unix_nano: u64) -> anyhow::Result<Vec<Event>> {
    let mut all = Vec::new();
    loop {
        let asked = ListEventsRequest {
            after: *after,
            since_unix_nano,
            limit: 0,
        };
        let page = node.list_events(asked).await.map_err(|e| refused(&e))?.into_inner();
        *after = page.events.last().map_or(*after, |event| event.number);
        all.extend(page.events);
        if !page.more {
            return Ok(all);
        }
    }
}

/// An event on a line of its own, or in a document.
fn line(event: EventView, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Json => format!("{}\n", json(&event)?),
        Format::Yaml => yaml::document(&json(&event)?),
        Format::Table | Format::Wide => {
            let at = human::time(event.at_unix_nano);
            let words = [event.who, event.what, event.subject, event.detail.unwrap_or_default()];
            let words = words.map(|word| human::one_line(&word)).join("  ");
            format!("{at}  {}\n", words.trim_end())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> EventView {
        EventView {
            number: 7,
            at_unix_nano: 1_700_000_000_000_000_000,
            who: "uid 1000".to_owned(),
            what: "exporter_paused".to_owned(),
            subject: "exporter a".to_owned(),
            detail: None,
        }
    }

    #[test]
    fn an_event_says_who_did_what_to_what_and_when() {
        let list = EventList {
            events: vec![event()],
            next: None,
        };
        let table = "TIME                  WHO       WHAT             TO          MORE\n\
                     2023-11-14T22:13:20Z  uid 1000  exporter_paused  exporter a\n";
        assert_eq!(list.table(), table);
        let text = line(event(), Format::Table).unwrap();
        assert_eq!(text, "2023-11-14T22:13:20Z  uid 1000  exporter_paused  exporter a\n");
        let of_json: serde_json::Value = serde_json::from_str(&line(event(), Format::Json).unwrap()).unwrap();
        assert_eq!(
            (&of_json["at"], &of_json["who"]),
            (&"2023-11-14T22:13:20.000000000Z".into(), &"uid 1000".into())
        );
    }
}
