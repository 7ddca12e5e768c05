//! The truth test on a separate machine: Debian's kernel with only cgroup version 2, systemd as the first process,
//! swap and a data disk, in an emulator that needs no privileges.
//!
//! The machine does not depend on what is tested and is built once; the programs to be tested are on a second disk.
//! The results come back over the second serial line, whose last line is systemd's verdict. Software emulation is 10
//! to 20 times slower than the host, so the test checks results there, never speed.

mod boot;
mod image;
mod payload;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::command::CommandError;
use crate::packages;
use crate::say;

/// Longest time from power on to power off.
const TIME_LIMIT: Duration = Duration::from_mins(30);

/// Why there is no result, or a failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VmError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file or directory cannot be used.
    #[error("cannot {what} `{}`: {source}", path.display())]
    File {
        /// The action that failed.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The image does not exist, and only root can build it.
    #[error("the virtual machine's image is not built yet, and building it needs root (debootstrap)")]
    NotRoot,
    /// The emulator cannot be run.
    #[error("cannot run qemu-system-x86_64: {0}")]
    Emulator(io::Error),
    /// Cargo did not report the path of the test's program.
    #[error("cargo did not name the program of the test `{0}`")]
    NoTestProgram(&'static str),
    /// It ran for too long.
    #[error("the virtual machine did not end within {0:?}; the last lines of its console:\n{1}")]
    TimedOut(Duration, String),
    /// It ended without a result.
    #[error("the virtual machine ended without a verdict; the last lines of its console:\n{0}")]
    NoVerdict(String),
    /// The tests failed.
    #[error("the tests in the virtual machine failed ({0}); see their output above")]
    Failed(String),
}

/// Builds what is missing, boots the machine, and prints the output of the tests.
pub(crate) fn test() -> Result<(), VmError> {
    packages::ensure(packages::FOR_VM)?;
    let image = image::ensure()?;
    let scratch = image::scratch()?;
    let payload = payload::pack(scratch.path())?;
    say("booting the virtual machine; nothing is shown until systemd runs, in about half a minute");
    let verdict = boot::run(&image, &payload, scratch.path(), TIME_LIMIT)?;
    if verdict == "success" {
        return Ok(());
    }
    Err(VmError::Failed(verdict))
}

/// An error with the action and the path.
fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> VmError {
    let path = path.into();
    move |source| VmError::File { what, path, source }
}
