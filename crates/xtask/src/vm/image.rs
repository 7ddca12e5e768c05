//! Kernel, initrd and root file system, built by `build-image.sh` and kept outside the checkout.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{VmError, file};
use crate::command::{program, run};
use crate::packages::is_root;
use crate::say;

const SCRIPT: &str = include_str!("build-image.sh");
/// The release of Debian; the project's binaries are linked against this machine's C library, which must not be
/// newer than that of this release.
const SUITE: &str = "bookworm";

/// What the machine boots.
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

/// The image that belongs to the script as it is now, built where it is missing.
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
    // Moved into place when it is whole; a build that was interrupted leaves nothing that could be taken for it.
    let building =
        tempfile::Builder::new().prefix("building").tempdir_in(&parent).map_err(file("write to", &parent))?;
    let script = building.path().join("build-image.sh");
    fs::write(&script, SCRIPT).map_err(file("write", &script))?;
    say("building the virtual machine's image from Debian's packages; this is done once");
    run(program("bash", []).arg(&script).arg(building.path()).arg(SUITE))?;
    fs::rename(building.path(), &image.directory).map_err(file("create", &image.directory))?;
    // Its name is no longer its own to remove.
    drop(building.keep());
    say(&format!("the image lies in {}", image.directory.display()));
    Ok(image)
}

/// A directory for what one run needs, removed after it; sparse disks of some GiB must fit.
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

/// FNV-1a, which any compiler release computes alike.
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
