//! A file that keeps a daemon's state across a restart: read as a whole, replaced as a whole.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::{durable, regular_file};

/// Maximum size of such a file, in bytes; a larger one is not ours. A thousand containers need 2 MiB.
pub const MAX_BYTES: u64 = 64 << 20;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system reported an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A directory, a FIFO, a device, or larger than any state of ours.
    #[error("it is not a regular file of at most {MAX_BYTES} bytes")]
    Foreign,
}

/// Reads the whole file; `None` if there is none.
///
/// # Errors
/// [`ReadError`].
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    let file = match regular_file::open(File::options().read(true), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if regular_file::is_foreign(&error) => return Err(ReadError::Foreign),
        opened => opened?,
    };
    if MAX_BYTES < file.metadata()?.len() {
        return Err(ReadError::Foreign);
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Replaces the file atomically and durably; creates its directory if it is missing.
///
/// # Errors
/// The system's error; the previous file then remains.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    durable::write(path, 0o640, bytes)
}

/// Renames a damaged file to `….damaged`, replacing an earlier one; returns that name.
///
/// # Errors
/// The system's error.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = named(path, |name| format!("{name}.damaged"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// The path with another file name derived from its own.
fn named(path: &Path, change: impl FnOnce(&str) -> String) -> PathBuf {
    path.with_file_name(change(&path.file_name().unwrap_or_default().to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_name_is_replaced_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        for name in ["state/plain", "state/what.new", "state/what.damaged", "state/.hidden"] {
            let path = scratch.path().join(name);
            assert_eq!(read(&path).unwrap(), None);
            replace(&path, b"one").unwrap();
            // Whoever has the old file open keeps it: it is not written to.
            let mut old = File::open(&path).unwrap();
            replace(&path, b"another").unwrap();
            let mut text = String::new();
            old.read_to_string(&mut text).unwrap();
            assert_eq!(text, "one", "{name}");
            assert_eq!(read(&path).unwrap().as_deref(), Some(b"another".as_slice()), "{name}");
            let aside = set_aside(&path).unwrap();
            assert_eq!(fs::read(aside).unwrap(), b"another", "{name}");
            assert_eq!(read(&path).unwrap(), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let scratch = tempfile::tempdir().unwrap();
        let (fifo, huge) = (scratch.path().join("fifo"), scratch.path().join("huge"));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        File::create(&huge).unwrap().set_len(MAX_BYTES + 1).unwrap();
        for path in [fifo.as_path(), huge.as_path(), scratch.path()] {
            assert!(matches!(read(path), Err(ReadError::Foreign)), "{}", path.display());
        }
    }
}
