//! What this server must still know after a restart: one SQLite file in its state directory, which nobody else
//! writes. [`crate::jobs`], [`crate::ledger`] and [`crate::boosts`] keep their tables in it.
//!
//! A commit is on the disk when it returns, unless it is made [`Store::soon`]: that one survives the end of this process,
//! and when the power fails before the next commit it is as if it had not been made. The log that commits go to is
//! emptied beside the work ([`Store::tidy`]). A broken file is put aside under another name, and a new one begun.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lxc_autoscale_core::state_database::{self, StateDatabaseError, StateLock};
use rusqlite::Connection;

use crate::on_disk::OnDisk;

pub(crate) mod kept;
mod schema;

/// The file's name in the state directory.
const FILE: &str = "api.sqlite";
/// Another server must not take what this one does for something that was cut off.
const LOCK_FILE: &str = "api.lock";

/// Pages of 4 KiB in the log of commits, at the most.
const MOST_LOG_PAGES: u32 = 4096;

/// Why something cannot be kept or looked up.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] StateDatabaseError),
    /// SQLite refuses.
    #[error("cannot use `{}`", path.display())]
    Statement {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A defect of this program.
    #[error("a look into `{}` ended unexpectedly", path.display())]
    Crashed {
        /// The file.
        path: PathBuf,
    },
    /// The change that this is part of could not be written down.
    #[error("the beginning of the change could not be written down")]
    NotBegun,
}

/// A handle on the file.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    opened: Arc<Mutex<Option<Opened>>>,
}

/// The file while it is open.
#[derive(Debug)]
struct Opened {
    connection: Connection,
    commits: OnDisk,
}

impl Opened {
    /// Lets what is committed from now on be on the disk then. Said only where it is another way than before: that is a
    /// statement of its own.
    fn commit(&mut self, commits: OnDisk) -> rusqlite::Result<()> {
        if self.commits != commits {
            let synchronous = match commits {
                OnDisk::AtOnce => "FULL",
                OnDisk::Soon => "NORMAL",
            };
            self.connection.pragma_update(None, "synchronous", synchronous)?;
            self.commits = commits;
        }
        Ok(())
    }
}

impl Store {
    /// The file in that directory; opened with its first use.
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE), opened: Arc::default() }
    }

    /// Takes the state directory for this process, and opens the file.
    ///
    /// # Errors
    /// [`StoreError`] when another server has it, or it cannot be written.
    pub fn take(&self) -> Result<StateLock, StoreError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let lock = StateLock::take(directory, LOCK_FILE)?;
        self.locked(OnDisk::AtOnce, |_| Ok(()))?;
        Ok(lock)
    }

    /// Does something with the file in a thread of its own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || store.locked(OnDisk::AtOnce, work)).await;
        done.unwrap_or_else(|_| Err(self.crashed()))
    }

    /// As [`Store::with`], in the thread of whoever calls, which may wait for the disk; and the commit need not be on the
    /// disk when this returns: it is with the next one of [`Store::with`]. For what can be lost with the power and leaves
    /// nothing wrong.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn soon<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.locked(OnDisk::Soon, work)
    }

    /// What is told when what was at work here ended without a word.
    pub(crate) fn crashed(&self) -> StoreError {
        StoreError::Crashed { path: self.path.clone() }
    }

    /// Empties the log that commits go to, over a connection of its own, so that nobody waits for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tidy(&self) -> Result<(), StoreError> {
        let emptied = Connection::open(&self.path)
            .and_then(|connection| connection.pragma_query(None, "wal_checkpoint", |_| Ok(())));
        emptied.map_err(|source| StoreError::Statement { path: self.path.clone(), source })
    }

    fn locked<T>(
        &self,
        commits: OnDisk,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        // A transaction that a panic cut off was rolled back when it was dropped.
        let mut slot = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = match slot.take() {
            Some(opened) => opened,
            None => self.open()?,
        };
        let done = opened.commit(commits).and_then(|()| work(&mut opened.connection));
        // A broken file is opened again next time, which puts it aside.
        if !done.as_ref().is_err_and(state_database::is_corrupt) {
            *slot = Some(opened);
        }
        done.map_err(|source| StoreError::Statement { path: self.path.clone(), source })
    }

    fn open(&self) -> Result<Opened, StoreError> {
        let (connection, aside) = state_database::open(&self.path, schema::MIGRATIONS)?;
        // A commit that finds the log full has to empty it first; mostly it was done beside the work by then.
        connection
            .pragma_update(None, "wal_autocheckpoint", MOST_LOG_PAGES)
            .map_err(|source| StoreError::Statement { path: self.path.clone(), source })?;
        if let Some(aside) = aside {
            tracing::error!(
                path = %self.path.display(), aside = %aside.display(),
                "the file of jobs, ledger and boosts was broken: it was put aside, and a new one is begun"
            );
        }
        Ok(Opened { connection, commits: OnDisk::AtOnce })
    }
}
