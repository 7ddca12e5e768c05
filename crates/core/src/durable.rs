//! Files that are replaced whole: a reader sees the old one or the new one, and so does whoever comes after a crash.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Ending of the name that a file has while it is written, beside `path` and with a dot before that.
pub(crate) const TEMPORARY: &str = "new";

/// Writes a new file of exactly this mode and puts it in the place of `path` in one step, durably.
///
/// `before` runs when the new file is complete and the old one still stands, the last moment to keep something of it or
/// to think better of it.
///
/// # Errors
/// What the system, `write` or `before` says; what was there before then still is.
pub fn replace<T, A>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<T>,
    before: impl FnOnce() -> io::Result<A>,
) -> io::Result<(T, A)> {
    let temporary = sibling(path, TEMPORARY);
    let result = (|| {
        let mut file = create_new(&temporary, mode)?;
        let written = write(&mut file)?;
        file.sync_all()?;
        let kept = before()?;
        std::fs::rename(&temporary, path)?;
        sync_directory(path)?;
        Ok((written, kept))
    })();
    if result.is_err() {
        // Best effort: a full disk needs the room back, and the error that counts is the first one.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// The same with these bytes.
///
/// # Errors
/// What the system says; what was there before then still is.
pub fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    replace(path, mode, |file| file.write_all(bytes), || Ok(())).map(|_| ())
}

/// Makes a new file of exactly this mode; what a crash or somebody else left under the name is removed first
/// (a directory only when it is empty), and what comes there in between is an error.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => std::fs::remove_dir(path)?,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = File::options().read(true).write(true).create_new(true).mode(mode).open(path)?;
    // The umask may have taken bits away.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Makes what happened to the names beside `path` durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// The directory of a path; that of a bare name is where we are.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `/var/log/.lxc_metrics.json.<suffix>`
pub(crate) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}
