//! The file operations of the writer: they follow no planted link, open nothing but regular files, set their own
//! mode, and are durable.

use std::fs::{File, Metadata};
use std::io;
use std::num::NonZero;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, Mode, OFlags, fadvise};

use crate::{durable, regular_file};

/// The most files that are put aside. If all places are taken, the last one is reused, so that the first is never
/// lost: it may hold the whole past in the layout of the Python original.
const MAX_PUT_ASIDE: u32 = 9;

/// A page of the kernel, or a part of a larger one.
const PAGE_BYTES: u64 = 4096;

/// Identifies a file and the state we left it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// The stamp of a file with this metadata.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    /// Size of the file, in bytes.
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }

    /// Whether both are the same file, in whatever state.
    pub(super) fn is_same_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The stamp of what is at `path` now, without following a link; `None` if nothing can be seen there.
pub(super) fn stamp_at(path: &Path) -> Option<Stamp> {
    std::fs::symlink_metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

/// Opens a regular file; a FIFO or device in its place is an error instead of an endless wait.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    regular_file::open(File::options().read(true), path)
}

/// Opens a regular file for reading; a symbolic link is an error, too.
pub(super) fn open_no_link(path: &Path) -> io::Result<File> {
    regular_file::open_no_link(File::options().read(true), path)
}

/// Opens a regular file for writing, and for reading what was written; a symbolic link is an error.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    regular_file::open_no_link(File::options().read(true).write(true), path)
}

/// Creates a file without a name, which nobody else can open and which vanishes when it is closed.
pub(super) fn open_nameless(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Tells the kernel that a file, which is on the disk up to `bytes`, is not read soon, so that it need not keep it in memory.
///
/// Otherwise what is written fills all the memory that the monitor may have, and from then on the kernel searches for
/// something to drop with each page that is written. The last page stays: the next record begins in it.
pub(super) fn let_go_of_pages(file: &File, bytes: u64) {
    let pages = bytes / PAGE_BYTES * PAGE_BYTES;
    if let Some(pages) = NonZero::new(pages) {
        // A hint: whatever becomes of it, the file is the same.
        let _ = fadvise(file, 0, Some(pages), Advice::DontNeed);
    }
}

/// Opens the lock file, creating it if necessary; a symbolic link is an error.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    // Not truncated: the file may be something that is not ours to empty.
    regular_file::open_no_link(File::options().write(true).create(true).mode(0o600).truncate(false), path)
}

/// Writes a new file and replaces `path` with it in one step, durably.
///
/// With `keep_old`, the old file first gets a second name, so that nothing of it is lost.
pub(super) fn replace_file<T>(
    path: &Path,
    mode: u32,
    keep_old: bool,
    write: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<(T, Option<PathBuf>)> {
    let put_old_aside = || if keep_old { put_aside(path).map(Some) } else { Ok(None) };
    durable::replace(path, mode, write, put_old_aside)
}

/// Gives the current file a second name, so that nothing of it is lost when it is replaced.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let own = stamp_at(path);
    for number in 1..=MAX_PUT_ASIDE {
        let aside = aside_name(path, number);
        match std::fs::hard_link(path, &aside) {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // There may have been a crash between this link and the replacement.
                if stamp_at(&aside) == own {
                    return Ok(aside);
                }
            }
            Err(error) => return Err(error),
        }
    }
    let last = aside_name(path, MAX_PUT_ASIDE);
    std::fs::remove_file(&last)?;
    std::fs::hard_link(path, &last)?;
    Ok(last)
}

/// Moves a file that somebody put in the place of `path`, now at `intruder`, out of the way. An empty file, as
/// `logrotate` leaves one, is not worth keeping.
///
/// # Errors
/// If it cannot be moved.
pub(super) fn put_intruder_aside(intruder: &Path, path: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(intruder)?;
    if metadata.is_file() && metadata.len() == 0 {
        return std::fs::remove_file(intruder);
    }
    move_aside(intruder, path).map(|_| ())
}

/// Moves what is at `path` and no file out of the way before anything of ours was there; returns where it is.
///
/// Only what can hold nothing: a directory with something in it, or a device, is there because the configuration names
/// the wrong place.
///
/// # Errors
/// If it is such a thing, or cannot be moved.
pub(super) fn put_foreign_aside(path: &Path) -> io::Result<PathBuf> {
    let kind = std::fs::symlink_metadata(path)?.file_type();
    let is_empty_directory = kind.is_dir() && std::fs::read_dir(path)?.next().is_none();
    if kind.is_fifo() || kind.is_socket() || is_empty_directory {
        return move_aside(path, path);
    }
    let what = if kind.is_dir() { "a directory that is not empty is there" } else { "not a regular file" };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// Moves `what`, which may be a directory, to a free place among the files put aside for `path`.
fn move_aside(what: &Path, path: &Path) -> io::Result<PathBuf> {
    let is_free = |aside: &PathBuf| stamp_at(aside).is_none();
    let free = (1..=MAX_PUT_ASIDE).map(|number| aside_name(path, number)).find(is_free);
    let aside = free.unwrap_or_else(|| aside_name(path, MAX_PUT_ASIDE));
    std::fs::rename(what, &aside)?;
    Ok(aside)
}

/// `/var/log/lxc_metrics.json.before-<number>`
fn aside_name(path: &Path, number: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.before-{number}"))
}
