//! Runs other programs, shows what is run, and stops at the first failure.

use std::borrow::BorrowMut;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The program could not be started.
    #[error("cannot run `{command}`: {source}")]
    Spawn {
        /// As shown.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The program says that it failed.
    #[error("`{command}` failed: {status}")]
    Failed {
        /// As shown.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// Packages are missing and cannot be installed.
    #[error("missing Debian packages: {0}; install them (apt-get install {0}) or run as root")]
    MissingPackages(String),
    /// A benchmark's output could not be used.
    #[error("the benchmark's figures cannot be written to `{path}`: {source}")]
    Figures {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// `cargo` with arguments, from the workspace root.
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

/// A program with arguments, from the workspace root.
pub(crate) fn program<const N: usize>(name: impl AsRef<OsStr>, args: [&str; N]) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(workspace_root());
    command
}

/// Runs a command to its end.
pub(crate) fn run(mut command: impl BorrowMut<Command>) -> Result<(), CommandError> {
    let command = command.borrow_mut();
    let shown = show(command);
    crate::say(&shown);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(CommandError::Failed { command: shown, status }),
        Err(source) => Err(CommandError::Spawn { command: shown, source }),
    }
}

/// Whether a program is on the `PATH`.
pub(crate) fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// The checkout this tool was started from.
///
/// Cargo says at each start where the package is; where it was built says nothing once the checkout was moved, or
/// two checkouts share a target directory.
pub(crate) fn workspace_root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| checkout_of(std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)))
}

/// The checkout to whose package cargo points, else the one this tool was built in.
fn checkout_of(package: Option<PathBuf>) -> PathBuf {
    let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    package.ancestors().nth(2).unwrap_or(&package).to_owned()
}

fn show(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_checkout_is_found_where_it_is() {
        assert_eq!(checkout_of(Some("/moved/crates/xtask".into())), Path::new("/moved"));
        assert!(checkout_of(None).join("Cargo.lock").is_file());
    }
}
