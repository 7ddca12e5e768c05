//! The file that keeps alerts across a restart.

use std::io;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::notification::Notification;
use serde::{Deserialize, Serialize};

use super::state::State;
use crate::state_file::{self, ReadError};

/// Version of the file's format.
const VERSION: u32 = 1;

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The engine's state.
    pub state: State,
    /// Notifications that are not queued yet.
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
    /// It cannot be written; the previous content remains.
    #[error("cannot write the alerts' state `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has invalid content.
    #[error("`{}` does not hold the state of alerts: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the saved state; `None` if there is none.
///
/// # Errors
/// [`StoreError::Read`] or [`StoreError::Damaged`].
pub fn load(path: &Path) -> Result<Option<Saved>, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    match state_file::read(path) {
        Ok(bytes) => bytes.map(|bytes| parse(&bytes)).transpose().map_err(damaged),
        Err(ReadError::Io(source)) => Err(StoreError::Read { path: path.to_owned(), source }),
        Err(error @ ReadError::Foreign) => Err(damaged(error.to_string())),
    }
}

/// Parses the content of the file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(bytes: &[u8]) -> Result<Saved, String> {
    let VersionOnly { version } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("it has version {version}, and this program reads {VERSION}"));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// The content of the file for a state.
///
/// # Errors
/// When it cannot be serialised as JSON.
pub fn encode(saved: &Saved) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Written { version: VERSION, saved })
}

/// Replaces the saved state atomically and durably.
///
/// # Errors
/// [`StoreError::Write`]; the previous state then remains.
pub fn save(path: &Path, saved: &Saved) -> Result<(), StoreError> {
    let written = encode(saved).map_err(io::Error::from).and_then(|bytes| state_file::replace(path, &bytes));
    written.map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(load(&path), Err(StoreError::Damaged { .. })));
    }
}
