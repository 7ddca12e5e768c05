//! Numbered older generations of a file: `FILE.1` is the youngest of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file itself, or one of the older ones. Where its name is a link they lie where that leads, because beside the
/// link a server that is not root may write nothing.
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

/// Makes room at `first`: each generation from there on moves on by one, and the one that would be more than `count`
/// goes.
///
/// # Errors
/// What the system says; generations that are missing are none.
pub(crate) fn shift(file: &Path, first: u32, count: u32) -> io::Result<()> {
    for number in (first..count).rev() {
        match fs::rename(numbered(file, number), numbered(file, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
