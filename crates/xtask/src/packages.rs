//! The Debian packages that tests and lints need.

use std::process::Command;

use crate::command::{CommandError, program, run};
use crate::say;

/// Real containers, the client of the documented examples, a tracer, and systemd's unit checker.
pub(crate) const FOR_TESTS: &[&str] =
    &["busybox-static", "curl", "lxc", "lxc-templates", "strace", "systemd", "uidmap"];

/// What checks the shell scripts.
pub(crate) const FOR_LINTS: &[&str] = &["shellcheck"];

/// Makes sure that the packages are there: installs what is missing when run as root on Debian.
pub(crate) fn ensure(packages: &[&str]) -> Result<(), CommandError> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_present(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        return Err(CommandError::MissingPackages(missing.join(" ")));
    }
    say(&format!("installing the Debian packages that are missing: {}", missing.join(" ")));
    run(program("apt-get", ["update", "-q"]))?;
    let mut install = program("apt-get", ["install", "-y", "-q", "--no-install-recommends"]);
    run(install.args(missing).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_present(package: &str) -> bool {
    let status = Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]).output();
    status.is_ok_and(|output| output.stdout.ends_with(b"install ok installed"))
}

fn is_root() -> bool {
    let own = std::fs::metadata("/proc/self");
    own.is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}
