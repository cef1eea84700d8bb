//! `gs-ctl tail`: records as they are received.

use std::fmt::Write;

use gophership_proto::control::v1::{ReplayEntry, TailChunk, TailRequest};
use gophership_proto::otlp::json as otlp_json;
use gophership_proto::view::rfc3339;
use serde_json::Value;

use crate::arg::cli::Tail;
use crate::arg::format::Format;
use crate::connect::Client;
use crate::out::file_sink::{self, NotWritable, Payloads};
use crate::out::human;
use crate::out::outcome::{Failure, Outcome, refused};
use crate::out::output::write_while_read;
use crate::out::yaml;

/// Shows records until the node ends, or the reader of stdout has closed it.
pub(crate) async fn tail(node: &mut Client, asked: &Tail, format: Format) -> anyhow::Result<Outcome> {
    let last_entries = asked.last;
    let answer = node.tail(TailRequest { last_entries }).await;
    let mut chunks = answer.map_err(|e| refused(&e))?.into_inner();
    let mut payloads = Payloads::default();
    while let Some(chunk) = chunks.message().await.map_err(|e| refused(&e))? {
        say_what_is_not_shown(&chunk);
        let mut out = String::new();
        for entry in &chunk.entries {
            let name = file_sink::name(entry);
            match shown(entry, &name, &mut payloads, format) {
                Ok(text) => out += &text,
                Err(NotWritable(why)) => eprintln!("gs-ctl: entry {name} cannot be shown: {why}"),
            }
        }
        if !write_while_read(out.as_bytes())? {
            return Ok(Outcome::Done);
        }
    }
    Err(Failure::Unreachable("the node ended the tail".to_owned()).into())
}

fn say_what_is_not_shown(chunk: &TailChunk) {
    if chunk.left_out_entries > 0 {
        let count = human::count(chunk.left_out_entries);
        eprintln!("gs-ctl: {count} entries were left out: they came faster than they are shown, or the zone is red");
    }
    if chunk.unreadable_stretches > 0 {
        let count = human::count(chunk.unreadable_stretches);
        eprintln!("gs-ctl: {count} ranges could not be read: `gs-ctl segment list` shows damage");
    }
}

pub(super) fn shown(
    entry: &ReplayEntry,
    name: &str,
    payloads: &mut Payloads,
    format: Format,
) -> Result<String, NotWritable> {
    let no_logs = |error: &dyn std::fmt::Display| NotWritable(error.to_string());
    let mut line = Vec::new();
    otlp_json::write_line(payloads.of(entry)?, Some(name), &mut line).map_err(|e| no_logs(&e))?;
    if format == Format::Json {
        return String::from_utf8(line).map_err(|e| no_logs(&e));
    }
    let logs: Value = serde_json::from_slice(&line).map_err(|e| no_logs(&e))?;
    Ok(match format {
        Format::Yaml => format!("---\n{}", yaml::document(&logs)),
        Format::Table | Format::Wide | Format::Json => records(&logs, entry.received_unix_nano),
    })
}

/// A line for each record of an entry that was received at this time.
fn records(logs: &Value, received_unix_nano: u64) -> String {
    let mut out = String::new();
    for of_resource in each(&logs["resourceLogs"]) {
        let attributes = each(&of_resource["resource"]["attributes"]);
        let service = attributes
            .filter(|a| a["key"] == "service.name")
            .map(|a| plain(&a["value"]));
        let service = service.last().unwrap_or_else(|| "-".to_owned());
        for record in each(&of_resource["scopeLogs"]).flat_map(|scope| each(&scope["logRecords"])) {
            let time = |name: &str| record[name].as_str()?.parse().ok().filter(|at| *at > 0);
            let at = time("timeUnixNano").or_else(|| time("observedTimeUnixNano"));
            let severity = match (record["severityText"].as_str(), record["severityNumber"].as_u64()) {
                (Some(text), _) => text.to_owned(),
                (None, Some(number)) => severity(number),
                (None, None) => "-".to_owned(),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{} {} {}: {}",
                rfc3339(at.unwrap_or(received_unix_nano)),
                human::one_line(&severity),
                human::one_line(&service),
                human::one_line(&plain(&record["body"]))
            );
        }
    }
    out
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The short name that OTLP gives a severity.
fn severity(number: u64) -> String {
    let names = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    match number
        .checked_sub(1)
        .and_then(|n| names.get(usize::try_from(n / 4).ok()?))
    {
        Some(name) if (number - 1).is_multiple_of(4) => (*name).to_owned(),
        Some(name) => format!("{name}{}", (number - 1) % 4 + 1),
        None => number.to_string(),
    }
}

/// A value of OTLP/JSON: a string as it is, anything else as JSON without the names of types.
fn plain(value: &Value) -> String {
    match untyped(value) {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn untyped(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|map| map.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "arrayValue" => each(&inner["values"]).map(untyped).collect(),
        "kvlistValue" => each(&inner["values"])
            .map(|pair| {
                (
                    pair["key"].as_str().unwrap_or_default().to_owned(),
                    untyped(&pair["value"]),
                )
            })
            .collect(),
        // 64-bit numbers are strings in OTLP/JSON.
        "intValue" => inner
            .as_str()
            .and_then(|n| n.parse::<i64>().ok())
            .map_or_else(|| inner.clone(), Value::from),
        _ => inner.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_a_line_with_what_people_look_for() {
        let logs = json!({"resourceLogs": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeLogs": [{"logRecords": [
                {"timeUnixNano": "1700000000000000001", "severityNumber": 9,
                 "body": {"stringValue": "two\n lines\u{1b}"}},
                {"observedTimeUnixNano": "1700000000000000002", "severityText": "warn", "severityNumber": 13,
                 "body": {"kvlistValue": {"values": [{"key": "n", "value": {"intValue": "7"}}]}}},
            ]}],
        }, {"scopeLogs": [{"logRecords": [{"severityNumber": 18}]}]}]});
        assert_eq!(
            records(&logs, 1_700_000_000_000_000_003),
            "2023-11-14T22:13:20.000000001Z INFO shop: two lines\u{fffd}\n\
             2023-11-14T22:13:20.000000002Z warn shop: {\"n\":7}\n\
             2023-11-14T22:13:20.000000003Z ERROR2 -: \n"
        );
    }
}
