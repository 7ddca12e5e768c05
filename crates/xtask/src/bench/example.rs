//! Benchmarks that are examples of the crate they measure, and print their tables themselves.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::command::{self, CommandError, cargo};

/// Such a program with its arguments.
#[derive(Debug)]
pub(crate) struct Example(Command);

impl Example {
    /// The example `name`, in the release profile.
    ///
    /// It does not name a package, so that the dependencies are built once with the features that all packages need,
    /// instead of again for each.
    pub(crate) fn new(name: &str) -> Self {
        Self(cargo(["run", "--release", "--locked", "--quiet", "--example", name, "--"]))
    }

    /// Adds an option, if it has a value.
    pub(crate) fn value(mut self, option: &str, value: Option<impl AsRef<OsStr>>) -> Self {
        if let Some(value) = value {
            self.0.arg(option).arg(value);
        }
        self
    }

    /// Adds an option with a file of the user who runs the benchmark, if there is one. The path is made absolute,
    /// because the program runs in another directory.
    pub(crate) fn file(self, option: &str, path: Option<&Path>) -> Result<Self, CommandError> {
        let absolute = path.map(|path| {
            std::path::absolute(path)
                .map_err(|source| CommandError::Figures { path: path.display().to_string(), source })
        });
        Ok(self.value(option, absolute.transpose()?))
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        command::run(self.0)
    }
}
