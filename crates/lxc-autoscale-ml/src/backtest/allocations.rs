//! The decisions as a table: `timestamp,container_id,cores,memory_mb`, one line per change.
//!
//! A line is a decision made at `timestamp`, after the sample of that time; it applies from the next sample on. Where
//! none is made on a container's first sample, its first line is its size at the beginning of the recording.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::error::BacktestError;
use super::recording::Recording;
use super::run::Outcome;

/// Writes the table to a file.
///
/// # Errors
/// [`BacktestError::Write`].
pub fn write_file(path: &Path, recordings: &[Recording], outcomes: &[Outcome]) -> Result<(), BacktestError> {
    let failed = |source| BacktestError::Write { path: path.to_owned(), source };
    let mut out = BufWriter::new(File::create(path).map_err(failed)?);
    write(&mut out, recordings, outcomes).and_then(|()| out.flush()).map_err(failed)
}

/// Writes the table.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(out: &mut impl Write, recordings: &[Recording], outcomes: &[Outcome]) -> io::Result<()> {
    writeln!(out, "timestamp,container_id,cores,memory_mb")?;
    for (recording, outcome) in recordings.iter().zip(outcomes) {
        let Some((first, _)) = recording.span() else { continue };
        if outcome.changes.first().is_none_or(|change| first < change.at) {
            writeln!(out, "{first},{},{},{}", outcome.id, outcome.begin.cores, outcome.begin.memory_mib)?;
        }
        for change in &outcome.changes {
            // Hundredths of a core have additional digits in binary.
            let cores = (change.size.cores * 1e4).round() / 1e4;
            writeln!(out, "{},{},{cores},{}", change.at, outcome.id, change.size.memory_mib)?;
        }
    }
    Ok(())
}
