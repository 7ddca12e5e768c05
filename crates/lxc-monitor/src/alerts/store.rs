//! The file that keeps alerts over a restart.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lxc_autoscale_core::notification::Notification;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::state::State;

/// Version of the file's format.
const VERSION: u32 = 1;
/// Size of the file at most, in bytes; a larger one is none of ours.
const MAX_BYTES: u64 = 64 << 20;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The engine's state.
    pub state: State,
    /// Notifications that are not in the queue yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbox: Vec<Notification>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    saved: &'a Saved,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be read.
    #[error("cannot read the alerts' state `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written; what was written before still stands.
    #[error("cannot write the alerts' state `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("`{}` does not hold the state of alerts: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads what was saved; `None` when nothing was.
///
/// # Errors
/// [`StoreError::Read`] or [`StoreError::Damaged`].
pub fn load(path: &Path) -> Result<Option<Saved>, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    let unread = |source| StoreError::Read { path: path.to_owned(), source };
    // A FIFO in its place must not hold the daemon up.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unread)?,
    };
    let metadata = file.metadata().map_err(unread)?;
    if !metadata.is_file() || MAX_BYTES < metadata.len() {
        return Err(damaged(format!("it is not a regular file of at most {MAX_BYTES} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(unread)?;
    let version: VersionOnly = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if version.version != VERSION {
        return Err(damaged(format!("it has version {}, and this program reads {VERSION}", version.version)));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(error.to_string()))
}

/// Replaces what was saved, in one step and durably.
///
/// # Errors
/// [`StoreError::Write`]; what was saved before still stands.
pub fn save(path: &Path, saved: &Saved) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write { path: path.to_owned(), source };
    let bytes =
        serde_json::to_vec(&Written { version: VERSION, saved }).map_err(|error| failed(error.into()))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    let result = (|| {
        // What stands there is of a run that was killed.
        let _ = fs::remove_file(&temporary);
        let mut file = File::options().write(true).create_new(true).mode(0o640).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    })();
    if result.is_err() {
        // Best effort: a full disk needs the room back, and the error that counts is the first one.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(failed)
}

/// Gives a damaged file another name, in place of one that was damaged before; returns that name.
///
/// # Errors
/// [`StoreError::Write`] when it cannot be renamed.
pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{name}.damaged"));
    fs::rename(path, &aside)
        .map(|()| aside)
        .map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::state::Remembered;

    fn saved() -> Saved {
        let mut saved = Saved::default();
        saved.state.last_cycle = Some("2026-11-23T17:20:00.5+01:00".parse().unwrap());
        saved
            .state
            .containers
            .insert("104".parse().unwrap(), Remembered { oom_kills: Some(3), ..Remembered::default() });
        saved
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state/alerts.json");
        assert_eq!(load(&path).unwrap(), None);
        save(&path, &saved()).unwrap();
        // Left over by a run that was killed.
        fs::write(scratch.path().join("state/.alerts.json.new"), "{").unwrap();
        save(&path, &saved()).unwrap();
        assert_eq!(load(&path).unwrap(), Some(saved()));
        assert_eq!(fs::read_dir(scratch.path().join("state")).unwrap().count(), 1);
    }

    #[test]
    fn anything_else_is_damage() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("alerts.json");
        save(&path, &saved()).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let newer = whole.replace("\"version\":1", "\"version\":2");
        for text in ["", "{}", "[]", "\u{0}", &whole[..whole.len() / 2], &newer, &whole.replace("104", "99")]
        {
            fs::write(&path, text).unwrap();
            let error = load(&path).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{text:?}: {error}");
        }
        assert!(load(&path).unwrap_err().to_string().contains("does not hold the state of alerts"));
        let aside = set_aside(&path).unwrap();
        assert_eq!(aside, scratch.path().join("alerts.json.damaged"));
        assert_eq!(load(&path).unwrap(), None);
        fs::create_dir(&path).unwrap();
        assert!(matches!(load(&path), Err(StoreError::Damaged { .. })));
    }
}
