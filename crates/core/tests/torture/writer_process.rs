//! A writer in a process of its own, which is going to be killed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lxc_autoscale_core::metrics_file::{Bounds, MetricsWriter};

use crate::{ROOMY, snapshot};

/// The variables with its settings; the test below is the process.
const FILE: &str = "LXC_TORTURE_WRITER_FILE";
const FIRST: &str = "LXC_TORTURE_WRITER_FIRST";
const PAUSE_MS: &str = "LXC_TORTURE_WRITER_PAUSE_MS";
const MAX_BYTES: &str = "LXC_TORTURE_WRITER_MAX_BYTES";

/// Appends snapshots until it is killed, and acknowledges each one that is written: `acknowledged 17`.
#[test]
fn writer_process() {
    let Ok(path) = std::env::var(FILE) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let bounds = Bounds { max_bytes: number(MAX_BYTES), ..ROOMY };
    let (mut writer, recovery) = MetricsWriter::open(path, bounds).unwrap();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "opened {recovery:?}").unwrap();
    for number in number(FIRST).. {
        writer.append(&snapshot(number)).unwrap();
        writeln!(stdout, "acknowledged {number}").unwrap();
        stdout.flush().unwrap();
        std::thread::sleep(Duration::from_millis(pause_ms()));
    }
}

fn pause_ms() -> u64 {
    std::env::var(PAUSE_MS).unwrap().parse().unwrap()
}

/// Another user to run the writer as.
pub(crate) struct WriterUser {
    pub(crate) uid: u32,
    /// A copy of this program that this user can run.
    pub(crate) program: PathBuf,
}

/// A writer process.
pub(crate) struct WriterProcess(Child);

/// The output of a process before it ended.
pub(crate) struct Said {
    /// The last snapshot that it acknowledged.
    pub(crate) acknowledged: Option<u64>,
    /// How it found the file, if it got that far.
    pub(crate) opened: Option<String>,
    /// Whether it failed before it was killed.
    pub(crate) panicked: bool,
}

impl WriterProcess {
    /// Starts one that appends from snapshot `first` on, with a pause after each.
    pub(crate) fn start(
        path: &Path,
        user: Option<&WriterUser>,
        first: u64,
        pause_ms: u64,
        max_bytes: u64,
    ) -> Self {
        let mut command = match user {
            Some(user) => Command::new(&user.program),
            None => Command::new(std::env::current_exe().unwrap()),
        };
        if let Some(user) = user {
            command.uid(user.uid).gid(user.uid);
        }
        let child = command
            .args(["--exact", "writer_process::writer_process", "--nocapture", "--test-threads=1"])
            .env(FILE, path)
            .env(FIRST, first.to_string())
            .env(PAUSE_MS, pause_ms.to_string())
            .env(MAX_BYTES, max_bytes.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Kills it with SIGKILL, and returns its output.
    pub(crate) fn kill(mut self) -> Said {
        self.0.kill().unwrap();
        let mut said = Said { acknowledged: None, opened: None, panicked: false };
        for line in BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("acknowledged ") {
                // A line cannot be cut by the end of the process, because it is a single write to a pipe.
                said.acknowledged = Some(number.parse().unwrap());
            } else if let Some((_, recovery)) = line.split_once("opened ") {
                said.opened = Some(recovery.to_owned());
            } else if line.contains("panicked") || line.contains("FAILED") {
                said.panicked = true;
            }
        }
        self.0.wait().unwrap();
        said
    }
}
