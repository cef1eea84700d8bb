//! Handshakes over loopback, with certificates issued by `certs`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, ServerConnection, Stream, SupportedProtocolVersion};
use rustls_pki_types::ServerName;

use super::*;
use crate::certs::{self, Role};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    certs::issue(folder.path(), "node-1", Role::Node, &[], false).expect("a node");
    certs::issue(folder.path(), "ops", Role::Client, &[], false).expect("a client");
    folder
}

fn files(folder: &Path, client_ca: bool) -> TlsFiles {
    let client_ca = client_ca.then(|| folder.join("ca.pem"));
    TlsFiles {
        cert: folder.join("node-1.pem"),
        key: folder.join("node-1.key"),
        client_ca,
    }
}

/// A client that trusts the folder's authority and shows a certificate of `identity`'s folder.
fn client(folder: &Path, identity: Option<(&Path, &str)>, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(folder.join("ca.pem")).expect("an authority"))
        .expect("added");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some((folder, name)) => {
            let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("an identity")
        }
    }
}

/// Makes one connection: the client sends a byte and gets it back with the protocol agreed on.
fn exchange(server: &ServerTls, client: ClientConfig, alpn: &[&[u8]]) -> Result<Vec<u8>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let config = server.current();
    let serving = thread::spawn(move || -> Result<(), String> {
        let (mut socket, _) = listener.accept().map_err(|error| error.to_string())?;
        socket
            .set_read_timeout(Some(Duration::from_secs(120)))
            .map_err(|error| error.to_string())?;
        let mut connection = ServerConnection::new(config).map_err(|error| error.to_string())?;
        let mut stream = Stream::new(&mut connection, &mut socket);
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(|error| error.to_string())?;
        let mut answer = byte.to_vec();
        answer.extend_from_slice(stream.conn.alpn_protocol().unwrap_or_default());
        stream.write_all(&answer).map_err(|error| error.to_string())?;
        stream.conn.send_close_notify();
        stream.flush().map_err(|error| error.to_string())
    });
    let mut client = client;
    client.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut socket = TcpStream::connect(address).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(120))).expect("set");
    let mut connection = ClientConnection::new(Arc::new(client), name).expect("a connection");
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut answer = Vec::new();
    let called = stream
        .write_all(b"x")
        .and_then(|()| stream.read_to_end(&mut answer))
        .map_err(|error| error.to_string());
    drop(socket);
    serving.join().expect("joined")?;
    called.map(|_| answer)
}

const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

#[test]
fn i1_tls_1_3_is_spoken_and_1_2_is_not() {
    let folder = folder();
    let server = ServerTls::open(&files(folder.path(), false), Protocols::Http).expect("opened");
    assert_eq!(
        exchange(&server, client(folder.path(), None, TLS13), &[]),
        Ok(b"x".to_vec())
    );
    assert!(exchange(&server, client(folder.path(), None, &rustls::version::TLS12), &[]).is_err());
}

#[test]
fn the_protocol_agreed_on_is_one_of_the_listeners() {
    let folder = folder();
    let open = |protocols| ServerTls::open(&files(folder.path(), false), protocols).expect("opened");
    let ask = |server: &ServerTls, alpn: &[&[u8]]| exchange(server, client(folder.path(), None, TLS13), alpn);
    assert_eq!(ask(&open(Protocols::Http2), &[b"http/1.1", b"h2"]), Ok(b"xh2".to_vec()));
    assert!(ask(&open(Protocols::Http2), &[b"http/1.1"]).is_err());
    assert_eq!(ask(&open(Protocols::Http), &[b"http/1.1"]), Ok(b"xhttp/1.1".to_vec()));
}

#[test]
fn i2_a_client_certificate_is_required_and_must_be_of_the_authority() {
    let (folder, stranger) = (folder(), folder());
    let server = ServerTls::open(&files(folder.path(), true), Protocols::Http2).expect("opened");
    let ask = |identity| exchange(&server, client(folder.path(), identity, TLS13), &[b"h2"]);
    assert_eq!(ask(Some((folder.path(), "ops"))), Ok(b"xh2".to_vec()));
    assert_eq!(ask(Some((folder.path(), "node-1"))), Ok(b"xh2".to_vec()));
    assert!(ask(None).is_err_and(|error| error.contains("certificate")));
    assert!(ask(Some((stranger.path(), "ops"))).is_err());
}

#[test]
fn i3_a_reload_serves_the_new_certificate_and_a_failed_one_the_old() {
    let (folder, other) = (folder(), folder());
    let server = ServerTls::open(&files(folder.path(), false), Protocols::Http).expect("opened");
    let trusts = |root: &Path| exchange(&server, client(root, None, TLS13), &[]).is_ok();
    assert!(trusts(folder.path()) && !trusts(other.path()));

    let original = folder.path().join("original.pem");
    fs::copy(folder.path().join("ca.pem"), &original).expect("copied");
    fs::copy(other.path().join("node-1.pem"), folder.path().join("node-1.pem")).expect("copied");
    let refused = server.reload().expect_err("a key of another certificate").to_string();
    assert!(
        refused.ends_with("node-1.pem: it is the key of another certificate"),
        "{refused}"
    );
    assert!(trusts(folder.path()), "the old certificate stays");

    fs::copy(other.path().join("node-1.key"), folder.path().join("node-1.key")).expect("copied");
    server.reload().expect("reloaded");
    assert!(trusts(other.path()) && !trusts(folder.path()));
}

#[test]
fn an_error_names_the_file_and_what_is_wrong_with_it() {
    let (folder, other) = (folder(), folder());
    let garbage = folder.path().join("garbage.pem");
    fs::write(&garbage, "no PEM here").expect("written");
    let fake = folder.path().join("fake.pem");
    fs::write(&fake, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
    let good = files(folder.path(), false);
    let cases = [
        (
            TlsFiles {
                cert: "/gone/node.pem".into(),
                ..good.clone()
            },
            "/gone/node.pem: cannot be read",
        ),
        (
            TlsFiles {
                key: "/gone/node.key".into(),
                ..good.clone()
            },
            "/gone/node.key: cannot be read",
        ),
        (
            TlsFiles {
                cert: garbage.clone(),
                ..good.clone()
            },
            "garbage.pem: holds no certificate in PEM form",
        ),
        (
            TlsFiles {
                key: garbage.clone(),
                ..good.clone()
            },
            "garbage.pem: holds no private key in PEM form",
        ),
        (
            TlsFiles {
                cert: fake,
                ..good.clone()
            },
            "fake.pem: certificate 1 cannot be used",
        ),
        (
            TlsFiles {
                key: other.path().join("node-1.key"),
                ..good.clone()
            },
            "is not usable with the certificate",
        ),
        (
            TlsFiles {
                client_ca: Some("/gone/ca.pem".into()),
                ..good.clone()
            },
            "/gone/ca.pem: cannot be read",
        ),
        (
            TlsFiles {
                client_ca: Some(garbage),
                ..good.clone()
            },
            "garbage.pem: holds no certificate",
        ),
        (
            TlsFiles {
                cert: good.key.clone(),
                ..good
            },
            "node-1.key: holds no certificate",
        ),
    ];
    for (files, says) in cases {
        let error = ServerTls::open(&files, Protocols::Http).expect_err(says).to_string();
        assert!(error.contains(says), "{error} does not say {says:?}");
    }
}

#[test]
fn a_certificate_is_warned_of_for_its_last_two_weeks() {
    let end = 1_900_000_000;
    for (now, expected) in [
        (0, Expiry::Far),
        (end - EXPIRES_SOON, Expiry::Far),
        (end - EXPIRES_SOON + 1, Expiry::Soon),
        (end, Expiry::Soon),
        (end + 1, Expiry::Over),
        (i64::MAX, Expiry::Over),
    ] {
        assert_eq!(expiry_at(now, end), expected, "{now}");
    }
}

#[test]
fn the_earliest_end_of_what_is_served_is_known_and_a_reload_renews_it() {
    let folder = folder();
    let server = ServerTls::open(&files(folder.path(), false), Protocols::Http).expect("opened");
    let der = CertificateDer::from_pem_file(folder.path().join("node-1.pem")).expect("a certificate");
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).expect("parsed");
    let not_after = certificate.validity().not_after.timestamp();
    assert_eq!(server.expires(), not_after);
    server.expires.store(0, Ordering::Relaxed);
    server.reload().expect("reloaded");
    assert_eq!(server.expires(), not_after);
}
