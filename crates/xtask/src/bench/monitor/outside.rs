//! The half of the benchmark that stays outside: it installs and builds what is needed, starts the other half in
//! namespaces of its own, and cleans up however that half ends.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::groups::Hierarchies;
use super::{MonitorBenchError, Options};
use crate::command::{self, cargo};
use crate::{packages, say};

/// How long processes that were killed may take to leave their groups.
const PATIENCE: Duration = Duration::from_secs(20);

/// Prepares, measures and clears up.
pub(super) fn run(options: &Options) -> Result<(), MonitorBenchError> {
    if !packages::is_root() {
        return Err(MonitorBenchError::NotRoot);
    }
    packages::ensure(&["iproute2", "strace", "util-linux"])?;
    let has_netdata = !options.without_netdata && options.against.is_none() && has_netdata();
    command::run(cargo(["build-monitor"]))?;
    command::run(cargo([
        "build",
        "--release",
        "--locked",
        "--package",
        "lxc-monitor",
        "--example",
        "bench_read_floor",
    ]))?;
    let hierarchies = Hierarchies::find()?;
    if 0 < hierarchies.remove_all() {
        let why = "control groups of another run of this benchmark are in use; let it end first";
        return Err(MonitorBenchError::Contestant(why.to_owned()));
    }
    let directory = tempfile::Builder::new()
        .prefix("lxc-bench-")
        .tempdir()
        .map_err(MonitorBenchError::io("make a directory below", std::env::temp_dir()))?;
    let program = std::env::current_exe().map_err(MonitorBenchError::io("find", "this program"))?;

    // The namespaces and everything that runs in them end with their first process, which ends with `unshare`.
    let mut inside = Command::new("unshare");
    inside.args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]).arg(program);
    inside.arg("bench-monitor-inside").arg(directory.path());
    inside
        .arg("--containers")
        .arg(options.containers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    inside.arg("--seconds").arg(options.seconds.to_string()).stdin(Stdio::null());
    if !options.without.is_empty() {
        inside.arg("--without").arg(options.without.join(","));
    }
    if !has_netdata {
        inside.arg("--without-netdata");
    }
    if let Some(other) = &options.against {
        let other = std::path::absolute(other).map_err(MonitorBenchError::io("resolve", other))?;
        inside.arg("--against").arg(other).arg("--turns").arg(options.turns.to_string());
    }
    if let Some(json) = &options.json {
        let json = std::path::absolute(json).map_err(MonitorBenchError::io("resolve", json))?;
        inside.arg("--json").arg(json);
    }
    let result = wait(&mut inside);
    clear_up(&hierarchies);
    result
}

/// Waits for the other half; on Ctrl-C or SIGTERM, kills it first.
fn wait(inside: &mut Command) -> Result<(), MonitorBenchError> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |source| MonitorBenchError::Io { what: "run", path: "unshare".to_owned(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut child = inside.kill_on_drop(true).spawn().map_err(failed)?;
        let status = tokio::select! {
            status = child.wait() => status.map_err(failed)?,
            _ = interrupt.recv() => { return stop(&mut child).await; }
            _ = terminate.recv() => { return stop(&mut child).await; }
        };
        if status.success() {
            Ok(())
        } else {
            Err(MonitorBenchError::Contestant(format!("the measuring half ended: {status}")))
        }
    })
}

async fn stop(child: &mut tokio::process::Child) -> Result<(), MonitorBenchError> {
    // An error means that it has ended already.
    let _ = child.kill().await;
    Err(MonitorBenchError::Contestant("interrupted".to_owned()))
}

fn clear_up(hierarchies: &Hierarchies) {
    let begun = Instant::now();
    loop {
        let left = hierarchies.remove_all();
        if left == 0 {
            return;
        }
        if PATIENCE < begun.elapsed() {
            say(&format!("{left} control groups could not be removed: processes are still in them"));
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether netdata is installed; installs it if possible.
fn has_netdata() -> bool {
    if command::is_installed("netdata") {
        return true;
    }
    match packages::ensure(&["netdata-core"]) {
        Ok(()) => command::is_installed("netdata"),
        Err(error) => {
            say(&format!("netdata is left out: {error}"));
            false
        }
    }
}
