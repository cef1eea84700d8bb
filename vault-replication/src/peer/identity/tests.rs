use rcgen::{CertificateParams, KeyPair};
use tonic::Code;

use super::*;

fn node(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

fn local(n: u32, name: &str) -> LocalNode {
    LocalNode::new(ClusterId(Uuid::from_u128(7)), node(n), name, Uuid::from_u128(1))
}

/// Node 2 has its number on record, and the node that joins has none yet.
fn list() -> PeerList {
    PeerList::new([
        ("node-2".to_owned(), Some(node(2))),
        ("Node-3".to_owned(), Some(node(3))),
        ("joins".to_owned(), None),
        (NOBODYS_NAME.to_owned(), Some(node(5))),
    ])
}

#[test]
fn the_names_of_a_certificate_are_its_hosts_and_not_its_addresses() {
    let names = ["Node-2", "localhost", "127.0.0.1", "node-2"].map(str::to_owned);
    let params = CertificateParams::new(names).unwrap();
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(names_of(certificate.der()).unwrap(), ["localhost", "node-2"]);
    let nameless = CertificateParams::new(vec![]).unwrap();
    let nameless = nameless.self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(names_of(nameless.der()).unwrap(), Vec::<String>::new());
    assert!(names_of(b"no certificate").is_err());
}

#[test]
fn i1_a_certificate_names_exactly_one_peer_of_the_list() {
    let one_of = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        list().one_of(&names)
    };
    assert_eq!(one_of(&["localhost", "node-3"]), Ok("node-3".to_owned()));
    for names in [
        &[][..],
        &["localhost"],
        &["node-4"],
        &["node-2", "node-3"],
        &["*", "node-"],
    ] {
        assert!(one_of(names).is_err(), "{names:?}");
    }
}

#[test]
fn i2_i3_what_a_call_says_of_its_caller_and_its_aim_decides() {
    let own = local(1, "node-1");
    let ask = |caller: &LocalNode, to: u32, certified: Option<&str>| {
        let call = caller.call(node(to), ());
        super::caller(&own, &list(), certified, call.metadata())
    };
    assert_eq!(ask(&local(2, "node-2"), 1, Some("node-2")).unwrap(), node(2));
    assert_eq!(ask(&local(2, "NODE-2"), 1, None).unwrap(), node(2));
    assert_eq!(ask(&local(4, "joins"), 1, Some("joins")).unwrap(), node(4));
    let mut foreign = local(2, "node-2");
    foreign.cluster = ClusterId(Uuid::from_u128(8));
    for (caller, to, certified) in [
        (&foreign, 1, "node-2"),
        (&local(2, "node-2"), 2, "node-2"),
        (&local(2, "node-2"), 1, "node-3"),
        (&local(3, "node-2"), 1, "node-2"),
        (&local(1, "node-2"), 1, "node-2"),
        (&local(3, "joins"), 1, "joins"),
        (&local(1, "joins"), 1, "joins"),
        (&local(9, "node-9"), 1, "node-9"),
        (&local(5, "localhost"), 1, "localhost"),
        (&local(2, "node-2\n"), 1, "node-2"),
    ] {
        let refused = ask(caller, to, Some(certified)).unwrap_err();
        assert_eq!(
            refused.code(),
            Code::PermissionDenied,
            "{caller:?} to {to}, certified as {certified}"
        );
    }
    let refused = super::caller(&own, &list(), Some("node-2"), &MetadataMap::new()).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}
