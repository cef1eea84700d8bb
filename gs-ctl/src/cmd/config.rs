//! `gs-ctl config`, and the changes of `gs-ctl exporter`: the settings of a node and of its cluster.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use gophership_proto::control::v1::{
    ChangeSettingReply, ChangeSettingRequest, ChangeSettingsRequest, ClusterStatusReply, ClusterStatusRequest,
    ListSettingsRequest, SettingValue,
};
use gophership_proto::view::setting::SettingView;
use schemars::JsonSchema;
use serde::Serialize;

use crate::arg::cli::{Config, SettingChange};
use crate::arg::format::Format;
use crate::connect::{Client, ClusterClient};
use crate::out::human;
use crate::out::outcome::{Failure, Outcome, refused};
use crate::out::output::{Answer, print};
use crate::out::table::{Table, pairs};

/// Characters of a value in a list.
const VALUE_CHARS: usize = 60;
/// The beginning of the name of a setting that is an exporter.
const EXPORTER: &str = "exporter.";
/// Limit of bytes of an exporter's description.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The settings of the node that answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SettingList {
    /// In the order of the configuration, exporters last.
    settings: Vec<SettingView>,
}

/// A change of a setting, or what would come of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SettingChangeView {
    /// The setting.
    key: String,
    /// Its value before; null where there was none.
    old: Option<String>,
    /// Its value after; null where it is removed.
    new: Option<String>,
    /// Its version now; null where it is removed.
    version: Option<u64>,
    /// True where nothing was changed.
    dry_run: bool,
}

/// A change of one setting, or of several at once.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum SettingsChanged {
    /// Of one.
    One(SettingChangeView),
    /// Of several.
    Several {
        /// In the order of the command line.
        settings: Vec<SettingChangeView>,
    },
}

/// The settings that nodes' own configurations have otherwise than the cluster.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SettingDiffs {
    /// By node.
    nodes: Vec<NodeDiff>,
}

/// A node, and the settings that its own configuration has otherwise.
#[derive(Debug, Serialize, JsonSchema)]
struct NodeDiff {
    /// The node's name.
    node: String,
    /// The settings; null where the node did not answer.
    settings: Option<Vec<SettingView>>,
}

fn text(of: Option<&String>, shown: impl Fn(&str) -> String) -> String {
    of.map_or_else(|| "-".to_owned(), |text| shown(text))
}

impl Answer for SettingList {
    fn table(&self) -> String {
        rows(&self.settings, |value| human::cut(value, VALUE_CHARS))
    }

    fn wide(&self) -> String {
        rows(&self.settings, human::one_line)
    }
}

fn rows(settings: &[SettingView], shown: impl Fn(&str) -> String) -> String {
    let mut table = Table::new(&["SETTING", "VALUE", "FROM", ">VERSION", "NOT IN FORCE"]);
    for setting in settings {
        table.row(vec![
            human::one_line(&setting.key),
            text(setting.value.as_ref(), &shown),
            setting.from.clone(),
            setting
                .version
                .map_or_else(|| "-".to_owned(), |version| version.to_string()),
            setting.not_in_force.as_deref().map(&shown).unwrap_or_default(),
        ]);
    }
    table.text()
}

impl From<ChangeSettingReply> for SettingChangeView {
    fn from(reply: ChangeSettingReply) -> Self {
        Self {
            key: reply.key,
            old: reply.old,
            new: reply.new,
            version: Some(reply.version).filter(|version| *version > 0),
            dry_run: reply.dry_run,
        }
    }
}

impl Answer for SettingChangeView {
    fn table(&self) -> String {
        let changed = match (self.old == self.new, self.dry_run) {
            (true, _) => "nothing: it is so already",
            (false, true) => "nothing: --dry-run",
            (false, false) => "yes",
        };
        pairs(&[
            ("Setting", human::one_line(&self.key)),
            ("Old", text(self.old.as_ref(), human::one_line)),
            ("New", text(self.new.as_ref(), human::one_line)),
            (
                "Version",
                self.version
                    .map_or_else(|| "-".to_owned(), |version| version.to_string()),
            ),
            ("Changed", changed.to_owned()),
        ])
    }
}

impl Answer for SettingsChanged {
    fn table(&self) -> String {
        match self {
            Self::One(change) => change.table(),
            Self::Several { settings } => settings.iter().map(Answer::table).collect::<Vec<_>>().join("\n"),
        }
    }
}

impl Answer for SettingDiffs {
    fn table(&self) -> String {
        diffs(&self.nodes, |value| human::cut(value, VALUE_CHARS))
    }

    fn wide(&self) -> String {
        diffs(&self.nodes, human::one_line)
    }
}

fn diffs(nodes: &[NodeDiff], shown: impl Fn(&str) -> String) -> String {
    let mut table = Table::new(&["NODE", "SETTING", "ITS OWN", "CLUSTER"]);
    let mut differ = false;
    for node in nodes {
        let name = human::one_line(&node.node);
        let Some(settings) = &node.settings else {
            differ = true;
            table.row(vec![name, "did not answer".to_owned(), String::new(), String::new()]);
            continue;
        };
        for setting in settings {
            differ = true;
            table.row(vec![
                name.clone(),
                human::one_line(&setting.key),
                text(setting.own.as_ref(), &shown),
                text(setting.value.as_ref(), &shown),
            ]);
        }
    }
    match differ {
        true => table.text(),
        false => "no node's own configuration says anything else than the cluster\n".to_owned(),
    }
}

/// Shows or changes settings.
pub(crate) async fn config(node: &mut Client, asked: Config, format: Format) -> anyhow::Result<Outcome> {
    match asked {
        Config::Get { key } => {
            let answer = node.list_settings(ListSettingsRequest {}).await;
            let settings = answer.map_err(|e| refused(&e))?.into_inner().settings.into_iter();
            let below = |setting: &SettingView| {
                let asked = key.as_deref()?;
                Some(setting.key == asked || setting.key.strip_prefix(asked)?.starts_with('.'))
            };
            let settings: Vec<_> = settings
                .map(SettingView::from)
                .filter(|setting| key.is_none() || below(setting) == Some(true))
                .collect();
            if settings.is_empty() {
                let key = key.unwrap_or_default();
                return Err(Failure::Refused(format!("there is no setting {key}: gs-ctl config get shows all")).into());
            }
            print(&SettingList { settings }, format)?;
            Ok(Outcome::Done)
        }
        Config::Set { settings, change } => set(node, &settings, change, format).await,
        Config::Diff => unreachable!("asked of another service"),
    }
}

async fn set(node: &mut Client, words: &[String], change: SettingChange, format: Format) -> anyhow::Result<Outcome> {
    let mut settings = pairs_of(words)?;
    if settings.iter().any(|set| set.key.starts_with(EXPORTER)) {
        let how = "gs-ctl exporter set FILE sets an exporter, from its description as in a configuration";
        return Err(Failure::Usage(how.to_owned()).into());
    }
    if settings.len() > 1 {
        if change.seen.is_some() {
            let how = "--seen is the version of one setting: of several each has its own";
            return Err(Failure::Usage(how.to_owned()).into());
        }
        let dry_run = change.dry_run;
        let answer = node.change_settings(ChangeSettingsRequest { settings, dry_run }).await;
        let changed = answer.map_err(|e| refused(&e))?.into_inner().settings.into_iter();
        let settings = changed.map(SettingChangeView::from).collect();
        print(&SettingsChanged::Several { settings }, format)?;
        return Ok(Outcome::Done);
    }
    let Some(SettingValue { key, value }) = settings.pop() else {
        unreachable!("the command line has a setting")
    };
    let request = ChangeSettingRequest {
        key,
        value: Some(value),
        ..request(change)
    };
    send(node, request, format).await
}

/// The settings that the words of a command line name: one as KEY VALUE, or each as KEY=VALUE.
fn pairs_of(words: &[String]) -> Result<Vec<SettingValue>, Failure> {
    let of = |key: &str, value: &str| SettingValue {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    if let [key, value] = words
        && !key.contains('=')
    {
        return Ok(vec![of(key, value)]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(of(key, value)),
        _ => Err(Failure::Usage(format!(
            "{word:?} is no setting with a value: name one as KEY VALUE, or each of several as KEY=VALUE"
        ))),
    };
    words.iter().map(pair).collect()
}

/// Shows the settings that nodes' own configurations have otherwise than their cluster.
pub(crate) async fn diff(node: &mut ClusterClient, format: Format) -> anyhow::Result<Outcome> {
    let answer = node.cluster_status(ClusterStatusRequest {}).await;
    let status: ClusterStatusReply = answer.map_err(|e| refused(&e))?.into_inner();
    if status.raft.is_none() {
        let why = "this node belongs to no cluster: its configuration is its file";
        return Err(Failure::Refused(why.to_owned()).into());
    }
    let present = status.nodes.into_iter().filter(|node| node.moved_to == 0);
    let nodes = present.map(|node| NodeDiff {
        node: node.name,
        settings: node.report.map(|report| {
            let settings = report.settings.into_iter().map(SettingView::from);
            settings.filter(SettingView::differs).collect()
        }),
    });
    print(&SettingDiffs { nodes: nodes.collect() }, format)?;
    Ok(Outcome::Done)
}

/// Sets an exporter by its description.
pub(super) async fn set_exporter(
    node: &mut Client,
    file: &Path,
    change: SettingChange,
    format: Format,
) -> anyhow::Result<Outcome> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)),
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    let request = ChangeSettingRequest {
        exporter: Some(text),
        ..request(change)
    };
    send(node, request, format).await
}

/// Removes an exporter from the settings.
pub(super) async fn remove_exporter(
    node: &mut Client,
    name: &str,
    change: SettingChange,
    format: Format,
) -> anyhow::Result<Outcome> {
    let request = ChangeSettingRequest {
        key: format!("{EXPORTER}{name}"),
        ..request(change)
    };
    send(node, request, format).await
}

fn request(change: SettingChange) -> ChangeSettingRequest {
    ChangeSettingRequest {
        seen: change.seen,
        dry_run: change.dry_run,
        ..ChangeSettingRequest::default()
    }
}

async fn send(node: &mut Client, request: ChangeSettingRequest, format: Format) -> anyhow::Result<Outcome> {
    let answer = node.change_setting(request).await;
    let changed = answer.map_err(|e| refused(&e))?.into_inner();
    print(&SettingsChanged::One(changed.into()), format)?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, value: Option<&str>, own: Option<&str>) -> SettingView {
        SettingView {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            own: own.map(str::to_owned),
            from: "cluster".to_owned(),
            version: Some(7),
            not_in_force: None,
        }
    }

    #[test]
    fn a_setting_is_shown_with_its_source_and_its_version() {
        let list = SettingList {
            settings: vec![setting("vault.retention", Some("48h"), Some("24h"))],
        };
        let expected = "SETTING          VALUE  FROM     VERSION  NOT IN FORCE\n\
                        vault.retention  48h    cluster        7\n";
        assert_eq!(list.table(), expected);
    }

    #[test]
    fn a_change_shows_old_and_new_and_whether_anything_was_changed() {
        let changed = |old: &str, dry_run| {
            SettingChangeView {
                key: "cluster.replicas".to_owned(),
                old: Some(old.to_owned()),
                new: Some("3".to_owned()),
                version: Some(9),
                dry_run,
            }
            .table()
        };
        let (done, dry, same) = (changed("2", false), changed("2", true), changed("3", false));
        for (text, ends) in [
            (done, "yes\n"),
            (dry, "nothing: --dry-run\n"),
            (same, "nothing: it is so already\n"),
        ] {
            assert!(text.contains("cluster.replicas") && text.ends_with(ends), "{text}");
        }
    }

    #[test]
    fn the_words_of_a_command_line_are_one_setting_or_each_is_one() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let pairs = pairs_of(&words).map_err(|error| error.to_string())?;
            Ok::<_, String>(pairs.into_iter().map(|set| (set.key, set.value)).collect::<Vec<_>>())
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(of(&["a.b", "c=d"]), Ok(vec![pair("a.b", "c=d")]));
        assert_eq!(of(&["a.b=c=d"]), Ok(vec![pair("a.b", "c=d")]));
        assert_eq!(of(&["a=1", "b=2"]), Ok(vec![pair("a", "1"), pair("b", "2")]));
        for (words, bad) in [
            (&["a"][..], "\"a\""),
            (&["a=1", "b"], "\"b\""),
            (&["a", "b", "c"], "\"a\""),
            (&["=1"], "\"=1\""),
        ] {
            let error = of(words).unwrap_err();
            assert!(error.starts_with(bad) && error.contains("KEY=VALUE"), "{error}");
        }
    }

    #[test]
    fn a_difference_shows_both_values_and_a_node_that_did_not_answer() {
        let of = |node: &str, settings| NodeDiff {
            node: node.to_owned(),
            settings,
        };
        let differing = vec![setting("vault.retention", Some("48h"), Some("24h"))];
        let nodes = vec![of("node-1", Some(differing)), of("node-2", None)];
        let text = SettingDiffs { nodes }.table();
        assert!(text.contains("node-1  vault.retention  24h"), "{text}");
        assert!(text.contains("node-2  did not answer"), "{text}");
        let alike = SettingDiffs {
            nodes: vec![of("node-1", Some(Vec::new()))],
        };
        assert!(
            alike.table().starts_with("no node's own configuration"),
            "{}",
            alike.table()
        );
    }
}
