//! The zone as it is shown to people.

use gophership_proto::view::zone::{OverrideView, ReadingView, ZoneView};

use crate::out::human;
use crate::out::output::Answer;
use crate::out::table::{Table, pairs};

/// The person, time and reason of an override. A zone that is set and not (yet) in force is named.
fn set_text(set: &OverrideView, in_force: bool) -> String {
    let by = set.by_uid.map_or_else(String::new, |uid| format!(" by uid {uid}"));
    let to = if in_force {
        String::new()
    } else {
        format!(" to {}", set.zone)
    };
    format!(
        "OVERRIDE{to}{by} since {}: {}",
        human::time(set.set_unix_nano),
        human::one_line(&set.reason)
    )
}

/// The zone in as few words as fit a line.
pub(crate) fn headline(zone: &ZoneView) -> String {
    match override_text(zone) {
        Some(set) => format!("{}, {set}", zone.zone),
        None => format!("{} since {}", zone.zone, human::time(zone.since_unix_nano)),
    }
}

/// The override, where one is set.
pub(crate) fn override_text(zone: &ZoneView) -> Option<String> {
    match &zone.set {
        Some(set) => Some(set_text(set, zone.forced)),
        None => zone.forced.then(|| "OVERRIDE".to_owned()),
    }
}

/// The reading in its unit.
pub(crate) fn raw_text(reading: &ReadingView) -> String {
    match (reading.raw, reading.unit.as_str()) {
        (None, _) => "-".to_owned(),
        (Some(raw), "bytes") => human::bytes(raw as u64),
        (Some(raw), "seconds") => human::latency(raw),
        (Some(raw), "percent") => format!("{raw:.1} %"),
        (Some(raw), "entries") => human::count(raw as u64),
        (Some(raw), unit) => format!("{raw:.2} {}", human::one_line(unit)),
    }
}

fn remark(reading: &ReadingView) -> String {
    match &reading.absent_reason {
        Some(why) if why.is_empty() => "absent".to_owned(),
        Some(why) => format!("absent: {}", human::one_line(why)),
        None if reading.can_cause_red => String::new(),
        None => "raises yellow at most".to_owned(),
    }
}

impl Answer for ZoneView {
    fn table(&self) -> String {
        let changes: Vec<String> = self
            .transitions
            .iter()
            .map(|t| format!("{} {} to {}", human::count(t.count), t.from, t.to))
            .collect();
        let mut rows = vec![
            ("Zone", self.zone.to_owned()),
            ("Since", human::time(self.since_unix_nano)),
        ];
        if let Some(set) = override_text(self) {
            rows.push(("Forced", set));
        }
        rows.push((
            "Thresholds",
            format!("yellow at {:.2}, red at {:.2}", self.yellow_at, self.red_at),
        ));
        rows.push((
            "Changes",
            if changes.is_empty() {
                "none since the boot".to_owned()
            } else {
                changes.join(", ")
            },
        ));
        let mut table = Table::new(&["READING", ">VALUE", ">READ", "REMARK"]);
        for reading in &self.readings {
            table.row(vec![
                human::one_line(&reading.name),
                reading.value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}")),
                raw_text(reading),
                remark(reading),
            ]);
        }
        format!("{}\n{}", pairs(&rows), table.text())
    }
}
