//! A pause of archiving, on all nodes: a setting which nodes keep for themselves. It ends by itself.

use std::time::Duration;

use gophership_catalogue::{Actor, Catalogue, CatalogueError, Command, State};
use gophership_vault::ledger::SealRecord;
use gophership_vault::time::now_unix_nano;
use jiff::Timestamp;

/// The setting: the time at which the pause ends, a space, and who asked for it.
const SETTING: &str = "archived.pause";

/// A pause that has not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pause {
    /// The time on the vault's clock at which it ends, nanoseconds since the Unix epoch.
    pub(crate) until_ns: u64,
    /// The operator who asked for it.
    pub(crate) by: String,
}

/// The pause on record, unless it has ended by now on the vault's clock.
pub(crate) fn pause(state: &State, now_ns: u64) -> Option<Pause> {
    let (until, by) = state.setting(SETTING)?.value.split_once(' ')?;
    let until_ns = u64::try_from(until.parse::<Timestamp>().ok()?.as_nanosecond()).ok()?;
    let by = by.to_owned();
    (now_ns < until_ns).then_some(Pause { until_ns, by })
}

/// True where a pause keeps a segment that is not archived and that nothing else keeps: an operator accepted the loss
/// of what no holder can read of it. `now_ns` is on the vault's clock.
pub(crate) fn keeps(state: &State, segment: &SealRecord, now_ns: u64) -> bool {
    state.is_to_be_archived(segment) && pause(state, now_ns).is_some()
}

/// Puts a pause on record that ends after `length`, in place of the one that is there. `now_ns` is on the vault's
/// clock.
///
/// # Errors
/// An error of the catalogue.
pub(crate) fn begin(catalogue: &dyn Catalogue, now_ns: u64, length: Duration, by: &str) -> Result<(), CatalogueError> {
    let until_ns = i128::from(now_ns).saturating_add_unsigned(length.as_nanos());
    // Above the last time that there is, the pause ends with it.
    let until = Timestamp::from_nanosecond(until_ns).unwrap_or(Timestamp::MAX);
    set(catalogue, Some(format!("{until} {by}")), by)
}

/// Ends the pause, if there is one.
///
/// # Errors
/// An error of the catalogue.
pub(crate) fn end(catalogue: &dyn Catalogue, by: &str) -> Result<(), CatalogueError> {
    set(catalogue, None, by)
}

fn set(catalogue: &dyn Catalogue, value: Option<String>, by: &str) -> Result<(), CatalogueError> {
    let command = Command::SetConfig {
        key: SETTING.to_owned(),
        value,
        seen: None,
        at_ns: now_unix_nano(),
    };
    catalogue.submit(Actor::operator(by), command).map(drop)
}

#[cfg(test)]
mod tests {
    use gophership_catalogue::MemoryCatalogue;
    use gophership_vault::Identity;
    use gophership_vault::ids::{ClusterId, NodeId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_pause_ends_by_itself_or_by_an_operator_and_the_later_one_counts() {
        let identity = Identity {
            cluster_id: ClusterId(Uuid::from_u128(1)),
            node_id: NodeId::FIRST,
            storage_uuid: Uuid::from_u128(2),
        };
        let catalogue = MemoryCatalogue::with_state(identity, State::default());
        let of: &dyn Catalogue = &catalogue;
        let at = |now_ns| of.read(|state| pause(state, now_ns));
        let (now, hour) = (1_700_000_000_000_000_000, Duration::from_secs(3600));
        let end_ns = now + 3_600_000_000_000;
        assert_eq!(at(now), None);
        begin(&catalogue, now, hour, "uid 7").unwrap();
        let until_ns = end_ns;
        let by = "uid 7".to_owned();
        assert_eq!(at(end_ns - 1), Some(Pause { until_ns, by }));
        assert_eq!(at(end_ns), None, "it has ended");
        begin(&catalogue, now, hour / 2, "jo").unwrap();
        assert_eq!(at(end_ns - 1), None);
        assert!(at(now).is_some());
        end(&catalogue, "jo").unwrap();
        assert_eq!(at(now), None);
        begin(&catalogue, u64::MAX, Duration::MAX, "jo").unwrap();
    }
}
