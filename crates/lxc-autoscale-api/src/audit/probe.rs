//! Tells whether the log can be written, without writing to it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::service_user::ServiceUser;
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
use rustix::io::Errno;

use super::{AuditError, lock_of};
use crate::backups::numbered;

/// Whether the next record could be written, as far as a look shows. It makes no file.
///
/// # Errors
/// [`AuditError`] with what would be in the way.
pub fn probe(file: &Path) -> Result<(), AuditError> {
    look(file).map_err(|source| AuditError { path: file.to_owned(), source })
}

/// As [`probe`], for a server that runs as `other`. Only root can look as somebody else.
///
/// # Errors
/// [`AuditError`] with what would be in the way of that user.
pub fn probe_as(file: &Path, other: &ServiceUser) -> Result<(), AuditError> {
    other.look(|| look(file)).map_err(|source| AuditError { path: file.to_owned(), source })
}

fn look(file: &Path) -> io::Result<()> {
    // Where the file is, if its name is a link; its older ones are there, too.
    let place = numbered(file, 0);
    let directory = match place.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    };
    let found = match fs::metadata(file) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match found {
        None => may_write_in(&directory)?,
        // Nothing is kept there, so an empty line does no harm, and only writing shows whether it can be done.
        Some(found) if found.file_type().is_char_device() => {
            return File::options().append(true).open(file)?.write_all(b"\n");
        }
        Some(found) if !found.is_file() => return Err(io::Error::other("it is no regular file")),
        Some(_) => drop(File::options().append(true).open(file)?),
    }
    match File::options().append(true).open(lock_of(file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => may_write_in(&directory)?,
        opened => drop(opened?),
    }
    has_room(&directory)
}

fn may_write_in(directory: &Path) -> io::Result<()> {
    Ok(accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

fn has_room(directory: &Path) -> io::Result<()> {
    let found = statvfs(directory)?;
    // A part is kept for root. A file system that tells no size tells no room either.
    let free = if rustix::process::geteuid().is_root() { found.f_bfree } else { found.f_bavail };
    if 0 < found.f_blocks && free == 0 { Err(Errno::NOSPC.into()) } else { Ok(()) }
}
