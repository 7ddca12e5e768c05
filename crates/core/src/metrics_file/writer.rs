//! Appends snapshots to the exchange file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::format::{self, ArrayWriter, ElementError};
use super::reader::open_regular;
use crate::snapshot::Snapshot;

/// Snapshots kept in memory while the disk is full, in bytes; the oldest go first.
const MAX_BACKLOG_BYTES: usize = 4 << 20;

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
    /// The published copy.
    path: PathBuf,
    spare_path: PathBuf,
    bounds: Bounds,
    /// Held as long as the writer lives, so that there is only one.
    _lock: File,
    published_bytes: u64,
    /// Time of the oldest published record.
    oldest: Option<Timestamp>,
    spare: Spare,
    /// Records that are in neither copy yet, because the last append failed.
    backlog: Vec<Vec<u8>>,
}

/// What is known of the copy that is not published.
#[derive(Debug)]
enum Spare {
    /// It must be made anew from the published one.
    Unknown,
    /// It is complete up to `bytes` and lacks these records of the published one.
    Behind { bytes: u64, lacks: Vec<Vec<u8>> },
}

/// What became of the copy that was published before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retired {
    /// It is the spare now.
    Kept,
    /// It is gone.
    Gone,
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
        /// What was wrong with the rest, if anything was; `None` for a complete file in another layout.
        damage: Option<String>,
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
        source: io::Error,
    },
    /// The snapshot holds a number that JSON cannot express.
    #[error("a snapshot cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

impl MetricsWriter {
    /// Takes over the file: locks it, creates or repairs it.
    ///
    /// A symbolic link is followed, so that the pair may live where the monitor may write.
    ///
    /// # Errors
    /// [`WriteError::InUse`] while another writer has it; [`WriteError::Write`] when it cannot be written.
    pub fn open(path: impl Into<PathBuf>, bounds: Bounds) -> Result<(Self, Recovery), WriteError> {
        let given = path.into();
        let failed = |source| WriteError::Write { path: given.clone(), source };
        let path = resolve_link(&given).map_err(failed)?;
        let lock = File::create(sibling(&path, "lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(WriteError::InUse { path: given }),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let recovery = recover(&path).map_err(failed)?;
        let (published_bytes, oldest) = survey(&path).map_err(failed)?;
        let writer = Self {
            spare_path: sibling(&path, "spare"),
            path,
            bounds,
            _lock: lock,
            published_bytes,
            oldest,
            spare: Spare::Unknown,
            backlog: Vec::new(),
        };
        Ok((writer, recovery))
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the bounds, from the next append on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Publishes one more snapshot; when this returns `Ok` it survives a crash.
    ///
    /// A snapshot that could not be written is kept in memory and written with a later one.
    ///
    /// # Errors
    /// [`WriteError::Write`]; what was published before still stands and the next append may succeed.
    pub fn append(&mut self, snapshot: &Snapshot) -> Result<(), WriteError> {
        let taken = snapshot.summary.collection_start_time.instant();
        self.backlog.push(serde_json::to_vec(snapshot)?);
        trim_backlog(&mut self.backlog);
        self.publish(taken).map_err(|source| WriteError::Write { path: self.path.clone(), source })
    }

    fn publish(&mut self, now: Timestamp) -> io::Result<()> {
        let is_as_we_left_it =
            std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() == self.published_bytes);
        if !is_as_we_left_it && matches!(self.spare, Spare::Unknown) {
            recover(&self.path)?;
            (self.published_bytes, self.oldest) = survey(&self.path)?;
        }
        if is_as_we_left_it && self.is_due_for_trim(now) {
            self.trim(now)?;
        }
        let (bytes, lacks) = self.ready_spare()?;
        let mut addition = Vec::new();
        let is_empty = bytes == format::EMPTY.len() as u64;
        let records = lacks.iter().chain(&self.backlog).map(Vec::as_slice);
        format::push_records(&mut addition, is_empty, records);

        let spare = File::options().write(true).open(&self.spare_path)?;
        let at = bytes - format::FOOTER.len() as u64;
        let new_bytes = at + addition.len() as u64;
        // Until the exchange this copy is nobody's: a failure here leaves bytes that the next append overwrites.
        spare.write_all_at(&addition, at)?;
        spare.set_len(new_bytes)?;
        spare.sync_all()?;
        let retired = self.exchange()?;

        let was_published = std::mem::replace(&mut self.published_bytes, new_bytes);
        let published_now = std::mem::take(&mut self.backlog);
        self.oldest = self.oldest.or(Some(now));
        self.spare = match retired {
            // The retired copy has everything up to the previous append.
            Retired::Kept if is_as_we_left_it => Spare::Behind { bytes: was_published, lacks: published_now },
            Retired::Kept | Retired::Gone => Spare::Unknown,
        };
        sync_directory(&self.path)
    }

    /// Makes sure that there is a spare copy; returns its size and what it lacks.
    fn ready_spare(&mut self) -> io::Result<(u64, Vec<Vec<u8>>)> {
        match &self.spare {
            Spare::Behind { bytes, lacks } if self.spare_has(*bytes) => Ok((*bytes, lacks.clone())),
            // Also where somebody removed or cut the spare, which would fail every append from now on.
            Spare::Behind { .. } | Spare::Unknown => {
                replace_file(&self.spare_path, |spare| {
                    io::copy(&mut File::open(&self.path)?, spare)?;
                    Ok(())
                })?;
                self.spare = Spare::Behind { bytes: self.published_bytes, lacks: Vec::new() };
                Ok((self.published_bytes, Vec::new()))
            }
        }
    }

    /// Whether the spare can hold what we left in it; a failed append may have left more.
    fn spare_has(&self, bytes: u64) -> bool {
        std::fs::symlink_metadata(&self.spare_path)
            .is_ok_and(|metadata| metadata.is_file() && bytes <= metadata.len())
    }

    /// Publishes the spare copy, in one step.
    fn exchange(&self) -> io::Result<Retired> {
        match renameat_with(CWD, &self.spare_path, CWD, &self.path, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(Retired::Kept),
            // This file system cannot exchange names, or somebody removed the published copy: publish by
            // renaming, and copy a new spare next time.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOENT) => {
                std::fs::rename(&self.spare_path, &self.path)?;
                Ok(Retired::Gone)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn is_due_for_trim(&self, now: Timestamp) -> bool {
        let too_large = self.bounds.max_bytes < self.published_bytes;
        let too_old = self.oldest.is_some_and(|oldest| self.bounds.max_age < age(oldest, now));
        too_large || too_old
    }

    /// Publishes a copy without the oldest records: the newest half by size, and what is not near the age limit.
    ///
    /// Records within the newest seven eighths of the age limit are kept, so that this happens once in
    /// an eighth of it and not at every append.
    fn trim(&mut self, now: Timestamp) -> io::Result<()> {
        let keep_age = self.bounds.max_age / 8 * 7;
        let first_kept_by_size = if self.bounds.max_bytes < self.published_bytes {
            self.published_bytes.saturating_sub(self.bounds.max_bytes / 2)
        } else {
            0
        };
        let source = BufReader::new(File::open(&self.path)?);
        let mut oldest = None;
        // Record by record, so that the file may be larger than memory.
        replace_file(&self.path, |file| {
            let mut kept = ArrayWriter::begin(BufWriter::new(file))?;
            format::for_each_record(source, |offset, record| {
                if offset < first_kept_by_size {
                    return Ok(());
                }
                let taken = time_of(record);
                if taken.is_some_and(|taken| keep_age < age(taken, now)) {
                    return Ok(());
                }
                oldest = oldest.or(taken);
                kept.push(record)
            })?;
            kept.finish()
        })?;
        self.spare = Spare::Unknown;
        self.published_bytes = std::fs::metadata(&self.path)?.len();
        self.oldest = oldest;
        Ok(())
    }
}

/// Time from `earlier` to `later`; zero when the clock was set back.
fn age(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

fn trim_backlog(backlog: &mut Vec<Vec<u8>>) {
    let mut total: usize = backlog.iter().map(Vec::len).sum();
    while MAX_BACKLOG_BYTES < total && 1 < backlog.len() {
        total -= backlog.remove(0).len();
    }
}

/// Reads only what tells when a record was taken.
fn time_of(record: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Record {
        summary: Summary,
    }
    #[derive(serde::Deserialize)]
    struct Summary {
        collection_start_time: crate::RecordTime,
    }
    let record: Record = serde_json::from_slice(record).ok()?;
    Some(record.summary.collection_start_time.instant())
}

/// Makes sure that a complete file is published.
fn recover(path: &Path) -> io::Result<Recovery> {
    let mut file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            replace_file(path, |file| file.write_all(format::EMPTY))?;
            return Ok(Recovery::Created);
        }
        Err(error) => return Err(error),
    };
    let mut beginning = [0; 4];
    let is_lines = file.read_exact(&mut beginning).is_ok() && format::is_line_layout(&beginning);
    file.rewind()?;
    if !is_lines {
        return salvage_array(path, file);
    }
    if format::is_intact(BufReader::new(&file))? {
        return Ok(Recovery::Intact);
    }
    file.rewind()?;
    salvage_lines(path, &file)
}

/// Keeps the lines that are whole records.
fn salvage_lines(path: &Path, file: &File) -> io::Result<Recovery> {
    let put_aside = put_aside(path)?;
    let (mut broken_records, mut broken_bytes) = (0, 0);
    let kept_records = replace_file(path, |output| {
        let mut kept = ArrayWriter::begin(BufWriter::new(output))?;
        format::for_each_record(BufReader::new(file), |_, record| {
            if format::is_json(record) {
                return kept.push(record);
            }
            broken_records += 1;
            broken_bytes += record.len();
            Ok(())
        })?;
        kept.finish()
    })?;
    let damage = format!("{broken_records} broken records ({broken_bytes} bytes)");
    Ok(Recovery::Rewritten { kept_records, damage: Some(damage), put_aside })
}

/// Keeps the elements of an array in another layout, up to where it breaks.
fn salvage_array(path: &Path, file: File) -> io::Result<Recovery> {
    let put_aside = put_aside(path)?;
    let mut broken = None;
    let kept_records = replace_file(path, |output| {
        let mut kept = ArrayWriter::begin(BufWriter::new(output))?;
        let result = format::for_each_element(BufReader::new(file), |element| {
            let compact = serde_json::from_str::<serde_json::Value>(element.get())?;
            kept.push(&serde_json::to_vec(&compact)?)
        });
        match result {
            Ok(()) => {}
            Err(ElementError::Each(error)) => return Err(error),
            Err(ElementError::Json(error)) if error.is_io() => return Err(error.into()),
            Err(ElementError::Json(error)) => broken = Some(error.to_string()),
        }
        kept.finish()
    })?;
    Ok(Recovery::Rewritten { kept_records, damage: broken, put_aside })
}

/// Gives the file as it is a second name, so that nothing of it is lost when it is replaced.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1.. {
        let aside = sibling_visible(path, &format!("before-{number}"));
        match std::fs::hard_link(path, &aside) {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no free name to put the old file aside"))
}

/// Size of the published copy and time of its oldest record.
fn survey(path: &Path) -> io::Result<(u64, Option<Timestamp>)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut reader = BufReader::new(&mut file);
    let mut lines = Vec::new();
    // The bracket, then the oldest record.
    for _ in 0..2 {
        lines.clear();
        io::BufRead::read_until(&mut reader, b'\n', &mut lines)?;
    }
    let oldest = format::records(&lines).next().and_then(|(_, record)| time_of(record));
    Ok((size, oldest))
}

/// Writes a new file and puts it in the place of `path` in one step, durably.
fn replace_file<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let temporary = sibling(path, "new");
    let result = (|| {
        let mut file = File::create(&temporary)?;
        let written = write(&mut file)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        sync_directory(path)?;
        Ok(written)
    })();
    if result.is_err() {
        // Best effort: a full disk needs the room back, and the error that counts is the first one.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// `/var/log/.lxc_metrics.json.<suffix>`
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

/// `/var/log/lxc_metrics.json.<suffix>`
fn sibling_visible(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{suffix}"))
}

fn resolve_link(path: &Path) -> io::Result<PathBuf> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => match std::fs::canonicalize(path) {
            // The link stands and its target does not yet: create the target.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let target = std::fs::read_link(path)?;
                Ok(path.parent().unwrap_or(Path::new("")).join(target))
            }
            resolved => resolved,
        },
        _ => Ok(path.to_owned()),
    }
}
