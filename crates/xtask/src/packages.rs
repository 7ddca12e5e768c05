//! The Debian packages that tests and lints need.

use std::path::PathBuf;
use std::process::Command;

use crate::command::{CommandError, cargo, is_installed, program, run, workspace_root};
use crate::say;

/// Real containers, the client of the documented examples, a scraper, a tracer, and systemd's unit checker.
pub(crate) const FOR_TESTS: &[&str] = &[
    "busybox-static",
    "curl",
    "iproute2",
    "libfaketime",
    "lxc",
    "lxc-templates",
    "openssl",
    "prometheus",
    "python3-venv",
    "strace",
    "systemd",
    "uidmap",
];

/// Needed to build and boot the virtual machine of the truth test.
pub(crate) const FOR_VM: &[&str] = &["busybox-static", "debootstrap", "e2fsprogs", "qemu-system-x86"];

/// Needed to create Python environments.
pub(crate) const FOR_PYTHON: &[&str] = &["python3-venv"];

/// Needed to show a page and make a picture of it.
pub(crate) const FOR_PICTURES: &[&str] = &["chromium", "fonts-dejavu-core"];

/// Needed to check the shell scripts.
pub(crate) const FOR_LINTS: &[&str] = &["shellcheck"];

/// The version of cargo-deny that the rules are written for.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Makes sure that the packages are installed; installs missing ones when run as root on Debian.
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

/// The client generated from the OpenAPI document, and the library that draws its requests. Both are pinned, so that
/// the same requests are sent until somebody decides otherwise.
const SCHEMATHESIS: [&str; 2] = ["schemathesis==4.32.5", "hypothesis==6.170.17"];

/// Installs schemathesis below `target` once, and returns the path of its program.
pub(crate) fn schemathesis() -> Result<PathBuf, CommandError> {
    Ok(python("schemathesis", &SCHEMATHESIS, "which tests the REST API by its document")?.join("bin/st"))
}

/// The library that our isolation forest is compared with.
const SCIKIT_LEARN: [&str; 1] = ["scikit-learn==1.9.1"];

/// Installs scikit-learn below `target` once, and returns the Python that has it.
pub(crate) fn scikit_learn() -> Result<PathBuf, CommandError> {
    Ok(python("scikit-learn", &SCIKIT_LEARN, "which our isolation forest is measured against")?
        .join("bin/python3"))
}

/// A Python environment below `target` with these packages, created once.
fn python(name: &str, packages: &[&str], purpose: &str) -> Result<PathBuf, CommandError> {
    let directory = workspace_root().join("target/tools").join(name);
    let (installed, wanted) = (directory.join("installed"), packages.join("\n"));
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(directory);
    }
    say(&format!("installing {name}, {purpose}; this is done once"));
    // Debian's own Python, whatever else is first on the path: it has the package that creates environments.
    run(program("/usr/bin/python3", ["-m", "venv", "--clear"]).arg(&directory))?;
    run(program(directory.join("bin/pip"), ["install", "--quiet", "--disable-pip-version-check"])
        .args(packages))?;
    // If the mark cannot be written, the packages are only installed again.
    let _ = std::fs::write(installed, wanted);
    Ok(directory)
}

/// `cargo-deny`, from `PATH` or built once below `target`.
pub(crate) fn cargo_deny() -> Result<Command, CommandError> {
    if is_installed("cargo-deny") {
        return Ok(cargo(["deny"]));
    }
    let root = workspace_root().join("target/tools");
    let binary = root.join("bin/cargo-deny");
    if !binary.is_file() {
        say("building cargo-deny, which checks the rules for dependencies; this is done once");
        let mut install =
            cargo(["install", "--quiet", "--locked", "--version", CARGO_DENY_VERSION, "cargo-deny"]);
        // It runs for seconds, so optimising it would take longer than it ever saves.
        install.args(["--debug", "--config", "profile.dev.debug=false"]);
        run(install.arg("--root").arg(root))?;
    }
    Ok(program(binary, []))
}

fn is_present(package: &str) -> bool {
    let status = Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]).output();
    status.is_ok_and(|output| output.stdout.ends_with(b"install ok installed"))
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    let own = std::fs::metadata("/proc/self");
    own.is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}
