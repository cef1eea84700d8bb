//! Verbs about settings: they are shown, and those of a cluster are changed.
//!
//! **Invariants**:
//! - I1: what is put on record was checked whole, as this node would have it in force, and by the version that stood
//!   then.
//! - I2: no answer and no log has what a reference stands for.

use gophership_catalogue::setting::{EXPORTER, SettingSet};
use gophership_catalogue::{Actor, CatalogueError, Command, Refusal};
use gophership_proto::control::v1;
use gophership_vault::time::now_unix_nano;
use tokio::runtime::Handle;

use super::error::OperateError;
use crate::config::{self, Environment};
use crate::context::NodeContext;
use crate::export::Exporters;
use crate::machine::Machine;
use crate::settings::Shown;
use crate::sink_faults::sink_faults;

pub(super) fn list(context: &NodeContext) -> v1::ListSettingsReply {
    v1::ListSettingsReply {
        settings: context.settings.shown().into_iter().map(shown).collect(),
        in_cluster: context.settings.are_of_cluster(),
    }
}

/// The settings that a node reports: those that its own configuration has otherwise, or that are not in force.
pub(super) fn told(context: &NodeContext) -> Vec<v1::Setting> {
    if !context.settings.are_of_cluster() {
        return Vec::new();
    }
    let is_told =
        |setting: &Shown| !setting.not_in_force.is_empty() || setting.own.is_some() && setting.own != setting.value;
    let all = context.settings.shown().into_iter();
    all.filter(is_told).map(shown).collect()
}

fn shown(setting: Shown) -> v1::Setting {
    v1::Setting {
        key: setting.key,
        value: setting.value,
        own: setting.own,
        from: setting.from.to_owned(),
        version: setting.version,
        not_in_force: setting.not_in_force,
    }
}

/// Changes a setting of the cluster, or says with `dry_run` what would come of it. It blocks, on a thread of the
/// runtime's for that.
pub(super) fn change(
    context: &NodeContext,
    asked: v1::ChangeSettingRequest,
    by: &str,
) -> Result<v1::ChangeSettingReply, OperateError> {
    let settings = &context.settings;
    if !settings.are_of_cluster() {
        return Err(OperateError::FileWins);
    }
    let environment = Environment::of_process();
    let (key, value) = match asked.exporter {
        Some(text) => {
            let (name, source) = config::read_exporter(&text, &environment).map_err(OperateError::BadSetting)?;
            (format!("{EXPORTER}{name}"), Some(source))
        }
        None => (asked.key, asked.value),
    };
    // What is decided by is the newest state.
    context.catalogue.catch_up()?;
    let stands = settings.stands(&key);
    let (version, old) = stands.map_or((0, None), |(version, value)| (version, Some(value)));
    if asked.seen.is_some_and(|seen| seen != version) {
        return Err(stale(context, key));
    }
    let wanted = settings.read_wanted(None).config;
    let new = match &value {
        Some(value) => {
            let changed = config::with_setting(&wanted, &key, value, &environment, &Machine::detect());
            let changed = changed.map_err(OperateError::BadSetting)?;
            let exporter = changed
                .export
                .iter()
                .find(|export| Some(&*export.name) == key.strip_prefix(EXPORTER));
            let exporter = exporter.map_or(&[][..], std::slice::from_ref);
            let faults = Exporters::faults(exporter).into_iter().map(|fault| fault.to_string());
            let loops = Handle::current()
                .block_on(sink_faults(exporter, &context.own_addresses))
                .loops;
            let faults: Vec<String> = faults.chain(loops.into_values()).collect();
            if !faults.is_empty() {
                return Err(OperateError::BadSetting(faults));
            }
            // As it is written by the program, whatever the operator wrote.
            config::cluster_values(&changed).remove(&key)
        }
        None if old.is_none() || !key.starts_with(EXPORTER) => return Err(OperateError::NotRemovable(key)),
        None => None,
    };
    if !asked.dry_run && new != old {
        let command = Command::SetConfig {
            key: key.clone(),
            value: new.clone(),
            seen: Some(version),
            at_ns: now_unix_nano(),
        };
        match context.catalogue.submit(Actor::operator(by), command) {
            Ok(_) => tracing::warn!(key, by, "cluster.setting.changed"),
            Err(CatalogueError::Refused(Refusal::Stale { .. })) => return Err(stale(context, key)),
            Err(error) => return Err(error.into()),
        }
    }
    let version = settings.stands(&key).map_or(0, |(version, _)| version);
    Ok(v1::ChangeSettingReply {
        key,
        old,
        new,
        version,
        dry_run: asked.dry_run,
    })
}

/// Changes several settings of the cluster at once, or says with `dry_run` what would come of it. It blocks.
pub(super) fn change_several(
    context: &NodeContext,
    asked: v1::ChangeSettingsRequest,
    by: &str,
) -> Result<v1::ChangeSettingsReply, OperateError> {
    let settings = &context.settings;
    if !settings.are_of_cluster() {
        return Err(OperateError::FileWins);
    }
    let keys: Vec<&str> = asked.settings.iter().map(|set| set.key.as_str()).collect();
    let faults = unfit_together(&keys);
    if !faults.is_empty() {
        return Err(OperateError::BadSetting(faults));
    }
    context.catalogue.catch_up()?;
    let before: Vec<_> = keys.iter().map(|key| settings.stands(key)).collect();
    let pairs = asked.settings.iter().map(|set| (set.key.as_str(), set.value.as_str()));
    let wanted = settings.read_wanted(None).config;
    let changed = config::with_changes(&wanted, pairs, &Environment::of_process(), &Machine::detect());
    let mut values = config::cluster_values(&changed.map_err(OperateError::BadSetting)?);
    let mut to_set = Vec::new();
    for (key, stands) in keys.iter().zip(&before) {
        // As it is written by the program, whatever the operator wrote.
        let value = values.remove(*key);
        to_set.push(SettingSet {
            key: (*key).to_owned(),
            value: value.ok_or_else(|| OperateError::NotRemovable((*key).to_owned()))?,
            seen: stands.as_ref().map_or(0, |(version, _)| *version),
        });
    }
    if !asked.dry_run {
        let command = Command::SetSettings {
            settings: to_set.clone(),
            at_ns: now_unix_nano(),
        };
        match context.catalogue.submit(Actor::operator(by), command) {
            Ok(_) => tracing::warn!(keys = keys.join(", "), by, "cluster.settings.changed"),
            Err(CatalogueError::Refused(Refusal::Stale { .. })) => {
                let changed =
                    |set: &&SettingSet| settings.stands(&set.key).map_or(0, |(version, _)| version) != set.seen;
                let key = to_set
                    .iter()
                    .find(changed)
                    .map_or_else(|| keys.join(", "), |set| set.key.clone());
                return Err(stale(context, key));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let reply = |(set, stands): (SettingSet, Option<(u64, String)>)| v1::ChangeSettingReply {
        version: settings.stands(&set.key).map_or(0, |(version, _)| version),
        key: set.key,
        old: stands.map(|(_, value)| value),
        new: Some(set.value),
        dry_run: asked.dry_run,
    };
    Ok(v1::ChangeSettingsReply {
        settings: to_set.into_iter().zip(before).map(reply).collect(),
    })
}

/// The faults of a list of settings that are to be changed at once.
fn unfit_together(keys: &[&str]) -> Vec<String> {
    if keys.is_empty() {
        return vec!["no setting is named: name each as KEY=VALUE".to_owned()];
    }
    let fault = |(at, key): (usize, &&str)| {
        if key.starts_with(EXPORTER) {
            return Some(format!(
                "{key}: an exporter is changed by itself, with gs-ctl exporter set"
            ));
        }
        keys[..at].contains(key).then(|| format!("{key}: it is named twice"))
    };
    keys.iter().enumerate().filter_map(fault).collect()
}

/// The error for who saw an older version, with what stands now.
fn stale(context: &NodeContext, key: String) -> OperateError {
    let stands = context.settings.stands(&key);
    let (version, value) = stands.unwrap_or((0, "not set".to_owned()));
    OperateError::SettingChanged { key, value, version }
}
