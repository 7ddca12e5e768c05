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
    if names_a_linker() {
        return Ok(());
    }
    // The linkers that a C compiler calls unasked warn of such an option that they do not know and go on without it. gold gives
    // up, and a linker called without a compiler does not know `-Wl`. What never runs in an ordinary cycle, like the reports of
    // panics, is put together behind the rest:
    writeln!(cargo, "cargo::rustc-link-arg-bins=-Wl,-z,keep-text-section-prefix")?;
    if FIRST_WITH_PACKED <= library().unwrap_or_default() {
        // The table of what the start moves takes 3 KiB instead of 130.
        writeln!(cargo, "cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs")?;
    }
    Ok(())
}

/// Whether the build asks for a linker of its own: what that understands is not known.
fn names_a_linker() -> bool {
    let of = |key: &str| std::env::var(key).unwrap_or_default();
    let flags = of("CARGO_ENCODED_RUSTFLAGS");
    let is_one =
        |flag: &str| ["linker=", "linker-flavor=", "fuse-ld=gold"].iter().any(|part| flag.contains(part));
    !of("RUSTC_LINKER").is_empty() || flags.split('\u{1f}').any(is_one)
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
