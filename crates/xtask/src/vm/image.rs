//! Kernel, initrd and root file system, built by `build-image.sh` and kept outside the checkout.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{VmError, file};
use crate::command::{program, run};
use crate::packages::is_root;
use crate::say;

const SCRIPT: &str = include_str!("build-image.sh");
/// The release of Debian. The project's binaries are linked against this machine's C library, which must not be newer
/// than that of the release.
const SUITE: &str = "bookworm";

/// The files that the machine boots.
#[derive(Debug)]
pub(super) struct Image {
    directory: PathBuf,
}

impl Image {
    pub(super) fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    pub(super) fn initrd(&self) -> PathBuf {
        self.directory.join("initrd")
    }

    pub(super) fn root(&self) -> PathBuf {
        self.directory.join("root.img")
    }
}

/// The image for the current version of the script; built if it does not exist.
pub(super) fn ensure() -> Result<Image, VmError> {
    let image = Image { directory: cache_directory().join(format!("{SUITE}-{:016x}", fingerprint(SCRIPT))) };
    if image.root().is_file() {
        return Ok(image);
    }
    if !is_root() {
        return Err(VmError::NotRoot);
    }
    let parent = cache_directory();
    fs::create_dir_all(&parent).map_err(file("create", &parent))?;
    // Renamed only when it is complete, so that an interrupted build leaves nothing that could be taken for an image.
    let building =
        tempfile::Builder::new().prefix("building").tempdir_in(&parent).map_err(file("write to", &parent))?;
    let script = building.path().join("build-image.sh");
    fs::write(&script, SCRIPT).map_err(file("write", &script))?;
    say("building the virtual machine's image from Debian's packages; this is done once");
    run(program("bash", []).arg(&script).arg(building.path()).arg(SUITE))?;
    fs::rename(building.path(), &image.directory).map_err(file("create", &image.directory))?;
    // The directory has been renamed, so it must not be removed under its old name.
    drop(building.keep());
    say(&format!("the image lies in {}", image.directory.display()));
    Ok(image)
}

/// A directory for a single run, removed afterwards; it must have room for sparse disks of some GiB.
pub(super) fn scratch() -> Result<TempDir, VmError> {
    let parent = cache_directory();
    fs::create_dir_all(&parent).map_err(file("create", &parent))?;
    tempfile::Builder::new().prefix("run").tempdir_in(&parent).map_err(file("write to", &parent))
}

fn cache_directory() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache =
        std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or_else(home);
    cache.unwrap_or_else(std::env::temp_dir).join("lxc-autoscale/vm")
}

/// FNV-1a, which gives the same result with any compiler version.
fn fingerprint(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    #[test]
    fn another_script_is_another_image() {
        assert_eq!(super::fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
        assert_ne!(super::fingerprint("ab"), super::fingerprint("ba"));
    }
}
