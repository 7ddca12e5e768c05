//! The unix socket, where the kernel tells which user is at the other end.
//!
//! Every user of the machine may connect; which requests are accepted is decided as for a loopback connection.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Longest path of a socket, in bytes: the kernel has room for 108 including the terminating zero.
pub const MAX_PATH_BYTES: usize = 107;

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another server is listening there.
    #[error("another server listens at `{}` (`server.socket`)", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The file there is not a socket.
    #[error("`{}` (`server.socket`) is not a socket and is not replaced", path.display())]
    Foreign {
        /// What is there.
        path: PathBuf,
    },
    /// It cannot be created.
    #[error("cannot listen at `{}` (`server.socket`)", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The file name of an open socket; removed when this is dropped, unless it belongs to another socket by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    made: (u64, u64),
}

/// Listens at `path`, replacing the socket of a server that no longer exists. Creates the directory if necessary.
///
/// # Errors
/// [`SocketError`] if another server is listening there, or the file is something else.
pub fn open(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    make_room(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(failed)?;
    let made = identity(&fs::symlink_metadata(path).map_err(failed)?);
    Ok((listener, SocketFile { path: path.to_owned(), made }))
}

fn make_room(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => Err(SocketError::Foreign { path: path.to_owned() }),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
            Err(_) => fs::remove_file(path).map_err(failed),
        },
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.made)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/api.sock");
        let (listener, file) = open(&path).unwrap();
        assert!(matches!(open(&path), Err(SocketError::InUse { .. })));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        // A server that was killed leaves the name behind.
        drop(listener);
        std::mem::forget(file);
        let (_listener, file) = open(&path).unwrap();
        drop(file);
        assert!(!path.exists());

        fs::write(&path, "mine").unwrap();
        assert!(matches!(open(&path), Err(SocketError::Foreign { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
