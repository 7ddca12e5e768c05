//! Ownership of files that root creates for a daemon that does not run as root.
//!
//! Commands that write to a daemon's directory (`lxc-monitor import`, `lxc-autoscale-ml once`) are run by root. Files
//! that they create must belong to the owner of the directory, otherwise the daemon could not write to them later.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use crate::durable::directory_of;

/// Gives a new file to the owner and group of its directory. Only root can do that, and only root needs to.
///
/// # Errors
/// An I/O error. A file with a second name is left alone, because the owner of the directory could have chosen it.
pub fn give_to_owner_of_directory(file: &File, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (directory, found) = (fs::metadata(directory_of(path))?, file.metadata()?);
    if directory.uid() == found.uid() || 1 < found.nlink() {
        return Ok(());
    }
    fchown(file, Some(directory.uid()), Some(directory.gid()))
}

/// Creates an empty file for that owner, if there is none.
///
/// # Errors
/// An I/O error.
pub fn make_for_owner_of_directory(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(file) => give_to_owner_of_directory(&file, path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn what_root_makes_belongs_to_whose_directory_it_is_in() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mine) = (directory.path().join("made"), directory.path().join("mine"));
        fs::write(&mine, "as it was").unwrap();
        // Only root can, and nobody else needs it.
        let is_root = chown(directory.path(), Some(1), Some(2)).is_ok();
        make_for_owner_of_directory(&path).unwrap();
        make_for_owner_of_directory(&mine).unwrap();
        let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
        let own = owner(&mine);
        assert_eq!(owner(&path), if is_root { (1, 2) } else { own });
        assert_eq!(fs::read_to_string(&mine).unwrap(), "as it was");
    }

    #[test]
    fn a_file_with_a_second_name_is_not_given_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made");
        fs::write(&path, "").unwrap();
        fs::hard_link(&path, directory.path().join("again")).unwrap();
        let _ = chown(directory.path(), Some(1), Some(2));
        let file = File::open(&path).unwrap();
        let before = file.metadata().unwrap().uid();
        give_to_owner_of_directory(&file, &path).unwrap();
        assert_eq!(file.metadata().unwrap().uid(), before);
    }
}
