//! The settings that are the cluster's and not a node's own: their names and values in a configuration, and a
//! configuration with others in their place.
//!
//! **Invariants**:
//! - I1: a value has its references (`${env:NAME}`, `${file:PATH}`) as they are written; they are resolved where it is
//!   taken into a configuration, on each node for itself.
//! - I2: a setting that a configuration cannot have leaves the rest of it as it is.
//!
//! **Not here**: their record, and the moment at which they are taken into use (`crate::settings`).

use std::collections::BTreeMap;

use gophership_catalogue::setting::{ARCHIVE_URL, EXPORTER};

use super::archive::Archive;
use super::check::check;
use super::environment::Environment;
use super::exporter_keys::{EXPORTER_KEYS, HEADERS};
use super::fault::{Fault, Origin, Place, Problem};
use super::keys::{KEYS, Key, PEERS};
use super::reader::Reader;
use super::settings::Config;
use super::suggest;
use super::tree::{Tree, Value, parse};
use crate::machine::Machine;

/// The cluster's keys beside its exporters. A change of each is in force on every node at once.
const CLUSTER_KEYS: [&str; 17] = [
    "vault.segment_age",
    "vault.retention",
    "vault.scrub_interval",
    "vault.on_full",
    "archive.url",
    "archive.endpoint",
    "archive.insecure",
    "archive.region",
    "archive.zstd_level",
    "archive.object_size",
    "archive.max_delay",
    "archive.verify",
    "archive.unsafe_store",
    "cluster.replicas",
    "cluster.ack_timeout",
    "cluster.dead_after",
    "cluster.repair_after",
];

/// The values of settings, by name: a key, or `exporter.NAME`.
pub type Values = BTreeMap<String, String>;

/// True where a setting is the cluster's.
#[must_use]
pub fn is_of_cluster(key: &str) -> bool {
    key.starts_with(EXPORTER) || CLUSTER_KEYS.contains(&key)
}

/// The values that a configuration has of the cluster's settings.
#[must_use]
pub fn cluster_values(config: &Config) -> Values {
    let all = values(config).into_iter();
    all.filter(|(key, _)| is_of_cluster(key)).collect()
}

/// All values of a configuration, in the order of its keys, exporters last. Keys that are not set are left out.
#[must_use]
pub fn values(config: &Config) -> Vec<(String, String)> {
    let shown = |key: &Key| Some((key.path.to_owned(), key.field.show(&mut config.clone())?));
    let in_cluster = |key: &&Key| config.cluster.is_some() || !key.path.starts_with("cluster.");
    let has_peer = |key: &&Key| config.listeners.peer.is_some() || !key.path.starts_with("listeners.peer.");
    let keys = KEYS.iter().filter(in_cluster).filter(has_peer);
    let mut all: Vec<_> = keys.filter_map(shown).collect();
    if let Some(cluster) = &config.cluster {
        let peers = cluster
            .peers
            .iter()
            .map(|peer| format!("{}={}", peer.name, peer.address));
        all.push((PEERS.to_owned(), peers.collect::<Vec<_>>().join(",")));
    }
    let exporters = config.export.iter();
    all.extend(exporters.map(|export| (format!("{EXPORTER}{}", export.name), export.source.clone())));
    all
}

/// A configuration with these settings in place of its own, and the faults of those that it cannot have, each by its
/// name. It keeps its own value of such a setting; an exporter is left out.
#[must_use]
pub fn with_settings(
    own: &Config,
    settings: &Values,
    environment: &Environment,
    machine: &Machine,
) -> (Config, Values) {
    let mut config = Config {
        export: Vec::new(),
        ..own.clone()
    };
    if settings.contains_key(ARCHIVE_URL) {
        // What is not set there is not set at all: its keys are of one store.
        config.archive = Archive::default();
    }
    let mut refused = Values::new();
    for (key, value) in settings {
        match with_setting(&config, key, value, environment, machine) {
            Ok(changed) => config = changed,
            Err(faults) => drop(refused.insert(key.clone(), faults.join("; "))),
        }
    }
    (config, refused)
}

/// A configuration with one setting changed.
///
/// # Errors
///
/// All faults, in words.
pub fn with_setting(
    config: &Config,
    key: &str,
    value: &str,
    environment: &Environment,
    machine: &Machine,
) -> Result<Config, Vec<String>> {
    with_changes(config, [(key, value)], environment, machine)
}

/// A configuration with several settings changed, which are checked together.
///
/// # Errors
///
/// All faults, in words.
pub fn with_changes<'a>(
    config: &Config,
    changes: impl IntoIterator<Item = (&'a str, &'a str)>,
    environment: &Environment,
    machine: &Machine,
) -> Result<Config, Vec<String>> {
    let mut reader = Reader::new(environment);
    reader.config = config.clone();
    for (key, value) in changes {
        match key.strip_prefix(EXPORTER) {
            Some(name) => exporter(&mut reader, key, name, value),
            None => plain(&mut reader, key, value),
        }
    }
    if reader.faults.is_empty() {
        check(&mut reader, machine);
    }
    if reader.faults.is_empty() {
        return Ok(reader.config);
    }
    // The value is on one line, and its place in a file is none.
    let told = reader.faults.into_iter().map(|fault| Fault {
        origin: Origin::Cluster,
        ..fault
    });
    Err(told.map(|fault| fault.to_string()).collect())
}

/// Reads the one element of `export` that a text holds: its name, and its value as a setting.
///
/// # Errors
///
/// All faults, in words, with their places in the text.
pub fn read_exporter(text: &str, environment: &Environment) -> Result<(String, String), Vec<String>> {
    let mut reader = Reader::new(environment);
    let tree = parse(text, &mut reader.faults);
    let found = match &tree {
        Ok(tree) => reader.exporter("exporter", tree),
        Err(fault) => {
            reader.faults.push((**fault).clone());
            None
        }
    };
    match found {
        Some(export) if reader.faults.is_empty() => Ok((export.name, export.source)),
        _ => Err(reader.faults.iter().map(ToString::to_string).collect()),
    }
}

fn exporter(reader: &mut Reader<'_>, key: &str, name: &str, value: &str) {
    reader.config.export.retain(|export| export.name != name);
    match parse(value, &mut reader.faults) {
        Ok(tree) => {
            let Some(export) = reader.exporter(key, &tree) else {
                return;
            };
            if export.name != name && reader.faults.is_empty() {
                let accepted = format!("{name}, as the setting is called");
                let origin = Origin::Cluster;
                let path = format!("{key}.{}", EXPORTER_KEYS[0].path);
                return reader.fault(&path, origin, Some(&export.name), Problem::NotAccepted { accepted });
            }
            reader.config.export.push(export);
            reader.config.export.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Err(fault) => reader.faults.push(*fault),
    }
}

fn plain(reader: &mut Reader<'_>, path: &str, value: &str) {
    let of_cluster = |key: &&Key| is_of_cluster(key.path);
    let Some(key) = KEYS.iter().filter(of_cluster).find(|key| key.path == path) else {
        let known = || CLUSTER_KEYS.into_iter();
        let problem = match KEYS.iter().any(|key| key.path == path) || path == PEERS {
            true if path == "cluster.name" => Problem::NameStays,
            true if path == PEERS => Problem::NodesOwn {
                of: "every node of the cluster, and start them again one by one",
            },
            true => Problem::NodesOwn {
                of: "that node, and start it again",
            },
            false => Problem::UnknownKey {
                suggestion: suggest::nearest(path, known()).map(str::to_owned),
                known: known().collect::<Vec<_>>().join(", "),
            },
        };
        return reader.fault(path, Origin::Cluster, None, problem);
    };
    if key.field.read(&mut reader.config, value).is_err() {
        let accepted = key.field.accepted();
        reader.fault(path, Origin::Cluster, Some(value), Problem::NotAccepted { accepted });
    }
}

/// An element of `export` as JSON on one line, as it is written but for header values without a reference: these are
/// shown to nobody.
pub(super) fn source(tree: &Tree) -> String {
    json(tree, false).to_string()
}

fn json(tree: &Tree, is_secret: bool) -> serde_json::Value {
    match &tree.value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) if is_secret && !text.contains("${") => super::export::Secret::SHOWN.into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(elements) => elements.iter().map(|element| json(element, is_secret)).collect(),
        Value::Map(entries) => {
            let set = entries.iter().filter(|(_, _, child)| child.value != Value::Null);
            let set = set.map(|(name, _, child): &(String, Place, Tree)| {
                (name.clone(), json(child, is_secret || name == HEADERS))
            });
            serde_json::Value::Object(set.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    const MACHINE: Machine = Machine {
        cores: 1,
        memory: 4 << 30,
    };
    const SECRET: &str = "s3cr3t";
    const CLUSTER: &str = "listeners: {peer: {insecure: true}}\n\
        cluster: {name: c, peers: [{name: node-1, address: 'a:1'}, {name: b, address: 'b:1'}, {name: c, address: 'c:1'}]}\n";

    fn environment() -> Environment {
        [("KEY".to_owned(), SECRET.into())].into_iter().collect()
    }

    fn read(more: &str) -> Result<Config, Vec<Fault>> {
        load_text(&format!("{CLUSTER}{more}"), &environment(), &MACHINE)
    }

    fn exporter(name: &str, more: &str) -> String {
        format!("{{name: {name}, otlp_http: {{endpoint: 'https://b', headers: {{X-Key: '{more}'}}}}}}")
    }

    fn over(own: &Config, settings: &[(&str, &str)]) -> (Config, Values) {
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        with_settings(own, &settings.collect(), &environment(), &MACHINE)
    }

    #[test]
    fn i1_values_are_taken_into_another_configuration_as_they_are_written() {
        let first = read(&format!(
            "vault: {{retention: 48h, on_full: drop_oldest, disk_limit: 20GiB}}\nexport: [{}, {}]",
            exporter("b", "Bearer ${env:KEY}"),
            exporter("a", "${env:KEY}")
        ));
        let first = first.unwrap();
        let values = cluster_values(&first);
        assert_eq!(values.len(), CLUSTER_KEYS.len() + 2);
        let shown = format!("{values:?}");
        assert!(
            shown.contains("Bearer ${env:KEY}") && !shown.contains(SECRET),
            "{shown}"
        );
        let other = read(&format!("export: [{}]", exporter("gone", "${env:KEY}"))).unwrap();
        let (taken, refused) = with_settings(&other, &values, &environment(), &MACHINE);
        assert_eq!((refused, cluster_values(&taken)), (Values::new(), values));
        assert_eq!(taken.vault.disk_limit, other.vault.disk_limit, "it is a node's own");
        let headers = &taken.export[1].target.headers;
        assert_eq!(headers[0].1.expose(), "Bearer s3cr3t", "it is resolved here");
    }

    #[test]
    fn i2_what_a_node_cannot_have_is_told_by_name_and_leaves_the_rest() {
        let own = read("vault: {retention: 48h}").unwrap();
        let (a, b, c) = (
            exporter("a", "${env:KEY}"),
            exporter("b", "${env:GONE}"),
            exporter("c", "${env:KEY}"),
        );
        let (taken, refused) = over(
            &own,
            &[
                ("cluster.replicas", "4"),
                ("cluster.of_a_later_version", "x"),
                ("exporter.a", &a),
                ("exporter.b", &b),
                ("exporter.other", &c),
                ("vault.retention", "36501d"),
                ("vault.segment_age", "2s"),
            ],
        );
        let keys: Vec<&str> = refused.keys().map(String::as_str).collect();
        let expected = [
            "cluster.of_a_later_version",
            "cluster.replicas",
            "exporter.b",
            "exporter.other",
            "vault.retention",
        ];
        assert_eq!(keys, expected, "{refused:?}");
        assert!(refused["exporter.b"].contains("GONE, which is not set"), "{refused:?}");
        let names: Vec<&str> = taken.export.iter().map(|export| export.name.as_str()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(taken.vault.segment_age.as_secs(), 2);
        assert_eq!(taken.vault.retention, own.vault.retention, "its own stays");
        assert_eq!(taken.cluster, own.cluster);
    }

    #[test]
    fn several_changes_are_checked_together_and_what_is_optional_is_taken_back() {
        let own = read("archive: {url: 'file:///a', region: eu-1}").unwrap();
        let changed = |changes: &[(&str, &str)]| with_changes(&own, changes.iter().copied(), &environment(), &MACHINE);
        let plaintext = ("archive.endpoint", "http://minio:9000");
        let to_bucket = [("archive.url", "s3://logs"), plaintext, ("archive.insecure", "true")];
        let faults = changed(&to_bucket[..2]).unwrap_err();
        assert!(
            faults.len() == 1 && faults[0].contains("archive.endpoint"),
            "{faults:?}"
        );
        let archive = changed(&to_bucket).unwrap().archive;
        assert_eq!((archive.url.as_deref(), archive.insecure), (Some("s3://logs"), true));
        let faults = changed(&[("archive.url", "ftp://logs"), ("archive.zstd_level", "99")]).unwrap_err();
        assert_eq!(faults.len(), 2, "all at once: {faults:?}");
        let archive = changed(&[("archive.region", "none"), ("archive.url", "none")]).unwrap();
        let values = cluster_values(&archive);
        assert_eq!(
            (values["archive.region"].as_str(), archive.archive.region),
            ("none", None)
        );
    }

    #[test]
    fn exporters_that_the_memory_has_no_room_for_are_left_out() {
        let own = read("memory: {budget: 32MiB}").unwrap();
        let large = |name: &str| format!("{{name: {name}, batch_bytes: 3MiB, otlp_http: {{endpoint: 'https://b'}}}}");
        let (taken, refused) = over(&own, &[("exporter.a", &large("a")), ("exporter.b", &large("b"))]);
        assert_eq!((taken.export.len(), refused.len()), (1, 1), "{refused:?}");
        assert!(refused["exporter.b"].contains("memory.budget"), "{refused:?}");
    }

    #[test]
    fn no_fault_shows_what_a_reference_stands_for_and_none_is_written_out_in_a_cluster() {
        let of = |otlp: &str| format!("export: [{{name: a, otlp_http: {{{otlp}}}}}]");
        for faulty in [
            "endpoint: '${env:KEY}'",
            "endpoint: 'http://b/${env:KEY}'",
            "endpoint: 'https://b', timeout: '${env:KEY}'",
            "endpoint: 'https://b', tls: {cert: '${env:KEY}'}",
            "endpoint: 'https://b', headers: {x-a: \"${env:KEY}\\n\"}",
        ] {
            let faults = read(&of(faulty)).unwrap_err();
            let told = format!("{faults:?}");
            assert!(!told.contains(SECRET), "{faulty}: {told}");
        }
        let written_out = of(&format!("endpoint: 'https://b', headers: {{x-a: {SECRET}}}"));
        let faults = read(&written_out).unwrap_err();
        let told = faults[0].to_string();
        assert!(faults.len() == 1 && told.contains("is written out"), "{told}");
        let single = load_text(&written_out, &environment(), &MACHINE).unwrap();
        let shown = format!("{:?}", values(&single));
        assert!(shown.contains("***") && !shown.contains(SECRET), "{shown}");
    }

    #[test]
    fn a_reference_to_a_file_stands_for_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let (file, large) = (dir.path().join("key"), dir.path().join("large"));
        std::fs::write(&file, format!(" {SECRET}\n")).unwrap();
        std::fs::write(&large, vec![b'x'; (64 << 10) + 1]).unwrap();
        let of = |file: &std::path::Path| {
            let reference = format!("a ${{file:{}}} b", file.display());
            read(&format!("export: [{}]", exporter("a", &reference)))
        };
        let read = of(&file).unwrap();
        assert_eq!(read.export[0].target.headers[0].1.expose(), "a s3cr3t b");
        for gone in [dir.path().join("gone"), large] {
            let told = of(&gone).unwrap_err()[0].to_string();
            assert!(told.contains(&gone.display().to_string()), "{told}");
        }
    }
}
