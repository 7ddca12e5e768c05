//! What this server must still know after a restart: one SQLite file in its state directory, which no other program
//! writes. [`crate::jobs`], [`crate::ledger`] and [`crate::boosts`] keep their tables in it.
//!
//! A commit is on the disk when it returns, unless it is made with [`Turn::soon`]. Such a commit survives the end of
//! this process, but a power cut before the next full commit undoes it. The write-ahead log is checkpointed outside
//! of requests ([`Store::tidy`]). A corrupt file is renamed, and a new one is created.
//!
//! The file is used by one at a time, in the order in which they ask for their turn. So what is written in a turn that
//! was taken before a client is answered is seen by whatever that client asks for next.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lxc_autoscale_core::state_database::{self, StateDatabaseError, StateLock};
use rusqlite::Connection;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::blocking::in_place;
use crate::on_disk::OnDisk;

pub(crate) mod kept;
mod schema;

/// The file's name in the state directory.
const FILE: &str = "api.sqlite";
/// Locked, so that a second server does not take the running changes of this one for interrupted ones.
const LOCK_FILE: &str = "api.lock";
/// How long a lock of another process is waited for, and the pause between two attempts.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Size limit of the write-ahead log, in pages of 4 KiB.
const MOST_LOG_PAGES: u32 = 4096;

/// Why something cannot be stored or looked up.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] StateDatabaseError),
    /// SQLite reports an error.
    #[error("cannot use `{}`", path.display())]
    Statement {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A defect in this program.
    #[error("an access to `{}` ended unexpectedly", path.display())]
    Crashed {
        /// The file.
        path: PathBuf,
    },
    /// The change that this belongs to could not be recorded.
    #[error("the start of the change could not be recorded")]
    NotBegun,
}

/// The file in a state directory.
pub(crate) fn file_in(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// A handle to the file.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    opened: Arc<Mutex<Option<Opened>>>,
}

/// A turn with the file: nobody else uses it until this is dropped.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    opened: OwnedMutexGuard<Option<Opened>>,
}

/// The file while it is open.
#[derive(Debug)]
struct Opened {
    connection: Connection,
    commits: OnDisk,
}

impl Opened {
    /// Sets when commits are on the disk from now on. This is a statement of its own, so it runs only when the
    /// setting changes.
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
    /// The file in this directory; it is opened when first used.
    pub fn new(directory: &Path) -> Self {
        Self { path: file_in(directory), opened: Arc::default() }
    }

    /// Locks the state directory for this process, and opens the file. A lock that is held is waited for, but only for
    /// a moment.
    ///
    /// # Errors
    /// [`StoreError`] if another server has locked it, or it cannot be written.
    pub async fn take(&self) -> Result<StateLock, StoreError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let lock = when_free(|| StateLock::take(directory, LOCK_FILE)).await?;
        self.with(|_| Ok(())).await?;
        Ok(lock)
    }

    /// Waits for a turn with the file.
    pub async fn turn(&self) -> Turn {
        Turn { path: self.path.clone(), opened: Arc::clone(&self.opened).lock_owned().await }
    }

    /// Works with the file in a thread of its own, when it is this one's turn.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut turn = self.turn().await;
        let done = tokio::task::spawn_blocking(move || turn.work(OnDisk::AtOnce, work)).await;
        done.unwrap_or_else(|_| Err(self.crashed()))
    }

    /// As [`Store::with`], but in the thread that the task runs on, which saves waking another one and being woken by
    /// it. For tasks of which nothing else is expected meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn in_place<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut turn = self.turn().await;
        in_place(|| turn.work(OnDisk::AtOnce, work))
    }

    /// As [`Store::in_place`], for work that writes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut turn = self.turn().await;
        in_place(|| turn.soon(|connection| work(connection)))
    }

    /// The error for work that ended without a result.
    pub(crate) fn crashed(&self) -> StoreError {
        StoreError::Crashed { path: self.path.clone() }
    }

    /// Checkpoints the write-ahead log over a connection of its own, so that nobody waits for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tidy(&self) -> Result<(), StoreError> {
        let emptied = Connection::open(&self.path)
            .and_then(|connection| connection.pragma_query(None, "wal_checkpoint", |_| Ok(())));
        emptied.map_err(|source| StoreError::Statement { path: self.path.clone(), source })
    }
}

impl Turn {
    /// Works with the file in the calling thread, which may wait for the disk. The commit need not be on the disk when
    /// this returns; it is there with the next commit of [`Store::with`]. For rows that a power cut may take without
    /// leaving anything wrong.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn soon<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.work(OnDisk::Soon, work)
    }

    fn work<T>(
        &mut self,
        commits: OnDisk,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        // Work that panics takes the connection with it; the next turn opens the file again.
        let mut opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.open()?,
        };
        let done = opened.commit(commits).and_then(|()| work(&mut opened.connection));
        // A corrupt file is opened again next time, which renames it.
        if !done.as_ref().is_err_and(state_database::is_corrupt) {
            *self.opened = Some(opened);
        }
        done.map_err(|source| StoreError::Statement { path: self.path.clone(), source })
    }

    fn open(&self) -> Result<Opened, StoreError> {
        let (connection, aside) = state_database::open(&self.path, schema::MIGRATIONS)?;
        // A commit that finds the log full must checkpoint it first; usually [`Store::tidy`] has done so before.
        connection
            .pragma_update(None, "wal_autocheckpoint", MOST_LOG_PAGES)
            .and_then(|()| connection.execute_batch(schema::WITHOUT_INDEX))
            .map_err(|source| StoreError::Statement { path: self.path.clone(), source })?;
        if let Some(aside) = aside {
            tracing::error!(
                path = %self.path.display(), aside = %aside.display(),
                "the file of jobs, ledger and boosts was corrupt: it was renamed, and a new one was created"
            );
        }
        Ok(Opened { connection, commits: OnDisk::AtOnce })
    }
}

/// Takes a lock that another process may hold for a moment: a child of a server that was killed holds it until it has
/// become `pct`.
async fn when_free<T>(
    mut take: impl FnMut() -> Result<T, StateDatabaseError>,
) -> Result<T, StateDatabaseError> {
    let since = Instant::now();
    loop {
        match take() {
            Err(StateDatabaseError::InUse { .. }) if since.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            taken => return taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_that_is_held_for_a_moment_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let take = || StateLock::take(directory.path(), LOCK_FILE);
        let (mut held, mut tries) = (Some(take().unwrap()), 0);
        let taken = when_free(|| {
            tries += 1;
            if tries == 3 {
                drop(held.take());
            }
            take()
        })
        .await;
        assert!(taken.is_ok() && tries == 3, "{tries}: {taken:?}");
        let refused = when_free(take).await;
        assert!(matches!(refused, Err(StateDatabaseError::InUse { .. })), "{refused:?}");
    }
}
