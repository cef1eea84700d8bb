//! Answers as YAML: block style, with strings in JSON's notation, which YAML reads too.

use serde_json::Value;

/// A document.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0, &mut out),
        Value::Array(list) if !list.is_empty() => block(value, 0, &mut out),
        Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out = value.to_string() + "\n";
        }
    }
    out
}

/// Writes the lines of a value that is neither a scalar nor empty.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                out.push_str(&" ".repeat(indent));
                out.push_str(name);
                out.push(':');
                behind_key(value, indent + 2, out);
            }
        }
        Value::Array(list) => {
            for value in list {
                let mut item = String::new();
                if is_block(value) {
                    block(value, indent + 2, &mut item);
                    item.replace_range(..indent + 2, &format!("{}- ", " ".repeat(indent)));
                    out.push_str(&item);
                } else {
                    out.push_str(&format!("{}- {value}\n", " ".repeat(indent)));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn behind_key(value: &Value, indent: usize, out: &mut String) {
    if is_block(value) {
        out.push('\n');
        block(value, indent, out);
    } else {
        out.push_str(&format!(" {value}\n"));
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_are_indented_and_strings_are_quoted() {
        let value = json!({"a": 1, "b": {"c": "x: y", "d": []}, "e": [{"f": null, "g": [true]}, 2, {}]});
        let text = "a: 1\nb:\n  c: \"x: y\"\n  d: []\ne:\n  - f: null\n    g:\n      - true\n  - 2\n  - {}\n";
        assert_eq!(document(&value), text);
        assert_eq!(document(&json!({})), "{}\n");
    }

    #[test]
    fn a_large_number_keeps_its_digits() {
        assert_eq!(document(&json!({"t": u64::MAX})), "t: 18446744073709551615\n");
    }
}
