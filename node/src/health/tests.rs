//! The probe against a server of a few lines.

use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use rustls::{ServerConnection, Stream};

use super::*;
use crate::certs::{self, Role};
use crate::tls::{Protocols, ServerTls};

fn listener(address: SocketAddr, tls: Option<TlsFiles>) -> Listener {
    Listener {
        address,
        tls,
        insecure: false,
    }
}

/// Answers one connection with `answer`, and returns the request.
fn serve(answer: &'static str, tls: Option<ServerTls>) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accepted");
        match tls {
            None => respond(&mut socket, answer),
            Some(tls) => {
                let mut connection = ServerConnection::new(tls.current()).expect("a connection");
                respond(&mut Stream::new(&mut connection, &mut socket), answer)
            }
        }
    });
    (address, serving)
}

fn respond(wire: &mut dyn Wire, answer: &str) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        wire.read_exact(&mut byte).expect("a request");
        request.push(byte[0]);
    }
    wire.write_all(answer.as_bytes()).expect("answered");
    wire.flush().expect("flushed");
    String::from_utf8(request).expect("text")
}

#[test]
fn ready_is_200_and_nothing_else() {
    let cases = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready", true, "ready"),
        ("HTTP/1.1 200 OK\r\n\r\n", true, "ready"),
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\n",
            false,
            "not ready (HTTP status 503): draining",
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n", false, "not ready: HTTP status 404"),
        ("HTTP/1.1 204 No Content\r\n\r\n", false, "not ready: HTTP status 204"),
    ];
    for (answer, ready, text) in cases {
        let (address, serving) = serve(answer, None);
        let found = ask(&listener(address, None), None).expect(answer);
        assert_eq!(
            found,
            Answer {
                ready,
                text: text.into()
            }
        );
        assert!(
            serving
                .join()
                .expect("served")
                .starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:")
        );
    }
}

#[test]
fn what_is_no_node_is_an_error_that_says_so() {
    for answer in ["SSH-2.0-x\r\n", "", "HTTP/1.1 abc\r\n\r\n", "HTTP/2"] {
        let (address, serving) = serve(answer, None);
        assert!(ask(&listener(address, None), None).is_err(), "{answer:?}");
        serving.join().expect("served");
    }
    let free = "127.0.0.1:1".parse().expect("an address");
    let error = ask(&listener(free, None), None).expect_err("nobody is there");
    assert!(error.to_string().contains("is it running"), "{error:#}");
    assert!(ask(&listener(free, None), Some("nonsense")).is_err());
}

#[test]
fn the_given_address_wins_over_the_configured_one() {
    let (address, serving) = serve("HTTP/1.1 200 OK\r\n\r\n", None);
    let elsewhere = listener("127.0.0.1:1".parse().expect("an address"), None);
    assert!(ask(&elsewhere, Some(&address.to_string())).expect("answered").ready);
    serving.join().expect("served");
}

#[test]
fn a_wildcard_is_asked_on_loopback() {
    for (address, expected) in [
        ("0.0.0.0:9", "127.0.0.1:9"),
        ("[::]:9", "[::1]:9"),
        ("10.0.0.1:9", "10.0.0.1:9"),
    ] {
        assert_eq!(reachable(address.parse().expect("an address")).to_string(), expected);
    }
}

#[test]
fn a_port_with_mutual_tls_is_asked_with_the_nodes_own_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    certs::issue(folder.path(), "node-1", Role::Node, &[], false).expect("issued");
    for client_ca in [None, Some(folder.path().join("ca.pem"))] {
        let files = TlsFiles {
            cert: folder.path().join("node-1.pem"),
            key: folder.path().join("node-1.key"),
            client_ca,
        };
        let tls = ServerTls::open(&files, Protocols::Http).expect("opened");
        let (address, serving) = serve("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Some(tls));
        assert_eq!(ask(&listener(address, Some(files)), None).expect("answered").text, "ok");
        serving.join().expect("served");
    }
}
