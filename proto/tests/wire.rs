//! What goes over the wire stays what it is: a field keeps its number and its type, a value of an enum its number, a
//! call its messages. Nodes and `gs-ctl` of two versions talk to each other in a rolling upgrade.
#![allow(clippy::unwrap_used, missing_docs)] // clippy sees only `#[test]` functions as tests

use std::fmt::Write;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

const PEER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/peer.bin"));
const CONTROL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1").join(name)
}

/// A package's messages, enums and services, a line for each of their parts.
fn lines(descriptors: &[u8], package: &str) -> String {
    let mut out = String::new();
    let all = FileDescriptorSet::decode(descriptors).unwrap();
    for file in all.file.iter().filter(|file| file.package() == package) {
        file.message_type.iter().for_each(|of| message(of, "", &mut out));
        file.enum_type.iter().for_each(|of| values(of, "", &mut out));
        file.service.iter().for_each(|of| calls(of, &mut out));
    }
    out
}

fn message(of: &DescriptorProto, within: &str, out: &mut String) {
    let name = format!("{within}{}", of.name());
    writeln!(out, "message {name}").unwrap();
    let mut fields: Vec<&FieldDescriptorProto> = of.field.iter().collect();
    fields.sort_by_key(|field| field.number());
    for field in fields {
        let label = match (field.label(), field.proto3_optional(), field.oneof_index) {
            (Label::Repeated, ..) => "repeated ",
            (_, true, _) => "optional ",
            (_, false, Some(_)) => "one of ",
            _ => "",
        };
        let of_type = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().to_owned(),
            plain => plain.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        };
        writeln!(out, "  {} {label}{of_type} {}", field.number(), field.name()).unwrap();
    }
    let within = format!("{name}.");
    of.nested_type.iter().for_each(|of| message(of, &within, out));
    of.enum_type.iter().for_each(|of| values(of, &within, out));
}

fn values(of: &EnumDescriptorProto, within: &str, out: &mut String) {
    writeln!(out, "enum {within}{}", of.name()).unwrap();
    for value in &of.value {
        writeln!(out, "  {} {}", value.number(), value.name()).unwrap();
    }
}

fn calls(of: &ServiceDescriptorProto, out: &mut String) {
    writeln!(out, "service {}", of.name()).unwrap();
    for call in &of.method {
        let streams = |is_stream| if is_stream { "stream " } else { "" };
        writeln!(
            out,
            "  {} {}{} -> {}{}",
            call.name(),
            streams(call.client_streaming()),
            call.input_type(),
            streams(call.server_streaming()),
            call.output_type()
        )
        .unwrap();
    }
}

fn packages() -> [(&'static str, String); 2] {
    [
        ("peer.txt", lines(PEER, "gophership.peer.v1")),
        ("control.txt", lines(CONTROL, "gophership.control.v1")),
    ]
}

#[test]
fn every_message_of_peers_and_of_the_control_service_is_as_it_was() {
    for (name, lines) in packages() {
        let before = std::fs::read_to_string(golden(name)).unwrap();
        assert!(lines.lines().count() > 100, "{name} has only this: {lines}");
        let gone: Vec<&str> = before
            .lines()
            .filter(|line| !lines.lines().any(|l| l == *line))
            .collect();
        let new: Vec<&str> = lines
            .lines()
            .filter(|line| !before.lines().any(|l| l == *line))
            .collect();
        assert_eq!(
            before, lines,
            "{name}: what a node of another version reads has changed: gone {gone:?}, new {new:?}. A new field or \
             call is to be added (cargo test --workspace --test wire -- --ignored); nothing else may differ"
        );
    }
}

#[test]
#[ignore = "writes the golden files"]
fn write_golden_files() {
    for (name, lines) in packages() {
        std::fs::write(golden(name), lines).unwrap();
    }
}
