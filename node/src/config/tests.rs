//! Faults by table, then properties of the whole table of keys.

use std::collections::BTreeSet;
use std::time::Duration;

use super::keys::{KEYS, Key, SECTIONS};
use super::*;
use crate::machine::Machine;

const SMALL: Machine = Machine {
    cores: 1,
    memory: 4 << 30,
};

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect()
}

fn read(text: &str) -> Result<Config, Vec<Fault>> {
    load_text(text, &environment(&[]), &SMALL)
}

fn faults(text: &str, variables: &[(&str, &str)]) -> Vec<(String, String)> {
    load_text(text, &environment(variables), &SMALL)
        .expect_err(text)
        .into_iter()
        .map(|fault| (fault.path.clone(), fault.to_string()))
        .collect()
}

/// A file with one fault; the path that the fault must name; a part of its text.
const ONE_FAULT: &[(&str, &str, &str)] = &[
    // The file itself.
    ("a: [", "", "is not YAML"),
    ("node: {name: a", "", "is not YAML"),
    ("node: {}\n---\nnode: {}", "", "second YAML document"),
    ("node: {name: *x}", "", "is not YAML"),
    ("node: {name: &x a}", "node.name", "YAML anchor"),
    ("node: {name: !!str a}", "node.name", "YAML tag"),
    (
        "node: {name: a, name: b}",
        "node.name",
        "second time; the first is in line 1",
    ),
    ("node: {name: a}\nnode: {name: b}", "node", "second time"),
    ("[a]: b", "", "not a plain word"),
    (
        "[]",
        "",
        "is a section; accepted: a mapping with node, listeners, ingest, memory, vault",
    ),
    ("hello", "", "is a section"),
    // Names.
    (
        "warehouse: {url: none}",
        "warehouse",
        "is not a key; accepted here: node, listeners",
    ),
    (
        "vault: {segment_siez: 1MiB}",
        "vault.segment_siez",
        "did you mean `segment_size`?",
    ),
    (
        "segment_size: 1MiB",
        "segment_size",
        "did you mean `vault.segment_size`?",
    ),
    (
        "listeners: {otlp_grpc: {tls: {ca: x, cert: a, key: b}}}",
        "listeners.otlp_grpc.tls.ca",
        "accepted here: cert, key, client_ca",
    ),
    (
        "listeners: {control: {address: '127.0.0.1:9092'}}",
        "listeners.control",
        "is not a key",
    ),
    (
        "memory: auto",
        "memory",
        "\"auto\" is a section; accepted: a mapping with budget",
    ),
    ("node: {name: [a]}", "node.name", "one value, not a list"),
    ("node: {name: {a: b}}", "node.name", "one value, not a mapping"),
    // Values.
    (
        "node: {name: 'a b'}",
        "node.name",
        "\"a b\" is not accepted; accepted: letters",
    ),
    ("node: {name: -a}", "node.name", "is not accepted"),
    ("node: {name: ''}", "node.name", "\"\" is not accepted"),
    ("node: {data_dir: ''}", "node.data_dir", "accepted: a path"),
    (
        "node: {shutdown_delay: 5}",
        "node.shutdown_delay",
        "auto, or a whole number with ms, s, m, h or d",
    ),
    ("node: {shutdown_delay: 1h}", "node.shutdown_delay", "from 0s to 10m"),
    (
        "listeners: {admin: {address: ':9091'}}",
        "listeners.admin.address",
        "such as 127.0.0.1:4317",
    ),
    (
        "listeners: {admin: {address: 'localhost:9091'}}",
        "listeners.admin.address",
        "an IP address and a port",
    ),
    (
        "listeners: {admin: {insecure: yes}}",
        "listeners.admin.insecure",
        "true or false",
    ),
    (
        "ingest: {shards: 0}",
        "ingest.shards",
        "\"0\" is not accepted; accepted: auto, or a whole number from 1 to 64",
    ),
    ("ingest: {shards: 65}", "ingest.shards", "from 1 to 64"),
    ("ingest: {shards: +2}", "ingest.shards", "from 1 to 64"),
    ("ingest: {max_message: 0}", "ingest.max_message", "from 1KiB to 1GiB"),
    (
        "ingest: {max_message: 4M}",
        "ingest.max_message",
        "from 1KiB to 1GiB; did you mean 4MiB (1024) or 4MB (1000)?",
    ),
    (
        "ingest: {max_message: 1TiB}",
        "ingest.max_message",
        "\"1TiB\" is not accepted; accepted: a whole number",
    ),
    ("ingest: {read_timeout: 0s}", "ingest.read_timeout", "from 100ms to 10m"),
    (
        "ingest: {max_connection_age: 1h30m}",
        "ingest.max_connection_age",
        "a whole number with",
    ),
    ("memory: {budget: 1MiB}", "memory.budget", "from 16MiB"),
    ("vault: {segment_size: 4GiB}", "vault.segment_size", "from 64KiB to"),
    ("vault: {segment_size: 32KiB}", "vault.segment_size", "from 64KiB to"),
    ("vault: {segment_age: 0s}", "vault.segment_age", "from 1s to 24h"),
    ("vault: {spares: 0}", "vault.spares", "from 1 to 16"),
    ("vault: {spares: auto}", "vault.spares", "from 1 to 16"),
    ("vault: {disk_limit: 0}", "vault.disk_limit", "from 1MiB"),
    ("vault: {retention: forever}", "vault.retention", "a whole number with"),
    ("vault: {any_filesystem: 1}", "vault.any_filesystem", "true or false"),
    (
        "vault: {on_full: drop}",
        "vault.on_full",
        "accepted: refuse or drop_oldest",
    ),
    ("zones: {yellow: 0.01}", "zones.yellow", "a fraction from 0.05 to 1"),
    ("zones: {red: 90}", "zones.red", "a fraction from 0.05 to 1"),
    ("zones: {red: 9e-1}", "zones.red", "a fraction from 0.05 to 1"),
    ("zones: {sense_every: 0}", "zones.sense_every", "from 1 to 1048576"),
    (
        "zones: {yellow: 0.9}",
        "zones.yellow",
        "is not less than zones.red (0.9)",
    ),
    // Exporters.
    ("export: {name: a}", "export", "is a list; accepted: a list"),
    ("export: [a]", "export[0]", "a mapping with name, batch_bytes"),
    (
        "export: [{name: a}]",
        "export[0]",
        "has neither otlp_grpc nor otlp_http",
    ),
    (
        "export: [{name: a, otlp_grpc: {endpoint: 'https://b'}, otlp_http: {endpoint: 'https://b'}}]",
        "export[0]",
        "has both otlp_grpc and otlp_http",
    ),
    (
        "export: [{otlp_grpc: {endpoint: 'https://b'}}]",
        "export[0].name",
        "is missing; accepted: lower-case letters",
    ),
    (
        "export: [{name: A, otlp_grpc: {endpoint: 'https://b'}}]",
        "export[0].name",
        "is not accepted",
    ),
    (
        "export: [{name: a, otlp_grpc: {endpoint: 'https://b'}}, {name: a, otlp_grpc: {endpoint: 'https://c'}}]",
        "export[1].name",
        "is the name of export[0] already",
    ),
    (
        "export: [{name: a, otlp_grpc: {endpoint: 'https://b'}, name: b}]",
        "export[0].name",
        "second time",
    ),
    (
        "export: [{name: a, otlp_grpc: {}}]",
        "export[0].otlp_grpc.endpoint",
        "is missing",
    ),
    (
        "export: [{name: a, otlp_grpc: {endpoint: 'https://b', compresion: gzip}}]",
        "export[0].otlp_grpc.compresion",
        "did you mean `compression`?",
    ),
    (
        "export: [{name: a, otlp_grpc: {endpoint: 'http://b:4317'}}]",
        "export[0].otlp_grpc.endpoint",
        "is plaintext to another machine",
    ),
    (
        "export: [{name: a, otlp_grpc: {endpoint: 'https://b:4317/x'}}]",
        "export[0].otlp_grpc.endpoint",
        "without a path",
    ),
    (
        "export: [{name: a, otlp_http: {endpoint: 'https://b', insecure: true}}]",
        "export[0].otlp_http.insecure",
        "is set, but the endpoint is https://",
    ),
    (
        "export: [{name: a, otlp_http: {endpoint: 'http://localhost:1', tls: {ca: x}}}]",
        "export[0].otlp_http.tls",
        "is set, but the endpoint is http://",
    ),
    (
        "export: [{name: a, otlp_http: {endpoint: 'https://b', tls: {cert: x}}}]",
        "export[0].otlp_http.tls.key",
        "needs both cert and key",
    ),
    (
        "export: [{name: a, otlp_http: {endpoint: 'https://b', headers: {Content-Type: x}}}]",
        "export[0].otlp_http.headers.Content-Type",
        "is not accepted; accepted: header names",
    ),
    (
        "export: [{name: a, otlp_http: {endpoint: 'https://b', headers: {x-a: '${env:GONE}'}}}]",
        "export[0].otlp_http.headers.x-a",
        "GONE, which is not set",
    ),
    (
        "export: [{name: a, otlp_http: {endpoint: 'https://b'}, batch_bytes: 65MiB}]",
        "export[0].batch_bytes",
        "from 1KiB to 64MiB",
    ),
    (
        "export: [{name: a, otlp_http: {endpoint: 'https://b'}, start: never}]",
        "export[0].start",
        "now or oldest",
    ),
    // References.
    (
        "node: {name: '${env:GONE}'}",
        "node.name",
        "environment variable GONE, which is not set",
    ),
    ("node: {name: '${GONE}'}", "node.name", "only that is expanded"),
    ("node: {name: '${env:}'}", "node.name", "only that is expanded"),
    ("node: {name: '${env:A'}", "node.name", "only that is expanded"),
    // Rules between keys.
    (
        "listeners: {otlp_grpc: {address: '0.0.0.0:4317'}}",
        "listeners.otlp_grpc.address",
        "is not loopback and has no TLS",
    ),
    (
        "listeners: {otlp_http: {address: '[::]:4318'}}",
        "listeners.otlp_http.address",
        "or `insecure: true`",
    ),
    (
        "listeners: {admin: {address: '10.0.0.1:9091'}}",
        "listeners.admin.address",
        "is not loopback",
    ),
    (
        "listeners: {admin: {tls: {cert: a}}}",
        "listeners.admin.tls.key",
        "is missing; accepted: a PEM file",
    ),
    (
        "listeners: {admin: {tls: {key: a}}}",
        "listeners.admin.tls.cert",
        "is missing",
    ),
    (
        "listeners: {admin: {tls: {cert: a, key: b}, insecure: true}}",
        "listeners.admin.insecure",
        "beside `tls`",
    ),
    (
        "listeners: {admin: {address: '127.0.0.1:4317'}}",
        "listeners.admin.address",
        "taken by listeners.otlp_grpc.address",
    ),
    (
        "listeners: {admin: {address: '0.0.0.0:4318', insecure: true}}",
        "listeners.admin.address",
        "taken by listeners.otlp_http.address",
    ),
    (
        "listeners: {admin: {address: '[::ffff:127.0.0.1]:4318'}}",
        "listeners.admin.address",
        "taken by",
    ),
    (
        "vault: {segment_size: 10000001}",
        "vault.segment_size",
        "not a multiple of 4096",
    ),
    (
        "vault: {segment_size: 4MiB}",
        "vault.segment_size",
        "cannot hold one message of ingest.max_message (4MiB); accepted: at least 4108KiB",
    ),
    (
        "vault: {disk_limit: 100MiB}",
        "vault.disk_limit",
        "too small for 1 shards with 2 spares of 64MiB each; accepted: at least 562MiB",
    ),
    ("ingest: {shards: 64}", "vault.disk_limit", "too small for 64 shards"),
    (
        "ingest: {shards: 8}\nmemory: {budget: 32MiB}",
        "memory.budget",
        "too small for 8 shards",
    ),
    (
        "ingest: {shards: 1}\nmemory: {budget: 16MiB}\nexport: [{name: a, otlp_grpc: {endpoint: \
         'http://localhost:1'}}]",
        "memory.budget",
        "at least 20MiB",
    ),
    (
        "memory: {budget: 16MiB}\nexport: [{name: a, otlp_grpc: {endpoint: 'http://localhost:1'}}, {name: b, \
         otlp_grpc: {endpoint: 'http://localhost:2'}}]",
        "memory.budget",
        "too small for the exporters, which need",
    ),
];

#[test]
fn each_fault_is_named_with_its_path_and_what_is_accepted() {
    for (text, path, says) in ONE_FAULT {
        let found = faults(text, &[]);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert_eq!(found[0].0, *path, "{text}: {found:#?}");
        assert!(found[0].1.contains(says), "{text}: {found:#?} does not say {says:?}");
    }
}

#[test]
fn faults_of_every_kind_are_reported_at_once_in_the_order_of_the_file() {
    let text = "\
node: { name: 'a b', nmae: x }
listeners:
  otlp_grpc: { address: '0.0.0.0:4317' }
ingest: { shards: 99 }
vault:
  spares: 3
  spares: 4
  retention: '${env:GONE}'
";
    let found = faults(text, &[("GS_VAULT_SPARE", "1"), ("GS_MEMORY_BUDGET", "much")]);
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    let expected = [
        "node.name",
        "node.nmae",
        "listeners.otlp_grpc.address",
        "ingest.shards",
        "vault.spares",
        "vault.retention",
        "memory.budget",
        "GS_VAULT_SPARE",
    ];
    assert_eq!(paths, expected, "{found:#?}");
}

#[test]
fn a_fault_names_line_column_and_what_was_seen() {
    let found = faults("node:\n  name: ok\nvault:\n  segment_size: 64 M\n", &[]);
    assert!(
        found[0]
            .1
            .starts_with("line 4, column 17: vault.segment_size: \"64 M\" is not accepted"),
        "{found:?}"
    );
}

#[test]
fn a_rule_between_keys_is_not_judged_on_a_key_with_a_fault() {
    let found = faults("vault: { segment_size: 1M, disk_limit: 2MiB }", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn an_empty_file_is_the_defaults_on_any_machine() {
    for (cores, memory) in [
        (1, 4 << 30),
        (1, 64 << 20),
        (2, 1 << 30),
        (16, 256 << 20),
        (128, 1 << 40),
    ] {
        let machine = Machine { cores, memory };
        for text in [
            "",
            "# nothing\n",
            "node:\nvault: {}\n",
            "node: {name: null, data_dir: ~}",
        ] {
            assert_eq!(
                load_text(text, &environment(&[]), &machine),
                Ok(Config::default()),
                "{machine:?} {text:?}"
            );
        }
    }
}

#[test]
fn the_readme_form_of_every_value_is_read() {
    let text = "\
node: { name: edge-7.eu, data_dir: /var/lib/gophership, shutdown_delay: 500ms }
listeners:
  otlp_grpc: { address: '0.0.0.0:4317', tls: { cert: n.pem, key: n.key, client_ca: ca.pem } }
  otlp_http: { address: '[::]:4318', insecure: true }
  admin: { address: 127.0.0.1:9091 }
ingest: { shards: 3, max_message: 8MiB, read_timeout: 20s, max_connection_age: 10m }
memory: { budget: 1GiB }
vault: { segment_size: 33554432, segment_age: 1m, spares: 1, disk_limit: 50GiB, retention: 7d, any_filesystem: true }
";
    let config = read(text).expect("a good file");
    assert_eq!(config.node.name, "edge-7.eu");
    assert_eq!(config.node.shutdown_delay, Auto::Fixed(Duration::from_millis(500)));
    let tls = config.listeners.otlp_grpc.tls.clone().expect("tls was given");
    assert_eq!(
        (tls.cert, tls.key, tls.client_ca),
        ("n.pem".into(), "n.key".into(), Some("ca.pem".into()))
    );
    assert!(config.listeners.otlp_http.insecure && config.listeners.otlp_http.tls.is_none());
    assert_eq!((config.shards(&SMALL), config.memory_budget(&SMALL)), (3, 1 << 30));
    assert_eq!(config.ingest.max_message, 8 << 20);
    let vault = config.vault;
    assert_eq!(
        (vault.segment_size, vault.spares, vault.disk_limit),
        (32 << 20, 1, 50 << 30)
    );
    assert_eq!(
        (vault.segment_age, vault.retention),
        (Duration::from_secs(60), Duration::from_secs(7 * 86_400))
    );
    assert!(vault.any_filesystem);
}

#[test]
fn references_are_expanded_and_not_expanded_again() {
    let variables = [("HOST", "h1"), ("SIZE", "32MiB"), ("ODD", "x${env:HOST}")];
    let read = |text: &str| load_text(text, &environment(&variables), &SMALL);
    let config = read("node: {name: 'n-${env:HOST}-${env:HOST}'}\nvault: {segment_size: '${env:SIZE}'}").expect("good");
    assert_eq!(
        (config.node.name.as_str(), config.vault.segment_size),
        ("n-h1-h1", 32 << 20)
    );
    assert_eq!(
        read("node: {data_dir: '${env:ODD}'}")
            .expect("good")
            .node
            .data_dir
            .to_str(),
        Some("x${env:HOST}")
    );
}

#[test]
fn the_environment_overrides_the_file() {
    let variables = [
        ("GS_NODE_NAME", "from-env"),
        ("GS_VAULT_DISK_LIMIT", "20GiB"),
        ("GS_LISTENERS_OTLP_GRPC_ADDRESS", "127.0.0.1:5317"),
        ("GS_LISTENERS_ADMIN_TLS_CERT", "a.pem"),
        ("GS_LISTENERS_ADMIN_TLS_KEY", "a.key"),
        ("GS_SOCKET", "/run/x.sock"),
        ("GS_CONFIG", "x.yaml"),
        ("GS_LOG", "debug"),
        ("OTHER", "x"),
    ];
    let config = load_text("node: {name: from-file}", &environment(&variables), &SMALL).expect("good");
    assert_eq!(config.node.name, "from-env");
    assert_eq!(config.vault.disk_limit, 20 << 30);
    assert_eq!(config.listeners.otlp_grpc.address.port(), 5317);
    assert_eq!(config.listeners.admin.tls.map(|tls| tls.cert), Some("a.pem".into()));
}

#[test]
fn an_override_that_sets_nothing_is_a_fault() {
    let found = faults("", &[("GS_NODE_NAM", "x"), ("GS_WAREHOUSE_URL", "x")]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .any(|(path, text)| path == "GS_NODE_NAM" && text.contains("did you mean GS_NODE_NAME?"))
    );
    assert!(
        found
            .iter()
            .any(|(path, text)| path == "GS_WAREHOUSE_URL" && !text.contains("did you mean"))
    );
}

#[test]
fn a_file_that_would_swell_is_refused() {
    let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n";
    assert!(faults(laughs, &[]).iter().any(|(_, text)| text.contains("YAML alias")));
    let deep = format!("node: {}{}", "[".repeat(200), "]".repeat(200));
    assert!(faults(&deep, &[])[0].1.contains("deeper than 16 levels"));
    let broad = format!("node: [{}]", "x,".repeat(20_000));
    assert!(faults(&broad, &[])[0].1.contains("more than 10000 keys and values"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("big.yaml");
    let load = |file: &std::path::Path| {
        load(Some(file), &environment(&[]), &SMALL)
            .expect_err("refused")
            .to_string()
    };
    assert!(load(&file).contains("big.yaml") && load(&file).contains("No such file"));
    std::fs::write(&file, vec![b' '; 1024 * 1024 + 1]).expect("written");
    assert!(load(&file).contains("larger than 1048576 bytes"));
    std::fs::write(&file, b"node: {name: \xff}").expect("written");
    assert!(load(&file).contains("utf-8"));
    assert!(load(folder.path()).contains("cannot be read"));
}

#[test]
fn auto_is_what_the_machine_grants() {
    let config = Config::default();
    let machine = |cores, memory| Machine { cores, memory };
    assert_eq!(config.shards(&machine(1, 4 << 30)), 1);
    assert_eq!(config.shards(&machine(8, 16 << 30)), 8);
    assert_eq!(config.shards(&machine(96, 256 << 30)), 16);
    assert_eq!(
        config.shards(&machine(16, 96 << 20)),
        3,
        "48 MiB serve three workers of three times 4 MiB and a little"
    );
    assert_eq!(config.memory_budget(&machine(1, 2 << 30)), 1 << 30);
    assert_eq!(config.memory_budget(&machine(1, 64 << 30)), 4 << 30);
    let config = read("vault: {disk_limit: 1GiB}").expect("good");
    assert_eq!(
        config.shards(&machine(8, 16 << 30)),
        2,
        "800 MiB hold 12 files: 3 and the ballast's for each shard, 2 segments, and room for a start"
    );
}

#[test]
fn the_shutdown_delay_is_zero_only_where_no_balancer_can_be() {
    let delay = |text: &str| read(text).expect(text).shutdown_delay();
    assert_eq!(delay(""), Duration::ZERO);
    assert_eq!(
        delay("listeners: {otlp_grpc: {address: '0.0.0.0:4317', insecure: true}}"),
        Duration::from_secs(5)
    );
    assert_eq!(delay("node: {shutdown_delay: 7s}"), Duration::from_secs(7));
}

/// A node of a cluster of three, with more keys of `cluster` and of `listeners.peer`.
fn in_cluster(cluster: &str, peer: &str) -> String {
    let peers: Vec<String> = (1..4)
        .map(|n| format!("{{name: node-{n}, address: 'host-{n}:9097'}}"))
        .collect();
    format!(
        "cluster: {{name: prod, peers: [{}] {cluster}}}\nlisteners: {{peer: {{insecure: true {peer}}}}}",
        peers.join(", ")
    )
}

#[test]
fn a_node_of_a_cluster_is_itself_the_domain_that_fails() {
    let config = read(&in_cluster("", "")).expect("good");
    assert_eq!(config.failure_domain(), "node-1");
    let cluster = config.cluster.expect("a cluster");
    assert_eq!((cluster.name.as_str(), cluster.replicas), ("prod", 3));
    assert_eq!(
        cluster.peer("NODE-2").map(|peer| peer.address.as_str()),
        Some("host-2:9097")
    );
    let named = read(&(in_cluster("", "") + "\nnode: {failure_domain: rack/7}")).expect("good");
    assert_eq!(named.failure_domain(), "rack/7");
}

#[test]
fn faults_of_a_cluster_are_reported_at_once() {
    let peers = |list: &str| format!("cluster: {{name: prod, peers: {list}}}\nlisteners: {{peer: {{insecure: true}}}}");
    let table: Vec<(String, &[(&str, &str)])> = vec![
        (
            "cluster: {ack_timeout: 1ms, replicas: 1}".into(),
            &[
                ("cluster.ack_timeout", "from 100ms to 1m"),
                ("cluster.replicas", "from 2 to 7"),
                ("cluster.name", "is missing"),
                ("listeners.peer", "is missing; accepted: an address with tls"),
                ("cluster.peers", "is missing; accepted: the nodes of the cluster"),
            ],
        ),
        (
            peers("[{name: a, address: 'h:1'}, {name: b, address: 'h:2'}]"),
            &[
                ("node.name", "\"node-1\" is no name in cluster.peers (a, b)"),
                ("cluster.replicas", "needs 3 peers, and cluster.peers has 2"),
            ],
        ),
        (
            peers(
                "[{name: A, address: 'h:0'}, {name: a, address: 'h:2'}, {name: localhost, address: 'h:2'}, \
                 {name: 10.0.0.1}, {name: x_, address: h}, {name: z, adress: 'h:3'}, b]",
            ),
            &[
                (
                    "cluster.peers[0].address",
                    "\"h:0\" is not accepted; accepted: HOST:PORT",
                ),
                ("cluster.peers[1].name", "is the name of cluster.peers[0]"),
                ("cluster.peers[2].name", "not localhost"),
                ("cluster.peers[2].address", "is the address of cluster.peers[1]"),
                ("cluster.peers[3].address", "is missing"),
                ("cluster.peers[3].name", "a DNS name"),
                ("cluster.peers[4].name", "ending with a letter or digit"),
                ("cluster.peers[4].address", "\"h\" is not accepted"),
                ("cluster.peers[5].adress", "did you mean `address`?"),
                ("cluster.peers[5].address", "is missing"),
                ("cluster.peers[6]", "is a section"),
            ],
        ),
        (peers("{}"), &[("cluster.peers", "is a list")]),
        (
            in_cluster("", ", address: '10.0.0.1:9097'"),
            &[("listeners.peer.address", "peers talk without TLS on one machine only")],
        ),
        (
            in_cluster("", ", tls: {cert: c, key: k, client_ca: a}"),
            &[("listeners.peer.insecure", "beside `tls`")],
        ),
        (
            in_cluster("", ", address: '127.0.0.1:4317'").replace("insecure: true", "tls: {cert: c, key: k}"),
            &[
                ("listeners.peer.address", "is taken by listeners.otlp_grpc.address"),
                ("listeners.peer.tls.client_ca", "is missing"),
            ],
        ),
        (
            in_cluster("", "").replace("insecure: true", "address: '127.0.0.1:1'"),
            &[("listeners.peer.address", "has no TLS")],
        ),
        (
            "node: {failure_domain: a}\nlisteners: {peer: {insecure: true}}".into(),
            &[
                ("node.failure_domain", "is set, but `cluster` is not"),
                ("listeners.peer", "is set, but `cluster` is not"),
            ],
        ),
    ];
    for (text, wanted) in table {
        let mut found = faults(&text, &[]);
        for (path, part) in wanted {
            let at = found.iter().position(|(at, fault)| at == path && fault.contains(part));
            let at = at.unwrap_or_else(|| panic!("{path} {part}: {found:#?}"));
            found.remove(at);
        }
        assert!(found.is_empty(), "{text}: {found:#?}");
    }
}

#[test]
fn another_list_of_peers_is_a_changed_key() {
    let (one, other) = (in_cluster("", ""), in_cluster("", "").replace("host-2", "host-4"));
    let [one, other] = [one, other].map(|text| read(&text).expect("good"));
    assert_eq!(changed_keys(&one, &other), ["cluster.peers"]);
}

/// A configuration in which no key has its default.
fn everything_set() -> String {
    let listener = |port: u16, client_ca: &str| {
        format!("{{ address: '10.1.2.3:{port}', tls: {{ cert: 'c{port}', key: 'k \"q\" \\{port}'{client_ca} }} }}")
    };
    format!(
        "node: {{ name: other, data_dir: '/d: #x', failure_domain: eu/1, shutdown_delay: 1500ms }}
listeners: {{ otlp_grpc: {}, otlp_http: {}, admin: {}, peer: {} }}
ingest: {{ shards: 2, max_message: 3000001, read_timeout: 1500ms, max_connection_age: 61s }}
memory: {{ budget: 100000001 }}
vault: {{ segment_size: 16MiB, segment_age: 90s, spares: 3, disk_limit: 12345678901, retention: 0, scrub_interval: 25h, any_filesystem: true, on_full: drop_oldest }}
archive: {{ url: 's3://logs/a', endpoint: 'http://minio:9000', insecure: true, region: eu-1, zstd_level: 9, object_size: 3MiB, max_delay: 6m, verify: head, unsafe_store: true }}
zones: {{ yellow: 0.123, red: 1, sense_every: 7 }}
cluster: {{ name: prod, peers: [{{ name: other, address: 'other.gs:9097' }}, {{ name: b, address: '[::1]:1' }}], replicas: 2, ack_timeout: 3s, dead_after: 6s, repair_after: 7m }}
export:
- {{ name: a-1, otlp_grpc: {{ endpoint: 'https://[2001:db8::1]:4317', tls: {{ ca: c, cert: e, key: k, server_name: s.example }}, compression: zstd, timeout: 1500ms }}, batch_bytes: 2000, start: oldest, expire: 3d, into_self: true }}
- {{ name: b_2, otlp_http: {{ endpoint: 'http://b:1/x?y=z', compression: none, insecure: true }} }}
",
        listener(1, ", client_ca: a1"),
        listener(2, ", client_ca: a2"),
        listener(3, ""),
        listener(4, ", client_ca: a4")
    )
}

#[test]
fn every_key_is_printed_whether_or_not_it_is_set() {
    let text = "export: [{name: a, otlp_http: {endpoint: 'http://127.0.0.1:1'}}]\n".to_owned() + &in_cluster("", "");
    let printed = print(&read(&text).expect("good"));
    let count = |name: &str| {
        let line = |line: &&str| line.trim_start_matches([' ', '#']).starts_with(&format!("{name}:"));
        printed.lines().filter(line).count()
    };
    for name in KEYS.iter().map(Key::name).collect::<BTreeSet<_>>() {
        let keys = KEYS.iter().filter(|key| key.name() == name).count();
        assert!(count(name) >= keys, "{name} in\n{printed}");
    }
    for name in ["headers", "ca", "server_name", "expire", "into_self"] {
        assert!(count(name) > 0, "{name} in\n{printed}");
    }
}

#[test]
fn what_is_printed_is_read_back() {
    for text in [
        String::new(),
        everything_set(),
        in_cluster("", ""),
        "listeners: {admin: {insecure: true, address: '0.0.0.0:1'}}".into(),
    ] {
        // The text of an exporter is the one thing that is another.
        let without_sources = |mut config: Config| {
            config.export.iter_mut().for_each(|export| export.source.clear());
            config
        };
        let config = read(&text).expect("good");
        let printed = print(&config);
        let again = read(&printed).map(without_sources);
        assert_eq!(again, Ok(without_sources(config)), "{printed}");
    }
}

#[test]
fn every_key_is_set_by_its_variable_to_what_is_shown() {
    let mut config = read(&everything_set()).expect("good");
    for key in KEYS {
        let Some(shown) = key.field.show(&mut config) else {
            continue;
        };
        let mut other = Config::default();
        let default = key.field.show(&mut other);
        assert!(
            default.as_ref() != Some(&shown) || key.name() == "insecure",
            "{} has its default",
            key.path
        );
        assert_eq!(key.field.read(&mut other, &shown), Ok(()), "{}", key.path);
        assert_eq!(key.field.show(&mut other), Some(shown), "{}", key.path);
    }
    let variables: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
    assert_eq!(variables.len(), KEYS.len(), "two keys with one variable");
    for key in KEYS {
        let (section, _) = key.path.rsplit_once('.').expect("every key is in a section");
        assert!(
            SECTIONS.iter().any(|known| known.path == section),
            "{} has no section",
            key.path
        );
        assert!(key.doc.ends_with('.'), "{}", key.path);
    }
}

#[test]
fn the_schema_takes_what_is_printed_and_refuses_what_is_refused() {
    let schema = schema();
    jsonschema::meta::validate(&schema).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for text in [String::new(), everything_set()] {
        let printed = print(&read(&text).expect("good"));
        let value = as_json(&printed);
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    let refused = [
        "cluster: {names: prod}",
        "cluster: {peers: [{name: a}]}",
        "cluster: {peers: [{name: a, address: 'b'}]}",
        "vault: {segment_siez: 1MiB}",
        "node: {name: 'a b'}",
        "ingest: {max_message: 4M}",
        "ingest: {shards: 99999999}",
        "vault: {segment_age: 5}",
        "listeners: {admin: {address: 'localhost:9091'}}",
        "listeners: {admin: {insecure: 'yes'}}",
        "memory: auto",
        "export: {}",
        "export: [{name: a}]",
        "export: [{name: a, otlp_grpc: {endpoint: 'https://b'}, otlp_http: {endpoint: 'https://b'}}]",
        "export: [{name: a, otlp_grpc: {endpoint: 'b:4317'}}]",
        "vault: {on_full: drop}",
        "zones: {red: 90}",
    ];
    for text in refused {
        assert!(!validator.is_valid(&as_json(text)), "{text}");
    }
    for text in [
        "node: {name: '${env:HOST}'}",
        "vault: {segment_size: '${env:SIZE}'}",
        "node: {name: null}",
        "node:",
    ] {
        assert!(validator.is_valid(&as_json(text)), "{text}");
    }
}

#[test]
fn an_endpoint_is_a_url_with_a_host() {
    let target = |kind: &str, url: &str| {
        let text = format!("export: [{{name: a, {kind}: {{endpoint: '{url}'}}}}]");
        read(&text).map(|config| config.export[0].target.endpoint.to_string())
    };
    for (kind, url, means) in [
        ("otlp_grpc", "https://backend", "https://backend:443"),
        ("otlp_grpc", "https://backend:4317/", "https://backend:4317"),
        ("otlp_grpc", "http://[::1]:4317", "http://[::1]:4317"),
        ("otlp_grpc", "http://localhost:4317", "http://localhost:4317"),
        ("otlp_http", "https://b:4318", "https://b:4318/v1/logs"),
        (
            "otlp_http",
            "https://b:4318/otlp/v1/logs?x=y",
            "https://b:4318/otlp/v1/logs?x=y",
        ),
        ("otlp_http", "http://127.0.0.1", "http://127.0.0.1:80/v1/logs"),
    ] {
        assert_eq!(target(kind, url).as_deref(), Ok(means), "{url}");
    }
    for url in [
        "b:4318",
        "b",
        "ftp://b",
        "https://",
        "https://:1",
        "https://b:0",
        "https://b:99999",
        "https://b:",
        "https://u@b",
        "https://b/x#y",
        "https://[b]:1",
        "https://b c",
    ] {
        assert!(target("otlp_http", url).is_err(), "{url}");
    }
}

#[test]
fn the_value_of_a_header_is_nowhere_to_be_seen() {
    let variables = [("KEY", "s3cr3t-a")];
    let good =
        "export: [{name: a, otlp_http: {endpoint: 'https://b', headers: {api-key: '${env:KEY}', X-B: s3cr3t-b}}}]";
    let config = load_text(good, &environment(&variables), &SMALL).expect("good");
    let headers = &config.export[0].target.headers;
    assert_eq!(
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect::<Vec<_>>(),
        [("api-key", "s3cr3t-a"), ("x-b", "s3cr3t-b")]
    );
    for shown in [print(&config), format!("{config:?}")] {
        assert!(shown.contains("***") && !shown.contains("s3cr3t"), "{shown}");
    }
    assert!(read(&print(&config)).is_ok(), "but for the values, it is read back");
    for bad in ["\"s3cr3t\\n\"", "[s3cr3t]", "{s3cr3t: x}", "'s3cr3t${'"] {
        let text = format!("export: [{{name: a, otlp_http: {{endpoint: 'https://b', headers: {{a: {bad}}}}}}}]");
        let found = faults(&text, &[]);
        assert!(found.iter().all(|(_, text)| !text.contains("s3cr3t")), "{found:?}");
    }
    let found = faults("export: [{name: a, otlp_http: {endpoint: 'https://u:s3cr3t@b'}}]", &[]);
    assert!(!found[0].1.contains("s3cr3t"), "{found:?}");
}

#[test]
fn there_are_at_most_sixteen_exporters() {
    let list = |count: usize| {
        let one = |n| format!("- {{name: e{n}, otlp_grpc: {{endpoint: 'https://b'}}}}\n");
        format!("export:\n{}", (0..count).map(one).collect::<String>())
    };
    assert_eq!(read(&list(16)).map(|config| config.export.len()), Ok(16));
    let found = faults(&list(17), &[]);
    assert!(
        found[0].1.contains("has 17 elements; accepted: at most 16"),
        "{found:?}"
    );
}

/// YAML as JSON, with plain numbers and booleans as such.
fn as_json(text: &str) -> serde_json::Value {
    fn convert(tree: &super::tree::Tree) -> serde_json::Value {
        match &tree.value {
            super::tree::Value::Null => serde_json::Value::Null,
            super::tree::Value::Text(text) => match serde_json::from_str(text) {
                Ok(value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => value,
                Ok(_) | Err(_) => text.clone().into(),
            },
            super::tree::Value::List(elements) => elements.iter().map(convert).collect(),
            super::tree::Value::Map(entries) => entries
                .iter()
                .map(|(name, _, tree)| (name.clone(), convert(tree)))
                .collect(),
        }
    }
    let mut faults = Vec::new();
    let tree = super::tree::parse(text, &mut faults).expect("YAML");
    assert!(faults.is_empty(), "{faults:?}");
    convert(&tree)
}

#[test]
fn the_footprint_says_what_is_taken_and_warns_of_more_than_there_is() {
    let config = read(
        "ingest: {shards: 4}\nmemory: {budget: 4GiB}\nexport: [{name: a, otlp_grpc: {endpoint: 'http://localhost:1'}}]",
    )
    .expect("good");
    let footprint = Footprint::new(&config, &SMALL);
    let text = footprint.to_string();
    assert!(
        text.contains("768MiB of WAL files") && text.contains("10GiB at most"),
        "{text}"
    );
    assert!(text.contains("1 cores, 4GiB of memory"), "{text}");
    assert!(
        text.contains("of ballast") && text.contains("512MiB of it for exporters"),
        "{text}"
    );
    assert!(!text.contains("lost nodes"), "a single node has none: {text}");
    assert_eq!(footprint.warnings().len(), 2, "{:?}", footprint.warnings());
    let member = format!(
        "{}\nexport: [{{name: a, otlp_grpc: {{endpoint: 'http://localhost:1'}}}}]",
        in_cluster("", "")
    );
    let text = Footprint::new(&read(&member).expect("good"), &SMALL).to_string();
    // A batch thrice and a message, and for each reading three of the largest messages, and a block of the archive in
    // three forms.
    let most = 3 * (1 << 20) + (4 << 20) + 4 * 6 * ((4 << 20) + 128);
    assert!(
        text.contains(&format!(", {}MiB more at most while", most >> 20)),
        "{text}"
    );
    assert!(Footprint::new(&Config::default(), &SMALL).warnings().is_empty());
}
