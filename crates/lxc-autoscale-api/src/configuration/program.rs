//! The one door to the other daemons' programs: each says itself what a configuration comes to, and what is wrong with
//! it. So there is one truth about the keys, that of the program that goes by them.
//!
//! The arguments are fixed words, and the text goes in through a pipe. The program only looks, so one that hangs is
//! killed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lxc_autoscale_core::api::ConfigReport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// Far more than a look at some KB takes, even on a node that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most that is read of what it says; every key with its value takes some KB.
const MAX_OUTPUT_BYTES: u64 = 8 << 20;
/// Most of its complaint that is handed on.
const MAX_COMPLAINT_CHARS: usize = 300;

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be started, or talked to.
    #[error("cannot run `{} config --stdin --json`", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("`{} config --stdin --json` did not end within {PATIENCE:?}", program.display())]
    TimedOut {
        /// The program.
        program: PathBuf,
    },
    /// It said something else; another version, perhaps.
    #[error("`{} config --stdin --json` gave no report: {said}", program.display())]
    Said {
        /// The program.
        program: PathBuf,
        /// What it said.
        said: String,
    },
}

/// Asks `program` what `text` comes to.
///
/// # Errors
/// [`ProgramError`] when it does not say.
pub async fn report(program: &Path, text: &str) -> Result<ConfigReport, ProgramError> {
    let named = || program.to_owned();
    let failed = |source| ProgramError::Run { program: named(), source };
    let answered = timeout(PATIENCE, ask(program, text)).await;
    let (stdout, stderr) =
        answered.map_err(|_| ProgramError::TimedOut { program: named() })?.map_err(failed)?;
    serde_json::from_slice(&stdout).map_err(|error| {
        let complaint = String::from_utf8_lossy(&stderr);
        let said = if complaint.trim().is_empty() { error.to_string() } else { complaint.into_owned() };
        let said = said.trim().chars().filter(|c| !c.is_control()).take(MAX_COMPLAINT_CHARS).collect();
        ProgramError::Said { program: named(), said }
    })
}

async fn ask(program: &Path, text: &str) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut command = Command::new(program);
    command.args(["config", "--stdin", "--json"]).env_clear().env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        match stdin.write_all(text.as_bytes()).await {
            // It has seen enough; what it says counts.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    };
    let read_out = async {
        let mut bytes = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).await?;
        }
        io::Result::Ok(bytes)
    };
    let read_err = async {
        let mut bytes = Vec::new();
        if let Some(stderr) = stderr {
            stderr.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).await?;
        }
        io::Result::Ok(bytes)
    };
    let ((), stdout, stderr) = tokio::try_join!(write, read_out, read_err)?;
    child.wait().await?;
    Ok((stdout, stderr))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that says something else than ours do.
    async fn ask_script(script: &str) -> Result<ConfigReport, ProgramError> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        report(&program, &"a = 1\n".repeat(30_000)).await
    }

    #[tokio::test]
    async fn what_gives_no_report_is_an_error_that_says_what_it_said() {
        let error = report(Path::new("/nonexistent/ml"), "").await.unwrap_err();
        assert!(matches!(error, ProgramError::Run { .. }), "{error}");
        let error = ask_script("echo 'unrecognized subcommand' >&2; exit 64").await.unwrap_err();
        assert!(error.to_string().ends_with("gave no report: unrecognized subcommand"), "{error}");
        let error = ask_script("echo '{\"settings\": 1}'").await.unwrap_err();
        assert!(matches!(error, ProgramError::Said { .. }), "{error}");
    }

    #[tokio::test]
    async fn it_gets_the_text_and_fixed_words_and_no_environment() {
        let script = "test \"$*\" = 'config --stdin --json' && test -z \"$HOME\" && \
                      test \"$(wc -l)\" -eq 30000 && echo '{\"settings\": []}'";
        assert_eq!(ask_script(script).await.unwrap().settings, []);
    }
}
