//! Benchmarks that are programs of the crate they measure: examples, which print their tables themselves.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::command::{self, CommandError, cargo};

/// Such a program, and what it is told.
#[derive(Debug)]
pub(crate) struct Example(Command);

impl Example {
    /// The example `name`, in the release profile.
    ///
    /// No package is named: what all of them need of their dependencies is built once, instead of anew for each.
    pub(crate) fn new(name: &str) -> Self {
        Self(cargo(["run", "--release", "--locked", "--quiet", "--example", name, "--"]))
    }

    /// With an option, where it has a value.
    pub(crate) fn value(mut self, option: &str, value: Option<impl AsRef<OsStr>>) -> Self {
        if let Some(value) = value {
            self.0.arg(option).arg(value);
        }
        self
    }

    /// With an option that names a file of whoever runs the benchmark, where there is one: the program runs elsewhere.
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
