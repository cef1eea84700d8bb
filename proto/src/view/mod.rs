//! Answers as data: the shapes that `gs-ctl -o json` and the admin port's `/api/v1` give alike.
//!
//! The files: [`status`], with what it is made of: [`zone`], [`exporter`], [`quantile`]; [`cluster`], with its
//! [`problems`], both from a node's answer in `cluster_reply`; [`segment`]; [`archive`]; [`event`]; [`setting`]. Start
//! with [`json()`], which says how times are written.
//!
//! **Invariants**:
//! - I1: a time is `NAME`, RFC 3339 with nanoseconds, and `NAME_unix_nano`, the same in digits as a string, since
//!   programs round numbers above 2^53.
//! - I2: what is not known, or has not happened, is null, never 0. I3: every key is always there.
//!
//! **Not here**: tables and words for people.

pub mod archive;
pub mod cluster;
mod cluster_reply;
pub mod event;
pub mod exporter;
pub mod problems;
pub mod quantile;
pub mod segment;
pub mod setting;
pub mod status;
pub mod zone;

use jiff::Timestamp;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::control::v1::{Lsn, SegmentRef};

/// Suffix of the name of a time in nanoseconds since the Unix epoch.
const TIME_SUFFIX: &str = "_unix_nano";

/// An answer as JSON.
///
/// # Errors
/// It cannot be written as JSON (a map whose keys are no strings).
pub fn json(answer: &impl Serialize) -> Result<Value, serde_json::Error> {
    serde_json::to_value(answer).map(with_times)
}

/// The JSON Schema of what [`json()`] makes of a `T`.
///
/// # Panics
/// A time has the name of another field, which would be lost.
#[must_use]
pub fn schema<T: JsonSchema>(title: &str) -> Value {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    schema["title"] = title.into();
    schema_with_times(&mut schema);
    schema
}

/// A time, RFC 3339 in UTC with nanoseconds.
#[must_use]
pub fn rfc3339(unix_nano: u64) -> String {
    let at = Timestamp::from_nanosecond(unix_nano.into()).expect("the year 2554 is the last");
    format!("{at:.9}")
}

/// A position in a shard: `segment:number`. The largest number is of no entry and stands for the end of its segment:
/// `segment:end`.
#[must_use]
pub fn lsn(lsn: Lsn) -> String {
    match lsn.number {
        u32::MAX => format!("{}:end", lsn.segment_index),
        number => format!("{}:{number}", lsn.segment_index),
    }
}

/// A time of a message, in which 0 means none.
#[must_use]
pub fn some_time(unix_nano: u64) -> Option<u64> {
    (unix_nano > 0).then_some(unix_nano)
}

/// A segment's name: `NODE/SHARD/INDEX`.
#[must_use]
pub fn segment_name(segment: SegmentRef) -> String {
    format!("{}/{}/{}", segment.node, segment.shard, segment.index)
}

/// A text of a message, in which an empty one means none.
#[must_use]
pub fn some_text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn with_times(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut out = Map::new();
            for (name, value) in map {
                match name.strip_suffix(TIME_SUFFIX) {
                    Some(stem) => {
                        let at = value.as_u64();
                        out.insert(stem.to_owned(), at.map(rfc3339).into());
                        out.insert(name, at.map(|at| at.to_string()).into());
                    }
                    None => {
                        out.insert(name, with_times(value));
                    }
                }
            }
            Value::Object(out)
        }
        Value::Array(list) => list.into_iter().map(with_times).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

/// Changes a schema as [`with_times`] changes a value, and requires every key.
fn schema_with_times(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                let times: Vec<String> = properties
                    .keys()
                    .filter(|n| n.ends_with(TIME_SUFFIX))
                    .cloned()
                    .collect();
                for name in times {
                    time_in_schema(properties, &name);
                }
                let required = properties.keys().cloned().collect();
                map.insert("required".to_owned(), required);
            }
            map.values_mut().for_each(schema_with_times);
        }
        Value::Array(list) => list.iter_mut().for_each(schema_with_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn time_in_schema(properties: &mut Map<String, Value>, name: &str) {
    let found = properties.get(name).cloned().unwrap_or_default();
    let nullable = found["type"].is_array();
    let kind = if nullable {
        json!(["string", "null"])
    } else {
        json!("string")
    };
    let stem = name.strip_suffix(TIME_SUFFIX).unwrap_or(name);
    let mut at = json!({ "type": kind, "format": "date-time" });
    if let Some(description) = found.get("description") {
        at["description"] = description.clone();
    }
    let before = properties.insert(stem.to_owned(), at);
    assert!(before.is_none(), "{stem} and {name} would be one key");
    let digits = json!({ "type": kind, "pattern": "^[0-9]+$", "description": format!("{stem}, nanoseconds since the \
        Unix epoch") });
    properties.insert(name.to_owned(), digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, JsonSchema)]
    struct Sample {
        /// The first.
        first_unix_nano: u64,
        last_unix_nano: Option<u64>,
        inner: Vec<Inner>,
    }

    #[derive(Serialize, JsonSchema)]
    struct Inner {
        at_unix_nano: u64,
        count: u64,
    }

    #[test]
    fn a_time_is_text_and_digits_and_one_that_is_not_is_null() {
        let inner = vec![Inner {
            at_unix_nano: 1_700_000_000_123_456_789,
            count: 3,
        }];
        let sample = Sample {
            first_unix_nano: u64::MAX,
            last_unix_nano: None,
            inner,
        };
        let shown = json(&sample).unwrap();
        let expected = json!({
            "first": "2554-07-21T23:34:33.709551615Z", "first_unix_nano": "18446744073709551615",
            "last": null, "last_unix_nano": null,
            "inner": [{"at": "2023-11-14T22:13:20.123456789Z", "at_unix_nano": "1700000000123456789", "count": 3}],
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_end_of_a_segment_is_no_number() {
        let at = |number| {
            lsn(Lsn {
                segment_index: 3,
                number,
            })
        };
        assert_eq!((at(7), at(u32::MAX)), ("3:7".to_owned(), "3:end".to_owned()));
    }

    #[test]
    fn the_schema_says_the_same() {
        let schema = schema::<Sample>("sample");
        assert_eq!(schema["title"], "sample");
        let properties = &schema["properties"];
        assert_eq!(
            properties["first"],
            json!({"type": "string", "format": "date-time", "description": "The first."})
        );
        assert_eq!(properties["last"]["type"], json!(["string", "null"]));
        assert_eq!(properties["last_unix_nano"]["pattern"], "^[0-9]+$");
        assert_eq!(
            schema["required"],
            json!(["first", "first_unix_nano", "inner", "last", "last_unix_nano"])
        );
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)] // only its schema is looked at
    struct Twice {
        at: u64,
        at_unix_nano: u64,
    }

    #[test]
    #[should_panic(expected = "at and at_unix_nano would be one key")]
    fn a_time_beside_a_field_of_its_name_is_a_bug() {
        let _ = schema::<Twice>("twice");
    }
}
