//! Issuing into a folder, with the results checked by rustls's own verifier.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, crypto::ring};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;

fn make(folder: &Path, name: &str, role: Role) -> Issued {
    issue(folder, name, role, &[], false).expect(name)
}

fn certificate(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).expect("a certificate")
}

fn roots(folder: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&folder.join("ca.pem"))).expect("an authority");
    Arc::new(roots)
}

fn serves(folder: &Path, file: &str, host: &str) -> bool {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(folder), provider)
        .build()
        .expect("a verifier");
    let host = ServerName::try_from(host.to_owned()).expect("a name");
    verifier
        .verify_server_cert(&certificate(&folder.join(file)), &[], &host, &[], UnixTime::now())
        .is_ok()
}

fn calls(folder: &Path, certificate_file: &Path) -> bool {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(folder), provider)
        .build()
        .expect("a verifier");
    verifier
        .verify_client_cert(&certificate(certificate_file), &[], UnixTime::now())
        .is_ok()
}

#[test]
fn a_node_serves_its_names_and_calls_its_peers() {
    let folder = tempfile::tempdir().expect("a folder");
    let sans = ["logs.example.org".to_owned(), "10.1.2.3".to_owned()];
    issue(folder.path(), "node-1", Role::Node, &sans, false).expect("issued");
    for host in [
        "node-1",
        "localhost",
        "127.0.0.1",
        "::1",
        "logs.example.org",
        "10.1.2.3",
    ] {
        assert!(serves(folder.path(), "node-1.pem", host), "{host}");
    }
    assert!(!serves(folder.path(), "node-1.pem", "node-2"));
    assert!(calls(folder.path(), &folder.path().join("node-1.pem")));
}

#[test]
fn i2_a_client_calls_and_does_not_serve() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), "ops", Role::Client);
    assert!(calls(folder.path(), &folder.path().join("ops.pem")));
    assert!(!serves(folder.path(), "ops.pem", "ops"));
}

#[test]
fn the_authority_is_used_again_and_another_folder_has_another() {
    let (one, two) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let first = make(one.path(), "node-1", Role::Node);
    assert_eq!(first.written.len(), 4);
    // The admin listener takes no client_ca.
    assert!(
        first
            .to_string()
            .contains("for peer always, and for otlp_grpc and otlp_http where clients must show"),
        "{first}"
    );
    let authority = fs::read(one.path().join("ca.pem")).expect("read");
    assert_eq!(make(one.path(), "node-2", Role::Node).written.len(), 2);
    assert_eq!(fs::read(one.path().join("ca.pem")).expect("read"), authority);
    assert!(serves(one.path(), "node-2.pem", "node-2"));
    make(two.path(), "node-1", Role::Node);
    assert!(!calls(one.path(), &two.path().join("node-1.pem")));
}

#[test]
fn i1_nothing_is_replaced_without_force_and_the_authority_never() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), "node-1", Role::Node);
    let read = |name: &str| fs::read(folder.path().join(name)).expect(name);
    let before = ["ca.pem", "ca.key", "node-1.pem", "node-1.key"].map(read);
    let again = issue(folder.path(), "node-1", Role::Node, &[], false);
    assert!(matches!(again, Err(CertsError::Exists { .. })), "{again:?}");
    assert_eq!(["ca.pem", "ca.key", "node-1.pem", "node-1.key"].map(read), before);
    issue(folder.path(), "node-1", Role::Node, &[], true).expect("forced");
    assert_eq!(["ca.pem", "ca.key"].map(read)[..], before[..2]);
    assert_ne!(["node-1.pem", "node-1.key"].map(read)[..], before[2..]);
    assert!(serves(folder.path(), "node-1.pem", "node-1"));
}

#[test]
fn keys_are_for_their_owner_only() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), "node-1", Role::Node);
    for (name, mode) in [
        ("ca.key", 0o600),
        ("node-1.key", 0o600),
        ("ca.pem", 0o644),
        ("node-1.pem", 0o644),
    ] {
        let found = fs::metadata(folder.path().join(name)).expect(name).permissions().mode() & 0o777;
        assert_eq!(found & !mode, 0, "{name} is {found:o}");
    }
    let names: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|file| file.expect("a file").file_name())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn names_that_would_leave_the_folder_or_hit_the_authority_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["", "ca", "CA", "../x", "a/b", ".hidden", "-x", "a b", "a\n"] {
        let refused = issue(folder.path(), name, Role::Node, &[], true);
        assert!(
            matches!(refused, Err(CertsError::BadName { .. })),
            "{name:?}: {refused:?}"
        );
    }
    for san in ["", "a b", "http://x", "ü"] {
        let refused = issue(folder.path(), "n", Role::Node, &[san.to_owned()], true);
        assert!(
            matches!(refused, Err(CertsError::BadSan { .. })),
            "{san:?}: {refused:?}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn an_authority_that_cannot_sign_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = tempfile::tempdir().expect("a folder");
    make(folder.path(), "node-1", Role::Node);
    make(other.path(), "node-1", Role::Node);
    let at = |name: &str| folder.path().join(name);
    let attempt = || {
        issue(folder.path(), "node-2", Role::Node, &[], false)
            .expect_err("refused")
            .to_string()
    };
    let key = fs::read(at("ca.key")).expect("read");

    fs::copy(other.path().join("ca.key"), at("ca.key")).expect("copied");
    assert!(attempt().contains("not the key of ca.pem"), "{}", attempt());
    fs::write(at("ca.key"), "nonsense").expect("written");
    assert!(attempt().contains("ca.key"), "{}", attempt());
    fs::remove_file(at("ca.key")).expect("removed");
    assert!(attempt().contains("ca.key is not"), "{}", attempt());
    fs::write(at("ca.key"), key).expect("written");
    fs::copy(at("node-1.pem"), at("ca.pem")).expect("copied");
    assert!(attempt().contains("not marked as an authority"), "{}", attempt());
    assert!(!at("node-2.key").exists());
}
