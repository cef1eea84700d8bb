use crate::export::ToldDebts;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Reloader;
use crate::config::{Config, Environment, Export, load_text};
use crate::control::testkit::{TestNode, payload};
use crate::export::{Exporters, LaneState, Refused};
use crate::machine::Machine;
use crate::settings::Settings;
use crate::sink::stub::Stub;

fn config(text: &str) -> Config {
    load_text(text, &Environment::default(), &Machine::detect()).unwrap()
}

fn export(name: &str, stub: &Stub, more: &str) -> String {
    let target = format!("endpoint: \"http://{}\", compression: none {more}", stub.address);
    format!("  - {{ name: {name}, otlp_http: {{ {target} }}, start: oldest }}\n")
}

async fn until_taken(stub: &Stub, payloads: &[Vec<u8>]) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while stub.taken().concat() != payloads.concat() {
        assert!(Instant::now() < deadline, "{:?}", stub.taken().len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The log of a reload of this file.
async fn reload(reloader: &Arc<Reloader>, file: &Path, text: &str) -> String {
    fs::write(file, text).unwrap();
    let log = file.with_extension("log");
    let writer = Arc::new(fs::File::create(&log).unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false);
    // The subscriber of this thread, which polls the reload.
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    Arc::clone(reloader).reload().await;
    fs::read_to_string(&log).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exporters_come_change_and_go_and_what_else_changed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.yaml");
    let mut node = TestNode::open(&dir.path().join("data"), 1);
    let mut payloads: Vec<_> = (1..=3).map(|n| payload(n, 100)).collect();
    for (n, payload) in (1..).zip(&payloads) {
        node.append(0, n, payload);
    }
    let (first, second, third) = (Stub::http([]).await, Stub::http([]).await, Stub::http([]).await);
    let before = format!("export:\n{}", export("a", &first, ""));
    let running = config(&before);
    let control = node.serve_with(&[], running.export.clone()).await;
    until_taken(&first, &payloads).await;
    let exporters = Arc::clone(&control.context.exporters);
    let reloader = Arc::new(Reloader {
        file: Some(file.clone()),
        settings: Settings::single(&running, Some(&file)),
        vault: node.vault.clone(),
        exporters: Arc::clone(&exporters),
        certificates: Vec::new(),
        peer_certificates: None,
        own: vec![third.address],
        quorum: None,
        unresolved: tokio::sync::Mutex::default(),
    });
    let names = || {
        exporters
            .views()
            .into_iter()
            .map(|v| (v.name, v.endpoint))
            .collect::<Vec<_>>()
    };
    let as_before = names();

    // I1: faults of the file, of the files that it names, and of its effects.
    let bad = format!(
        "vault: {{ retention: never }}\nnode: {{ nmae: x }}\nexport:\n{}",
        export("b", &second, "")
    );
    let log = reload(&reloader, &file, &bad).await;
    for said in ["config.reload.refused", "count=2", "vault.retention", "node.nmae"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    let no_ca = "export:\n  - { name: b, otlp_http: { endpoint: \"https://127.0.0.1:1\", tls: { ca: gone.pem } } }\n";
    assert!(reload(&reloader, &file, no_ca).await.contains("gone.pem"));
    let circle = format!("export:\n{}", export("b", &third, ""));
    assert!(reload(&reloader, &file, &circle).await.contains("this node itself"));
    assert_eq!(names(), as_before);

    // One exporter changes and one comes.
    let both = format!(
        "export:\n{}{}",
        export("a", &second, ", timeout: 5s"),
        export("b", &first, "")
    );
    let log = reload(&reloader, &file, &both).await;
    assert!(
        log.contains("config.reload.done added=\"b\" changed=\"a\" removed=\"\""),
        "{log}"
    );
    assert!(!log.contains("needs_restart"), "{log}");
    until_taken(&first, &[&payloads[..], &payloads].concat()).await;
    payloads.push(payload(4, 100));
    node.append(0, 4, &payloads[3]);
    until_taken(&second, &payloads[3..]).await;
    let log = reload(&reloader, &file, &both).await;
    assert!(log.contains("added=\"\" changed=\"\" removed=\"\""), "{log}");

    let archived = format!("{both}archive: {{ region: eu-1, zstd_level: 7 }}\n");
    let log = reload(&reloader, &file, &archived).await;
    assert!(log.contains("archive=\"archive.region, archive.zstd_level\""), "{log}");

    // I2, and one goes: nothing is sent for it, and it can be forgotten at once.
    let fewer = format!(
        "vault: {{ retention: 48h }}\nmemory: {{ budget: 1GiB }}\nexport:\n{}",
        export("b", &first, "")
    );
    let log = reload(&reloader, &file, &fewer).await;
    assert!(
        log.contains("config.reload.needs_restart") && log.contains("keys=\"memory.budget\""),
        "{log}"
    );
    assert_eq!(
        node.vault.retention(),
        Duration::from_secs(48 * 3600),
        "it counts at once"
    );
    assert!(log.contains("removed=\"a\""), "{log}");
    assert!(
        reload(&reloader, &file, &fewer)
            .await
            .contains("keys=\"memory.budget\"")
    );
    let is_left = ("a".to_owned(), String::new());
    assert_eq!(names(), [is_left, ("b".to_owned(), as_before[0].1.clone())]);
    let left = exporters.view("a").unwrap();
    assert_eq!((left.state, left.debt_entries), (LaneState::NotConfigured, 0));
    let told = exporters.set_paused("a", true, "a test").unwrap_err().to_string();
    assert!(told.contains("is not configured"), "{told}");
    assert!(
        exporters.forget("b", true, &ToldDebts::new(), "a test").is_err(),
        "it is configured"
    );
    exporters.forget("a", true, &ToldDebts::new(), "a test").unwrap();

    // The name of a sink gets an address: that of the node itself. It is no setting of an operator's.
    let own = config(&format!("export:\n{}", export("b", &third, "")));
    exporters_of(&exporters, own.export.clone()).await;
    *reloader.unresolved.lock().await = own.export;
    Arc::clone(&reloader).resolve().await;
    let left = exporters.view("b").unwrap();
    assert_eq!(left.state, LaneState::Refused);
    assert!(left.refused.contains("this node itself"), "{}", left.refused);
    let is_paused = |state: &gophership_catalogue::State| state.exporter("b").unwrap().paused;
    assert!(!node.catalogue.read(is_paused), "other nodes go on");
    assert!(reloader.unresolved.lock().await.is_empty());
    drop((reloader, exporters));
    control.stop().await;
    node.close();
}

async fn exporters_of(exporters: &Arc<Exporters>, list: Vec<Export>) {
    let exporters = Arc::clone(exporters);
    let reloaded = tokio::task::spawn_blocking(move || exporters.reload(list, Refused::default()));
    reloaded.await.unwrap().unwrap();
}
