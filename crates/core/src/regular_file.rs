//! Opens regular files in places where others may have put anything. A FIFO or a device is an error instead of an
//! endless wait, and so is a symbolic link, if the caller asks for that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens the file that the path leads to, following links.
///
/// # Errors
/// An I/O error; also if it is not a regular file.
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    open_with(options, OFlags::empty(), path)
}

/// Opens the file with that very name; links in the path of its directory are followed.
///
/// # Errors
/// As [`open`]; also if it is a link.
pub fn open_no_link(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    open_with(options, OFlags::NOFOLLOW, path)
}

fn open_with(options: &mut OpenOptions, flags: OFlags, path: &Path) -> io::Result<File> {
    let flags = (flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// Whether opening failed because of the file's type: a link, a FIFO, a device, a socket, or a directory.
pub fn is_foreign(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(errno) => matches!(errno, Errno::LOOP | Errno::NXIO | Errno::ISDIR),
        None => error.kind() == io::ErrorKind::InvalidInput,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let refused = |opened: io::Result<File>| opened.is_err_and(|error| is_foreign(&error));
        let mut options = File::options();
        options.read(true);
        for name in ["fifo", "socket", "."] {
            assert!(refused(open(&mut options, &path(name))), "{name}");
        }
        assert!(
            open(&mut options, &path("link")).is_ok() && refused(open_no_link(&mut options, &path("link")))
        );
        assert!(open_no_link(&mut options, &path("file")).is_ok());
        let missing = open_no_link(&mut options, &path("missing")).unwrap_err();
        assert!(!is_foreign(&missing) && missing.kind() == io::ErrorKind::NotFound);
    }
}
