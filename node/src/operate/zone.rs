//! Verbs on the zone: show it, force it, give it back to the controller.

use std::time::Instant;

use gophership_catalogue::{Actor, Command};
use gophership_proto::control::v1;
use gophership_somatic::{Override, Sense, Thresholds, Zone, ZoneCell};
use gophership_vault::ids::NodeId;
use gophership_vault::time::now_unix_nano;
use serde::{Deserialize, Serialize};

use super::error::OperateError;
use crate::context::NodeContext;
use crate::stochastic::{Environment, Pressure, full};

/// The name under which the catalogue keeps the override of a node. Each node of a cluster has a zone of its own; a
/// single node has the number of a first one.
fn setting(node: NodeId) -> String {
    if node == NodeId::FIRST {
        "zone.override".to_owned()
    } else {
        format!("zone.override.{node}")
    }
}

/// An override as it is stored.
#[derive(Serialize, Deserialize)]
struct Kept {
    zone: String,
    reason: String,
    by: String,
    set_ns: u64,
}

/// Forces the zone again that was forced when the node was stopped.
pub(crate) fn restore(catalogue: &dyn gophership_catalogue::Catalogue, cell: &ZoneCell) {
    let setting = setting(catalogue.identity().node_id);
    let kept = catalogue.read(|state| state.setting(&setting).map(|s| s.value.clone()));
    let Some(kept) = kept else { return };
    let read = serde_json::from_str::<Kept>(&kept).ok();
    let forced = read.and_then(|k| {
        let zone = Zone::ALL.into_iter().find(|z| z.label() == k.zone)?;
        Some(Override {
            zone,
            reason: k.reason,
            by: k.by,
            set_ns: k.set_ns,
        })
    });
    match forced {
        Some(forced) => cell.force(forced, Instant::now()),
        None => tracing::warn!(setting, value = kept, "zone.override.unreadable"),
    }
}

pub(super) fn set(
    context: &NodeContext,
    zone: Zone,
    reason: String,
    by: String,
) -> Result<v1::ZoneStatus, OperateError> {
    if reason.trim().is_empty() {
        return Err(OperateError::NoReason);
    }
    let kept = Kept {
        zone: zone.label().to_owned(),
        reason,
        by,
        set_ns: now_unix_nano(),
    };
    let value = serde_json::to_string(&kept).map_err(OperateError::Unwritable)?;
    keep(context, Some(value), &kept.by)?;
    let forced = Override {
        zone,
        reason: kept.reason,
        by: kept.by,
        set_ns: kept.set_ns,
    };
    context.zone.force(forced, Instant::now());
    Ok(status(context))
}

pub(super) fn clear(context: &NodeContext, by: &str) -> Result<v1::ZoneStatus, OperateError> {
    keep(context, None, by)?;
    context.zone.clear(by, Instant::now());
    Ok(status(context))
}

fn keep(context: &NodeContext, value: Option<String>, by: &str) -> Result<(), OperateError> {
    let command = Command::SetConfig {
        key: setting(context.vault.identity().node_id),
        value,
        at_ns: now_unix_nano(),
        seen: None,
    };
    context.catalogue.submit(Actor::operator(by), command)?;
    Ok(())
}

pub(super) fn status(context: &NodeContext) -> v1::ZoneStatus {
    let now = Instant::now();
    let at = context.zone.status(now);
    let environment = context.environment.load();
    let budget = (context.ingest)().budget_bytes;
    let Thresholds { yellow, red } = context.thresholds;
    let transitions = context.zone.changes().filter(|(_, _, count)| *count > 0);
    v1::ZoneStatus {
        zone: zone(at.zone).into(),
        since_unix_nano: now_unix_nano().saturating_sub(at.zone_for.as_nanos() as u64),
        forced: at.forced.is_some(),
        zone_override: at.forced.map(|forced| v1::ZoneOverride {
            zone: zone(forced.zone).into(),
            reason: forced.reason,
            by_uid: forced.by.strip_prefix("uid ").and_then(|uid| uid.parse().ok()),
            set_unix_nano: forced.set_ns,
        }),
        readings: Sense::ALL
            .into_iter()
            .map(|sense| reading(sense, at.readings.get(sense), budget, &environment))
            .collect(),
        transitions: transitions
            .map(|(from, to, count)| v1::ZoneTransition {
                from: zone(from).into(),
                to: zone(to).into(),
                count,
            })
            .collect(),
        yellow_at: yellow,
        red_at: red,
    }
}

fn reading(sense: Sense, value: Option<f64>, budget: u64, environment: &Environment) -> v1::Reading {
    let (full, unit) = full(sense, budget);
    v1::Reading {
        name: sense.label().to_owned(),
        value,
        raw: value.map(|value| value * full),
        unit: unit.to_owned(),
        can_cause_red: sense.may_cause_red(),
        absent_reason: absent(sense, value, environment),
    }
}

fn absent(sense: Sense, value: Option<f64>, environment: &Environment) -> String {
    let why = |pressure: &Pressure| match pressure {
        Pressure::Absent { why } => why.clone(),
        Pressure::Read { .. } => "not read yet".to_owned(),
    };
    match (sense, value) {
        (_, Some(_)) => String::new(),
        (Sense::PsiMemory, None) => why(&environment.memory_full),
        (Sense::PsiIo, None) => why(&environment.io_some),
        (Sense::LiveRing, None) => "no exporter is configured".to_owned(),
        (Sense::Memory | Sense::OldestUnsynced | Sense::Backlog | Sense::SchedulerLag, None) => {
            "no worker has said anything yet".to_owned()
        }
    }
}

pub(super) fn zone(zone: Zone) -> v1::Zone {
    match zone {
        Zone::Green => v1::Zone::Green,
        Zone::Yellow => v1::Zone::Yellow,
        Zone::Red => v1::Zone::Red,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_keeps_an_override_of_its_own_and_a_single_node_that_of_before() {
        let node = |n| NodeId::new(n).expect("numbers begin with 1");
        assert_eq!(setting(node(1)), "zone.override");
        assert_ne!(setting(node(2)), setting(node(1)));
        assert_ne!(setting(node(2)), setting(node(3)));
    }
}
