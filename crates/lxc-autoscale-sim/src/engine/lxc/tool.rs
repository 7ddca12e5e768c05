//! Runs the `lxc` tools.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::EngineError;

/// A command line under construction.
#[derive(Debug)]
pub(super) struct Tool {
    program: &'static str,
    arguments: Vec<OsString>,
}

impl Tool {
    pub(super) fn new(program: &'static str) -> Self {
        Self { program, arguments: Vec::new() }
    }

    pub(super) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(super) fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Runs it with this process's own standard streams; returns its exit status, which is 128 and more for a signal.
    pub(super) fn pass_through(self) -> Result<u8, EngineError> {
        let status = self.command().status().map_err(|source| self.spawn_error(source))?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(u8::try_from(code).unwrap_or(255))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(&self.arguments);
        command
    }

    fn spawn_error(&self, source: std::io::Error) -> EngineError {
        EngineError::Spawn { command: self.line(), source }
    }

    fn line(&self) -> String {
        let words: Vec<_> = self.arguments.iter().map(|word| word.to_string_lossy()).collect();
        format!("{} {}", self.program, words.join(" "))
    }
}

/// Runs a tool to its end; its output matters only if it fails.
pub(super) fn capture(tool: &Tool) -> Result<(), EngineError> {
    let output = tool
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|source| tool.spawn_error(source))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(EngineError::Command { command: tool.line(), code: output.status.code(), stderr })
}

/// Runs a tool that leaves a daemon behind, which must not inherit a pipe that we wait on; its output goes to `log`.
pub(super) fn run_daemon(tool: &Tool, log: &Path) -> Result<(), EngineError> {
    let status = tool
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|source| tool.spawn_error(source))?;
    if status.success() {
        return Ok(());
    }
    let stderr = crate::node::read_text(log).unwrap_or_default();
    Err(EngineError::Command { command: tool.line(), code: status.code(), stderr })
}
