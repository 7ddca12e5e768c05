//! The directory of waiting notifications.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Notification, NotificationId};
use crate::{durable, regular_file};

/// Suffix of the file names.
const SUFFIX: &str = ".json";
/// Name of the lock that ensures there is only one consumer.
const CONSUMER_LOCK: &str = ".consumer.lock";
/// Largest size of a file, in bytes; a larger one is not ours.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Age at which a file that was being written counts as left by a producer that was killed.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

/// Limits of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of notifications.
    pub max_count: usize,
    /// Their total size, in bytes.
    pub max_bytes: u64,
}

/// The producers' side of the queue.
///
/// Any number of processes and threads may put notifications at the same time. Each checks the limits after putting,
/// so the queue exceeds them at most by what is being put at that moment.
#[derive(Clone, Debug)]
pub struct Queue {
    directory: PathBuf,
    limits: Limits,
}

/// The result of putting a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// How many of the oldest notifications were dropped, unsent, to stay within the limits.
    pub dropped: usize,
}

/// The consumer's side; there is only one at a time.
#[derive(Debug)]
pub struct Consumer {
    directory: PathBuf,
    /// Held for as long as the consumer lives.
    _lock: File,
}

/// Notifications that wait to be sent.
#[derive(Debug, Default)]
pub struct Pending {
    /// The notifications, oldest first.
    pub notifications: Vec<Notification>,
    /// Files that are named like a notification but do not contain one.
    pub unreadable: Vec<Unreadable>,
}

/// A file that is named like a notification but does not contain one.
#[derive(Debug)]
pub struct Unreadable {
    /// Its name.
    pub id: NotificationId,
    /// What is wrong with it.
    pub reason: String,
}

/// Why the queue could not be used.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The directory cannot be created or read.
    #[error("cannot use the notification queue `{}`", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A notification cannot be written; it is not in the queue.
    #[error("cannot write the notification `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A notification cannot be removed.
    #[error("cannot remove the notification `{}`", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A notification cannot be serialised, or is too large.
    #[error("the notification {id} cannot be queued: {reason}")]
    Encode {
        /// Its id.
        id: NotificationId,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process consumes this queue.
    #[error("another process takes notifications from `{}`", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
}

impl Queue {
    /// The queue in this directory, which is created with the first notification.
    pub fn new(directory: impl Into<PathBuf>, limits: Limits) -> Self {
        Self { directory: directory.into(), limits }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts a notification into the queue; when this returns `Ok` it survives a crash.
    ///
    /// One that is already in the queue is left as it is.
    ///
    /// # Errors
    /// [`QueueError`], and then it is not in the queue: for example, the disk is full or the directory cannot be
    /// created.
    pub fn put(&self, notification: &Notification) -> Result<Put, QueueError> {
        let invalid = |reason| QueueError::Encode { id: notification.id.clone(), reason };
        let bytes = serde_json::to_vec(notification).map_err(|error| invalid(error.to_string()))?;
        if MAX_FILE_BYTES < bytes.len() as u64 {
            return Err(invalid(format!("{} bytes are more than {MAX_FILE_BYTES}", bytes.len())));
        }
        make_directory(&self.directory)?;
        let path = path_of(&self.directory, &notification.id);
        publish(&path, &bytes).map_err(|source| QueueError::Write { path: path.clone(), source })?;
        Ok(Put { dropped: self.prune()? })
    }

    /// Drops the oldest notifications until the rest is within the limits, and files of producers that were killed.
    fn prune(&self) -> Result<usize, QueueError> {
        let failed = |source| QueueError::Directory { directory: self.directory.clone(), source };
        let mut files = list(&self.directory).map_err(failed)?;
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let mut surplus = 0;
        while surplus < files.len()
            && (self.limits.max_count < files.len() - surplus || self.limits.max_bytes < bytes)
        {
            bytes -= files[surplus].bytes;
            surplus += 1;
        }
        let mut dropped = 0;
        for file in files.drain(..surplus) {
            // Another producer may just have dropped it, or the consumer sent it.
            dropped += usize::from(remove(&path_of(&self.directory, &file.id))?);
        }
        Ok(dropped)
    }
}

impl Consumer {
    /// Becomes the consumer of a queue.
    ///
    /// # Errors
    /// [`QueueError::InUse`] if there is another one; [`QueueError::Directory`] if the directory cannot be used.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, QueueError> {
        let directory = directory.into();
        make_directory(&directory)?;
        let failed = |source| QueueError::Directory { directory: directory.clone(), source };
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock =
            regular_file::open_no_link(&mut options, &directory.join(CONSUMER_LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(QueueError::InUse { directory }),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The oldest notifications, at most `limit`; they stay until they are acknowledged.
    ///
    /// # Errors
    /// [`QueueError::Directory`] if the directory cannot be read; the next call may succeed.
    pub fn pending(&self, limit: usize) -> Result<Pending, QueueError> {
        let failed = |source| QueueError::Directory { directory: self.directory.clone(), source };
        let mut pending = Pending::default();
        for file in list(&self.directory).map_err(failed)? {
            if pending.notifications.len() == limit {
                break;
            }
            match read(&path_of(&self.directory, &file.id), &file.id) {
                Ok(notification) => pending.notifications.push(notification),
                // A producer has dropped it meanwhile.
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    pending.unreadable.push(Unreadable { id: file.id, reason: error.to_string() });
                }
            }
        }
        Ok(pending)
    }

    /// Removes a notification that was delivered, or that cannot be read and was reported.
    ///
    /// # Errors
    /// [`QueueError::Remove`]; then it will be taken again.
    pub fn acknowledge(&self, id: &NotificationId) -> Result<(), QueueError> {
        remove(&path_of(&self.directory, id)).map(|_| ())
    }
}

/// A file of the queue.
#[derive(Debug)]
struct QueueFile {
    id: NotificationId,
    bytes: u64,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is not a regular file of at most {MAX_FILE_BYTES} bytes")]
    Foreign,
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("it holds the notification {0}")]
    Misnamed(NotificationId),
}

fn path_of(directory: &Path, id: &NotificationId) -> PathBuf {
    directory.join(format!("{id}{SUFFIX}"))
}

fn make_directory(directory: &Path) -> Result<(), QueueError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory)
        .map_err(|source| QueueError::Directory { directory: directory.to_owned(), source })
}

/// Creates the file in one step, durably.
fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    // Ids are unique to their producer, so nothing is replaced.
    durable::write(path, 0o640, bytes)
}

/// The files of the queue, oldest first; other files in the directory are not ours.
fn list(directory: &Path) -> io::Result<Vec<QueueFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // It may disappear at any moment.
        let Ok(metadata) = entry.metadata() else { continue };
        if is_being_written(name) {
            if metadata.is_file() && metadata.modified().is_ok_and(is_abandoned) {
                let _ = fs::remove_file(entry.path());
            }
        } else if let Some(Ok(id)) = name.strip_suffix(SUFFIX).map(str::parse)
            && metadata.is_file()
        {
            files.push(QueueFile { id, bytes: metadata.len() });
        }
    }
    files.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Ok(files)
}

/// Whether this is the name of a notification's file while it is being written.
fn is_being_written(name: &str) -> bool {
    let file =
        name.strip_prefix('.').and_then(|name| name.strip_suffix(durable::TEMPORARY)?.strip_suffix('.'));
    file.and_then(|file| file.strip_suffix(SUFFIX)).is_some_and(|id| id.parse::<NotificationId>().is_ok())
}

fn is_abandoned(modified: SystemTime) -> bool {
    SystemTime::now().duration_since(modified).is_ok_and(|age| ABANDONED_AFTER < age)
}

fn read(path: &Path, id: &NotificationId) -> Result<Notification, ReadError> {
    let file = match regular_file::open_no_link(File::options().read(true), path) {
        Err(error) if regular_file::is_foreign(&error) => return Err(ReadError::Foreign),
        opened => opened?,
    };
    if MAX_FILE_BYTES < file.metadata()?.len() {
        return Err(ReadError::Foreign);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    let notification: Notification = serde_json::from_slice(&bytes)?;
    if notification.id == *id { Ok(notification) } else { Err(ReadError::Misnamed(notification.id)) }
}

/// Removes a file; `false` if it was gone already.
fn remove(path: &Path) -> Result<bool, QueueError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(QueueError::Remove { path: path.to_owned(), source }),
    }
}
