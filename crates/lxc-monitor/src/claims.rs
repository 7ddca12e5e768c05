//! Which of its files only this monitor may write: a second one would undo what the first one keeps, and is refused.
//!
//! Each has a lock file beside it, as the metrics file has. The metrics file's own writer locks that one.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lxc_autoscale_core::ownership::give_to_owner_of_directory;
use lxc_autoscale_core::regular_file;

use crate::config::MonitorConfig;

/// The name of the lock in the queue of notifications, which other daemons fill as well.
const QUEUE_LOCK: &str = ".monitor.lock";

/// Why a monitor must not run with these settings.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another monitor writes there.
    #[error("another lxc-monitor is writing `{}`; stop it first, or set `{key}` to another place", path.display())]
    InUse {
        /// What it writes.
        path: PathBuf,
        /// The key that says so.
        key: &'static str,
    },
}

/// The locks that are held, by the paths of their files; freed when dropped.
#[derive(Debug, Default)]
pub struct Claims {
    held: BTreeMap<PathBuf, File>,
}

/// Something that only one monitor may write.
struct Wanted<'a> {
    key: &'static str,
    path: &'a Path,
    lock: PathBuf,
}

/// Why a lock was not taken.
enum Refused {
    Held,
    Io(io::Error),
}

impl Claims {
    /// Takes what a monitor with these settings writes, beside what is held already. A lock that cannot be made is no
    /// reason not to measure; that is logged.
    ///
    /// # Errors
    /// [`ClaimError::InUse`]; then nothing has changed.
    pub fn add(&mut self, config: &MonitorConfig) -> Result<(), ClaimError> {
        let mut new = BTreeMap::new();
        for Wanted { key, path, lock } in wanted(config) {
            let taken = resolved(&lock).map_err(Refused::Io).and_then(|lock| {
                if self.held.contains_key(&lock) || new.contains_key(&lock) {
                    return Ok(());
                }
                new.insert(lock.clone(), take(&lock)?);
                Ok(())
            });
            match taken {
                Ok(()) => {}
                Err(Refused::Held) => return Err(ClaimError::InUse { path: path.to_owned(), key }),
                Err(Refused::Io(error)) => tracing::warn!(
                    "cannot make the lock `{}`: {error}; nothing keeps a second monitor from writing `{}`, too",
                    lock.display(),
                    path.display()
                ),
            }
        }
        self.held.append(&mut new);
        Ok(())
    }

    /// Frees what a monitor with these settings does not write.
    pub fn keep_only(&mut self, config: &MonitorConfig) {
        let wanted: Vec<PathBuf> =
            wanted(config).into_iter().filter_map(|wanted| resolved(&wanted.lock).ok()).collect();
        self.held.retain(|lock, _| wanted.contains(lock));
    }
}

/// What is written with these settings.
fn wanted(config: &MonitorConfig) -> Vec<Wanted<'_>> {
    let files = [
        (config.alerts.enabled, "alerts.state_file", &config.alerts.state_file),
        (config.anomaly.enabled, "anomaly.state_file", &config.anomaly.state_file),
        (config.history.enabled, "history.file", &config.history.file),
    ];
    let files = files.into_iter().filter(|(is_enabled, _, _)| *is_enabled);
    let mut wanted: Vec<Wanted<'_>> =
        files.map(|(_, key, path)| Wanted { key, path, lock: lock_beside(path) }).collect();
    if config.notifications.queue().is_some() {
        let path = &config.notifications.directory;
        wanted.push(Wanted { key: "notifications.directory", path, lock: path.join(QUEUE_LOCK) });
    }
    wanted
}

/// `/var/lib/…/.alerts.json.lock`
fn lock_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.lock"))
}

/// The same path for all who write there, whatever links lead to its directory, which is made.
fn resolved(lock: &Path) -> io::Result<PathBuf> {
    let (Some(directory), Some(name)) = (lock.parent(), lock.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    Ok(directory.canonicalize()?.join(name))
}

fn take(lock: &Path) -> Result<File, Refused> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = regular_file::open_no_link(&mut options, lock).map_err(Refused::Io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Refused::Held),
        Err(TryLockError::Error(error)) => return Err(Refused::Io(error)),
    }
    // One that root started by hand must not leave a lock that the service cannot open.
    give_to_owner_of_directory(&file, lock).map_err(Refused::Io)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_in(directory: &Path) -> MonitorConfig {
        let mut config = MonitorConfig::default();
        config.alerts.state_file = directory.join("state/alerts.json");
        config.anomaly.state_file = directory.join("state/anomaly.state");
        config.history.file = directory.join("state/metrics.sqlite");
        config.notifications.directory = directory.join("queue");
        config
    }

    #[test]
    fn what_is_written_is_claimed_by_one_and_freed_when_it_is_not_written_any_more() {
        let scratch = tempfile::tempdir().unwrap();
        let config = config_in(scratch.path());
        let (mut first, mut second) = (Claims::default(), Claims::default());
        first.add(&config).unwrap();
        first.add(&config).unwrap();
        // By another name of the same directory, too.
        std::os::unix::fs::symlink(scratch.path(), scratch.path().join("link")).unwrap();
        let mut other = config_in(&scratch.path().join("other"));
        other.history.file = scratch.path().join("link/state/metrics.sqlite");
        let error = second.add(&other).unwrap_err().to_string();
        assert!(
            error.starts_with("another lxc-monitor is writing `") && error.contains("`history.file`"),
            "{error}"
        );
        assert!(second.held.is_empty(), "nothing of what it could have got");

        let mut without = config.clone();
        without.history.enabled = false;
        first.keep_only(&without);
        second.add(&other).unwrap();
        assert!(matches!(first.add(&config), Err(ClaimError::InUse { key: "history.file", .. })));
        drop(second);
        first.add(&config).unwrap();
    }

    #[test]
    fn a_lock_that_cannot_be_made_is_no_reason_not_to_measure() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("state"), "a file").unwrap();
        let mut claims = Claims::default();
        claims.add(&config_in(scratch.path())).unwrap();
        assert_eq!(claims.held.len(), 1, "the queue");
    }
}
