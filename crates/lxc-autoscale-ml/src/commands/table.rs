//! Tables for people.

use std::io::{self, Write};

use crate::decide::{Action, Amount, Decision, Resource};

/// Rows with columns padded to the widest cell, except the last column.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns of numbers, aligned at the right.
    right_aligned: Vec<usize>,
}

impl Table {
    /// A table with headings.
    pub(super) fn headed(names: &[&str]) -> Self {
        let heading = names.iter().map(|name| (*name).to_owned()).collect();
        Self { rows: vec![heading], right_aligned: Vec::new() }
    }

    /// The same with some columns aligned at the right.
    pub(super) fn right_aligned(mut self, columns: &[usize]) -> Self {
        self.right_aligned = columns.to_vec();
        self
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let padded = |(column, (cell, width)): (usize, (&String, &usize))| {
                if self.right_aligned.contains(&column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:width$}")
                }
            };
            let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(padded).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// `+` grows, `-` shrinks, blank stays: the first column, as in a diff.
pub(super) fn sign(decision: &Decision) -> String {
    match decision.action {
        Action::Grow => "+",
        Action::Shrink => "-",
        Action::Keep => " ",
    }
    .to_owned()
}

/// `cpu` or `memory`.
pub(super) fn resource(resource: Resource) -> String {
    match resource {
        Resource::Cpu => "cpu",
        Resource::Memory => "memory",
    }
    .to_owned()
}

/// `2 cores` or `512 MiB`; `?` if unknown.
pub(super) fn amount(resource: Resource, value: Option<f64>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| Amount::of(resource, value).to_string())
}

/// The present size, and the new one if it differs.
pub(super) fn change(decision: &Decision) -> String {
    let from = amount(decision.resource, decision.from);
    match decision.to {
        Some(to) => format!("{from} → {}", amount(decision.resource, Some(to))),
        None => from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters_not_bytes() {
        let mut table = Table::headed(&["CT", "CHANGE", "WHY"]);
        table.row(vec!["104".to_owned(), "1 → 2".to_owned(), "busy".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "CT   CHANGE  WHY\n104  1 → 2   busy\n");
        let mut out = Vec::new();
        table.right_aligned(&[1]).write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "CT   CHANGE  WHY\n104   1 → 2  busy\n");
    }
}
