//! Keeps the daemons running, as systemd would, and remembers how they ended.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Wait before a daemon that ended is restarted; it grows each time the daemon does not last.
const BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);
/// After this time a daemon no longer counts as unable to start.
const LASTING: Duration = Duration::from_secs(30);
/// How long a daemon may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// Its program cannot be started.
    #[error("cannot start `{}`", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// One daemon.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    program: PathBuf,
    config: PathBuf,
    errors: PathBuf,
    state: State,
    restarts: u32,
    failures: Vec<String>,
    back_off: Duration,
}

#[derive(Debug)]
enum State {
    Running { child: Child, since: Instant },
    Waiting { until: Instant },
}

impl Daemon {
    /// Starts a daemon; its standard error goes to `<log>/<name>.stderr`.
    ///
    /// # Errors
    /// [`SuperviseError`] if its program cannot be started.
    pub fn start(
        name: &'static str,
        program: &Path,
        config: &Path,
        log: &Path,
    ) -> Result<Self, SuperviseError> {
        let mut daemon = Self {
            name,
            program: program.to_owned(),
            config: config.to_owned(),
            errors: log.join(format!("{name}.stderr")),
            state: State::Waiting { until: Instant::now() },
            restarts: 0,
            failures: Vec::new(),
            back_off: BACK_OFF,
        };
        daemon.spawn()?;
        Ok(daemon)
    }

    fn spawn(&mut self) -> Result<(), SuperviseError> {
        let child = File::options().create(true).append(true).open(&self.errors).and_then(|errors| {
            Command::new(&self.program)
                .arg("run")
                .arg("--config")
                .arg(&self.config)
                .stdin(Stdio::null())
                // All of its output is also in the daemon's own, rotated log file.
                .stdout(Stdio::null())
                .stderr(errors)
                // Ctrl-C on the terminal is meant for the demo, which then stops the daemons in order.
                .process_group(0)
                .spawn()
        });
        let child =
            child.map_err(|source| SuperviseError::Spawn { program: self.program.clone(), source })?;
        self.state = State::Running { child, since: Instant::now() };
        Ok(())
    }

    /// Notices if it has ended, and restarts it when its wait is over. Returns what happened, for the log.
    ///
    /// # Errors
    /// [`SuperviseError`] if its program cannot be started any more.
    pub fn poll(&mut self, now: Instant) -> Result<Option<String>, SuperviseError> {
        match &mut self.state {
            State::Running { child, since } => {
                let since = *since;
                // Waiting for our own child fails only if that was done already, and then it has ended.
                let ended = child.try_wait().unwrap_or(None);
                let Some(status) = ended else { return Ok(None) };
                Ok(Some(self.ended(status, now, now.duration_since(since))))
            }
            State::Waiting { until } if *until <= now => {
                self.spawn()?;
                self.restarts += 1;
                Ok(Some(format!("{} was started again", self.name)))
            }
            State::Waiting { .. } => Ok(None),
        }
    }

    fn ended(&mut self, status: ExitStatus, now: Instant, ran: Duration) -> String {
        let what = format!("{} ended: {status}", self.name);
        if is_failure(status) {
            self.failures.push(what.clone());
        }
        self.back_off = if LASTING <= ran { BACK_OFF } else { self.back_off };
        self.state = State::Waiting { until: now + self.back_off };
        self.back_off = (self.back_off * 2).min(LONGEST_BACK_OFF);
        what
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The file with its standard error.
    pub fn errors(&self) -> &Path {
        &self.errors
    }

    /// Whether it is running.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// How it failed, for each failure.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// How often it was restarted.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        if let State::Running { child, .. } = &self.state {
            // It may have ended at this very moment, which is fine.
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
        }
    }

    /// Waits until it has ended, and kills it if that takes too long. It is expected to end in an orderly way.
    pub fn wait_stopped(&mut self) {
        let State::Running { child, .. } = &mut self.state else { return };
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Ok(None) => {
                    self.failures.push(format!("{} did not end within {STOP_TIMEOUT:?}", self.name));
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                Ok(Some(status)) => {
                    if is_failure(status) {
                        self.failures.push(format!("{} ended badly when asked to: {status}", self.name));
                    }
                    break;
                }
                Err(_) => break,
            }
        }
        self.state = State::Waiting { until: deadline };
    }
}

impl Drop for Daemon {
    /// Makes sure that the demo never leaves a daemon behind.
    fn drop(&mut self) {
        self.ask_to_stop();
        self.wait_stopped();
    }
}

/// Whether it failed by itself. A daemon that gets SIGTERM ends in an orderly way, with status 0.
fn is_failure(status: ExitStatus) -> bool {
    let outside = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
    !status.success() && !status.signal().is_some_and(|signal| outside.contains(&signal))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A daemon that runs the given shell script.
    fn daemon(directory: &Path, script: &str) -> Daemon {
        let program = directory.join("daemon");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Daemon::start("daemon", &program, Path::new("/none.toml"), directory).unwrap()
    }

    fn pid(daemon: &Daemon) -> Option<Pid> {
        match &daemon.state {
            State::Running { child, .. } => Some(Pid::from_child(child)),
            State::Waiting { .. } => None,
        }
    }

    /// Polls, as if time passed, until something happens.
    fn next_event(daemon: &mut Daemon) -> String {
        loop {
            if let Some(event) = daemon.poll(Instant::now() + LONGEST_BACK_OFF).unwrap() {
                return event;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_daemon_that_is_killed_comes_back_and_is_healthy() {
        let directory = tempfile::tempdir().unwrap();
        let mut daemon = daemon(directory.path(), "exec sleep 1000");
        kill_process(pid(&daemon).unwrap(), Signal::KILL).unwrap();
        assert!(next_event(&mut daemon).contains("SIGKILL"));
        assert!(!daemon.is_running());
        assert!(next_event(&mut daemon).contains("started again"));
        assert!(daemon.is_running() && daemon.failures().is_empty() && daemon.restarts() == 1);
    }

    #[test]
    fn a_daemon_that_fails_by_itself_is_not_healthy() {
        let directory = tempfile::tempdir().unwrap();
        for script in ["echo broken >&2; exit 3", "kill -SEGV $$", "kill -ABRT $$"] {
            let mut daemon = daemon(directory.path(), script);
            next_event(&mut daemon);
            assert_eq!(daemon.failures().len(), 1, "{script}");
        }
        let errors = std::fs::read_to_string(directory.path().join("daemon.stderr")).unwrap();
        assert_eq!(errors, "broken\n");
    }

    #[test]
    fn an_orderly_end_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let mut daemon = daemon(directory.path(), "exec sleep 1000");
        daemon.ask_to_stop();
        daemon.wait_stopped();
        assert!(daemon.failures().is_empty() && !daemon.is_running());
    }
}
