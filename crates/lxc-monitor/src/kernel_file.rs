//! Reads small text files of the kernel and of Proxmox without ever blocking.
//!
//! The path of a kernel file may lead to a FIFO, a device or nothing at all. Files are opened without blocking,
//! anything but a regular file is refused, and the size is bounded, so that an unexpected file only causes one error.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub use lxc_autoscale_core::procfs::Unexpected;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// More than any file we read can contain; `/proc/net/unix` of a busy node has some hundred KiB.
pub(crate) const MAX_BYTES: u64 = 16 << 20;

/// Why a file gave no value.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not exist, or what it describes ended while it was read.
    #[error("`{}` does not exist", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The kernel has the file but does not support its feature.
    #[error("the kernel does not support `{}`", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
    },
    /// A FIFO, a device, a directory.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// It exceeds the maximum size.
    #[error("`{}` holds more than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content does not have the expected format.
    #[error("cannot understand `{}`", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Unexpected,
    },
}

impl ReadError {
    /// Whether the file, or what it describes, does not exist.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    pub(crate) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            // ENODEV: the cgroup of an open file was removed. ESRCH: the process of a /proc file has ended.
            Some(Errno::NOENT | Errno::NOTDIR | Errno::NODEV | Errno::SRCH) => Self::Gone { path },
            Some(Errno::OPNOTSUPP) => Self::Unsupported { path },
            _ => Self::Io { path, source },
        }
    }
}

/// Opens a regular file for reading, without ever blocking.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, ReadError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let failed = |error: Errno| ReadError::from_io(path, error.into());
    let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&descriptor).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ReadError::NotAFile { path: path.to_owned() });
    }
    Ok(descriptor)
}

/// The text of bytes; invalid UTF-8 is replaced.
pub(crate) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    // Nearly always it is, and seeing that takes a fraction of the time of looking for what is to be replaced.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Reads a whole file; invalid UTF-8 is replaced.
///
/// # Errors
/// [`ReadError`], which names the path.
pub fn read_text(path: &Path) -> Result<String, ReadError> {
    let descriptor = open(path)?;
    let mut bytes = Vec::with_capacity(4096);
    let read = File::from(descriptor).take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| ReadError::from_io(path, error))?;
    if MAX_BYTES < bytes.len() as u64 {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => text_of(error.as_bytes()).into_owned(),
    })
}

/// Reads a whole file and parses it.
///
/// # Errors
/// [`ReadError`], which names the path.
pub fn read_parsed<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, Unexpected>,
) -> Result<T, ReadError> {
    let text = read_text(path)?;
    parse(&text).map_err(|source| ReadError::Unexpected { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_strange_bytes_are_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory.current");
        std::fs::write(&path, b"12\xff\n").unwrap();
        assert_eq!(read_text(&path).unwrap(), "12\u{fffd}\n");
    }

    #[test]
    fn a_missing_file_is_gone() {
        assert!(read_text(Path::new("/nonexistent/memory.current")).unwrap_err().is_gone());
    }

    #[test]
    fn neither_a_fifo_nor_a_device_nor_a_directory_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in [fifo.as_path(), Path::new("/dev/zero"), directory.path()] {
            assert!(matches!(read_text(path), Err(ReadError::NotAFile { .. })), "{}", path.display());
        }
    }

    #[test]
    fn an_error_names_the_path_and_what_was_expected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pids.current");
        std::fs::write(&path, "many\n").unwrap();
        let error = read_parsed(&path, |text| Err::<(), _>(Unexpected::new("a number", text))).unwrap_err();
        let chain = lxc_autoscale_core::ErrorChain(&error).to_string();
        assert_eq!(chain, format!("cannot understand `{}`: expected a number, found `many`", path.display()));
    }
}
