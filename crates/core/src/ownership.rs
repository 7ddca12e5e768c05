//! Files that root makes for a daemon that is not root.
//!
//! Commands that write to a daemon's directory (`lxc-monitor import`, `lxc-autoscale-ml once`) are run by root. What they
//! make there belongs to the owner of the directory, or the daemon could not write to it later.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use crate::durable::directory_of;

/// Gives a file that was just made to the owner and group of the directory it is in; only root can, and only root has to.
///
/// # Errors
/// What the system says. A file with a second name is left alone: whoever owns the directory could have chosen it.
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

/// Makes an empty file for that owner where there is none.
///
/// # Errors
/// What the system says.
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
