//! Tables of tables: for each exporter, values by key.

use std::collections::BTreeMap;

/// Sets the value of an exporter under a key.
pub(super) fn put<K: Ord, V>(table: &mut BTreeMap<String, BTreeMap<K, V>>, exporter: String, key: K, value: V) {
    table.entry(exporter).or_default().insert(key, value);
}

/// Removes the value of an exporter under a key, and with its last value the exporter, so that equal contents are equal
/// tables.
pub(super) fn remove<K: Ord, V>(table: &mut BTreeMap<String, BTreeMap<K, V>>, exporter: &str, key: &K) {
    if let Some(rows) = table.get_mut(exporter) {
        rows.remove(key);
        if rows.is_empty() {
            table.remove(exporter);
        }
    }
}
