//! Replaces files as a whole: a reader sees either the old file or the new one, even after a crash.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Suffix of the name of a file while it is being written, next to `path` and preceded by a dot.
pub(crate) const TEMPORARY: &str = "new";

/// Writes a new file with exactly this mode and replaces `path` with it in one step, durably.
///
/// `before` runs when the new file is complete and the old one still exists: the last chance to keep something of it
/// or to abort.
///
/// # Errors
/// An I/O error, or the error of `write` or `before`; then the old file is unchanged.
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
        // Best effort: a full disk needs the space back, and the first error is the one that counts.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// As [`replace`], with these bytes.
///
/// # Errors
/// An I/O error; then the old file is unchanged.
pub fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    replace(path, mode, |file| file.write_all(bytes), || Ok(())).map(|_| ())
}

/// Creates a new file with exactly this mode. Anything that a crash or somebody else left under that name is removed
/// first (a directory only if it is empty); if something appears there meanwhile, that is an error.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => std::fs::remove_dir(path)?,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = File::options().read(true).write(true).create_new(true).mode(mode).open(path)?;
    // The umask may have removed bits.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Makes changes of names in the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// The directory of a path; for a bare name, the current directory.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `/var/log/.lxc_metrics.json.<suffix>`
pub(crate) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}
