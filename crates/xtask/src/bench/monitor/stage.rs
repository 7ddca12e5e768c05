//! Everything that makes the monitor find containers, inside the namespaces of the run.

use std::fmt::Write as _;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::MonitorBenchError;
use super::groups::{Hierarchies, id_of};

/// LXC's directory in the names of the command sockets; nothing is ever created there.
const LXC: &str = "/var/lib/lxc-bench";
/// How long it may take until a started process appears in /proc.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much the monitor reads of a container that is idle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Looks {
    /// The shipped behaviour.
    AsShipped,
    /// All files in each cycle.
    AllFull,
}

/// The containers started so far.
#[derive(Debug)]
pub(super) struct Stage {
    directory: PathBuf,
    hierarchies: Hierarchies,
    containers: Vec<Container>,
    /// The process whose network namespace has the containers' ends of their network devices.
    far_side: Child,
}

/// The process that represents a running container.
#[derive(Debug)]
struct Container {
    init: u32,
    _starter: Child,
    _socket: UnixListener,
}

impl Stage {
    /// Sets up the node without containers.
    pub(super) fn set_up(directory: &Path) -> Result<Self, MonitorBenchError> {
        let configurations = directory.join("pve/lxc");
        std::fs::create_dir_all(&configurations).map_err(MonitorBenchError::io("make", &configurations))?;
        let far_side = spawn(Command::new("unshare").args(["--net", "sleep", "infinity"]))?;
        ip("link set lo up\n")?;
        Ok(Self {
            directory: directory.to_owned(),
            hierarchies: Hierarchies::find()?,
            containers: Vec::new(),
            far_side,
        })
    }

    /// Starts containers until there are as many as wanted.
    pub(super) fn grow_to(&mut self, wanted: usize) -> Result<(), MonitorBenchError> {
        let mut devices = String::new();
        for index in self.containers.len()..wanted {
            let id = id_of(index);
            self.start(id)?;
            let far_side = self.far_side.id();
            // Writing to a string cannot fail.
            let _ = writeln!(devices, "link add veth{id}i0 type veth peer name e{id} netns {far_side}");
        }
        ip(&devices)
    }

    fn start(&mut self, id: u32) -> Result<(), MonitorBenchError> {
        let starter = spawn(Command::new("unshare").args(["--pid", "--fork", "sleep", "infinity"]))?;
        let init = child_of(starter.id())?;
        self.hierarchies.add(id, init)?;
        let name = format!("{LXC}/{id}/command");
        let socket = SocketAddr::from_abstract_name(&name)
            .and_then(|address| UnixListener::bind_addr(&address))
            .map_err(MonitorBenchError::io("listen at", name))?;
        let configuration = self.directory.join(format!("pve/lxc/{id}.conf"));
        let text = format!(
            "arch: amd64\ncores: 2\nfeatures: nesting=1\nhostname: ct{id}\nmemory: 512\n\
             net0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth\n\
             onboot: 1\nostype: debian\nrootfs: local-lvm:vm-{id}-disk-0,size=8G\nswap: 512\n\
             tags: web;production\nunprivileged: 1\n"
        );
        std::fs::write(&configuration, text).map_err(MonitorBenchError::io("write", configuration))?;
        self.containers.push(Container { init, _starter: starter, _socket: socket });
        Ok(())
    }

    /// The hierarchies of the groups.
    pub(super) fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// The directory to which contestants may write.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The number of containers.
    pub(super) fn len(&self) -> usize {
        self.containers.len()
    }

    /// Id and init of each container.
    pub(super) fn containers(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.containers.iter().enumerate().map(|(index, container)| (id_of(index), container.init))
    }

    /// Writes a configuration of the monitor that changes only the paths, the interval, and the features that are
    /// turned off.
    pub(super) fn monitor_configuration(
        &self,
        without: &[String],
        looks: Looks,
    ) -> Result<PathBuf, MonitorBenchError> {
        let state = self.directory.join("state");
        std::fs::create_dir_all(&state).map_err(MonitorBenchError::io("make", &state))?;
        let (directory, state) = (self.directory.display(), state.display());
        let text = format!(
            "interval_seconds = 1\n[paths]\npve = '{directory}/pve'\nlxc = '{LXC}'\n\
             [output]\nfile = '{directory}/metrics.json'\n[logging]\nfile = '{directory}/monitor.log'\n\
             [alerts]\nstate_file = '{state}/alerts.json'\n[anomaly]\nstate_file = '{state}/anomaly.state'\n\
             [notifications]\ndirectory = '{state}/notifications'\n[history]\nfile = '{state}/metrics.sqlite'\n"
        );
        // Each table may appear only once, so a feature is turned off in its own.
        let text = without.iter().fold(text, |text, feature| {
            let table = format!("[{feature}]\n");
            text.replace(&table, &format!("{table}enabled = false\n"))
        });
        let text = match looks {
            Looks::AsShipped => text,
            Looks::AllFull => text + "[collection]\nfull_look_seconds = 0\n",
        };
        let path = self.directory.join("lxc_monitor.toml");
        std::fs::write(&path, text).map_err(MonitorBenchError::io("write", &path))?;
        Ok(path)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The rest ends with the namespace.
        let _ = self.far_side.kill();
        let _ = self.far_side.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child, MonitorBenchError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null());
    silent.spawn().map_err(MonitorBenchError::io("run", name))
}

/// The only child of a process, as soon as it exists.
fn child_of(pid: u32) -> Result<u32, MonitorBenchError> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let begun = Instant::now();
    loop {
        let children = std::fs::read_to_string(&path).map_err(MonitorBenchError::io("read", &path))?;
        if let Some(child) = children.split_ascii_whitespace().next().and_then(|word| word.parse().ok()) {
            return Ok(child);
        }
        if PATIENCE < begun.elapsed() {
            let why = format!("process {pid} (unshare) started nothing");
            return Err(MonitorBenchError::Contestant(why));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Runs lines of `ip -batch`.
fn ip(lines: &str) -> Result<(), MonitorBenchError> {
    let failed = |source| MonitorBenchError::Io { what: "run", path: "ip".to_owned(), source };
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes()).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(MonitorBenchError::Contestant(format!("`ip -batch` could not make network devices: {status}")))
    }
}
