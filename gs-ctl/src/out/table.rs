//! Columns of plain text for people, as wide as their content, without frames.

/// A table under construction.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    name: &'static str,
    right: bool,
}

impl Table {
    /// A table with columns of these names; a column of numbers (a name that begins with `>`) is aligned to the right.
    pub(crate) fn new(names: &[&'static str]) -> Self {
        let columns = names.iter().map(|name| match name.strip_prefix('>') {
            Some(name) => Column { name, right: true },
            None => Column { name, right: false },
        });
        Self {
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The table as text.
    pub(crate) fn text(&self) -> String {
        let width = |i: usize, name: &str| {
            self.rows
                .iter()
                .map(|r| r[i].chars().count())
                .chain([name.chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = self.columns.iter().enumerate().map(|(i, c)| width(i, c.name)).collect();
        let names = self.columns.iter().map(|c| c.name.to_owned()).collect();
        let lines = [&names]
            .into_iter()
            .chain(&self.rows)
            .map(|cells| self.line(cells, &widths));
        lines.map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let cells = self.columns.iter().zip(cells).zip(widths);
        let padded = cells.map(|((column, cell), width)| {
            if column.right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        padded.collect::<Vec<_>>().join("  ")
    }
}

/// Names and values, one a line.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:<width$}  {value}\n"))
        .collect()
}

/// A value, or a dash for none.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", ">BYTES"]);
        table.row(vec!["a".to_owned(), "5".to_owned()]);
        table.row(vec!["zoë-1".to_owned(), "123456".to_owned()]);
        assert_eq!(table.text(), "NAME    BYTES\na           5\nzoë-1  123456\n");
    }

    #[test]
    #[should_panic(expected = "a row has a cell for each column")]
    fn a_row_without_a_cell_for_each_column_is_a_bug_of_the_caller() {
        Table::new(&["NAME", ">BYTES"]).row(vec!["a".to_owned()]);
    }

    #[test]
    fn values_stand_under_each_other() {
        assert_eq!(
            pairs(&[("a", "1".to_owned()), ("long", "2".to_owned())]),
            "a     1\nlong  2\n"
        );
    }
}
