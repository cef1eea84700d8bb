//! "Did you mean": the known name that is nearest to a mistyped one.

/// Limit of edits (an insertion, a removal, a replacement, two neighbours swapped) between a mistyped name and its
/// suggestion.
const EDITS_MAX: usize = 2;

/// The nearest name within [`EDITS_MAX`] edits, and within half of its length; of equally near names the first.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= EDITS_MAX && edits * 2 < candidate.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Damerau-Levenshtein distance (optimal string alignment), over bytes, since all names are ASCII. Names are cut at 64
/// bytes.
fn edits(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let (left, right) = (&left[..left.len().min(64)], &right[..right.len().min(64)]);
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=right.len()).collect();
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_finds_none() {
        let known = ["segment_size", "segment_age", "spares", "tls"];
        let cases = [
            ("segment_siez", Some("segment_size")),
            ("segmentsize", Some("segment_size")),
            ("spare", Some("spares")),
            ("tsl", Some("tls")),
            ("cluster", None),
            ("", None),
            ("t", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
    }
}
