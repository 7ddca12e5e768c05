//! The columns of tables of comma-separated values.

/// The first of these columns that the table lacks. A use whose column is misspelt would otherwise count as unknown.
pub(crate) fn missing(headers: &csv::StringRecord, wanted: &[&'static str]) -> Option<&'static str> {
    wanted.iter().find(|column| !headers.iter().any(|header| header == **column)).copied()
}
