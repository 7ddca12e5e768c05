//! Shared parts of the whole-system tests: the project's own binaries, started as a user starts them.
//!
//! `cargo xtask test` builds the binaries first; a test that runs without them fails with a message that says so.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this crate is test code: what cannot be set up must fail the test, loudly"
)]

pub mod http;
pub mod prometheus;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A binary of this workspace, built in the same profile as the test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    let profile = test.ancestors().nth(2).expect("tests lie in <target>/<profile>/deps");
    let path = profile.join(name);
    assert!(path.is_file(), "{} is not built; run `cargo xtask test`", path.display());
    path
}

/// Whether the tests on real containers can run: root, and Debian's `lxc` tools.
pub fn can_run_containers() -> bool {
    rustix::process::geteuid().is_root() && Command::new("lxc-create").arg("--version").output().is_ok()
}

/// Longest time to wait for an answer.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long a process may take to end in an orderly way after its test: three daemons, each with its own time limit,
/// and containers.
const ORDERLY_END: Duration = Duration::from_mins(2);

/// A process that ends with the test, whatever the test does.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program that writes both outputs to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("the log can be written");
        let errors = output.try_clone().expect("a file handle can be copied");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its output so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child can be signalled");
    }

    /// Waits until it ends.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.log.display());
        eventually(&what, limit, || self.child.try_wait().expect("our own child can be waited for"))
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status;
        }
        self.signal(Signal::TERM);
        self.wait(Duration::from_mins(1))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // A demo that is killed at once leaves its daemons and its real containers behind.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let deadline = Instant::now() + ORDERLY_END;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln_tail(&self.log, &self.output());
        }
    }
}

#[expect(clippy::print_stderr, reason = "shown by the test runner when the test fails")]
fn eprintln_tail(log: &Path, output: &str) {
    let lines: Vec<_> = output.lines().collect();
    let tail = lines[lines.len().saturating_sub(40)..].join("\n");
    eprintln!("--- {} ---\n{tail}", log.display());
}

/// Waits for something that another process does: probes repeatedly until there is a result.
///
/// # Panics
/// If there is none within `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a program to its end and returns its output.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// A response of our server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its status line and headers.
    pub head: String,
    /// Its body.
    pub body: Value,
}

/// Sends one request to our server, whose responses are JSON. A `body` that is `null` is not sent.
///
/// # Errors
/// If there is no response, or it is not one of our server.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = headers.concat();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parts = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head: head.to_owned(), body: serde_json::from_str(body).ok()? })
    });
    parts.ok_or_else(|| io::Error::other(format!("no answer of ours: {answer}")))
}

/// A number in a kernel file, such as a limit.
pub fn kernel_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// A directory with a short path, because the names of LXC's sockets are limited to 107 bytes.
pub fn short_directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("e2e").tempdir_in("/tmp").expect("/tmp can be written")
}

/// Splits a documented command line into words, with quotes as in a shell.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_split_as_a_shell_does() {
        let line = r#"curl -X GET "http://a/b?vm_id=104" -d '{"vm_id": 104}'"#;
        assert_eq!(
            super::words(line),
            ["curl", "-X", "GET", "http://a/b?vm_id=104", "-d", r#"{"vm_id": 104}"#]
        );
    }
}
