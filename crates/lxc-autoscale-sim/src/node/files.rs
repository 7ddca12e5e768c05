//! Reads and writes the tree's files so that a reader never sees an incomplete one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::NodeError;

/// Reads a file as text; invalid UTF-8 is replaced.
///
/// # Errors
/// [`NodeError::File`] if it cannot be read.
pub fn read_text(path: &Path) -> Result<String, NodeError> {
    let bytes = fs::read(path).map_err(NodeError::file("read", path))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Writes a file in one step, through `<name>.tmp.<pid>` next to it, as Proxmox does.
///
/// # Errors
/// [`NodeError::File`] if it cannot be written; then the old content remains.
pub fn write_atomically(path: &Path, content: &str) -> Result<(), NodeError> {
    let temporary = temporary_name(path);
    let written = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // The old file remains; a leftover next to it would only be confusing.
        let _ = fs::remove_file(&temporary);
        NodeError::file("write", path)(error)
    })
}

/// Creates a file with its parent directories; an existing file is left alone.
///
/// # Errors
/// [`NodeError::File`] if it cannot be created.
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

/// Removes a directory with everything in it; it need not exist.
///
/// # Errors
/// [`NodeError::File`] if something in it cannot be removed.
pub fn remove_tree(path: &Path) -> Result<(), NodeError> {
    // Another process may still add files to a container's directory while it is being removed.
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
