//! Updates the tables in pages of the documentation.

use std::error::Error;
use std::path::Path;

/// Replaces the tables in the page that `command` made before.
pub(crate) fn renew(page: &Path, command: &str, tables: &str) -> Result<(), Box<dyn Error>> {
    let (begin, end) = (format!("<!-- begin: {command} -->"), format!("<!-- end: {command} -->"));
    let old = std::fs::read_to_string(page)?;
    let parts = old.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) =
        parts.ok_or_else(|| format!("`{}` lacks the lines around its table", page.display()))?;
    Ok(std::fs::write(page, format!("{before}{begin}\n\n{tables}\n{end}{after}"))?)
}
