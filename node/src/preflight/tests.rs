use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use super::*;
use crate::certs::{self, Role};
use crate::config::{Environment, Fault, check};

const MACHINE: Machine = Machine {
    cores: 1,
    memory: 4 << 30,
};

/// The configuration of a node that would start in `dir`, with free ports.
fn healthy(dir: &TempDir) -> String {
    format!(
        "node: {{data_dir: '{}/data'}}\nvault: {{segment_size: 8MiB, disk_limit: 100MiB, any_filesystem: true}}\n",
        dir.path().display()
    )
}

const FREE_PORTS: &str = "listeners: {otlp_grpc: {address: '127.0.0.1:0'}, otlp_http: {address: '127.0.0.1:0'}, admin: \
    {address: '127.0.0.1:0'}}\n";

fn faults(dir: &TempDir, text: &str) -> Vec<Fault> {
    let file = dir.path().join("node.yaml");
    fs::write(&file, text).unwrap();
    let inspect = |config: &Config| super::inspect(config, &MACHINE);
    match check(Some(&file), &Environment::default(), &MACHINE, inspect) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.list,
    }
}

#[track_caller]
fn only(dir: &TempDir, text: &str, path: &str, says: &str) {
    let found = faults(dir, text);
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(),
        [path],
        "{shown:?}"
    );
    assert!(shown[0].contains(says), "{}", shown[0]);
}

fn made(dir: &TempDir, name: &str) -> String {
    let out = dir.path().join(name);
    certs::issue(&out, "node-1", Role::Node, &[], false).unwrap();
    out.display().to_string()
}

#[test]
fn what_would_run_has_no_fault_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let certs = made(&dir, "certs");
    let tls = format!("tls: {{cert: '{certs}/node-1.pem', key: '{certs}/node-1.key', client_ca: '{certs}/ca.pem'}}");
    let text = healthy(&dir)
        + &format!(
            "listeners: {{otlp_grpc: {{address: '127.0.0.1:0', {tls}}}, otlp_http: {{address: '127.0.0.1:0'}}, admin: \
             {{address: '127.0.0.1:0'}}}}\n"
        );
    assert_eq!(faults(&dir, &text), []);
    assert!(!dir.path().join("data").exists());
}

#[test]
fn tls_files_that_do_not_serve_are_named_by_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (made(&dir, "a"), made(&dir, "b"));
    for (tls, key, says) in [
        (
            format!("cert: /no/such.pem, key: '{a}/node-1.key'"),
            "cert",
            "/no/such.pem: cannot be read",
        ),
        (
            format!("cert: '{a}/node-1.pem', key: /no/such.key"),
            "key",
            "cannot be read",
        ),
        (
            format!("cert: '{a}/node-1.pem', key: '{b}/node-1.key'"),
            "key",
            "is not usable with the certificate",
        ),
        (
            format!("cert: '{a}/node-1.pem', key: '{a}/node-1.key', client_ca: '{a}/node-1.key'"),
            "client_ca",
            "holds no certificate",
        ),
    ] {
        let listeners = format!(
            "listeners: {{otlp_grpc: {{address: '127.0.0.1:0', tls: {{{tls}}}}}, otlp_http: {{address: \
             '127.0.0.1:0'}}, admin: {{address: '127.0.0.1:0'}}}}\n"
        );
        only(
            &dir,
            &(healthy(&dir) + &listeners),
            &format!("listeners.otlp_grpc.tls.{key}"),
            says,
        );
    }
}

#[test]
fn a_port_that_is_taken_is_a_fault_but_not_while_the_node_itself_runs() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = healthy(&dir)
        + &format!(
            "listeners: {{otlp_grpc: {{address: '{}'}}, otlp_http: {{address: '127.0.0.1:0'}}, admin: {{address: \
             '127.0.0.1:0'}}}}\n",
            taken.local_addr().unwrap()
        );
    only(
        &dir,
        &text,
        "listeners.otlp_grpc.address",
        "another process listens there",
    );
    let _running = DataDir::open(&dir.path().join("data"), true).unwrap();
    assert_eq!(faults(&dir, &text), []);
    let config = crate::config::load_text(&text, &Environment::default(), &MACHINE).unwrap();
    assert!(warnings(&config).iter().any(|w| w.contains("a node is running")));
}

#[test]
fn a_data_folder_that_cannot_be_one_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("data"), "a file").unwrap();
    let text = healthy(&dir) + FREE_PORTS;
    only(&dir, &text, "node.data_dir", "is no folder");
    let long = "x".repeat(100);
    let text = text.replace("/data'", &format!("/{long}/data'"));
    only(&dir, &text, "node.data_dir", "too long");
    let text = healthy(&dir).replace("8MiB", "1GiB").replace("100MiB", "4PiB") + "ingest: {shards: 64}\n";
    let text = text
        .replace("disk_limit", "spares: 16, disk_limit")
        .replace("4PiB", "4000TiB")
        + FREE_PORTS;
    fs::remove_file(dir.path().join("data")).unwrap();
    only(&dir, &text, "node.data_dir", "the WAL files alone take 1088GiB");
}

#[test]
fn an_exporter_that_cannot_start_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let text = healthy(&dir) + FREE_PORTS;
    let missing = "export: [{name: a, otlp_http: {endpoint: 'https://127.0.0.1:1', tls: {ca: /no/such.pem}}}]\n";
    only(
        &dir,
        &(text.clone() + missing),
        "export[0]",
        "/no/such.pem: cannot be read",
    );
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = text.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    let circle = format!("export: [{{name: a, otlp_grpc: {{endpoint: 'http://127.0.0.1:{port}'}}}}]\n");
    only(&dir, &(text + &circle), "export[0]", "into_self");
}

#[test]
fn everything_is_said_at_once_and_what_has_a_fault_already_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let text = healthy(&dir)
        + "ingest: {shards: 0}\nlisteners: {otlp_grpc: {address: '127.0.0.1:0', tls: {cert: /no/a, key: /no/b}}, \
            otlp_http: {address: nowhere}, admin: {address: '127.0.0.1:0'}}\n";
    let paths: Vec<String> = faults(&dir, &text).into_iter().map(|f| f.path).collect();
    let expected = [
        "ingest.shards",
        "listeners.otlp_grpc.tls.cert",
        "listeners.otlp_grpc.tls.key",
        "listeners.otlp_http.address",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn a_limit_above_the_whole_file_system_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let text = (healthy(&dir) + FREE_PORTS).replace("100MiB", "4000TiB");
    let config = crate::config::load_text(&text, &Environment::default(), &MACHINE).unwrap();
    let warnings = warnings(&config);
    assert!(
        warnings[0].starts_with("vault.disk_limit 4000TiB is more than"),
        "{warnings:?}"
    );
}

#[test]
fn a_data_folder_that_a_start_would_refuse_is_said_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let text = healthy(&dir) + FREE_PORTS;
    let (data, catalogue) = (dir.path().join("data"), dir.path().join("data/catalogue.redb"));
    let held = DataDir::open(&data, true).unwrap();
    drop(gophership_catalogue::LocalCatalogue::open(&catalogue, held.identity()).unwrap());
    drop(held);
    let whole = fs::read(&catalogue).unwrap();
    assert_eq!(faults(&dir, &text), []);
    assert_eq!(fs::read(&catalogue).unwrap(), whole);
    fs::write(&catalogue, b"no catalogue, and long enough to be read as one").unwrap();
    only(&dir, &text, "node.data_dir", "gophership catalogue rebuild");
    fs::remove_file(&catalogue).unwrap();
    fs::create_dir_all(data.join("wal/0000000001/0000")).unwrap();
    fs::write(data.join("wal/0000000001/0000/000000000001.wal"), b"a log").unwrap();
    only(&dir, &text, "node.data_dir", "gophership catalogue rebuild");
    assert!(!catalogue.exists());
    fs::write(&catalogue, whole).unwrap();
    let marker = data.join("node.json");
    let json = fs::read(&marker).unwrap();
    fs::write(&marker, b"{").unwrap();
    only(&dir, &text, "node.data_dir", "node.json");
    fs::remove_file(&marker).unwrap();
    only(
        &dir,
        &text,
        "node.data_dir",
        "there is data, and no node.json beside it",
    );
    fs::write(&marker, json).unwrap();
    assert_eq!(faults(&dir, &text), []);
}
