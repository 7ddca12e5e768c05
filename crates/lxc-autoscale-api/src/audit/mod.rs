//! The audit log: who changed what, when, and what came of it; one JSON object a line, each chained to the one
//! before it by its hash.
//!
//! A change is written down before it is begun and again when it has ended, so that one that was cut off is seen,
//! too; a change that cannot be written down is not begun. A line ends in `"hash"`, the SHA-256 of all that stands
//! before it on the line, `"previous"` included: whoever alters, removes or inserts a line breaks the chain
//! ([`verify()`]). Lines cut off at the end leave no trace in the file itself; the newest hash is in the log of the
//! service, too, where `audit verify` can be compared with it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backups::{numbered, shift};
use crate::config::AuditConfig;

mod verify;

pub use verify::{Finding, Verdict, verify};

/// What the chain begins with.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What stands before the hash of a line.
const HASH_FIELD: &str = ",\"hash\":\"";
/// The end of a file in which its last line is looked for; no line is longer.
const TAIL_BYTES: u64 = 64 << 10;
/// Longest text of a line.
const MAX_TEXT_CHARS: usize = 1000;

/// Why nothing can be written down.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit log `{}`", path.display())]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A change is begun.
    Begun,
    /// It is done.
    Done {
        /// What it gave, with sizes before and after.
        result: serde_json::Value,
        /// How long it took, in ms.
        duration_ms: u64,
    },
    /// It was refused, or failed.
    NotDone {
        /// Stable name of the kind of error.
        code: &'static str,
        /// Why.
        message: String,
        /// How long it took, in ms.
        duration_ms: u64,
    },
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Which change: the number it has in `api.sqlite`, and as a job.
    pub change: u64,
    /// Who asked.
    pub caller: String,
    /// What for, in words.
    pub action: String,
    /// The containers.
    pub containers: Vec<Vmid>,
}

/// A line, but for its hash.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    time: Timestamp,
    #[serde(flatten)]
    subject: &'a Subject,
    #[serde(flatten)]
    event: &'a Event,
    previous: &'a str,
}

/// What the chain needs of a line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Link {
    seq: u64,
    previous: String,
    hash: String,
}

/// An audit log that is written to.
#[derive(Debug)]
pub struct AuditLog {
    file: PathBuf,
    /// Its bounds, and the end of the chain where it is known.
    inner: Mutex<(AuditConfig, Option<End>)>,
}

/// The end of the chain.
#[derive(Debug)]
struct End {
    file: File,
    size: u64,
    seq: u64,
    hash: String,
}

impl AuditLog {
    /// The log of that configuration; opened with the first event.
    pub fn new(config: AuditConfig) -> Self {
        Self { file: config.file.clone(), inner: Mutex::new((config, None)) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Keeps to other bounds from now on; the file stays.
    pub fn bound(&self, max_size_mib: u64, backup_count: u32) {
        let (config, _) = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        config.max_size_mib = max_size_mib;
        config.backup_count = backup_count;
    }

    /// Writes an event down; when this returns it is on the disk. Returns the hash of its line.
    ///
    /// # Errors
    /// [`AuditError`] when it cannot be written; the next event tries again.
    pub fn write(&self, subject: &Subject, event: &Event, now: Timestamp) -> Result<String, AuditError> {
        let (config, slot) = &mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // What was half written is not the end of the chain: it is looked for anew.
        let end = slot.take();
        let written = append(config, end, subject, event, now);
        let end = written.map_err(|source| AuditError { path: self.file.clone(), source })?;
        let hash = end.hash.clone();
        *slot = Some(end);
        Ok(hash)
    }
}

fn append(
    config: &AuditConfig,
    end: Option<End>,
    subject: &Subject,
    event: &Event,
    now: Timestamp,
) -> io::Result<End> {
    let mut end = match end {
        Some(end) => end,
        None => open(&config.file)?,
    };
    let most = config.max_size_mib.saturating_mul(1 << 20);
    if most <= end.size {
        rotate(config)?;
        let fresh = open(&config.file)?;
        end = End { seq: end.seq, hash: end.hash, ..fresh };
    }
    let seq = end.seq + 1;
    let text = serde_json::to_string(&Line { seq, time: now, subject, event, previous: &end.hash })?;
    let hashed = text.strip_suffix('}').unwrap_or(&text);
    let hash = hash(hashed);
    let line = format!("{hashed}{HASH_FIELD}{hash}\"}}\n");
    end.file.write_all(line.as_bytes())?;
    end.file.sync_data()?;
    let size = end.size + line.len() as u64;
    Ok(End { file: end.file, size, seq, hash })
}

/// Makes room: the oldest file goes, the others move on by one.
fn rotate(config: &AuditConfig) -> io::Result<()> {
    shift(&config.file, 0, config.backup_count)?;
    if config.backup_count == 0 {
        fs::remove_file(numbered(&config.file, 0))?;
    }
    Ok(())
}

/// Opens a file and finds the end of its chain; where it is empty, that of the file before it.
fn open(path: &Path) -> io::Result<End> {
    let mut file = File::options().create(true).read(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    let text = tail(&mut file, size)?;
    // A file that was just begun goes on with the chain of the one before it.
    let newest = last_link(&text).or_else(|| {
        let mut older = File::open(numbered(path, 1)).ok()?;
        let size = older.metadata().ok()?.len();
        last_link(&tail(&mut older, size).ok()?)
    });
    let (seq, hash) = newest.map_or((0, BEGINNING.to_owned()), |newest| (newest.seq, newest.hash));
    if !text.is_empty() && !text.ends_with('\n') {
        // What a crash left half written stays, as a line of its own that is no link of the chain.
        file.write_all(b"\n")?;
    }
    Ok(End { file, size, seq, hash })
}

/// The end of a file.
fn tail(file: &mut File, size: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The greatest number of a change in the newest records; 0 where there is none to be read.
pub fn newest_change(file: &Path) -> u64 {
    #[derive(Deserialize)]
    struct Numbered {
        change: u64,
    }
    let newest = || {
        let mut file = File::open(file)?;
        let size = file.metadata()?.len();
        tail(&mut file, size)
    };
    let text = newest().unwrap_or_default();
    let numbers = text.lines().filter_map(|line| serde_json::from_str::<Numbered>(line).ok());
    numbers.map(|line| line.change).max().unwrap_or(0)
}

fn last_link(text: &str) -> Option<Link> {
    text.lines().rev().find_map(link)
}

/// The link that a line is; `None` for a line that is none, or whose hash is not its own.
fn link(line: &str) -> Option<Link> {
    let (hashed, _) = line.rsplit_once(HASH_FIELD)?;
    let found: Link = serde_json::from_str(line).ok()?;
    (found.hash == hash(hashed)).then_some(found)
}

fn hash(text: &str) -> String {
    crate::auth::keys::hex(&Sha256::digest(text.as_bytes()))
}

/// A text of bounded length without control characters.
pub fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests;
