//! The configuration as a JSON Schema, for editors and CI.
//!
//! **Not here**: the keys (`keys.rs`). The schema cannot express everything that `config check` checks, such as rules
//! between keys and bounds of values with units.

use serde_json::{Map, Value, json};

use super::bounds;
use super::cluster::ClusterPeer;
use super::export::{Export, ExportKind};
use super::exporter_keys::{
    EXPORTER_KEYS, HEADERS, HEADERS_DOC, TARGET_KEYS, TARGETS, TLS, TLS_DOC, TLS_KEYS, no_target,
};
use super::field::Field;
use super::keys::{EXPORT, KEYS, Key, PEER_KEYS, PEERS, SECTIONS, children};
use super::settings::Config;

/// A text with a reference; `config check` checks the result of its expansion.
const REFERENCE: &str = r"\$\{(?:env:[A-Za-z_][A-Za-z0-9_]*|file:[^}]+)\}";

/// The schema (draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    let mut schema = section("", "A GopherShip node.");
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "GopherShip configuration".into();
    schema
}

fn section(path: &str, doc: &str) -> Value {
    let mut properties = Map::new();
    for name in children(path) {
        let below = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        let property = match KEYS.iter().find(|key| key.path == below) {
            Some(key) => value(key, &mut Config::default()),
            None => {
                let doc = SECTIONS
                    .iter()
                    .find(|section| section.path == below)
                    .map_or("", |section| section.doc);
                if below == EXPORT {
                    exporters(doc)
                } else if below == PEERS {
                    peers(doc)
                } else {
                    section(&below, doc)
                }
            }
        };
        properties.insert(name.to_owned(), property);
    }
    object(doc, properties)
}

fn object(doc: &str, properties: Map<String, Value>) -> Value {
    json!({
        "description": doc,
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
    })
}

fn exporters(doc: &str) -> Value {
    let mut exporter = Export::new(no_target(ExportKind::Grpc));
    let mut properties = table(EXPORTER_KEYS, &mut exporter);
    for (name, _, doc) in TARGETS {
        let mut target = table(TARGET_KEYS, &mut exporter.target);
        target.insert(TLS.into(), object(TLS_DOC, table(TLS_KEYS, &mut exporter.target.tls)));
        let value = json!({ "type": ["string", "number", "boolean"] });
        target.insert(
            HEADERS.into(),
            json!({
                "description": HEADERS_DOC, "type": ["object", "null"],
                "maxProperties": bounds::HEADERS_MAX, "additionalProperties": value
            }),
        );
        properties.insert(name.into(), object(doc, target));
    }
    let mut exporter = object("An exporter.", properties);
    exporter["type"] = "object".into();
    exporter["required"] = json!(["name"]);
    exporter["oneOf"] = json!([{ "required": [TARGETS[0].0] }, { "required": [TARGETS[1].0] }]);
    json!({ "description": doc, "type": ["array", "null"], "maxItems": bounds::EXPORTERS_MAX, "items": exporter })
}

fn peers(doc: &str) -> Value {
    let mut peer = object("A node of the cluster.", table(PEER_KEYS, &mut ClusterPeer::default()));
    peer["type"] = "object".into();
    peer["required"] = json!(["name", "address"]);
    json!({ "description": doc, "type": ["array", "null"], "maxItems": bounds::PEERS_MAX, "items": peer })
}

/// The plain keys of an element of a list; `defaults` is an element in which nothing is set.
fn table<R>(keys: &[Key<R>], defaults: &mut R) -> Map<String, Value> {
    keys.iter()
        .map(|key| (key.path.to_owned(), value(key, defaults)))
        .collect()
}

fn value<R>(key: &Key<R>, defaults: &mut R) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": format!("^(?:{pattern})$|{REFERENCE}") });
    let size = gophership_proto::size::PATTERN;
    let time = r"[0-9]+ *(?:ms|s|m|h|d)|0";
    let number = |least: u64, most: u64| json!({ "type": "integer", "minimum": least, "maximum": most });
    let zero = json!({ "const": 0 });
    let mut any = match key.field {
        Field::Name(_) => vec![text("[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")],
        Field::OptionalLabel(_) | Field::LabelOrNone(_) => vec![text("[!-~]{1,128}")],
        Field::HostAddress(_) => vec![text(r"[A-Za-z0-9_.-]+:[0-9]+|\[[0-9A-Fa-f:.%]+\]:[0-9]+")],
        Field::Path(_) | Field::OptionalPath(_) => vec![text(".+")],
        Field::Address(_) => vec![text(r"[0-9.]+:[0-9]+|\[[0-9A-Fa-f:.%]+\]:[0-9]+")],
        Field::Flag(_) => vec![json!({ "type": "boolean" }), text("true|false")],
        Field::Count(_, least, most) => vec![number(least.into(), most.into()), text("[0-9]+")],
        Field::CountOrAuto(_, least, most) => vec![number(least.into(), most.into()), text("auto|[0-9]+")],
        Field::Size(_, least, most) => vec![number(least, most), text(size)],
        Field::SizeOrAuto(_, least, most) => vec![number(least, most), text(&format!("auto|{size}"))],
        Field::Time(..) => vec![zero, text(time)],
        Field::TimeOrAuto(..) => vec![zero, text(&format!("auto|{time}"))],
        Field::TimeOrNone(..) => vec![text(&format!("none|{time}"))],
        Field::Number(_, least, most) => vec![number(least.into(), most.into()), text("[0-9]+")],
        Field::Fraction(_, least, most) => vec![
            json!({ "type": "number", "minimum": least, "maximum": most }),
            text(r"[0-9]*\.?[0-9]+"),
        ],
        Field::Choice(words, _) => vec![text(&words.join("|"))],
        Field::ExporterName(_) => vec![text("[a-z0-9_-]{1,64}")],
        Field::Endpoint(_) => vec![text("https?://[^@#]+")],
        Field::OptionalEndpoint(_) => vec![text("none|https?://[^@#/]+/?")],
        Field::ArchiveUrl(_) => vec![text("none|s3://[^@?#/][^@?#]*|file:///[^@?#]+")],
        Field::ServerName(_) => vec![text(".+")],
        Field::Origins(_) => {
            let origin = text(r"\*|https?://[A-Za-z0-9.:\[\]-]+");
            vec![
                json!({ "type": "array", "minItems": 1, "maxItems": bounds::ORIGINS_MAX, "items": origin }),
                text(".+"),
            ]
        }
    };
    any.push(json!({ "type": "null" }));
    let mut property =
        json!({ "description": format!("{} Accepted: {}.", key.doc, key.field.accepted()), "anyOf": any });
    if let Some(default) = default_of(key, defaults) {
        property["default"] = default;
    }
    property
}

fn default_of<R>(key: &Key<R>, defaults: &mut R) -> Option<Value> {
    let shown = key.field.show(defaults)?;
    Some(match key.field {
        Field::Flag(_) => Value::Bool(shown == "true"),
        Field::Count(..) | Field::Number(..) => shown.parse::<u64>().map_or(Value::String(shown), Value::from),
        Field::Fraction(..) => shown.parse::<f64>().map_or(Value::String(shown), Value::from),
        Field::Name(_)
        | Field::OptionalLabel(_)
        | Field::LabelOrNone(_)
        | Field::HostAddress(_)
        | Field::Path(_)
        | Field::OptionalPath(_)
        | Field::Address(_)
        | Field::CountOrAuto(..)
        | Field::Size(..)
        | Field::SizeOrAuto(..)
        | Field::Time(..)
        | Field::TimeOrAuto(..)
        | Field::TimeOrNone(..)
        | Field::Choice(..)
        | Field::ExporterName(_)
        | Field::Endpoint(_)
        | Field::OptionalEndpoint(_)
        | Field::ArchiveUrl(_)
        | Field::ServerName(_)
        | Field::Origins(_) => Value::String(shown),
    })
}
