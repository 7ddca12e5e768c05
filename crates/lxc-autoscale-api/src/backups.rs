//! Numbered backups of a file; `FILE.1` is the newest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The path of the file itself (0) or of a backup. If the file is a symbolic link, backups are kept next to its
/// target, because a server that is not root may not be able to write next to the link.
pub(crate) fn numbered(file: &Path, number: u32) -> PathBuf {
    let place = match (file.parent(), fs::read_link(file)) {
        (Some(directory), Ok(target)) => directory.join(target),
        _ => file.to_owned(),
    };
    if number == 0 {
        return place;
    }
    let mut name = place.into_os_string();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Makes room at `first`: each backup from there on is renamed to the next number, and the one beyond `count` is
/// removed.
///
/// # Errors
/// Any I/O error; a missing backup is not one.
pub(crate) fn shift(file: &Path, first: u32, count: u32) -> io::Result<()> {
    for number in (first..count).rev() {
        match fs::rename(numbered(file, number), numbered(file, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
