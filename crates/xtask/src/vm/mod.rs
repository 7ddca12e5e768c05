//! The truth test on a machine of its own: Debian's kernel with control groups of version 2 alone, systemd as the
//! first process, swap and a disk for data, in an emulator that needs no right of its own.
//!
//! The machine is the same whatever is tested and is built once; what is tested comes on a second disk. How it went
//! comes back over the second serial line, whose last line is systemd's verdict. Software emulation is 10 to 20
//! times slower than the machine it runs on, so results are judged there, never speed.

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

/// Why there is no verdict, or not the right one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VmError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file or directory.
    #[error("cannot {what} `{}`: {source}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The image is not there, and only root can build it.
    #[error("the virtual machine's image is not built yet, and building it needs root (debootstrap)")]
    NotRoot,
    /// The emulator.
    #[error("cannot run qemu-system-x86_64: {0}")]
    Emulator(io::Error),
    /// Cargo did not say where the test's program lies.
    #[error("cargo did not name the program of the test `{0}`")]
    NoTestProgram(&'static str),
    /// It ran for too long.
    #[error("the virtual machine did not end within {0:?}; the last lines of its console:\n{1}")]
    TimedOut(Duration, String),
    /// It ended without a verdict.
    #[error("the virtual machine ended without a verdict; the last lines of its console:\n{0}")]
    NoVerdict(String),
    /// What was tested failed.
    #[error("the tests in the virtual machine failed ({0}); their output stands above")]
    Failed(String),
}

/// Builds what is missing, boots, and shows what the tests say.
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

/// Names the step and the file of an error.
fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> VmError {
    let path = path.into();
    move |source| VmError::File { what, path, source }
}
