//! The daemon as a process: its CPU time and memory, cycle by cycle, as reported by the kernel.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};

/// What the daemon logs without an API, which it only asks for boosts here.
const NO_API: &str = "what somebody else changes counts as set by hand, boosts included";
/// What the daemon logs at the end of a cycle.
const END_OF_CYCLE: &str = "before the next run.";

/// The daemon's program, and the environment that its unit sets.
#[derive(Clone, Copy)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    /// `NAME=VALUE` each.
    pub(crate) environment: &'a [String],
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, serde::Serialize)]
pub(crate) struct Memory {
    /// The peak (`VmHWM`).
    pub(crate) peak: f64,
    /// At present (`VmRSS`).
    pub(crate) resident: f64,
    /// The part that is not backed by files (`RssAnon`).
    pub(crate) anonymous: f64,
}

impl Daemon {
    /// Starts the program with this configuration.
    pub(crate) fn start(program: &Program, configuration: &Path) -> Result<Self, Box<dyn Error>> {
        let Program { path: program, environment } = program;
        let mut command = Command::new(program);
        command.envs(environment.iter().filter_map(|set| set.split_once('=')));
        command.arg("run").arg("--config").arg(configuration).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("cannot run `{}`: {error}", program.display()))?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, lines })
    }

    /// Waits for the end of the present cycle, or of the next one.
    pub(crate) fn end_of_cycle(&mut self) -> Result<(), Box<dyn Error>> {
        let mut line = String::new();
        while self.lines.read_line(&mut line)? != 0 {
            let is_trouble = line.contains(" [ERROR] ") || line.contains(" [WARNING] ");
            if is_trouble && !line.contains(NO_API) {
                return Err(format!("the daemon is in trouble: {}", line.trim()).into());
            }
            if line.trim_end().ends_with(END_OF_CYCLE) {
                return Ok(());
            }
            line.clear();
        }
        Err("the daemon has ended".into())
    }

    /// CPU time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, Box<dyn Error>> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the program, in brackets, may contain anything; user and system time are the 12th and 13th field
        // after it.
        let (_, fields) = stat.rsplit_once(')').ok_or("no stat")?;
        let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>()?;
        Ok(ticks as f64 / clock_ticks_per_second() as f64)
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> Result<Memory, Box<dyn Error>> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |name: &str| -> Result<f64, Box<dyn Error>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
            Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
        };
        Ok(Memory { peak: of("VmHWM")?, resident: of("VmRSS")?, anonymous: of("RssAnon")? })
    }

    /// Stops it, and waits for its end.
    pub(crate) fn stop(mut self) -> Result<(), Box<dyn Error>> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).ok_or("no process")?;
        kill_process(pid, Signal::TERM)?;
        // Otherwise it might block on its output.
        std::io::copy(&mut self.lines, &mut std::io::sink())?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the daemon ended with {status}").into()) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After a failure; one that was stopped has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
