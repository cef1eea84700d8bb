//! The effective configuration as YAML, each key with its documentation.
//!
//! Invariants:
//! - I1: what is printed is read back as the same configuration.
//!
//! Not here: reading (`reader.rs`).

use super::keys::{KEYS, SECTIONS, children};
use super::settings::Config;

/// Writes every key that has a value, defaults included; without a newline at the end.
#[must_use]
pub fn print(config: &Config) -> String {
    let mut text = String::new();
    section(&mut config.clone(), "", 0, &mut text);
    text.truncate(text.trim_end().len());
    text
}

fn section(config: &mut Config, path: &str, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for name in children(path) {
        let below = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        if let Some(key) = KEYS.iter().find(|key| key.path == below) {
            let Some(shown) = key.field.show(config) else { continue };
            let shown = if key.field.is_text() {
                serde_json::Value::String(shown).to_string()
            } else {
                shown
            };
            text.push_str(&format!("{indent}# {}\n{indent}{name}: {shown}\n", key.doc));
            continue;
        }
        let mut inner = String::new();
        section(config, &below, depth + 1, &mut inner);
        if inner.is_empty() {
            continue;
        }
        let doc = SECTIONS
            .iter()
            .find(|section| section.path == below)
            .map_or("", |section| section.doc);
        text.push_str(&format!("{indent}# {doc}\n{indent}{name}:\n{inner}"));
    }
}
