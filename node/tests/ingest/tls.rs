//! The ingest path over TLS.

use std::sync::Arc;

use gophership::config::TlsFiles;
use gophership::tls::{HandshakeFault, Protocols, ServerTls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Http2, export_request, frames, message};
use crate::harness::{Server, Settings};
use crate::payloads::logs;
use crate::run;

#[test]
fn exports_over_tls_are_stored_and_plain_bytes_are_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: folder.path().join("node.pem"),
        key: folder.path().join("node.key"),
        client_ca: None,
    };
    std::fs::write(&files.cert, certified.cert.pem()).unwrap();
    std::fs::write(&files.key, certified.signing_key.serialize_pem()).unwrap();
    let tls = Arc::new(ServerTls::open(&files, Protocols::Http2).unwrap());
    let server = Server::start(Settings {
        tls: Some(Arc::clone(&tls)),
        ..Settings::default()
    });
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let payload = logs(500, 300);
    run(async {
        let socket = TcpStream::connect(server.grpc).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let socket = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
            .unwrap();
        let mut connection = Http2::over(socket).await;
        let answer = connection
            .send(export_request(&[], frames([message(0, &payload)])))
            .await
            .unwrap();
        assert_eq!(answer.grpc(), Some("0"));
        let mut plain = Http2::connect(server.grpc).await;
        assert!(
            plain
                .send(export_request(&[], frames([message(0, &payload)])))
                .await
                .is_err()
        );
        // The client may learn of the failure before it is counted.
        server.becomes(|_| tls.failed().any(|(_, count)| count > 0)).await;
    });
    let failed: Vec<_> = tls.failed().filter(|(_, count)| *count > 0).collect();
    assert_eq!(failed, [(HandshakeFault::Plaintext, 1)]);
    assert_eq!(server.payloads(), [payload]);
    server.stop();
}

#[test]
fn a_client_without_a_certificate_is_counted_where_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = folder.path().join("node.pem");
    let files = TlsFiles {
        key: folder.path().join("node.key"),
        client_ca: Some(cert.clone()),
        cert,
    };
    std::fs::write(&files.cert, certified.cert.pem()).unwrap();
    std::fs::write(&files.key, certified.signing_key.serialize_pem()).unwrap();
    let tls = Arc::new(ServerTls::open(&files, Protocols::Http2).unwrap());
    let server = Server::start(Settings {
        tls: Some(Arc::clone(&tls)),
        ..Settings::default()
    });
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    run(async {
        let socket = TcpStream::connect(server.grpc).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        // With TLS 1.3 the client's handshake is complete before the server has checked its certificate.
        let _socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
        server
            .becomes(|_| {
                tls.failed()
                    .any(|failed| failed == (HandshakeFault::NoClientCertificate, 1))
            })
            .await;
    });
    server.stop();
}
