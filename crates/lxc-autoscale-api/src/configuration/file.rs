//! A configuration file on the disk: read together with its digest, and replaced as a whole, keeping a backup.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lxc_autoscale_core::durable;
use rustix::fs::{Access, OFlags, access};
use sha2::{Digest, Sha256};

use crate::auth::keys::hex;
use crate::backups::{numbered, shift};

/// Largest configuration that is read or written; the shipped ones have 14 KB.
pub const MAX_BYTES: u64 = 256 << 10;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct ReadFile {
    /// Its content.
    pub text: String,
    /// SHA-256 of the content.
    pub digest: String,
    /// Its modification time.
    pub modified: SystemTime,
    /// Its real path, after following all symbolic links.
    path: PathBuf,
    metadata: Metadata,
}

/// The file has changed since it was read.
#[derive(Debug, thiserror::Error)]
#[error("somebody else has just changed the file")]
pub struct Changed;

/// Whether an error is [`Changed`].
pub fn is_changed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<Changed>()
}

/// SHA-256 of a text, as hexadecimal digits.
pub fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Reads a file. A symbolic link is followed, and a FIFO in its place does not block.
///
/// # Errors
/// An I/O error; also if it is not a regular file of at most [`MAX_BYTES`], or not text.
pub fn read(path: &Path) -> io::Result<ReadFile> {
    let path = fs::canonicalize(path)?;
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || MAX_BYTES < metadata.len() {
        return Err(io::Error::other(format!("it is not a regular file of at most {MAX_BYTES} bytes")));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    let modified = metadata.modified()?;
    Ok(ReadFile { digest: digest(&text), text, modified, path, metadata })
}

impl ReadFile {
    /// Whether this process may replace the file without changing its owner.
    pub fn is_replaceable(&self) -> bool {
        let user = rustix::process::geteuid();
        let keeps_owner = user.is_root() || user.as_raw() == self.metadata.uid();
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        keeps_owner && access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    }

    /// Whether only root may replace the file.
    pub fn is_roots(&self) -> bool {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        self.metadata.uid() == 0 && fs::metadata(directory).is_ok_and(|found| found.uid() == 0)
    }

    /// Replaces the file with `text` in one step, keeping its mode and owner. The old content is kept as `FILE.1`,
    /// and earlier backups, up to `backups` in all, under higher numbers.
    ///
    /// # Errors
    /// An I/O error, or [`Changed`]; then the file is unchanged.
    pub fn replace(&self, text: &str, backups: u32) -> io::Result<()> {
        let write = |file: &mut File| {
            fchown(&*file, Some(self.metadata.uid()), Some(self.metadata.gid()))?;
            file.write_all(text.as_bytes())
        };
        let keep = || {
            if fs::read(&self.path)? != self.text.as_bytes() {
                return Err(io::Error::other(Changed));
            }
            if 0 < backups {
                shift(&self.path, 1, backups)?;
                // If `shift` was interrupted, there may already be one, with the same content or an older one.
                let youngest = numbered(&self.path, 1);
                match fs::remove_file(&youngest) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => fs::hard_link(&self.path, youngest)?,
                }
            }
            Ok(())
        };
        durable::replace(&self.path, self.metadata.mode() & 0o7777, write, keep).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn it_is_replaced_with_mode_and_link_kept_and_generations_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("real.toml"), directory.path().join("link.toml"));
        fs::write(&file, "0").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
        symlink(&file, &link).unwrap();
        for text in ["1", "2", "3", "4"] {
            read(&link).unwrap().replace(text, 2).unwrap();
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let holds = |name: &str| fs::read_to_string(directory.path().join(name)).ok();
        let kept = ["real.toml", "real.toml.1", "real.toml.2", "real.toml.3"].map(holds);
        assert_eq!(kept, [Some("4"), Some("3"), Some("2"), None].map(|text| text.map(str::to_owned)));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o604);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4, "nothing else is left");
    }

    #[test]
    fn the_owner_is_kept() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        fs::write(&path, "a = 1\n").unwrap();
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
        read(&path).unwrap().replace("a = 2\n", 0).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 4321));
    }

    #[test]
    fn what_changed_meanwhile_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        fs::write(&path, "a = 1\n").unwrap();
        let file = read(&path).unwrap();
        fs::write(&path, "a = 3\n").unwrap();
        let error = file.replace("a = 2\n", 5).unwrap_err();
        assert!(error.get_ref().is_some_and(is_changed), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a = 3\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_of_ours_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let huge = directory.path().join("huge");
        File::create(&huge).unwrap().set_len(MAX_BYTES + 1).unwrap();
        for path in [fifo.as_path(), huge.as_path(), directory.path(), Path::new("/nonexistent/a.toml")] {
            assert!(read(path).is_err(), "{}", path.display());
        }
    }
}
