//! The configuration as a JSON Schema, for editors and CI.
//!
//! Not here: the keys (`keys.rs`). The schema cannot say everything that `config check` says: rules between keys and
//! bounds of values with units are judged only there.

use serde_json::{Map, Value, json};

use super::field::Field;
use super::keys::{KEYS, Key, SECTIONS, children};
use super::settings::Config;

/// Any text with a reference: what it expands to is judged by `config check`.
const REFERENCE: &str = r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}";

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
            Some(key) => value(key),
            None => {
                let doc = SECTIONS
                    .iter()
                    .find(|section| section.path == below)
                    .map_or("", |section| section.doc);
                section(&below, doc)
            }
        };
        properties.insert(name.to_owned(), property);
    }
    json!({
        "description": doc,
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
    })
}

fn value(key: &Key) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": format!("^(?:{pattern})$|{REFERENCE}") });
    let size = r"[0-9]+ *(?:B|KiB|MiB|GiB|TiB)?";
    let time = r"[0-9]+ *(?:ms|s|m|h|d)|0";
    let number = |least: u64, most: u64| json!({ "type": "integer", "minimum": least, "maximum": most });
    let zero = json!({ "const": 0 });
    let mut any = match key.field {
        Field::Name(_) => vec![text("[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")],
        Field::Path(_) | Field::OptionalPath(_) => vec![text(".+")],
        Field::Address(_) => vec![text(r"[0-9.]+:[0-9]+|\[[0-9A-Fa-f:.%]+\]:[0-9]+")],
        Field::Flag(_) => vec![json!({ "type": "boolean" }), text("true|false")],
        Field::Count(_, least, most) => vec![number(least.into(), most.into()), text("[0-9]+")],
        Field::CountOrAuto(_, least, most) => vec![number(least.into(), most.into()), text("auto|[0-9]+")],
        Field::Size(_, least, most) => vec![number(least, most), text(size)],
        Field::SizeOrAuto(_, least, most) => vec![number(least, most), text(&format!("auto|{size}"))],
        Field::Time(..) => vec![zero, text(time)],
        Field::TimeOrAuto(..) => vec![zero, text(&format!("auto|{time}"))],
    };
    any.push(json!({ "type": "null" }));
    let mut property =
        json!({ "description": format!("{} Accepted: {}.", key.doc, key.field.accepted()), "anyOf": any });
    if let Some(default) = default_of(key) {
        property["default"] = default;
    }
    property
}

fn default_of(key: &Key) -> Option<Value> {
    let shown = key.field.show(&mut Config::default())?;
    Some(match key.field {
        Field::Flag(_) => Value::Bool(shown == "true"),
        Field::Count(..) => shown.parse::<u64>().map_or(Value::String(shown), Value::from),
        Field::Name(_)
        | Field::Path(_)
        | Field::OptionalPath(_)
        | Field::Address(_)
        | Field::CountOrAuto(..)
        | Field::Size(..)
        | Field::SizeOrAuto(..)
        | Field::Time(..)
        | Field::TimeOrAuto(..) => Value::String(shown),
    })
}
