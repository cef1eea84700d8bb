use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use gophership_catalogue::{Actor, Catalogue, Command, LocalCatalogue};
use gophership_vault::ids::{ClusterId, NodeId};
use tempfile::TempDir;
use uuid::Uuid;

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
    assert!(
        warnings(&config)
            .iter()
            .any(|w| w.contains("is in use by a node that runs"))
    );
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

/// The configuration of node `name` of a cluster of three, with the folder and the certificate of others perhaps.
fn in_cluster(dir: &TempDir, name: &str, certificate: &str) -> String {
    let certs = dir.path().join("certs").display().to_string();
    let tls =
        format!("{{cert: '{certs}/{certificate}.pem', key: '{certs}/{certificate}.key', client_ca: '{certs}/ca.pem'}}");
    let peers = ["node-1", "node-2", "node-3"].map(|peer| format!("{{name: {peer}, address: '{peer}.test:9097'}}"));
    healthy(dir).replacen("node: {", &format!("node: {{name: {name}, "), 1)
        + &FREE_PORTS.replace(
            "admin:",
            &format!("peer: {{address: '127.0.0.1:0', tls: {tls}}}, admin:"),
        )
        + &format!("cluster: {{name: prod, peers: [{}]}}\n", peers.join(", "))
}

/// The folder of node 1 of the cluster, as that left it.
fn folder_of_node_1(dir: &TempDir) -> PathBuf {
    let data = dir.path().join("data");
    let admit = |_| Ok((ClusterId(Uuid::from_u128(9)), NodeId::FIRST));
    let folder = DataDir::open_in_cluster(&data, true, "prod", admit).unwrap();
    let catalogue = LocalCatalogue::open(&data.join("catalogue.redb"), folder.identity()).unwrap();
    let second = Command::RegisterNode {
        storage_uuid: Uuid::from_u128(2),
        at_ns: 1,
    };
    catalogue.submit(Actor::Node, second).unwrap();
    for (node, name) in [(1, "node-1"), (2, "node-2")] {
        let describe = Command::DescribeNode {
            node: NodeId::new(node).unwrap(),
            name: name.to_owned(),
            address: format!("{name}.test:9097"),
            failure_domain: String::new(),
            replaces: None,
        };
        catalogue.submit(Actor::Node, describe).unwrap();
    }
    data
}

#[test]
fn a_folder_and_a_certificate_of_another_node_of_the_cluster_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["node-1", "node-2"] {
        certs::issue(&dir.path().join("certs"), name, Role::Node, &[], false).unwrap();
    }
    assert_eq!(
        faults(&dir, &in_cluster(&dir, "node-1", "node-1")),
        [],
        "nothing is there yet"
    );
    let catalogue = folder_of_node_1(&dir).join("catalogue.redb");
    let whole = fs::read(&catalogue).unwrap();
    assert_eq!(faults(&dir, &in_cluster(&dir, "node-1", "node-1")), []);
    let of_another = in_cluster(&dir, "node-1", "node-2");
    only(
        &dir,
        &of_another,
        "listeners.peer.tls.cert",
        "the certificate of node-2",
    );
    let swapped = in_cluster(&dir, "node-2", "node-2");
    only(&dir, &swapped, "node.data_dir", "this is the folder of node-1");
    let both = faults(&dir, &in_cluster(&dir, "node-2", "node-1"));
    let paths: Vec<&str> = both.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["node.data_dir", "listeners.peer.tls.cert"]);
    assert_eq!(fs::read(&catalogue).unwrap(), whole, "it is left as it is");
}

#[test]
fn a_catalogue_with_which_a_member_would_not_start_is_told() {
    let dir = tempfile::tempdir().unwrap();
    certs::issue(&dir.path().join("certs"), "node-1", Role::Node, &[], false).unwrap();
    let data = folder_of_node_1(&dir);
    let (catalogue, mark) = (data.join("catalogue.redb"), data.join("raft.mark"));
    let text = in_cluster(&dir, "node-1", "node-1");
    fs::write(&mark, [7; 64]).unwrap();
    only(&dir, &text, "node.data_dir", "is an older backup");
    fs::remove_file(&mark).unwrap();
    fs::write(&catalogue, b"no catalogue, and long enough to be read as one").unwrap();
    only(&dir, &text, "node.data_dir", "it joins again as a new one");
    assert!(!mark.exists());
    fs::remove_file(&catalogue).unwrap();
    fs::create_dir_all(data.join("wal/0000000001/0000")).unwrap();
    fs::write(data.join("wal/0000000001/0000/000000000001.wal"), b"a log").unwrap();
    only(&dir, &text, "node.data_dir", "catalogue.redb is gone");
    let running = DataDir::open_in_cluster(&data, true, "prod", |_| unreachable!()).unwrap();
    assert_eq!(faults(&dir, &text), [], "it is in use");
    drop(running);
}

#[test]
fn an_archive_folder_that_is_missing_or_not_writable_or_in_the_data_folder_is_refused_and_in_a_cluster_told() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("archive");
    fs::create_dir_all(&good).unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("file"));
    fs::create_dir_all(data.join("inside")).unwrap();
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&data, dir.path().join("link")).unwrap();
    let with = |folder: &std::path::Path| {
        format!(
            "{}{FREE_PORTS}archive: {{url: 'file://{}'}}\n",
            healthy(&dir),
            folder.display()
        )
    };
    assert_eq!(faults(&dir, &with(&good)), []);
    for (folder, says) in [
        (dir.path().join("missing"), "create the folder, or mount it"),
        (file, "is no folder"),
        (data.join("inside"), "would be lost with it"),
        (dir.path().join("link/inside"), "would be lost with it"),
        (data, "would be lost with it"),
        (dir.path().to_path_buf(), "has in it node.data_dir"),
    ] {
        only(&dir, &with(&folder), "archive.url", says);
    }
    let both = faults(&dir, &with(&dir.path().join("data/missing")));
    assert_eq!(both.len(), 2, "all at once: {both:?}");

    let member = "cluster: {name: c, peers: [{name: node-1, address: 'a:1'}, {name: b, address: 'b:1'}, {name: c, \
                  address: 'c:1'}]}\n";
    let text = format!("{}{member}", with(&dir.path().join("missing")));
    let text = text.replacen(
        "listeners: {",
        "listeners: {peer: {address: '127.0.0.1:0', insecure: true}, ",
        1,
    );
    assert_eq!(faults(&dir, &text), []);
    let config = crate::config::load_text(&text, &Environment::default(), &MACHINE).unwrap();
    let told = warnings(&config);
    assert!(told.len() == 1 && told[0].starts_with("archive.url: "), "{told:?}");
}

#[test]
fn an_archive_folder_that_this_user_cannot_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    for (folder, mode) in [(dir.path(), 0o755), (closed.as_path(), 0o555)] {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    }
    let text = format!("archive: {{url: 'file://{}'}}\n", closed.display());
    let config = crate::config::load_text(&text, &Environment::default(), &MACHINE).unwrap();
    let looking = std::thread::spawn(move || {
        // Nothing is closed to root. Only this thread is another user.
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        archive::faults(&config)
    });
    let told = looking.join().unwrap();
    assert!(
        told.len() == 1 && told[0].starts_with("this user cannot write to"),
        "{told:?}"
    );
}
