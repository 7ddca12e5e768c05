//! The only place that starts the `pct` program.
//!
//! Arguments are separate strings, made from numbers and checked names; no shell is involved. A call that takes too
//! long gets SIGTERM, which `pct` passes on to its worker. It is never killed, because that would leave the worker
//! running and the container locked. If it continues all the same, it is left alone and remembered, and its container
//! accepts no further change until it ends.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::output::{Output, while_printing};
use crate::backend::{BackendError, texts, watch};
use crate::config::PctConfig;

/// The PATH for the program and everything it starts.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The locale: messages in English, and arguments in UTF-8, without which `pct` replaces every other character.
const LOCALE: &str = "C.UTF-8";

/// The exit code of a call whose task did not end with `OK`.
const WORKER_FAILED: i32 = 255;

/// What a call is shown with in place of a private argument.
pub(super) const ELIDED: &str = "…";

/// How long a call may take, and whether it changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only reads.
    Query,
    /// It sets a value, starts or stops.
    Change,
    /// It copies or drops data.
    Long,
}

/// One call: `pct <command> <vmid> <arguments>`.
#[derive(Clone, Debug)]
pub(super) struct Call {
    command: &'static str,
    vmid: Vmid,
    arguments: Vec<String>,
    /// The arguments as they are shown, and recorded before the call.
    shown: Vec<String>,
    kind: Kind,
    /// How long the program itself may wait, in addition to the time limit of its kind.
    waits: Duration,
}

impl Call {
    pub(super) fn new(kind: Kind, command: &'static str, vmid: Vmid) -> Self {
        Self { command, vmid, arguments: Vec::new(), shown: Vec::new(), kind, waits: Duration::ZERO }
    }

    /// Adds a positional argument, or the value of an option.
    pub(super) fn arg(mut self, argument: impl Display) -> Self {
        self.arguments.push(argument.to_string());
        self.shown.push(argument.to_string());
        self
    }

    /// Adds the value of an option that is long, and concerns nobody who reads logs.
    pub(super) fn private(mut self, argument: String) -> Self {
        self.arguments.push(argument);
        self.shown.push(ELIDED.to_owned());
        self
    }

    /// Extends its time limit, because the program itself waits that long.
    pub(super) fn waiting(mut self, waits: Duration) -> Self {
        self.waits = waits;
        self
    }

    /// The call as one would type it, for messages.
    pub(super) fn shown(&self) -> String {
        let vmid = self.vmid.to_string();
        let mut words = vec!["pct", self.command, &vmid];
        words.extend(self.shown.iter().map(String::as_str));
        words.join(" ")
    }
}

/// What a call printed.
#[derive(Debug)]
pub(super) struct Printed {
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs calls of `pct`.
#[derive(Debug)]
pub(super) struct Runner {
    config: PctConfig,
    environment: Vec<(String, OsString)>,
    /// Calls that exceeded their time limit and are still running, by container.
    lingering: Arc<Mutex<HashMap<Vmid, String>>>,
}

impl Runner {
    pub(super) fn new(config: PctConfig) -> Self {
        let kept = config.keep_environment.iter();
        let environment = kept.filter_map(|name| Some((name.clone(), std::env::var_os(name)?))).collect();
        Self { config, environment, lingering: Arc::default() }
    }

    pub(super) fn config(&self) -> &PctConfig {
        &self.config
    }

    /// Runs a call; returns what it printed if its exit code says success.
    pub(super) async fn run(&self, call: &Call) -> Result<Printed, BackendError> {
        self.run_seen(call, |_| {}).await
    }

    /// As [`Runner::run`]; shows `begun` the process when it has been started.
    pub(super) async fn run_seen(
        &self,
        call: &Call,
        begun: impl FnOnce(&Child) + Send,
    ) -> Result<Printed, BackendError> {
        if call.kind != Kind::Query
            && let Some(command) = self.lingering().get(&call.vmid).cloned()
        {
            return Err(BackendError::StillRunning { vmid: call.vmid, command });
        }
        if call.kind != Kind::Query {
            watch::note(watch::Call { command: call.shown(), upid: None }).await?;
        }
        tracing::debug!(command = call.shown(), "running");
        let (mut child, outputs) = self.spawn(call).map_err(|source| BackendError::Spawn {
            command: self.config.path.display().to_string(),
            source,
        })?;
        begun(&child);

        let limit = self.limit(call);
        let (ended, is_cancelled) = tokio::select! {
            biased;
            ended = timeout(limit, while_printing(child.wait(), &outputs)) => (ended.ok(), false),
            () = watch::cancelled() => (None, true),
        };
        let ended = match ended {
            Some(ended) => ended,
            None => match while_printing(self.ask_to_end(&mut child), &outputs).await {
                Some(ended) if ended.as_ref().is_ok_and(ExitStatus::success) => ended,
                Some(_) if is_cancelled => return Err(BackendError::Cancelled { command: call.shown() }),
                Some(_) => {
                    return Err(BackendError::TimedOut { command: call.shown(), limit, running: false });
                }
                None => {
                    self.leave_to_itself(call, child, outputs);
                    return Err(BackendError::TimedOut { command: call.shown(), limit, running: true });
                }
            },
        };
        judged(call, ended, &outputs)
    }

    /// Starts a call, with the files that it prints stdout and stderr to.
    fn spawn(&self, call: &Call) -> io::Result<(Child, [Output; 2])> {
        let limit = self.config.max_output_kib << 10;
        let outputs = [Output::new(limit)?, Output::new(limit)?];
        let [stdout, stderr] = &outputs;
        let child = self.command(call).stdout(stdout.writer()?).stderr(stderr.writer()?).spawn()?;
        Ok((child, outputs))
    }

    fn command(&self, call: &Call) -> Command {
        let mut command = Command::new(&self.config.path);
        command.arg(call.command).arg(call.vmid.to_string()).args(&call.arguments);
        command.env_clear().env("PATH", SEARCH_PATH).env("LC_ALL", LOCALE);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // In a process group of its own: Ctrl-C on a terminal must not interrupt a call that the daemon will wait
        // for.
        command.stdin(Stdio::null()).process_group(0);
        command.kill_on_drop(false);
        command
    }

    /// The time limit of a call.
    pub(super) fn limit(&self, call: &Call) -> Duration {
        let seconds = match call.kind {
            Kind::Query => self.config.query_timeout_seconds,
            Kind::Change => self.config.change_timeout_seconds,
            Kind::Long => self.config.long_timeout_seconds,
        };
        Duration::from_secs(seconds) + call.waits
    }

    /// Sends SIGTERM and waits; `None` if the program continues.
    async fn ask_to_end(&self, child: &mut Child) -> Option<io::Result<ExitStatus>> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, Signal::TERM)
        {
            tracing::warn!(%error, "cannot ask pct to end");
        }
        timeout(Duration::from_secs(self.config.terminate_grace_seconds), child.wait()).await.ok()
    }

    /// Waits for the program in the background, so that its end is noticed and its container is free again.
    fn leave_to_itself(&self, call: &Call, mut child: Child, outputs: [Output; 2]) {
        let (vmid, command) = (call.vmid, call.shown());
        tracing::error!(%vmid, command, "pct continues after SIGTERM; the container accepts no change until it ends");
        self.lingering().insert(vmid, command.clone());
        let lingering = Arc::clone(&self.lingering);
        tokio::spawn(async move {
            let ended = while_printing(child.wait(), &outputs).await;
            lock(&lingering).remove(&vmid);
            match ended {
                Ok(status) => tracing::warn!(%vmid, command, %status, "the overdue pct call has ended"),
                Err(error) => tracing::error!(%vmid, command, %error, "lost track of an overdue pct call"),
            }
        });
    }

    fn lingering(&self) -> MutexGuard<'_, HashMap<Vmid, String>> {
        lock(&self.lingering)
    }

    /// The calls that exceeded their time limit and are still running.
    pub(super) fn overdue(&self) -> Vec<String> {
        self.lingering().values().cloned().collect()
    }
}

/// The result of a call that has ended.
fn judged(
    call: &Call,
    ended: io::Result<ExitStatus>,
    [stdout, stderr]: &[Output; 2],
) -> Result<Printed, BackendError> {
    // It was started, so what it has done is not known without its answer.
    let lost = |source: io::Error| match call.kind {
        Kind::Query => BackendError::Spawn { command: call.shown(), source },
        Kind::Change | Kind::Long => {
            BackendError::AnswerLost { command: call.shown(), detail: source.to_string() }
        }
    };
    let status = ended.map_err(lost)?;
    let (stdout, stderr) = (stdout.text().map_err(lost)?, stderr.text().map_err(lost)?);
    if status.success() || call.kind != Kind::Query && has_only_warned(status, &stderr) {
        return Ok(Printed { stdout, stderr });
    }
    if status.code().is_none() && call.kind != Kind::Query {
        // Somebody has killed it, and its worker may go on without it.
        return Err(BackendError::AnswerLost { command: call.shown(), detail: status.to_string() });
    }
    Err(texts::classify(call.vmid, &call.shown(), &status.to_string(), &stderr))
}

/// Whether the call failed only because its task ended with warnings, as it does on Proxmox VE 6. The task has then
/// succeeded; since 7, the exit code says so. An error would be printed in place of this line, or after it.
fn has_only_warned(status: ExitStatus, stderr: &str) -> bool {
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).map(str::trim);
    let number = last.and_then(|line| line.strip_prefix("Task finished with ")?.strip_suffix(" warning(s)!"));
    status.code() == Some(WORKER_FAILED)
        && number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section is a single map or buffer operation, so a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    /// Something else in this process waits for any child, and so takes the exit code of ours.
    #[tokio::test]
    async fn a_change_that_nobody_can_wait_for_may_have_been_made() {
        let runner = Runner::new(PctConfig { path: "/bin/true".into(), ..PctConfig::default() });
        for (kind, may_have_begun) in [(Kind::Query, false), (Kind::Change, true), (Kind::Long, true)] {
            let call = Call::new(kind, "set", Vmid::try_from(104).unwrap());
            let (mut child, outputs) = runner.spawn(&call).unwrap();
            let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap());
            waitpid(pid, WaitOptions::empty()).unwrap();
            let error = judged(&call, child.wait().await, &outputs).unwrap_err();
            let found = (error.may_have_begun(), error.at_work().is_some());
            assert_eq!(found, (may_have_begun, may_have_begun), "{kind:?}: {error:?}");
        }
    }
}
