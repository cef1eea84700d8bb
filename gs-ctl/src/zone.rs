//! The zone as it is shown: in force, forced or not, and what was sensed.

use gophership_proto::control::v1::{Reading, Zone, ZoneStatus};
use serde::Serialize;

use crate::human;
use crate::output::Answer;
use crate::table::{Table, pairs};

/// The zone and what it comes from.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct ZoneView {
    pub(crate) zone: &'static str,
    pub(crate) since_unix_nano: u64,
    pub(crate) forced: bool,
    #[serde(rename = "override")]
    pub(crate) set: Option<OverrideView>,
    pub(crate) yellow_at: f64,
    pub(crate) red_at: f64,
    pub(crate) readings: Vec<ReadingView>,
    transitions: Vec<TransitionView>,
}

/// An override that is set.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct OverrideView {
    zone: &'static str,
    reason: String,
    by_uid: Option<u32>,
    set_unix_nano: u64,
}

/// One kind of pressure.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct ReadingView {
    pub(crate) name: String,
    pub(crate) value: Option<f64>,
    raw: Option<f64>,
    unit: String,
    pub(crate) can_cause_red: bool,
    pub(crate) absent_reason: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct TransitionView {
    from: &'static str,
    to: &'static str,
    count: u64,
}

impl From<ZoneStatus> for ZoneView {
    fn from(status: ZoneStatus) -> Self {
        Self {
            zone: zone_name(status.zone()),
            since_unix_nano: status.since_unix_nano,
            forced: status.forced,
            set: status.zone_override.map(|set| OverrideView {
                zone: zone_name(set.zone()),
                reason: set.reason,
                by_uid: set.by_uid,
                set_unix_nano: set.set_unix_nano,
            }),
            yellow_at: status.yellow_at,
            red_at: status.red_at,
            readings: status.readings.into_iter().map(ReadingView::from).collect(),
            transitions: status
                .transitions
                .into_iter()
                .map(|t| TransitionView {
                    from: zone_name(t.from()),
                    to: zone_name(t.to()),
                    count: t.count,
                })
                .collect(),
        }
    }
}

impl From<Reading> for ReadingView {
    fn from(reading: Reading) -> Self {
        Self {
            absent_reason: reading.value.is_none().then_some(reading.absent_reason),
            name: reading.name,
            value: reading.value,
            raw: reading.raw,
            unit: reading.unit,
            can_cause_red: reading.can_cause_red,
        }
    }
}

fn zone_name(zone: Zone) -> &'static str {
    match zone {
        Zone::Unspecified => "unknown",
        Zone::Green => "green",
        Zone::Yellow => "yellow",
        Zone::Red => "red",
    }
}

impl OverrideView {
    /// Who, since when, why; a zone that is set and not (yet) in force is named.
    fn text(&self, in_force: bool) -> String {
        let by = self.by_uid.map_or_else(String::new, |uid| format!(" by uid {uid}"));
        let to = if in_force {
            String::new()
        } else {
            format!(" to {}", self.zone)
        };
        format!(
            "OVERRIDE{to}{by} since {}: {}",
            human::time(self.set_unix_nano),
            human::one_line(&self.reason)
        )
    }
}

impl ZoneView {
    /// What a line has room for.
    pub(crate) fn headline(&self) -> String {
        match self.override_text() {
            Some(set) => format!("{}, {set}", self.zone),
            None => format!("{} since {}", self.zone, human::time(self.since_unix_nano)),
        }
    }

    /// The override, where one is set.
    pub(crate) fn override_text(&self) -> Option<String> {
        match &self.set {
            Some(set) => Some(set.text(self.forced)),
            None => self.forced.then(|| "OVERRIDE".to_owned()),
        }
    }
}

impl ReadingView {
    /// The reading as it was read.
    pub(crate) fn raw_text(&self) -> String {
        match (self.raw, self.unit.as_str()) {
            (None, _) => "-".to_owned(),
            (Some(raw), "bytes") => human::bytes(raw as u64),
            (Some(raw), "seconds") => human::latency(raw),
            (Some(raw), "percent") => format!("{raw:.1} %"),
            (Some(raw), "entries") => human::count(raw as u64),
            (Some(raw), unit) => format!("{raw:.2} {}", human::one_line(unit)),
        }
    }

    fn remark(&self) -> String {
        match &self.absent_reason {
            Some(why) if why.is_empty() => "absent".to_owned(),
            Some(why) => format!("absent: {}", human::one_line(why)),
            None if self.can_cause_red => String::new(),
            None => "raises yellow at most".to_owned(),
        }
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
        if let Some(set) = self.override_text() {
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
                reading.raw_text(),
                reading.remark(),
            ]);
        }
        format!("{}\n{}", pairs(&rows), table.text())
    }
}
