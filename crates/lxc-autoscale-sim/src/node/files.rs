//! Reading and writing the tree's files so that a reader never sees half of one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::NodeError;

/// Reads a file as text; bytes that are no UTF-8 are replaced.
///
/// # Errors
/// [`NodeError::File`] when it cannot be read.
pub fn read_text(path: &Path) -> Result<String, NodeError> {
    let bytes = fs::read(path).map_err(NodeError::file("read", path))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Writes a file in one step, through `<name>.tmp.<pid>` beside it as Proxmox does.
///
/// # Errors
/// [`NodeError::File`] when it cannot be written; the old content then stands.
pub fn write_atomically(path: &Path, content: &str) -> Result<(), NodeError> {
    let temporary = temporary_name(path);
    let written = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // The old file stands; a leftover would only be noise beside it.
        let _ = fs::remove_file(&temporary);
        NodeError::file("write", path)(error)
    })
}

/// Creates a file with its parent directories; one that is there already is left alone.
///
/// # Errors
/// [`NodeError::File`] when it cannot be created.
pub fn write_new(path: &Path, content: &str) -> Result<(), NodeError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(NodeError::file("create", parent))?;
    }
    match fs::File::create_new(path) {
        Ok(mut file) => file.write_all(content.as_bytes()).map_err(NodeError::file("write", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(NodeError::file("create", path)(error)),
    }
}

/// Removes a directory with all that is in it; one that is gone already is fine.
///
/// # Errors
/// [`NodeError::File`] when something in it cannot be removed.
pub fn remove_tree(path: &Path) -> Result<(), NodeError> {
    // Another process may still be adding to a container's directory while it is taken down.
    for _ in 0..8 {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !path.exists() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(NodeError::file("remove", path)(error)),
        }
    }
    fs::remove_dir_all(path).map_err(NodeError::file("remove", path))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp.{}", std::process::id()));
    path.with_file_name(name)
}
