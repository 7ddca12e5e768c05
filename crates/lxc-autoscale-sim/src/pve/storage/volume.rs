//! A volume on the disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::super::error::PctError;
use super::Ext4;
use crate::engine::EngineError;
use crate::node::{NodeError, read_text, write_atomically};

/// A volume: its size, and the file system on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Size of the volume.
    pub bytes: u64,
    /// The file system.
    pub filesystem: Ext4,
}

impl Volume {
    /// Loads the volume in a directory; `None` if there is none.
    pub(super) fn load(directory: &Path) -> Result<Option<Self>, NodeError> {
        let path = directory.join("volume.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = read_text(&path)?;
        serde_json::from_str(&text).map(Some).map_err(|source| NodeError::Settings { path, source })
    }

    pub(super) fn save(&self, directory: &Path) -> Result<(), NodeError> {
        let path = directory.join("volume.json");
        let text = serde_json::to_string(self)
            .map_err(|source| NodeError::Settings { path: path.clone(), source })?;
        write_atomically(&path, &(text + "\n"))
    }
}

/// Copies a directory with owners, modes, links and device nodes; an empty one needs no tool.
fn copy_tree(from: &Path, to: &Path) -> Result<(), PctError> {
    fs::create_dir_all(to).map_err(NodeError::file("create", to))?;
    let is_empty = match fs::read_dir(from) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(NodeError::file("read", from)(error).into()),
    };
    if is_empty {
        return Ok(());
    }
    let command = format!("cp -a --reflink=auto {}/. {}", from.display(), to.display());
    let output = Command::new("cp")
        .args(["-a", "--reflink=auto", "--"])
        .args([&from.join("."), to])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| EngineError::Spawn { command: command.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(EngineError::Command { command, code: output.status.code(), stderr }.into())
}

/// The space used by the files of a directory.
pub(super) fn bytes_of_files(directory: &Path) -> Result<u64, NodeError> {
    let mut bytes = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // Files of a running container come and go.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(NodeError::file("read", &path)(error)),
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

/// Copies size and files, but not the snapshots.
pub(super) fn copy_volume(from: &Path, to: &Path) -> Result<(), PctError> {
    if let Some(volume) = Volume::load(from)? {
        fs::create_dir_all(to).map_err(NodeError::file("create", to))?;
        volume.save(to)?;
    }
    copy_files(from, to)
}

/// Copies the files of a volume, and the recorded size of them.
pub(super) fn copy_files(from: &Path, to: &Path) -> Result<(), PctError> {
    copy_tree(&from.join("content"), &to.join("content"))?;
    let (noted, target) = (from.join("used_bytes"), to.join("used_bytes"));
    if noted.exists() {
        fs::copy(&noted, &target).map_err(NodeError::file("copy", &noted))?;
    }
    Ok(())
}

/// The directories in a directory; empty if that does not exist.
pub(super) fn directories(path: &Path) -> Result<Vec<PathBuf>, NodeError> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(path).map_err(NodeError::file("read", path))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(NodeError::file("read", path)));
    let all: Vec<PathBuf> = paths.collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|path| path.is_dir()).collect())
}
