//! How the monitor is linked: most of its program stays in memory for as long as it runs, used or not.

use std::io::{self, Write};
use std::process::Command;

/// The first GNU C library that understands relative relocations in a packed table.
const FIRST_WITH_PACKED: (u32, u32) = (2, 36);

fn main() -> io::Result<()> {
    let mut cargo = io::stdout().lock();
    writeln!(cargo, "cargo::rerun-if-changed=build.rs")?;
    let is = |key: &str, value: &str| std::env::var(key).is_ok_and(|own| own == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return Ok(());
    }
    // A linker that does not know one of these options says so and goes on without it. What never runs in an ordinary cycle, like
    // the reports of panics, is put together behind the rest:
    writeln!(cargo, "cargo::rustc-link-arg-bins=-Wl,-z,keep-text-section-prefix")?;
    if FIRST_WITH_PACKED <= library().unwrap_or_default() {
        // The table of what the start moves takes 3 KiB instead of 130.
        writeln!(cargo, "cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs")?;
    }
    Ok(())
}

/// The version of this machine's C library, where the program is built for it; a program that is to run with an older library is
/// built with that.
fn library() -> Option<(u32, u32)> {
    let [host, target] = ["HOST", "TARGET"].map(|key| std::env::var(key).ok());
    if host != target {
        return None;
    }
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, rest) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
