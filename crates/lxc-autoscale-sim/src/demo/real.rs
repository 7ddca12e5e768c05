//! A demo on real LXC containers, with this machine's kernel and cgroups, and processes that really use CPU and
//! memory.
//!
//! There are three kinds of containers: one uses more CPU than it has, one fills a tmpfs and reads a file through the
//! page cache, and one is idle but much too large. Everything created here is removed when the stage is taken down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lxc_autoscale_core::{Mebibytes, Vmid};

use super::paths::DemoPaths;
use super::stage::{REBALANCE, StageError};
use crate::boot::{boot, make};
use crate::fleet::Member;
use crate::node::{CgroupVersion, NodeError, NodeLayout, NodeSettings, remove_tree};
use crate::pve::Machine;
use crate::workload::{Scenario, Workload};

/// Where this machine's control groups are mounted.
const CGROUP: &str = "/sys/fs/cgroup";
/// How long leftover control groups may take to become empty.
const CGROUP_REMOVAL: Duration = Duration::from_secs(5);

/// The job of a real container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Burn,
    Fill,
    Idle,
}

impl Job {
    fn of(index: u32) -> Self {
        match index % 3 {
            0 => Self::Burn,
            1 => Self::Fill,
            _ => Self::Idle,
        }
    }

    /// The shell script of the job, for a busybox container; it never ends.
    fn script(self) -> &'static str {
        match self {
            Self::Burn => "while :; do :; done & while :; do :; done",
            Self::Fill => {
                "mkdir -p /tmp/fill && mount -t tmpfs -o size=200m fill /tmp/fill; \
                 dd if=/dev/zero of=/tmp/fill/kept bs=1M count=120 2>/dev/null; \
                 dd if=/dev/zero of=/read-often bs=1M count=80 2>/dev/null; \
                 while :; do cat /read-often >/dev/null; sleep 1; done"
            }
            Self::Idle => "while :; do sleep 60; done",
        }
    }

    /// The most similar scenario.
    fn workload(self) -> Workload {
        let (scenario, cores, memory_mib) = match self {
            Self::Burn => (Scenario::Steady, 2.0, 20.0),
            Self::Fill => (Scenario::Steady, 0.1, 180.0),
            Self::Idle => (Scenario::Idle, 0.01, 10.0),
        };
        Workload::Scenario { scenario, cores, memory_mib }
    }

    fn member(self, id: Vmid, cpus: u32) -> Member {
        let (name, cores, memory) = match self {
            Self::Burn => ("burn", 1, 256),
            Self::Fill => ("fill", 1, 512),
            Self::Idle => ("idle", cpus.clamp(1, 4), 1024),
        };
        Member {
            id,
            name,
            cores,
            memory: Mebibytes::new(memory),
            swap: Mebibytes::new(0),
            workload: self.workload(),
        }
    }
}

/// Real containers, running.
#[derive(Debug)]
pub struct RealStage {
    layout: NodeLayout,
    settings: NodeSettings,
    ids: Vec<Vmid>,
    jobs: Vec<Child>,
    stop: Arc<AtomicBool>,
    balancing: Option<JoinHandle<()>>,
    is_down: bool,
}

impl RealStage {
    /// Creates and starts the containers, and starts their jobs in them.
    ///
    /// # Errors
    /// [`StageError`] if this machine cannot run them; then everything is removed again.
    pub fn start(paths: &DemoPaths, n_containers: u32) -> Result<Self, StageError> {
        if !rustix::process::geteuid().is_root() {
            return Err(StageError::Requirement("root"));
        }
        if !is_on_path("lxc-create") || !is_on_path("busybox") {
            return Err(StageError::Requirement(
                "Debian's packages `lxc`, `lxc-templates` and `busybox-static`",
            ));
        }
        let settings = settings_of_this_machine()?;
        let ids: Vec<Vmid> = (0..n_containers).filter_map(|n| Vmid::try_from(Vmid::MIN + n).ok()).collect();
        let jobs: Vec<(Vmid, Job)> = (0..).map(Job::of).zip(&ids).map(|(job, id)| (*id, job)).collect();
        let taken = ids.iter().any(|id| groups(*id).iter().any(|group| group.exists()));
        if taken {
            return Err(StageError::Requirement(
                "the control groups `lxc/100` and following for themselves; end the containers that have them",
            ));
        }
        let members: Vec<Member> = jobs.iter().map(|(id, job)| job.member(*id, settings.cpus)).collect();
        let mut stage = Self {
            layout: paths.node(),
            settings: settings.clone(),
            ids,
            jobs: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
            balancing: None,
            is_down: false,
        };
        make(&stage.layout, &settings, &members, &paths.bin())?;
        boot(&stage.layout, false)?;
        for (id, job) in jobs {
            stage.jobs.push(begin(&paths.bin().join("pct"), id, job)?);
        }
        stage.balancing = Some(balance(stage.layout.clone(), Arc::clone(&stage.stop)));
        Ok(stage)
    }

    /// The cgroup version of this machine.
    pub fn cgroup_version(&self) -> CgroupVersion {
        if Path::new(CGROUP).join("cgroup.controllers").exists() {
            CgroupVersion::V2
        } else {
            CgroupVersion::V1
        }
    }

    /// CPUs of this machine.
    pub fn cpus(&self) -> u32 {
        self.settings.cpus
    }

    /// Whether the rebalancing thread has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.balancing.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops and removes everything.
    ///
    /// # Errors
    /// [`StageError`] if something remains; everything else is removed all the same.
    pub fn take_down(mut self) -> Result<(), StageError> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), StageError> {
        if std::mem::replace(&mut self.is_down, true) {
            return Ok(());
        }
        self.stop.store(true, Ordering::Relaxed);
        if let Some(balancing) = self.balancing.take() {
            // It ends early only by a panic, and then there is nothing left to wait for.
            let _ = balancing.join();
        }
        let mut outcome = Ok(());
        let machine = Machine::open(&self.layout);
        for &id in &self.ids {
            if let Ok(machine) = &machine {
                let ended = machine.engine.kill(id).and_then(|()| machine.engine.destroy(id));
                if let Err(error) = ended {
                    outcome = Err(crate::boot::BootError::Container {
                        id,
                        action: "removed",
                        source: error.into(),
                    }
                    .into());
                }
            }
            remove_groups(&groups(id));
        }
        for job in &mut self.jobs {
            // Its container and the processes in it are gone; this ends the helper outside.
            let _ = job.kill();
            let _ = job.wait();
        }
        remove_tree(&self.layout.root().join("var/lib/sim/volumes"))?;
        outcome
    }
}

impl Drop for RealStage {
    /// No container is left running, whatever goes wrong.
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// Starts a job in its container.
fn begin(pct: &Path, id: Vmid, job: Job) -> Result<Child, NodeError> {
    use std::os::unix::process::CommandExt;
    Command::new(pct)
        .args(["exec", &id.to_string(), "--", "sh", "-c", job.script()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(NodeError::file("run", pct))
}

/// Does on a real node what pvestatd does: turns `cores` into cpusets.
fn balance(layout: NodeLayout, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if due <= Instant::now() {
                due = Instant::now() + REBALANCE;
                // A cycle that fails because a container ends meanwhile is made up for by the next one.
                let _ = Machine::open(&layout).and_then(|machine| machine.rebalance());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    })
}

/// The control groups of a container in every hierarchy of this machine, inner ones first.
fn groups(id: Vmid) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir(CGROUP).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut hierarchies: Vec<PathBuf> = hierarchies.filter(|path| path.is_dir()).collect();
    hierarchies.push(PathBuf::from(CGROUP));
    let inside = [format!("lxc/{id}/ns"), format!("lxc/{id}"), format!("lxc.monitor/{id}")];
    hierarchies.iter().flat_map(|hierarchy| inside.iter().map(|group| hierarchy.join(group))).collect()
}

/// Removes control groups, which may be busy for a moment after the last process has ended.
fn remove_groups(groups: &[PathBuf]) {
    let deadline = Instant::now() + CGROUP_REMOVAL;
    loop {
        // Some controller names are links to joint hierarchies, so the same group may be listed twice.
        let left = groups
            .iter()
            .filter(|group| group.exists() && fs::remove_dir(group).is_err() && group.exists())
            .count();
        if left == 0 || deadline < Instant::now() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn settings_of_this_machine() -> Result<NodeSettings, NodeError> {
    let cpus =
        std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
    let path = Path::new("/proc/meminfo");
    let text = fs::read_to_string(path).map_err(NodeError::file("read", path))?;
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .map(|kib: u64| Mebibytes::new(kib / 1024))
    };
    let missing = || NodeError::file("understand", path)(io::ErrorKind::InvalidData.into());
    Ok(NodeSettings {
        cpus,
        memory: mib("MemTotal").ok_or_else(missing)?,
        swap: mib("SwapTotal").ok_or_else(missing)?,
        ..NodeSettings::for_lxc()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_containers_cover_all_jobs() {
        let jobs: Vec<Job> = (0..4).map(Job::of).collect();
        assert_eq!(jobs, [Job::Burn, Job::Fill, Job::Idle, Job::Burn]);
        let member = |job: Job| job.member(Vmid::try_from(100).unwrap(), 2);
        let Workload::Scenario { cores, .. } = member(Job::Burn).workload else { panic!("a scenario") };
        assert!(f64::from(member(Job::Burn).cores) < cores, "the burning one has too little");
    }

    #[test]
    fn this_machine_is_described() {
        let settings = settings_of_this_machine().unwrap();
        assert!(1 <= settings.cpus && Mebibytes::new(64) < settings.memory);
    }
}
