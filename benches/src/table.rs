//! Rows of a table, and the statistics they show.

/// The median of several runs.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints one row: a name, a figure, and the figure beside which it is to be read.
pub(crate) fn row(what: &str, value: f64, unit: &str, beside: Option<(&str, f64)>) {
    match beside {
        Some((name, other)) => println!(
            "{what:<46} {value:>12.1} {unit:<14} {name} {other:.1}, ratio {:.2}",
            value / other
        ),
        None => println!("{what:<46} {value:>12.1} {unit}"),
    }
}
