//! Reads the records of a metrics file, ours and those of the Python original, for the daemon and for an import.

use lxc_autoscale_core::metrics_file::parse_record;

use super::import::original::{self, LocalTimes};
use super::readings::Cycle;

/// What a record holds for the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The values.
    pub cycle: Cycle,
    /// Whether the Python original wrote it.
    pub is_of_the_original: bool,
    /// Fields with something else than a sane value, which count as unknown.
    pub unusable_fields: u64,
}

/// Reads a record; `None` if it is no snapshot.
///
/// A file of the original is read by its own meaning also where the monitor has taken it over and written it in our
/// layout: its words are ours, but not what they say.
pub fn read(text: &[u8], times: &mut LocalTimes) -> Option<Record> {
    match parse_record(text) {
        Ok(snapshot) if snapshot.summary.schema_version.is_some() => {
            Some(Record { cycle: Cycle::from(&snapshot), is_of_the_original: false, unusable_fields: 0 })
        }
        // What the original wrote need not have our types.
        _ => original::parse(text, times).ok().flatten().map(|(cycle, unusable_fields)| Record {
            cycle,
            is_of_the_original: true,
            unusable_fields,
        }),
    }
}
