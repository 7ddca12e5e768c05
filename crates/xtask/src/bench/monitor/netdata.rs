//! netdata as shipped by Debian, with only its collection of control groups.

use std::path::Path;
use std::time::Duration;

use super::MonitorBenchError;
use super::measure::{Contestant, Used};
use super::stage::Stage;

/// Its loopback port; the network namespace belongs to the run.
const PORT: u16 = 19_999;

/// Measures it at its own interval of one second.
pub(super) fn run(stage: &Stage, time: Duration) -> Result<(Used, u64), MonitorBenchError> {
    let home = stage.directory().join("netdata");
    for directory in ["config", "cache", "lib", "log", "web"] {
        let directory = home.join(directory);
        std::fs::create_dir_all(&directory).map_err(MonitorBenchError::io("make", directory))?;
    }
    let configuration = home.join("config/netdata.conf");
    std::fs::write(&configuration, text(&home, stage))
        .map_err(MonitorBenchError::io("write", &configuration))?;
    let arguments = ["-D".to_owned(), "-c".to_owned(), configuration.display().to_string()];
    let mut contestant =
        Contestant::start("netdata", stage.hierarchies(), None, Path::new("netdata"), &arguments)?;
    let wanted = stage.len();
    contestant.wait_until(|| wanted <= charted())?;
    let used = contestant.watch(time, || 0)?.0;
    Ok((used, time.as_secs()))
}

fn text(home: &Path, stage: &Stage) -> String {
    // It takes any version 2 tree for the only one, even one without controllers next to version 1.
    let unified = if stage.hierarchies().is_v2() { "yes" } else { "no" };
    let home = home.display();
    format!(
        "[global]\n  run as user = root\n  update every = 1\n\
         [db]\n  mode = ram\n  retention = 600\n\
         [ml]\n  enabled = no\n[health]\n  enabled = no\n[statsd]\n  enabled = no\n[registry]\n  enabled = no\n\
         [cloud]\n  enabled = no\n\
         [directories]\n  config = {home}/config\n  cache = {home}/cache\n  lib = {home}/lib\n  log = {home}/log\n  web = {home}/web\n\
         [logs]\n  access = none\n  error = {home}/log/error.log\n  debug = none\n\
         [web]\n  bind to = 127.0.0.1\n  default port = {PORT}\n\
         [plugins]\n  PATH environment variable = {path}\n  proc = no\n  diskspace = no\n  tc = no\n  idlejitter = no\n  \
         cgroups = yes\n  apps = no\n  charts.d = no\n  python.d = no\n  node.d = no\n  go.d = no\n  ebpf = no\n  \
         enable running new plugins = no\n  checks = no\n  timex = no\n  slabinfo = no\n  perf = no\n  nfacct = no\n  \
         ioping = no\n  fping = no\n  netdata monitoring = no\n  statsd = no\n\
         [plugin:cgroups]\n  max cgroups to allow = {max}\n  enable by default cgroups matching = !*/ns /lxc/* !*\n  \
         search for cgroups in subpaths matching = *\n  enable systemd services = no\n  \
         use unified cgroups = {unified}\n  \
         run script to rename cgroups matching = !*\n",
        path = "/usr/sbin:/usr/bin:/sbin:/bin",
        max = 4 * stage.len() + 1000,
    )
}

/// The number of containers for which it has a chart of memory; values of zero, such as the CPU time of a sleeping
/// process, it reads but hides.
fn charted() -> usize {
    let Ok(body) = get("/api/v1/charts") else { return 0 };
    body.matches("\"context\": \"cgroup.mem_usage\"").count()
}

/// Sends a simple request, for which curl is not needed.
fn get(path: &str) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
