//! The audit log: who changed what, when, and with what outcome. It has one JSON object per line, and each contains
//! the hash of the line before it.
//!
//! A change is recorded before it begins and again when it has ended, so that interrupted changes show, too. A change
//! that cannot be recorded is not begun. Records lost in a power cut are restored from `api.sqlite` at the next
//! start. The log also records keys that are created or revoked, who cancels a job, and requests for changes that were refused because
//! of who sent them ([`refusals`]).
//!
//! Altering, removing or inserting a line breaks the chain ([`verify()`]). The file alone does not show if lines were
//! cut off at its end, or if it was rewritten as a whole. Therefore the newest hash that is on the disk is also
//! written to the service log, within a second after a change has ended, and can be compared with the output of
//! `audit verify`.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use serde::Serialize;

use crate::backups::{numbered, shift};
use crate::config::AuditConfig;
use crate::on_disk::OnDisk;
use chain::{BEGINNING, first_link, last_link, tail};

mod chain;
mod counterpart;
mod probe;
pub mod refusals;
mod verify;

pub use chain::{NewestChanges, ToldEnd, newest_changes};
pub use counterpart::{Counterpart, compare};
pub use probe::{probe, probe_as};
pub use verify::{Finding, Verdict, VerifyError, verify};

/// Size of the pieces in which a part of the file is rewritten.
const PIECE_BYTES: usize = 1 << 16;
/// Longest text in a record, in characters.
const MAX_TEXT_CHARS: usize = 1000;

/// The audit log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit log `{}`", path.display())]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A change has begun.
    Begun,
    /// It is done.
    Done {
        /// The result, with sizes before and after.
        result: serde_json::Value,
        /// How long it took, in ms.
        duration_ms: u64,
    },
    /// A change was refused or failed.
    NotDone {
        /// The stable error code.
        code: Cow<'static, str>,
        /// Why.
        message: String,
        /// Whether this is only the answer: a call of the change may still be running, and a second end will follow.
        #[serde(rename = "open", skip_serializing_if = "is_false")]
        is_open: bool,
        /// How long it took, in ms.
        duration_ms: u64,
    },
    /// A request was refused because of who sent it, before it became a change.
    Refused {
        /// The stable error code.
        code: &'static str,
        /// Why.
        message: String,
        /// How many refusals since the last recorded one were not recorded, because there were too many.
        #[serde(skip_serializing_if = "is_zero")]
        left_out: u64,
    },
    /// Somebody asked a job to cancel, which was written before the job was told.
    CancelAsked {
        /// The number of the job. Not `change`, so that this is no record of its course.
        job: u64,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The subject of an event that is not a change of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Who asked.
    pub caller: String,
    /// From where; `None` if that is this machine's own command line. Earlier versions did not record it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What they asked for, in words.
    pub action: String,
}

/// The subject of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The number of the change, in `api.sqlite` and as a job.
    pub change: u64,
    /// Who asked.
    pub caller: String,
    /// From where; `None` for changes of the server itself, and for records that were made from `api.sqlite`, which does
    /// not have it. Earlier versions did not record it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What they asked for, in words.
    pub action: String,
    /// The reason, as in the ledger: `request`, `boost`, `request: decision 4711` …
    pub why: String,
    /// The containers.
    pub containers: Vec<Vmid>,
    /// When it happened, if that is not the time of the record: the first record was lost in a power cut, and this
    /// one replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub happened: Option<Timestamp>,
}

/// A line without its hash.
#[derive(Serialize)]
struct Line<'a, S> {
    seq: u64,
    time: Timestamp,
    #[serde(flatten)]
    subject: &'a S,
    #[serde(flatten)]
    event: &'a Event,
    /// The number of the oldest record that is kept, in the first line of every file except the first. It
    /// distinguishes records removed by rotation from records that somebody removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<u64>,
    previous: &'a str,
}

/// An audit log that is being written.
#[derive(Debug)]
pub struct AuditLog {
    file: PathBuf,
    /// The limits of what is written from now on. Apart from the rest, which a writer holds while it waits for the disk.
    bounds: Mutex<AuditConfig>,
    inner: Mutex<Inner>,
    /// Whether somebody has promised to call [`AuditLog::sync`].
    is_sync_promised: AtomicBool,
}

/// What is known about the file.
#[derive(Debug)]
struct Inner {
    config: AuditConfig,
    /// The end of the chain, if known.
    end: Option<End>,
    /// The offset from which on the disk has refused the file, or may have.
    refused_from: Option<u64>,
}

/// The end of the chain.
#[derive(Debug)]
struct End {
    file: File,
    size: u64,
    seq: u64,
    hash: String,
    /// The offset up to which it is known to be on the disk.
    on_disk: u64,
}

/// The newest line that is on the disk together with all lines before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl AuditLog {
    /// The log of this configuration; it is opened with the first event.
    pub fn new(config: AuditConfig) -> Self {
        Self {
            file: config.file.clone(),
            bounds: Mutex::new(config.clone()),
            inner: Mutex::new(Inner { config, end: None, refused_from: None }),
            is_sync_promised: AtomicBool::new(false),
        }
    }

    /// As [`AuditLog::new`]; `None` if the configuration names no file.
    pub fn configured(config: &AuditConfig) -> Option<Self> {
        (!config.file.as_os_str().is_empty()).then(|| Self::new(config.clone()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Sets other limits from now on; the file stays the same. Does not wait for the disk.
    pub fn bound(&self, max_size_mib: u64, backup_count: u32) {
        let config = &mut *self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        config.max_size_mib = max_size_mib;
        config.backup_count = backup_count;
    }

    /// Writes an event, which is on the disk when this returns, and returns the hash of its line. Other processes may
    /// write to the same file.
    ///
    /// # Errors
    /// [`AuditError`] if it cannot be written; the next event tries again.
    pub fn write<S: Serialize>(
        &self,
        subject: &S,
        event: &Event,
        now: Timestamp,
    ) -> Result<String, AuditError> {
        self.append(subject, event, now, OnDisk::AtOnce)
    }

    /// As [`AuditLog::write`], but `on_disk` says when the event is on the disk: at once, or with the next line
    /// written at once or the next [`AuditLog::sync`].
    ///
    /// # Errors
    /// [`AuditError`] if it cannot be written; the next event tries again.
    pub fn append<S: Serialize>(
        &self,
        subject: &S,
        event: &Event,
        now: Timestamp,
        on_disk: OnDisk,
    ) -> Result<String, AuditError> {
        let inner = &mut *self.locked();
        inner.config.clone_from(&self.bounds.lock().unwrap_or_else(PoisonError::into_inner));
        // The end of the chain may be half written, so it is looked for again.
        let end = inner.end.take();
        let held = end.as_ref().map_or(0, |end| end.on_disk);
        match append(inner, end, subject, event, now, on_disk) {
            Ok(end) => {
                let hash = end.hash.clone();
                inner.end = Some(end);
                Ok(hash)
            }
            Err(source) => {
                inner.refuse(held);
                Err(AuditError { path: self.file.clone(), source })
            }
        }
    }

    /// Promises to call [`AuditLog::sync`] soon; false if somebody else has promised that already.
    pub fn promise_sync(&self) -> bool {
        !self.is_sync_promised.swap(true, Ordering::AcqRel)
    }

    /// Waits until everything this process wrote is on the disk; returns the last of these lines, if there is one.
    ///
    /// # Errors
    /// [`AuditError`] if the disk refuses it; the next write tries again.
    pub fn sync(&self) -> Result<Option<Newest>, AuditError> {
        // Whatever is written from here on needs another promise.
        self.is_sync_promised.store(false, Ordering::Release);
        let failed = |source| AuditError { path: self.file.clone(), source };
        let (newest, size, unsynced) = {
            let inner = &mut *self.locked();
            if inner.refused_from.is_some() {
                inner.write_again().map_err(failed)?;
            }
            let Some(end) = &inner.end else { return Ok(None) };
            let unsynced = (end.on_disk < end.size).then(|| opened_again(&end.file)).transpose();
            let newest = Newest { seq: end.seq, hash: end.hash.clone() };
            (newest, end.size, unsynced.map_err(failed)?)
        };
        if let Some(file) = unsynced {
            // Without the lock, so that no writer waits for this.
            let synced = file.sync_data();
            let inner = &mut *self.locked();
            if let Err(source) = synced {
                let held = inner.end.take().map_or(0, |end| end.on_disk);
                inner.refuse(held);
                return Err(failed(source));
            }
            if let Some(end) = inner.end.as_mut().filter(|end| end.seq == newest.seq) {
                end.on_disk = size;
            }
        }
        Ok(Some(newest))
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Remembers that the disk has refused the file from this offset on. The kernel reports that once and then treats
    /// the data as written (`fsync(2)`), so calling it again would return success without any effect.
    fn refuse(&mut self, from: u64) {
        // Everything before the first refused offset is on the disk, whatever is refused later.
        self.refused_from.get_or_insert(from);
    }

    /// Makes sure that the file is on the disk up to this end.
    fn secured(&mut self, mut end: End) -> io::Result<End> {
        if self.refused_from.is_none() {
            end.sync()?;
            return Ok(end);
        }
        self.end = Some(end);
        self.write_again()?;
        self.end.take().ok_or_else(|| io::Error::other("the end of the file is not known"))
    }

    /// Writes again, in the same place, what the disk has refused, and waits for the disk.
    fn write_again(&mut self) -> io::Result<()> {
        let Some(from) = self.refused_from else { return Ok(()) };
        let mut end = if let Some(end) = self.end.take() {
            end
        } else {
            // Another process may be in the middle of a line.
            let _turn = turn(&self.config.file)?;
            open(&self.config.file)?
        };
        let file = File::options().read(true).write(true).open(&self.config.file)?;
        // If the file is smaller, it is a different one: it was rotated.
        let from = if end.size < from { 0 } else { from };
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = from;
        while at < end.size {
            let length = usize::try_from(end.size - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let piece = &mut piece[..length];
            file.read_exact_at(piece, at)?;
            file.write_all_at(piece, at)?;
            at += length as u64;
        }
        file.sync_data()?;
        end.on_disk = end.size;
        tracing::warn!(
            path = %self.config.file.display(), bytes = end.size - from, newest = end.seq,
            "the disk has accepted a part of the audit log that it had refused before: it was written again"
        );
        self.end = Some(end);
        self.refused_from = None;
        Ok(())
    }
}

impl End {
    fn sync(&mut self) -> io::Result<()> {
        if self.on_disk < self.size {
            self.file.sync_data()?;
            self.on_disk = self.size;
        }
        Ok(())
    }
}

fn append<S: Serialize>(
    inner: &mut Inner,
    end: Option<End>,
    subject: &S,
    event: &Event,
    now: Timestamp,
    on_disk: OnDisk,
) -> io::Result<End> {
    let config = inner.config.clone();
    let _turn = turn(&config.file)?;
    let (mut end, is_whole) = match end {
        Some(end) if is_the_end(&end, &config.file)? => (end, true),
        known => {
            let found = open(&config.file)?;
            match known.filter(|known| found.seq < known.seq) {
                // Another process has written after it.
                None => (found, true),
                // Somebody has removed lines. The chain continues with the old number, so that this shows.
                Some(End { seq, hash, .. }) => (End { seq, hash, ..found }, false),
            }
        }
    };
    let most = config.max_size_mib.saturating_mul(1 << 20);
    if most <= end.size {
        end = inner.secured(end)?;
        rotate(&config)?;
        let fresh = open(&config.file)?;
        end = End { seq: end.seq, hash: end.hash, ..fresh };
    }
    let seq = end.seq + 1;
    let goes_on = end.size == 0 && end.seq != 0 && is_whole;
    let oldest = goes_on.then(|| oldest(&config).unwrap_or(seq));
    let line = Line { seq, time: now, subject, event, oldest, previous: &end.hash };
    let (line, hash) = chain::complete(&serde_json::to_string(&line)?);
    end.file.write_all(line.as_bytes())?;
    let size = end.size + line.len() as u64;
    let is_first = end.size == 0;
    let end = End { file: end.file, size, seq, hash, on_disk: end.on_disk };
    // A file gets on the disk with its first line, because lines that a power cut takes later are determined from it
    // ([`newest_changes`]).
    if on_disk == OnDisk::AtOnce || is_first { inner.secured(end) } else { Ok(end) }
}

/// Opens the same file once more. The kernel reports a write error once to each open file description, so a sync over
/// one of its own takes no error from the writer.
fn opened_again(file: &File) -> io::Result<File> {
    File::options().append(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Locks the log for one writer at a time, in any process. The lock is on a separate file, because a rotation renames
/// the log. Nobody else can open that file, because whoever can lock it can hold up every change.
fn turn(path: &Path) -> io::Result<File> {
    let name = lock_of(path);
    let lock = File::options().create(true).append(true).mode(0o600).open(&name)?;
    hand_over(&lock, &name)?;
    lock.lock()?;
    Ok(lock)
}

/// The file on which the lock is.
fn lock_of(path: &Path) -> PathBuf {
    let mut name = numbered(path, 0).into_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

/// Whether the known end of the chain is still the end.
fn is_the_end(end: &End, path: &Path) -> io::Result<bool> {
    let held = end.file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino(), found.len()) == (held.dev(), held.ino(), end.size)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The number of the oldest record in the older files.
fn oldest(config: &AuditConfig) -> Option<u64> {
    let older = (1..=config.backup_count).rev().map(|number| numbered(&config.file, number));
    older.filter_map(|path| File::open(path).ok()).find_map(|file| first_link(file).map(|link| link.seq))
}

/// Rotates the files: the oldest is removed, the others move on by one. So are those beyond the number that is kept,
/// which are there if that was greater before.
fn rotate(config: &AuditConfig) -> io::Result<()> {
    shift(&config.file, 0, config.backup_count)?;
    if config.backup_count == 0 {
        fs::remove_file(numbered(&config.file, 0))?;
    }
    let surplus = config.backup_count.saturating_add(1)..;
    let surplus = surplus.map(|number| numbered(&config.file, number));
    let surplus: Vec<PathBuf> = surplus.take_while(|path| fs::symlink_metadata(path).is_ok()).collect();
    // The oldest first, so that an interruption leaves no gap, behind which the rest would never be found again.
    for path in surplus.into_iter().rev() {
        if let Err(error) = fs::remove_file(&path) {
            // The log itself is in order, so this is no reason to refuse a change.
            tracing::warn!(path = %path.display(), %error, "cannot remove an older file of the audit log");
        }
    }
    Ok(())
}

/// Opens a file and finds the end of its chain; if it is empty, the end of the file before it.
fn open(path: &Path) -> io::Result<End> {
    let mut file = File::options().create(true).read(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    if size == 0 {
        hand_over(&file, path)?;
    }
    let text = tail(&mut file, size)?;
    // A new file continues the chain of the one before it.
    let newest = last_link(&text).or_else(|| {
        let mut older = File::open(numbered(path, 1)).ok()?;
        let size = older.metadata().ok()?.len();
        last_link(&tail(&mut older, size).ok()?)
    });
    let (seq, hash) = newest.map_or((0, BEGINNING.to_owned()), |newest| (newest.seq, newest.hash));
    if !text.is_empty() && !text.ends_with('\n') {
        // A line half written in a crash stays as a line of its own, which is not part of the chain.
        file.write_all(b"\n")?;
    }
    let size = file.metadata()?.len();
    Ok(End { file, size, seq, hash, on_disk: 0 })
}

/// Gives a new file to the owner of its directory: root, creating a key by hand, may be the first to write to the log
/// of a server that does not run as root.
fn hand_over(file: &File, path: &Path) -> io::Result<()> {
    let place = numbered(path, 0);
    let Some(directory) = place.parent().filter(|_| rustix::process::geteuid().is_root()) else {
        return Ok(());
    };
    let owner = fs::metadata(directory)?;
    if file.metadata()?.uid() == owner.uid() {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// The text, cut to a maximum length and without control characters.
pub fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests;
