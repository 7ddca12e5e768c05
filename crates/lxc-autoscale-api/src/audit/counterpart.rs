//! Compares the end of the log with `api.sqlite`, which knows the same changes. The chain itself does not show if its end
//! is missing.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OpenFlags};

use super::Verdict;
use crate::store;

/// A change that ended less than this ago may still be on its way to the log.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_mins(1);

/// Why the log may lack its end, or why that cannot be told.
#[derive(Debug)]
pub enum Counterpart {
    /// `api.sqlite` has a later change than the log.
    Newer {
        /// The file.
        path: PathBuf,
        /// The number of the newest change in it.
        known: u64,
        /// That in the log.
        told: Option<u64>,
    },
    /// `api.sqlite` cannot be read.
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl fmt::Display for Counterpart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { path, known, told } => {
                write!(f, "warning: `{}` has change {known}, and the log ", path.display())?;
                match told {
                    Some(told) => write!(f, "ends with change {told}")?,
                    None => f.write_str("has none")?,
                }
                f.write_str(
                    ": records at its end were removed, or `audit.file` was empty or another file at that time",
                )
            }
            Self::Unread { path, source } => write!(
                f,
                "warning: cannot read `{}`, so whether records at the end are missing is not known: {source}",
                path.display()
            ),
        }
    }
}

/// What `api.sqlite` in this directory says about the end of a log; `None` if that is as it should be, or if there is no
/// such file.
pub fn compare(verdict: &Verdict, directory: &Path, now: Timestamp) -> Option<Counterpart> {
    let path = store::file_in(directory);
    if !path.exists() {
        return None;
    }
    let known = match newest(&path, now) {
        Ok(known) => known?,
        Err(source) => return Some(Counterpart::Unread { path, source }),
    };
    let told = verdict.newest_change;
    // Rotation may have removed all records of changes; those of refusals are left.
    let is_rotated = verdict.first.is_some_and(|first| 1 < first);
    let is_newer = told.map_or(!is_rotated, |told| told < known);
    is_newer.then_some(Counterpart::Newer { path, known, told })
}

/// The number of the newest change that must be in the log.
fn newest(path: &Path, now: Timestamp) -> rusqlite::Result<Option<u64>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let until = (now - ON_ITS_WAY).as_microsecond();
    // One that could not be written to the log was refused for that.
    let sql = "SELECT max(number) FROM changes WHERE ended_us <= ?1 AND code IS NOT 'not_audited'";
    let newest: Option<i64> = connection.query_row(sql, [until], |row| row.get(0))?;
    Ok(newest.map(i64::unsigned_abs))
}
