//! A simulated node with our server, both as shipped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lxc_autoscale_core::Vmid;
use rustix::process::{Pid, Signal, kill_process};

use crate::load::{Call, Connection, Failure};

/// Longest time to wait for something that a program does.
const PATIENCE: Duration = Duration::from_mins(1);

/// The running node and server; they end with this.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Stopped before the directory is removed.
    processes: Vec<Running>,
    directory: PathBuf,
    _own: Option<tempfile::TempDir>,
    address: SocketAddr,
    containers: Vec<Vmid>,
}

#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It is our own process, and has nothing to finish.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The simulated kernel is stopped, and continues when this is dropped.
#[derive(Debug)]
pub(crate) struct Quiet(Pid);

impl Drop for Quiet {
    fn drop(&mut self) {
        // If it has ended, nothing is left to continue.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

impl Stage {
    /// Starts the node and the server, and runs the monitor once.
    ///
    /// # Errors
    /// If one of the programs does not start.
    pub(crate) fn set_up(directory: Option<&Path>) -> Result<Self, Failure> {
        // On the same kind of storage as a node's state: a disk, not memory as /tmp may be.
        let own = if directory.is_none() { Some(tempfile::tempdir_in("/var/tmp")?) } else { None };
        let directory = match (directory, &own) {
            (Some(directory), _) => directory.to_owned(),
            (None, Some(own)) => own.path().to_owned(),
            (None, None) => return Err("there is no directory".into()),
        };
        let mut stage = Self {
            processes: Vec::new(),
            directory,
            _own: own,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            containers: Vec::new(),
        };
        fs::create_dir_all(&stage.directory)?;
        let mut simulate = Command::new(binary("lxc-autoscale-sim")?);
        simulate.arg("run").arg("--dir").arg(&stage.directory);
        stage.start(simulate, "kernel.log")?;
        let sockets = stage.at("node/proc/net/unix");
        stage.wait("the simulated node runs its containers", || {
            fs::read_to_string(&sockets).is_ok_and(|text| text.contains("/104/command"))
        })?;
        stage.find_containers()?;
        stage.measure_once()?;
        let mut serve = Command::new(binary("lxc-autoscale-api")?);
        serve.arg("run").arg("--config").arg(stage.configure()?);
        let address = stage.at("address");
        // A file of an earlier run.
        let _ = fs::remove_file(&address);
        stage.start(serve, "api.log")?;
        stage.wait("the server tells its address", || address.exists())?;
        stage.address = fs::read_to_string(address)?.trim().parse()?;
        Ok(stage)
    }

    /// The address that our server listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory of the node and of our server's files.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Containers whose cores can be set.
    pub(crate) fn containers(&self) -> &[Vmid] {
        &self.containers
    }

    /// The node's `pct`.
    pub(crate) fn pct(&self) -> PathBuf {
        self.at("bin/pct")
    }

    /// How often our server has called `pct` to set cores.
    ///
    /// # Errors
    /// If it does not respond.
    pub(crate) async fn pct_calls(&self, connection: &mut Connection) -> Result<u64, Failure> {
        let (_, body) = connection.exchange(&Call::get("/metrics".to_owned())).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let name = "lxc_api_backend_call_duration_seconds_count{call=\"set_cores\",result=\"done\"} ";
        let count = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(count.map_or(Ok(0), str::parse)?)
    }

    /// Stops the simulated kernel for as long as the returned value lives. A kernel counts on the side; the simulated
    /// one is a program that writes a hundred files ten times a second, on the CPUs that are being measured.
    ///
    /// # Errors
    /// If it cannot be stopped.
    pub(crate) fn quiet(&self) -> Result<Quiet, Failure> {
        let kernel = self.processes.first().ok_or("there is no simulated kernel")?;
        let pid = Pid::from_child(&kernel.0);
        kill_process(pid, Signal::STOP)?;
        Ok(Quiet(pid))
    }

    /// Waits for the other server.
    ///
    /// # Errors
    /// If there is none after a minute.
    pub(crate) fn wait_for(&self, other: SocketAddr) -> Result<(), Failure> {
        println!("waiting for a server at {other}; its `pct` is in {}", self.at("bin").display());
        self.wait("the other server listens", || TcpStream::connect(other).is_ok())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    fn start(&mut self, mut command: Command, log: &str) -> Result<(), Failure> {
        let log = File::create(self.at(log))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.processes.push(Running(command.spawn()?));
        Ok(())
    }

    fn wait(&self, what: &str, mut is_there: impl FnMut() -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        while !is_there() {
            if PATIENCE < begun.elapsed() {
                return Err(
                    format!("not within {PATIENCE:?}: {what}; see {}", self.directory.display()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Finds the containers that are running and not pinned to CPUs.
    fn find_containers(&mut self) -> Result<(), Failure> {
        let sockets = fs::read_to_string(self.at("node/proc/net/unix"))?;
        for entry in fs::read_dir(self.at("node/etc/pve/lxc"))? {
            let entry = entry?;
            let text = fs::read_to_string(entry.path())?;
            let vmid = entry.file_name().to_str().and_then(Vmid::from_config_file_name);
            let found = vmid.filter(|vmid| sockets.contains(&format!("/{vmid}/command")));
            self.containers.extend(found.filter(|_| !text.contains("cpuset")));
        }
        self.containers.sort_unstable();
        if self.containers.is_empty() { Err("the node has no containers".into()) } else { Ok(()) }
    }

    /// Runs the monitor once, so that `/resource/vm/status` has usage to show.
    fn measure_once(&self) -> Result<(), Failure> {
        let node = self.at("node").display().to_string();
        let config = self.at("monitor.toml");
        let text = format!(
            "[paths]\ncgroup = '{node}/sys/fs/cgroup'\nproc = '{node}/proc'\nsys = '{node}/sys'\npve = '{node}/etc/pve'\n\
             [logging]\nfile = ''\n"
        );
        fs::write(&config, text)?;
        let measured =
            Command::new(binary("lxc-monitor")?).arg("once").arg("--config").arg(config).output()?;
        if !measured.status.success() {
            return Err(String::from_utf8_lossy(&measured.stderr).into_owned().into());
        }
        let snapshot: serde_json::Value = serde_json::from_slice(&measured.stdout)?;
        fs::write(self.at("lxc_metrics.json"), format!("[\n{snapshot}\n]\n"))?;
        Ok(())
    }

    /// Configures the server as shipped, except for the paths and for limits that a benchmark would reach.
    fn configure(&self) -> Result<PathBuf, Failure> {
        let directory = self.directory.display();
        let text = format!(
            "[server]\nlisten = '127.0.0.1:0'\nsocket = ''\naddress_file = '{directory}/address'\n\
             keys_file = '{directory}/keys.json'\n[pct]\npath = '{directory}/bin/pct'\n\
             [paths]\npve = '{directory}/node/etc/pve'\nproc = '{directory}/node/proc'\nlxc = '/var/lib/lxc'\n\
             [metrics]\nfile = '{directory}/lxc_metrics.json'\nmax_age_seconds = 86400\n\
             [limits]\nmax_changes_per_hour = 0\n[audit]\nfile = '{directory}/audit.jsonl'\n\
             [state]\ndirectory = '{directory}/state'\n[logging]\nfile = '{directory}/lxc_autoscale_api.log'\n"
        );
        let path = self.at("api.toml");
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// A program of this workspace, from the profile the benchmark was built in.
fn binary(name: &str) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let path = own.ancestors().nth(2).map(|profile| profile.join(name)).filter(|path| path.is_file());
    path.ok_or_else(|| format!("{name} is not built; run `cargo xtask bench api`").into())
}
