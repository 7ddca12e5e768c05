//! Makes sure that a file has only one writer.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Stamp, open_lock, stamp_at};
use crate::durable::sibling;

/// The lock file next to the metrics file; locked until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

/// Why the lock cannot be taken.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another writer has it.
    Held,
    /// It cannot be taken.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock of the file at `path`.
    pub(super) fn take(path: &Path) -> Result<Self, LockError> {
        let path = sibling(path, "lock");
        let file = lock_at(&path)?;
        Ok(Self { path, file })
    }

    /// Makes sure that nobody else can take it: the lock file may have been removed, so that another writer could
    /// lock a new one.
    pub(super) fn keep(&mut self) -> Result<(), LockError> {
        let own = Stamp::of(&self.file.metadata().map_err(LockError::Io)?);
        if !stamp_at(&self.path).is_some_and(|found| found.is_same_file(own)) {
            self.file = lock_at(&self.path)?;
        }
        Ok(())
    }
}

fn lock_at(path: &Path) -> Result<File, LockError> {
    let file = open_lock(path).map_err(LockError::Io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LockError::Held),
        Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
    }
}
