//! From the file's tree and the environment to a [`Config`], with all faults collected on the way.
//!
//! **Owns**: [`Reader`]: unknown keys and their suggestions, `${env:NAME}`, `GS_` overrides.
//!
//! **Invariants**:
//! - I1: a fault never ends the reading: everything else is still read and checked.
//! - I2: a key with a fault keeps its default and is remembered, so that no rule between keys is applied to it.
//!
//! **Not here**: YAML (`tree.rs`), kinds of values (`field.rs`), rules between keys (`check.rs`), the lists `export`
//! (`exporters.rs`) and `cluster.peers` (`peers.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::bounds;
use super::environment::{Environment, Variable};
use super::fault::{Fault, Finding, Origin, Place, Problem};
use super::keys::{EXPORT, KEYS, Key, PEERS, SECTIONS, children};
use super::read::read;
use super::settings::Config;
use super::suggest;
use super::tree::{Tree, Value};

/// `GS_` variables that are no settings: the path of the file itself, the log filter, and the socket of `gs-ctl`.
const OTHER_VARIABLES: [&str; 3] = ["GS_CONFIG", "GS_LOG", "GS_SOCKET"];

/// The configuration and its faults as read so far.
pub(super) struct Reader<'a> {
    environment: &'a Environment,
    pub(super) config: Config,
    pub(super) faults: Vec<Fault>,
    /// The header values of exporters that are no references, by path.
    pub(super) written_out: Vec<(String, Place)>,
    /// The origin and text of each key that was set.
    set: BTreeMap<&'static str, (Origin, String)>,
    faulty: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            config: Config::default(),
            faults: Vec::new(),
            written_out: Vec::new(),
            set: BTreeMap::new(),
            faulty: BTreeSet::new(),
        }
    }

    /// Reads the whole file.
    pub(super) fn file(&mut self, tree: &Tree) {
        self.section("", tree);
    }

    fn section(&mut self, path: &str, tree: &Tree) {
        let entries = match &tree.value {
            Value::Null => return,
            Value::Map(entries) => entries,
            Value::Text(text) => {
                let problem = Problem::NotASection {
                    known: children(path).join(", "),
                };
                return self.fault(path, Origin::File(tree.place), Some(text), problem);
            }
            Value::List(_) => {
                let problem = Problem::NotASection {
                    known: children(path).join(", "),
                };
                return self.fault(path, Origin::File(tree.place), Some("a list"), problem);
            }
        };
        if let Some(open) = SECTIONS
            .iter()
            .find(|section| section.path == path)
            .and_then(|section| section.open)
        {
            open(&mut self.config);
        }
        for (name, place, child) in entries {
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if let Some(key) = KEYS.iter().find(|key| key.path == below) {
                self.value(key, child);
            } else if below == EXPORT {
                self.exporters(child);
            } else if below == PEERS {
                self.peers(child);
            } else if SECTIONS.iter().any(|section| section.path == below) {
                self.section(&below, child);
            } else {
                self.unknown_key(path, name, &below, *place);
            }
        }
    }

    fn unknown_key(&mut self, section: &str, name: &str, path: &str, place: Place) {
        let known = children(section);
        let elsewhere = || {
            KEYS.iter()
                .find(|key| key.name() == name)
                .map(|key| key.path.to_owned())
        };
        let suggestion = suggest::nearest(name, known.iter().copied())
            .map(str::to_owned)
            .or_else(elsewhere);
        let problem = Problem::UnknownKey {
            suggestion,
            known: known.join(", "),
        };
        self.fault(path, Origin::File(place), None, problem);
    }

    fn value(&mut self, key: &Key, tree: &Tree) {
        let origin = Origin::File(tree.place);
        let found = match &tree.value {
            Value::Null => return,
            Value::Text(text) => return self.text(key, text, origin),
            Value::List(items) => match words(items).filter(|_| key.field.is_list()) {
                Some(list) => return self.text(key, &list, origin),
                None => "list",
            },
            Value::Map(_) => "mapping",
        };
        self.faulty.insert(key.path);
        self.fault(
            key.path,
            origin,
            None,
            Problem::NotAValue {
                found,
                accepted: key.field.accepted(),
            },
        );
    }

    fn text(&mut self, key: &Key, text: &str, origin: Origin) {
        match self.expand(text) {
            Ok(expanded) => self.set(key, &expanded, origin),
            Err(problem) => {
                self.faulty.insert(key.path);
                self.fault(key.path, origin, Some(text), problem);
            }
        }
    }

    fn set(&mut self, key: &Key, text: &str, origin: Origin) {
        if key.field.read(&mut self.config, text).is_ok() {
            self.set.insert(key.path, (origin, text.to_owned()));
            return;
        }
        self.faulty.insert(key.path);
        self.fault(
            key.path,
            origin,
            Some(text),
            Problem::NotAccepted {
                accepted: key.field.accepted(),
            },
        );
    }

    /// The origin of each key that was set.
    pub(super) fn origins(self) -> BTreeMap<&'static str, Origin> {
        self.set.into_iter().map(|(key, (origin, _))| (key, origin)).collect()
    }

    /// Replaces each `${env:NAME}` by the variable's value, and each `${file:PATH}` by what the file holds, without
    /// blanks at its ends.
    ///
    /// # Errors
    ///
    /// One of the variables or files is missing, or a `${` begins no reference.
    pub(super) fn expand(&self, text: &str) -> Result<String, Problem> {
        let mut expanded = String::new();
        let mut rest = text;
        let mut problem = None;
        while let Some(start) = rest.find("${") {
            expanded.push_str(&rest[..start]);
            let (reference, after) = rest[start + 2..].split_once('}').ok_or(Problem::BadReference)?;
            match reference.split_once(':') {
                Some(("env", name)) if is_variable_name(name) => match self.environment.get(name) {
                    Variable::Text(value) => expanded.push_str(value),
                    Variable::Missing => problem = Some(Problem::VariableMissing { name: name.into() }),
                    Variable::NotText => problem = Some(Problem::VariableNotText { name: name.into() }),
                },
                Some(("file", path)) if !path.is_empty() => match read(Path::new(path), bounds::FILE_VALUE_BYTES_MAX) {
                    Ok(value) => expanded.push_str(value.trim()),
                    Err(reason) => {
                        let path = path.to_owned();
                        problem = Some(Problem::FileUnreadable {
                            path,
                            reason: reason.to_string(),
                        });
                    }
                },
                Some(_) | None => return Err(Problem::BadReference),
            }
            rest = after;
        }
        expanded.push_str(rest);
        problem.map_or(Ok(expanded), Err)
    }

    /// Applies the `GS_` variables, which override the file.
    pub(super) fn overrides(&mut self) {
        let environment = self.environment;
        for name in environment.names().filter(|name| name.starts_with("GS_")) {
            let origin = Origin::Environment(name.to_owned());
            let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
                if !OTHER_VARIABLES.contains(&name) {
                    self.unknown_variable(name);
                }
                continue;
            };
            match environment.get(name) {
                Variable::Text(text) => self.set(key, text, origin),
                Variable::NotText | Variable::Missing => {
                    self.faulty.insert(key.path);
                    self.fault(
                        key.path,
                        origin,
                        None,
                        Problem::VariableNotText { name: name.to_owned() },
                    );
                }
            }
        }
    }

    fn unknown_variable(&mut self, name: &str) {
        let variables: Vec<String> = KEYS
            .iter()
            .map(Key::variable)
            .chain(OTHER_VARIABLES.map(str::to_owned))
            .collect();
        let suggestion = suggest::nearest(name, variables.iter().map(String::as_str)).map(str::to_owned);
        self.fault(
            name,
            Origin::Environment(name.to_owned()),
            None,
            Problem::UnknownVariable { suggestion },
        );
    }

    /// Remembers that a key, which is a list, has a fault.
    pub(super) fn set_faulty(&mut self, path: &'static str) {
        self.faulty.insert(path);
    }

    /// Adds the fault of a rule between keys, unless one of the keys that it depends on is faulty itself (I2).
    pub(super) fn rule(&mut self, path: &'static str, stands_on: &[&'static str], problem: Problem) {
        if !stands_on.iter().any(|path| self.faulty.contains(path)) {
            self.judged(path, problem);
        }
    }

    /// Adds the fault of a finding on this machine, unless its key has a fault itself.
    pub(super) fn found(&mut self, finding: Finding) {
        let reason = finding.reason;
        self.judged(&finding.path, Problem::Unusable { reason });
    }

    fn judged(&mut self, path: &str, problem: Problem) {
        if self.faulty.contains(path) {
            return;
        }
        let (origin, seen) = match self.set.get(path) {
            Some((origin, seen)) => (origin.clone(), Some(seen.clone())),
            None => {
                let key = KEYS.iter().find(|key| key.path == path);
                (
                    Origin::Default,
                    key.and_then(|key| key.field.show(&mut self.config.clone())),
                )
            }
        };
        self.faults.push(Fault {
            path: path.into(),
            origin,
            seen,
            problem,
        });
    }

    pub(super) fn fault(&mut self, path: &str, origin: Origin, seen: Option<&str>, problem: Problem) {
        self.faults.push(Fault {
            path: path.into(),
            origin,
            seen: seen.map(str::to_owned),
            problem,
        });
    }
}

/// The words of a list joined by commas; `None` where it holds anything else, or nothing.
fn words(items: &[Tree]) -> Option<String> {
    let word = |item: &Tree| match &item.value {
        Value::Text(text) => Some(text.clone()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    };
    let words: Option<Vec<String>> = items.iter().map(word).collect();
    words.filter(|words| !words.is_empty()).map(|words| words.join(","))
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
