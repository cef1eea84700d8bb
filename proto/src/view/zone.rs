//! The zone in force, the override, and the readings of pressure.

use schemars::JsonSchema;
use serde::Serialize;

use crate::control::v1::{Reading, Zone, ZoneStatus};

/// The zone and what it comes from.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ZoneView {
    /// `green`, `yellow` or `red`.
    pub zone: &'static str,
    /// Time at which it came into force.
    pub since_unix_nano: u64,
    /// True where an override is in force.
    pub forced: bool,
    /// The override that is set.
    #[serde(rename = "override")]
    pub set: Option<OverrideView>,
    /// The part of a limit at which yellow begins.
    pub yellow_at: f64,
    /// The part of a limit at which red begins.
    pub red_at: f64,
    /// The pressures that were sensed.
    pub readings: Vec<ReadingView>,
    /// Changes since the boot.
    pub transitions: Vec<TransitionView>,
}

/// An override that is set.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct OverrideView {
    /// `green`, `yellow` or `red`.
    pub zone: &'static str,
    /// The reason given for it.
    pub reason: String,
    /// The user who set it.
    pub by_uid: Option<u32>,
    /// Time at which it was set.
    pub set_unix_nano: u64,
}

/// One kind of pressure.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct ReadingView {
    /// Its name.
    pub name: String,
    /// The part of its limit that is reached.
    pub value: Option<f64>,
    /// The same in its unit.
    pub raw: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// True where it can make the zone red; otherwise it makes it yellow at most.
    pub can_cause_red: bool,
    /// The reason why there is no value.
    pub absent_reason: Option<String>,
}

/// Changes from one zone to another.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct TransitionView {
    /// The zone that was left.
    pub from: &'static str,
    /// The zone that was entered.
    pub to: &'static str,
    /// Number of such changes.
    pub count: u64,
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

pub(super) fn zone_name(zone: Zone) -> &'static str {
    match zone {
        Zone::Unspecified => "unknown",
        Zone::Green => "green",
        Zone::Yellow => "yellow",
        Zone::Red => "red",
    }
}
