//! Reading of the list `export`.
//!
//! **Owns**: the rules of one exporter and between exporters.
//!
//! **Invariants**:
//! - I1: as in `reader.rs`, a fault never ends the reading, and no rule is applied to a value with a fault.
//! - I2: no fault shows the value of a header.
//!
//! **Not here**: the keys (`exporter_keys.rs`). Overrides: a `GS_` variable cannot reach into the list; references
//! stand in it.

use std::collections::BTreeSet;

use gophership_proto::otlp::ENTRY_NAME;
use http::{HeaderName, HeaderValue};

use super::bounds;
use super::cluster_settings::source;
use super::export::{Export, ExportKind, ExportTarget, ExportTls, Secret};
use super::exporter_keys::{EXPORTER_KEYS, HEADERS, TARGET_KEYS, TARGETS, TLS, TLS_KEYS, no_target};
use super::fault::{Origin, Place, Problem};
use super::field::Field;
use super::keys::{EXPORT, Key};
use super::reader::Reader;
use super::suggest;
use super::tree::{Tree, Value};

const AN_EXPORTER: &str = "a mapping with name, and otlp_grpc or otlp_http";
const HEADER_NAMES: &str = "header names that neither HTTP, gRPC nor OTLP need for themselves";

/// The parts of a mapping that were found beside the values that were read.
pub(super) struct Level<'t> {
    /// Its sections that are set, with the places of their names.
    sections: Vec<(&'t str, Place, &'t Tree)>,
    /// Its keys that are set, with or without a fault.
    set: Vec<(&'static str, Place)>,
    faulty: BTreeSet<&'static str>,
}

impl Level<'_> {
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.set
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, place)| *place)
    }

    /// The place of a key that is set, without a fault.
    pub(super) fn good(&self, key: &str) -> Option<Place> {
        self.place_of(key).filter(|_| !self.faulty.contains(key))
    }
}

impl Reader<'_> {
    /// Reads the whole list.
    pub(super) fn exporters(&mut self, tree: &Tree) {
        let elements = match &tree.value {
            Value::Null => return,
            Value::List(elements) => elements,
            Value::Text(_) | Value::Map(_) => {
                let accepted = format!("a list, each element {AN_EXPORTER}");
                return self.fault_in_file(EXPORT, tree.place, Problem::NotAList { accepted });
            }
        };
        if elements.len() > bounds::EXPORTERS_MAX {
            let (found, limit) = (elements.len(), bounds::EXPORTERS_MAX);
            self.fault_in_file(EXPORT, tree.place, Problem::TooManyElements { found, limit });
        }
        for (at, element) in elements.iter().take(bounds::EXPORTERS_MAX).enumerate() {
            let path = format!("{EXPORT}[{at}]");
            if let Some(export) = self.exporter(&path, element) {
                self.config.export.push(export);
            }
        }
    }

    /// Reads one element.
    pub(super) fn exporter(&mut self, path: &str, tree: &Tree) -> Option<Export> {
        let sections: Vec<&'static str> = TARGETS.iter().map(|(name, ..)| *name).collect();
        let mut export = Export::new(no_target(ExportKind::Grpc));
        let level = self.mapping(path, tree, EXPORTER_KEYS, &sections, &mut export)?;
        let name = format!("{path}.name");
        match level.place_of("name") {
            None => self.missing(&name, tree.place, EXPORTER_KEYS[0].field.accepted()),
            Some(place) => self.name_taken(&name, place, &export.name),
        }
        for (section, place, tree) in &level.sections {
            let Some((_, kind, _)) = TARGETS.iter().find(|(name, ..)| name == section) else {
                continue;
            };
            export.target = self.target(&format!("{path}.{section}"), *place, *kind, tree);
        }
        if level.sections.len() != 1 {
            let both = !level.sections.is_empty();
            self.fault_in_file(path, tree.place, Problem::NotOneTarget { both });
        }
        export.source = source(tree);
        Some(export)
    }

    fn name_taken(&mut self, path: &str, place: Place, name: &str) {
        if let Some(at) = self
            .config
            .export
            .iter()
            .position(|e| !name.is_empty() && e.name == name)
        {
            let other = format!("{EXPORT}[{at}]");
            self.fault(path, Origin::File(place), Some(name), Problem::NameTaken { other });
        }
    }

    fn target(&mut self, path: &str, place: Place, kind: ExportKind, tree: &Tree) -> ExportTarget {
        let mut target = no_target(kind);
        let Some(level) = self.mapping(path, tree, TARGET_KEYS, &[HEADERS, TLS], &mut target) else {
            return target;
        };
        let mut tls_place = None;
        for (section, place, tree) in &level.sections {
            let path = format!("{path}.{section}");
            if *section == HEADERS {
                target.headers = self.headers(&path, tree);
            } else if let Some(tls) = self.mapping(&path, tree, TLS_KEYS, &[], &mut target.tls) {
                self.identity(&path, *place, &tls, &target.tls);
                tls_place = Some(*place);
            }
        }
        let endpoint = format!("{path}.endpoint");
        let Some(endpoint_place) = level.place_of("endpoint") else {
            self.missing(&endpoint, place, TARGET_KEYS[0].field.accepted());
            return target;
        };
        if level.faulty.contains("endpoint") {
            return target;
        }
        target.endpoint = target.endpoint.with_default_path(kind);
        // What a reference stands for may be a secret.
        let shown = |to: &ExportTarget| Some(to.endpoint.to_string()).filter(|_| !source(tree).contains("${"));
        if kind == ExportKind::Grpc && !target.endpoint.path.is_empty() {
            let accepted = "https://HOST:PORT or http://HOST:PORT, without a path".into();
            let (seen, origin) = (shown(&target), Origin::File(endpoint_place));
            self.fault(&endpoint, origin, seen.as_deref(), Problem::NotAccepted { accepted });
        }
        let to = &target.endpoint;
        if !to.https && !to.is_loopback() && !target.insecure && !level.faulty.contains("insecure") {
            self.fault(
                &endpoint,
                Origin::File(endpoint_place),
                shown(&target).as_deref(),
                Problem::PlaintextSink,
            );
        }
        if let Some(place) = tls_place.filter(|_| !to.https) {
            self.fault_in_file(&format!("{path}.{TLS}"), place, Problem::TlsWithoutHttps);
        }
        if let Some(place) = level.place_of("insecure").filter(|_| to.https && target.insecure) {
            self.fault_in_file(&format!("{path}.insecure"), place, Problem::InsecureWithHttps);
        }
        target
    }

    /// Checks that a certificate has its key, and the other way round.
    fn identity(&mut self, path: &str, place: Place, level: &Level<'_>, tls: &ExportTls) {
        let (cert, key) = (tls.cert.is_some(), tls.key.is_some());
        if cert == key || level.faulty.contains("cert") || level.faulty.contains("key") {
            return;
        }
        let missing = if cert { "key" } else { "cert" };
        self.fault_in_file(&format!("{path}.{missing}"), place, Problem::TlsFileMissing);
    }

    fn headers(&mut self, path: &str, tree: &Tree) -> Vec<(HeaderName, Secret)> {
        let entries = match &tree.value {
            Value::Null => return Vec::new(),
            Value::Map(entries) => entries,
            Value::Text(_) | Value::List(_) => {
                self.fault_in_file(
                    path,
                    tree.place,
                    Problem::NotASection {
                        known: HEADER_NAMES.into(),
                    },
                );
                return Vec::new();
            }
        };
        if entries.len() > bounds::HEADERS_MAX {
            let (found, limit) = (entries.len(), bounds::HEADERS_MAX);
            self.fault_in_file(path, tree.place, Problem::TooManyElements { found, limit });
        }
        let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
        for (name, place, tree) in entries.iter().take(bounds::HEADERS_MAX) {
            let path = format!("{path}.{name}");
            let Some(header) = header_name(name).filter(|name| headers.iter().all(|(known, _)| known != name)) else {
                let accepted = format!("{HEADER_NAMES}, each once");
                self.fault_in_file(&path, *place, Problem::NotAccepted { accepted });
                continue;
            };
            if let Some(value) = self.header_value(&path, tree) {
                headers.push((header, value));
            }
        }
        headers
    }

    fn header_value(&mut self, path: &str, tree: &Tree) -> Option<Secret> {
        let accepted = format!(
            "visible ASCII and blanks, at most {} bytes",
            bounds::HEADER_VALUE_BYTES_MAX
        );
        let problem = match &tree.value {
            Value::Text(text) => match self.expand(text) {
                Ok(expanded) if is_header_value(&expanded) => {
                    if !text.contains("${") {
                        self.written_out.push((path.to_owned(), tree.place));
                    }
                    return Some(Secret::new(expanded));
                }
                Ok(_) => Problem::NotAccepted { accepted },
                Err(problem) => problem,
            },
            Value::Null => Problem::Missing { accepted },
            Value::List(_) => Problem::NotAValue {
                found: "list",
                accepted,
            },
            Value::Map(_) => Problem::NotAValue {
                found: "mapping",
                accepted,
            },
        };
        self.fault_in_file(path, tree.place, problem);
        None
    }

    /// Reads the plain keys of a mapping into `into`; returns the sections among its children.
    pub(super) fn mapping<'t, R>(
        &mut self,
        path: &str,
        tree: &'t Tree,
        keys: &'static [Key<R>],
        sections: &[&'static str],
        into: &mut R,
    ) -> Option<Level<'t>> {
        let known = || keys.iter().map(|key| key.path).chain(sections.iter().copied());
        let listed = || known().collect::<Vec<_>>().join(", ");
        let mut level = Level {
            sections: Vec::new(),
            set: Vec::new(),
            faulty: BTreeSet::new(),
        };
        let entries = match &tree.value {
            Value::Null => return Some(level),
            Value::Map(entries) => entries,
            Value::Text(_) | Value::List(_) => {
                self.fault_in_file(path, tree.place, Problem::NotASection { known: listed() });
                return None;
            }
        };
        for (name, place, child) in entries {
            let below = format!("{path}.{name}");
            if let Some(key) = keys.iter().find(|key| key.path == name) {
                if child.value == Value::Null {
                    continue;
                }
                level.set.push((key.path, child.place));
                if !self.element_value(&below, key.field, child, into) {
                    level.faulty.insert(key.path);
                }
            } else if sections.iter().any(|section| section == name) {
                // A section without keys asks for nothing.
                if child.value != Value::Null {
                    level.sections.push((name, *place, child));
                }
            } else {
                let suggestion = suggest::nearest(name, known()).map(str::to_owned);
                let known = listed();
                self.fault_in_file(&below, *place, Problem::UnknownKey { suggestion, known });
            }
        }
        Some(level)
    }

    /// Reads one value. Returns whether it was accepted.
    fn element_value<R>(&mut self, path: &str, field: Field<R>, tree: &Tree, into: &mut R) -> bool {
        let accepted = field.accepted();
        let (seen, problem) = match &tree.value {
            Value::Null => return true,
            Value::Text(text) => match self.expand(text) {
                Ok(text) if field.read(into, &text).is_ok() => return true,
                // What a reference stands for may be a secret.
                Ok(_) => (Some(text.clone()), Problem::NotAccepted { accepted }),
                Err(problem) => (Some(text.clone()), problem),
            },
            Value::List(_) => (
                None,
                Problem::NotAValue {
                    found: "list",
                    accepted,
                },
            ),
            Value::Map(_) => (
                None,
                Problem::NotAValue {
                    found: "mapping",
                    accepted,
                },
            ),
        };
        // A refused URL may hold a password.
        let seen = seen.filter(|seen| !seen.contains('@'));
        self.fault(path, Origin::File(tree.place), seen.as_deref(), problem);
        false
    }

    pub(super) fn missing(&mut self, path: &str, place: Place, accepted: String) {
        self.fault_in_file(path, place, Problem::Missing { accepted });
    }

    pub(super) fn fault_in_file(&mut self, path: &str, place: Place, problem: Problem) {
        self.fault(path, Origin::File(place), None, problem);
    }
}

/// The name of a header that an exporter may set: none that the protocols set themselves, and no binary metadata.
fn header_name(name: &str) -> Option<HeaderName> {
    const OURS: [&str; 16] = [
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        ENTRY_NAME,
    ];
    let name: HeaderName = name.parse().ok()?;
    let text = name.as_str();
    let refused = OURS.contains(&text) || text.starts_with("grpc-") || text.ends_with("-bin");
    (!refused).then_some(name)
}

fn is_header_value(text: &str) -> bool {
    text.len() <= bounds::HEADER_VALUE_BYTES_MAX
        && HeaderValue::from_str(text).is_ok_and(|value| value.to_str().is_ok())
}
