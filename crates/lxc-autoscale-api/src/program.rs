//! The only place that runs the other daemons' programs. They report what only they know: their effective
//! configuration, and why a container has its size. That way there is only one implementation of each, and this
//! server contains none of their code.
//!
//! The arguments are fixed words and checked values; text is passed through a pipe. The programs only read, so one
//! that hangs is killed, as is one whose client has left.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// Largest output that is read.
const MAX_OUTPUT_BYTES: u64 = 8 << 20;
/// Longest part of its stderr that is passed on, in characters.
const MAX_COMPLAINT_CHARS: usize = 300;

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be started, or the pipes to it failed.
    #[error("cannot run `{command}`")]
    Run {
        /// The command as one would type it.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("`{command}` did not end within {patience:?}")]
    TimedOut {
        /// The command as one would type it.
        command: String,
        /// The time limit.
        patience: Duration,
    },
    /// Its output is not a report; it may be another version.
    #[error("`{command}` gave no report: {said}")]
    Said {
        /// The command as one would type it.
        command: String,
        /// What it printed.
        said: String,
    },
}

/// The output of a program that has ended.
#[derive(Debug)]
pub struct Said {
    command: String,
    /// Its exit status.
    pub status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs a program with these arguments and no environment variable except `LC_ALL=C`, and passes `input` to it.
///
/// # Errors
/// [`ProgramError`] if it cannot be run, or does not end in time.
pub async fn ask<W: AsRef<OsStr>>(
    program: &Path,
    words: &[W],
    input: &str,
    patience: Duration,
) -> Result<Said, ProgramError> {
    let shown = words.iter().map(|word| word.as_ref().to_string_lossy());
    let command = [program.to_string_lossy()].into_iter().chain(shown).collect::<Vec<_>>().join(" ");
    let mut child = Command::new(program);
    child.args(words).env_clear().env("LC_ALL", "C");
    child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    match timeout(patience, talk(child, input)).await {
        Ok(Ok((status, stdout, stderr))) => Ok(Said { command, status, stdout, stderr }),
        Ok(Err(source)) => Err(ProgramError::Run { command, source }),
        Err(_) => Err(ProgramError::TimedOut { command, patience }),
    }
}

impl Said {
    /// The content of stderr, as far as it fits a message.
    pub fn complaint(&self) -> String {
        let said = String::from_utf8_lossy(&self.stderr);
        said.trim().chars().filter(|c| !c.is_control()).take(MAX_COMPLAINT_CHARS).collect()
    }

    /// The report, parsed from JSON.
    ///
    /// # Errors
    /// [`ProgramError::Said`] with the content of stderr if it is not a report.
    pub fn report<T: DeserializeOwned>(&self) -> Result<T, ProgramError> {
        serde_json::from_slice(&self.stdout).map_err(|error| {
            let complaint = self.complaint();
            let said = if complaint.is_empty() { error.to_string() } else { complaint };
            ProgramError::Said { command: self.command.clone(), said }
        })
    }
}

async fn talk(mut command: Command, input: &str) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        match stdin.write_all(input.as_bytes()).await {
            // It did not read all of the input; its output counts.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    };
    let ((), stdout, stderr) = tokio::try_join!(write, all_of(stdout), all_of(stderr))?;
    Ok((child.wait().await?, stdout, stderr))
}

async fn all_of(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};

    use super::*;

    /// A program whose output is no report.
    async fn ask_script(script: &str, patience: Duration) -> Result<Value, ProgramError> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let words = ["config", "--stdin", "--json"];
        ask(&program, &words, &"a = 1\n".repeat(30_000), patience).await?.report()
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_gives_no_report_is_an_error_that_says_what_it_said() {
        let error = ask(Path::new("/nonexistent/ml"), &["why"], "", PATIENCE).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot run `/nonexistent/ml why`");
        let error = ask_script("echo 'unrecognized subcommand' >&2; exit 64", PATIENCE).await.unwrap_err();
        assert!(error.to_string().ends_with("gave no report: unrecognized subcommand"), "{error}");
        let error = ask_script("echo '{\"settings\": '", PATIENCE).await.unwrap_err();
        assert!(matches!(error, ProgramError::Said { .. }), "{error}");
        let error = ask_script("exec sleep 600", Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, ProgramError::TimedOut { .. }), "{error}");
    }

    #[tokio::test]
    async fn it_gets_the_text_and_fixed_words_and_no_environment() {
        let script = "test \"$*\" = 'config --stdin --json' && test -z \"$HOME\" && \
                      test \"$(wc -l)\" -eq 30000 && echo '{\"settings\": []}'";
        assert_eq!(ask_script(script, PATIENCE).await.unwrap(), json!({"settings": []}));
    }
}
