//! The effective configuration as YAML, each key with its documentation.
//!
//! **Invariants**:
//! - I1: the printed text is read back as the same configuration, but for the values of headers: they are secrets and
//!   shown as `***`.
//! - I2: every key is there; one that is not set is a comment. A section that is absent as a whole is one comment.
//!
//! **Not here**: reading (`reader.rs`).

use super::cluster::ClusterPeer;
use super::export::{Export, ExportTarget, ExportTls, Secret};
use super::exporter_keys::{EXPORTER_KEYS, HEADERS, HEADERS_DOC, TARGET_KEYS, TARGETS, TLS, TLS_DOC, TLS_KEYS};
use super::keys::{EXPORT, KEYS, Key, PEER_KEYS, PEERS, SECTIONS, children};
use super::settings::Config;

/// Writes every key, defaults included; without a newline at the end.
#[must_use]
pub fn print(config: &Config) -> String {
    let mut text = String::new();
    section(&mut config.clone(), "", 0, &mut text);
    text.truncate(text.trim_end().len());
    text
}

/// The keys whose values differ, those of exporters left out.
#[must_use]
pub fn changed_keys(old: &Config, new: &Config) -> Vec<&'static str> {
    let (mut old, mut new) = (old.clone(), new.clone());
    let differs = |key: &&Key| key.field.show(&mut old) != key.field.show(&mut new);
    let mut changed: Vec<_> = KEYS.iter().filter(differs).map(|key| key.path).collect();
    if old.cluster.map(|cluster| cluster.peers) != new.cluster.map(|cluster| cluster.peers) {
        changed.push(PEERS);
    }
    changed
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
            value(config, key, name, &indent, text);
            continue;
        }
        let described = SECTIONS.iter().find(|section| section.path == below);
        let doc = described.map_or("", |section| section.doc);
        if described
            .and_then(|section| section.absent)
            .is_some_and(|absent| absent(config))
        {
            unset(name, doc, &indent, text);
            continue;
        }
        let mut inner = String::new();
        if below == EXPORT {
            exporters(&config.export, &mut inner);
        } else if below == PEERS {
            let cluster = config.cluster.as_ref();
            peers(cluster.map_or(&[], |cluster| &cluster.peers), &mut inner);
        } else {
            section(config, &below, depth + 1, &mut inner);
        }
        if inner.is_empty() {
            continue;
        }
        text.push_str(&format!("{indent}# {doc}\n{indent}{name}:{inner}"));
    }
    // A separator after the colon.
    if depth > 0 && !text.is_empty() {
        text.insert(0, '\n');
    }
}

fn value<R>(from: &mut R, key: &Key<R>, name: &str, indent: &str, text: &mut String) {
    let Some(shown) = key.field.show(from) else {
        return unset(name, key.doc, indent, text);
    };
    let shown = if key.field.is_list() {
        let words: Vec<String> = shown.split(',').map(quoted).collect();
        format!("[{}]", words.join(", "))
    } else if key.field.is_text() {
        quoted(&shown)
    } else {
        shown
    };
    text.push_str(&format!("{indent}# {}\n{indent}{name}: {shown}\n", key.doc));
}

/// Writes a key, or a whole section, that is not set.
fn unset(name: &str, doc: &str, indent: &str, text: &mut String) {
    text.push_str(&format!("{indent}# {doc}\n{indent}# {name}:\n"));
}

fn quoted(text: &str) -> String {
    serde_json::Value::String(text.into()).to_string()
}

fn peers(list: &[ClusterPeer], text: &mut String) {
    text.push('\n');
    for peer in list {
        text.push_str("    -\n");
        for key in PEER_KEYS {
            value(&mut peer.clone(), key, key.path, "      ", text);
        }
    }
}

fn exporters(list: &[Export], text: &mut String) {
    if list.is_empty() {
        text.push_str(" []\n");
        return;
    }
    text.push('\n');
    for export in list {
        text.push_str("  -\n");
        let mut export = export.clone();
        for key in EXPORTER_KEYS {
            value(&mut export, key, key.path, "    ", text);
        }
        for (name, kind, doc) in TARGETS {
            if kind == export.target.kind {
                text.push_str(&format!("    # {doc}\n    {name}:\n"));
                target(&mut export.target, text);
            }
        }
    }
}

fn target(target: &mut ExportTarget, text: &mut String) {
    for key in TARGET_KEYS {
        value(target, key, key.path, "      ", text);
    }
    if target.headers.is_empty() {
        unset(HEADERS, HEADERS_DOC, "      ", text);
    } else {
        text.push_str(&format!("      # {HEADERS_DOC}\n      {HEADERS}:\n"));
        for (name, _) in &target.headers {
            text.push_str(&format!(
                "        {}: {}\n",
                quoted(name.as_str()),
                quoted(Secret::SHOWN)
            ));
        }
    }
    if target.tls == ExportTls::default() {
        unset(TLS, TLS_DOC, "      ", text);
        for key in TLS_KEYS {
            text.push_str(&format!("      #   {}:\n", key.path));
        }
    } else {
        text.push_str(&format!("      # {TLS_DOC}\n      {TLS}:\n"));
        for key in TLS_KEYS {
            value(&mut target.tls, key, key.path, "        ", text);
        }
    }
}
