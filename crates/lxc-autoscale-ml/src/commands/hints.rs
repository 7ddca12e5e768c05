//! What to do about an error whose own words do not say it.

use std::fmt::Display;
use std::io;

use lxc_autoscale_core::metrics_file::ReadError;
use lxc_autoscale_core::state_database::StateDatabaseError;

use crate::ledger::LedgerError;

const NO_MONITOR: &str = "is lxc_monitor running? see `lxc-monitor check`";
const AS_ROOT: &str = "run this as root";

/// What to do about a metrics file that cannot be read.
pub fn of_metrics(error: &ReadError) -> Option<&'static str> {
    let ReadError::Read { source, .. } = error else { return None };
    match source.kind() {
        io::ErrorKind::NotFound => Some(NO_MONITOR),
        io::ErrorKind::PermissionDenied => Some(AS_ROOT),
        _ => None,
    }
}

/// What to do about a ledger that cannot be used.
pub fn of_ledger(error: &LedgerError) -> Option<&'static str> {
    match error {
        LedgerError::Database { source, .. }
        | LedgerError::State(StateDatabaseError::Database { source, .. }) => {
            let refused = matches!(
                source.sqlite_error_code(),
                Some(
                    rusqlite::ErrorCode::ReadOnly
                        | rusqlite::ErrorCode::CannotOpen
                        | rusqlite::ErrorCode::PermissionDenied
                )
            );
            refused.then_some(AS_ROOT)
        }
        LedgerError::State(StateDatabaseError::Directory { source, .. }) => {
            (source.kind() == io::ErrorKind::PermissionDenied).then_some(AS_ROOT)
        }
        _ => None,
    }
}

/// Puts both together.
pub fn with(error: impl Display, hint: Option<&'static str>) -> String {
    hint.map_or_else(|| error.to_string(), |hint| format!("{error}; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_write_is_told_to_be_root() {
        for (code, want) in [
            // SQLITE_READONLY_DIRECTORY, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_CORRUPT.
            (1544, Some(AS_ROOT)),
            (8, Some(AS_ROOT)),
            (14, Some(AS_ROOT)),
            (11, None),
        ] {
            let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let error = LedgerError::Database { path: "/x".into(), source };
            assert_eq!(of_ledger(&error), want, "{code}");
        }
    }

    #[test]
    fn a_missing_metrics_file_is_the_monitors() {
        for (kind, want) in [
            (io::ErrorKind::NotFound, Some(NO_MONITOR)),
            (io::ErrorKind::PermissionDenied, Some(AS_ROOT)),
            (io::ErrorKind::Interrupted, None),
        ] {
            let error = ReadError::Read { path: "/x".into(), source: kind.into() };
            assert_eq!(of_metrics(&error), want, "{kind}");
        }
    }
}
