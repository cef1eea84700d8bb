//! The transition for settings.
//!
//! **Invariants.** I1: a setting of the cluster's configuration has its form (`crate::setting`), and one that is no
//! exporter is never removed. I2: no two changes of settings have one version.

use std::collections::BTreeSet;

use super::decision::{Decision, not_stale, unchanged, within};
use crate::command::Reply;
use crate::limits::{EXPORTERS_MAX, SETTING_KEY_BYTES_MAX, SETTING_VALUE_BYTES_MAX, SETTINGS_MAX};
use crate::refusal::Refusal;
use crate::setting::{EXPORTER, SettingSet, is_of_cluster, is_well_formed};
use crate::state::{Change, Counters, Setting, State};

pub(super) fn set(state: &State, key: &str, value: Option<&str>, seen: Option<u64>, at_ns: u64) -> Decision {
    within("a setting's name", key.len(), SETTING_KEY_BYTES_MAX)?;
    within("a setting's value", value.map_or(0, str::len), SETTING_VALUE_BYTES_MAX)?;
    let known = state.setting(key);
    // A command that was submitted before, and changed the version then, comes here too.
    if known.map(|s| s.value.as_str()) == value {
        return unchanged(Reply::Done);
    }
    if is_of_cluster(key) {
        formed(key, value)?;
        if let Some(name) = key.strip_prefix(EXPORTER).filter(|_| known.is_none()) {
            let set = state.settings().filter_map(|(key, _)| key.strip_prefix(EXPORTER));
            let names: BTreeSet<&str> = set.chain(state.exporters().map(|(name, _)| name)).collect();
            if !names.contains(name) && names.len() >= EXPORTERS_MAX {
                return Err(Refusal::TooManyExporters { limit: EXPORTERS_MAX });
            }
        }
    }
    not_stale(|| format!("setting {key}"), seen, known.map_or(0, |s| s.version))?;
    if known.is_none() && state.settings.len() >= SETTINGS_MAX {
        return Err(Refusal::TooManySettings { limit: SETTINGS_MAX });
    }
    let version = state.counters.settings_version + 1;
    let changed = match value {
        Some(value) => on_record(key, value, version, at_ns),
        None => Change::SettingGone(key.to_owned()),
    };
    Ok((Reply::Done, vec![counted(state, version), changed]))
}

/// Sets several settings, in one version: whoever follows them sees all of them or none.
pub(super) fn set_all(state: &State, settings: &[SettingSet], at_ns: u64) -> Decision {
    within("a list of settings", settings.len(), SETTINGS_MAX)?;
    let version = state.counters.settings_version + 1;
    let (mut changes, mut count) = (Vec::new(), state.settings.len());
    let mut keys = BTreeSet::new();
    for SettingSet { key, value, seen } in settings {
        within("a setting's name", key.len(), SETTING_KEY_BYTES_MAX)?;
        if key.starts_with(EXPORTER) || !keys.insert(key) {
            return Err(Refusal::BadSetting { key: key.clone() });
        }
        formed(key, Some(value))?;
        let known = state.setting(key);
        if known.is_some_and(|known| known.value == *value) {
            continue;
        }
        not_stale(|| format!("setting {key}"), Some(*seen), known.map_or(0, |s| s.version))?;
        count += usize::from(known.is_none());
        changes.push(on_record(key, value, version, at_ns));
    }
    if count > SETTINGS_MAX {
        return Err(Refusal::TooManySettings { limit: SETTINGS_MAX });
    }
    if !changes.is_empty() {
        changes.insert(0, counted(state, version));
    }
    Ok((Reply::Done, changes))
}

/// Puts all settings of the cluster on record, where none is but what a single node has there.
pub(super) fn begin(state: &State, settings: &[(String, String)], at_ns: u64) -> Decision {
    if state.has_cluster_settings() {
        return unchanged(Reply::Done);
    }
    within(
        "a list of settings",
        state.settings.len() + settings.len(),
        SETTINGS_MAX,
    )?;
    let mut version = state.counters.settings_version;
    let mut changes = Vec::new();
    for (key, value) in settings {
        within("a setting's name", key.len(), SETTING_KEY_BYTES_MAX)?;
        formed(key, Some(value))?;
        version += 1;
        changes.push(on_record(key, value, version, at_ns));
    }
    if !changes.is_empty() {
        changes.insert(0, counted(state, version));
    }
    Ok((Reply::Done, changes))
}

/// Refuses what is no setting of the cluster, or has not its form.
fn formed(key: &str, value: Option<&str>) -> Result<(), Refusal> {
    let is_formed = match value {
        Some(value) => is_of_cluster(key) && is_well_formed(key, value),
        None => key.starts_with(EXPORTER),
    };
    if is_formed {
        return Ok(());
    }
    Err(Refusal::BadSetting { key: key.to_owned() })
}

fn on_record(key: &str, value: &str, version: u64, set_ns: u64) -> Change {
    let value = value.to_owned();
    Change::Setting(key.to_owned(), Setting { value, set_ns, version })
}

fn counted(state: &State, settings_version: u64) -> Change {
    Change::Counters(Counters {
        settings_version,
        ..state.counters
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::apply;
    use crate::command::Command;
    use crate::setting::{ARCHIVE_NONE, ARCHIVE_URL};
    use crate::testkit::node;

    fn begin_with(settings: &[(&str, &str)]) -> Command {
        Command::BeginSettings {
            node: node(1),
            settings: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            at_ns: 5,
        }
    }

    fn set_to(key: &str, value: Option<&str>, seen: Option<u64>) -> Command {
        Command::SetConfig {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            seen,
            at_ns: 6,
        }
    }

    fn on_record(state: &State) -> Vec<(&str, &str, u64)> {
        let settings = state.cluster_settings();
        settings.map(|(key, s)| (key, s.value.as_str(), s.version)).collect()
    }

    #[test]
    fn the_first_node_says_all_and_a_later_one_changes_nothing() {
        let mut state = State::default();
        let own = set_to("zone.override.1", Some("red"), None);
        apply(&mut state, &own).unwrap();
        let first = begin_with(&[("vault.retention", "24h"), ("exporter.a", "{}")]);
        apply(&mut state, &first).unwrap();
        let all = [("exporter.a", "{}", 3), ("vault.retention", "24h", 2)];
        assert_eq!(on_record(&state), all);
        apply(&mut state, &first).unwrap();
        apply(
            &mut state,
            &begin_with(&[("vault.retention", "1h"), ("cluster.replicas", "2")]),
        )
        .unwrap();
        assert_eq!(on_record(&state), all);
        apply(&mut state, &set_to("exporter.a", None, Some(3))).unwrap();
        apply(&mut state, &begin_with(&[("exporter.a", "{}")])).unwrap();
        assert_eq!(on_record(&state), all[1..], "what was removed does not come back");
    }

    #[test]
    fn the_archive_of_a_single_node_keeps_no_setting_from_a_cluster_that_begins_with_it() {
        for alone in ["s3://logs", ARCHIVE_NONE] {
            let mut state = State::default();
            for (key, value) in [(ARCHIVE_URL, alone), ("archived.store", "1 s3://logs")] {
                apply(&mut state, &set_to(key, Some(value), None)).unwrap();
            }
            let first = begin_with(&[(ARCHIVE_URL, "s3://logs"), ("vault.retention", "24h")]);
            apply(&mut state, &first).unwrap();
            let all = [(ARCHIVE_URL, "s3://logs", 3), ("vault.retention", "24h", 4)];
            assert_eq!(on_record(&state), all);
            apply(&mut state, &begin_with(&[("vault.retention", "1h")])).unwrap();
            assert_eq!(on_record(&state), all);
        }
    }

    #[test]
    fn i1_what_has_not_its_form_is_refused_by_name_and_changes_nothing() {
        let mut state = State::default();
        apply(&mut state, &begin_with(&[("vault.retention", "24h")])).unwrap();
        let before = state.clone();
        let long = "x".repeat(65);
        for (key, value) in [
            ("vault.retention", Some("")),
            ("vault.retention", Some("24 h")),
            ("vault.retention", Some("24h\n")),
            ("vault.retention", Some(long.as_str())),
            ("vault.retention", None),
            ("vault.Retention", Some("24h")),
            ("exporter.", Some("{}")),
            ("exporter.a", Some("a")),
            ("exporter.a", Some("{\n}")),
            ("exporter.a\n", Some("{}")),
        ] {
            let refused = apply(&mut state, &set_to(key, value, None)).unwrap_err();
            assert_eq!(refused, Refusal::BadSetting { key: key.to_owned() }, "{value:?}");
        }
        let mut none = State::default();
        for list in [[("zone.override", "red")], [("vault.retention", "24 h")]] {
            assert!(apply(&mut none, &begin_with(&list)).is_err(), "{list:?}");
        }
        assert_eq!((state, none), (before, State::default()));
    }

    fn set_all(list: &[(&str, &str, u64)]) -> Command {
        let set = |(key, value, seen): &(&str, &str, u64)| SettingSet {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            seen: *seen,
        };
        Command::SetSettings {
            settings: list.iter().map(set).collect(),
            at_ns: 8,
        }
    }

    #[test]
    fn several_settings_are_set_in_one_version_or_none_is() {
        let mut state = State::default();
        let first = begin_with(&[(ARCHIVE_URL, "file:///a"), ("archive.region", "none")]);
        apply(&mut state, &first).unwrap();
        let both = set_all(&[
            (ARCHIVE_URL, "s3://logs", 1),
            ("archive.endpoint", "https://minio:9000", 0),
        ]);
        apply(&mut state, &both).unwrap();
        let all = [
            ("archive.endpoint", "https://minio:9000", 3),
            ("archive.region", "none", 2),
            (ARCHIVE_URL, "s3://logs", 3),
        ];
        assert_eq!(
            (on_record(&state).as_slice(), state.settings_version()),
            (all.as_slice(), 3)
        );
        apply(&mut state, &both).unwrap();
        assert_eq!(on_record(&state), all, "it was submitted before");
        let before = state.clone();
        for (list, what) in [
            (
                [("archive.region", "eu-1", 2), (ARCHIVE_URL, "s3://b", 1)],
                "one was changed since",
            ),
            (
                [("archive.region", "eu-1", 2), (ARCHIVE_URL, "a b", 3)],
                "one has not its form",
            ),
            (
                [("archive.region", "eu-1", 2), ("archive.region", "eu-2", 2)],
                "one is there twice",
            ),
            ([("archive.region", "eu-1", 2), ("exporter.a", "{}", 0)], "an exporter"),
            (
                [("archive.region", "eu-1", 2), ("zone.override.1", "red", 0)],
                "none of the cluster's",
            ),
        ] {
            apply(&mut state, &set_all(&list)).expect_err(what);
            assert_eq!(state, before, "{what}");
        }
    }

    #[test]
    fn there_are_as_many_exporters_as_a_node_may_have_and_one_can_still_be_changed() {
        let mut state = State::default();
        for n in 0..EXPORTERS_MAX {
            apply(&mut state, &set_to(&format!("exporter.{n}"), Some("{}"), None)).unwrap();
        }
        let limit = EXPORTERS_MAX;
        let more = apply(&mut state, &set_to("exporter.more", Some("{}"), None));
        assert_eq!(more, Err(Refusal::TooManyExporters { limit }));
        apply(&mut state, &set_to("exporter.0", Some("{\"a\":1}"), None)).unwrap();
        apply(&mut state, &set_to("vault.retention", Some("1h"), None)).unwrap();
        // One that was removed and not forgotten counts, and may come again.
        let known = Command::SetExporter {
            exporter: "0".to_owned(),
            paused: false,
            at_ns: 7,
        };
        apply(&mut state, &known).unwrap();
        apply(&mut state, &set_to("exporter.0", None, None)).unwrap();
        let more = apply(&mut state, &set_to("exporter.more", Some("{}"), None));
        assert_eq!(more, Err(Refusal::TooManyExporters { limit }));
        apply(&mut state, &set_to("exporter.0", Some("{}"), None)).unwrap();
        // What is a setting is not forgotten, though no node has it.
        let forget = Command::ForgetExporter {
            exporter: "0".to_owned(),
        };
        let refused = apply(&mut state, &forget).unwrap_err().to_string();
        assert!(refused.contains("gs-ctl exporter remove"), "{refused}");
        apply(&mut state, &set_to("exporter.0", None, None)).unwrap();
        apply(&mut state, &forget).unwrap();
    }
}
