//! A node as recorded by the monitor: days of past in a metrics file, and what happens next.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::metrics_file::{Bounds, MetricsWriter};
use lxc_autoscale_core::service::StopAsked;
use lxc_autoscale_core::snapshot::{
    ContainerRecord, ContainerRecords, IoStats, Limits, MemoryEvents, NodeRecord, Pressure, PressureLine,
    Snapshot, Summary, Throttling,
};
use lxc_autoscale_core::{Mebibytes, RecordTime, Vmid, config};
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::daemon::{CycleReport, Daemon};

use crate::api::Request;

/// Time between two records of the past.
const STEP: SignedDuration = SignedDuration::from_mins(5);

/// Default start time of containers, in seconds since the epoch.
const BOOTED: f64 = 1_600_000_000.0;

/// The behaviour of a container from now on.
#[derive(Clone)]
pub(crate) struct Container {
    pub(crate) name: &'static str,
    pub(crate) cores: u32,
    pub(crate) memory_mib: u64,
    pub(crate) cores_used: f64,
    /// Share of the periods that were throttled.
    pub(crate) throttled: f64,
    pub(crate) memory_used_mib: f64,
    pub(crate) oom_kills: u64,
    pub(crate) lock: Option<&'static str>,
    pub(crate) tags: &'static [&'static str],
    pub(crate) pool: Option<&'static str>,
    /// Why its pool could not be read.
    pub(crate) pool_missing: Option<&'static str>,
    pub(crate) template: bool,
    pub(crate) pinned: bool,
    pub(crate) configured: bool,
    /// Its uptime; `None` if it started long before the first record.
    pub(crate) uptime_seconds: Option<f64>,
}

/// Four cores and 4 GiB, nearly unused.
pub(crate) const IDLE: Container = Container {
    name: "web",
    cores: 4,
    memory_mib: 4096,
    cores_used: 0.05,
    throttled: 0.0,
    memory_used_mib: 300.0,
    oom_kills: 0,
    lock: None,
    tags: &[],
    pool: None,
    pool_missing: None,
    template: false,
    pinned: false,
    configured: true,
    uptime_seconds: None,
};

/// Two cores and 1 GiB, both used up.
pub(crate) const STARVED: Container =
    Container { cores: 2, memory_mib: 1024, cores_used: 2.0, throttled: 0.6, memory_used_mib: 960.0, ..IDLE };

/// A node with its metrics file and a daemon's configuration.
pub(crate) struct Node {
    directory: tempfile::TempDir,
    writer: Option<MetricsWriter>,
    pub(crate) containers: BTreeMap<u32, Container>,
    pub(crate) stopped: Vec<u32>,
    pub(crate) now: Timestamp,
    /// Whether the monitor can read the node's own figures.
    pub(crate) is_known: bool,
    steps: u64,
}

impl Node {
    /// A node without a metrics file.
    pub(crate) fn new(containers: &[(u32, Container)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("log")).unwrap();
        Self {
            directory,
            writer: None,
            containers: containers.iter().cloned().collect(),
            stopped: Vec::new(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            is_known: true,
            steps: 0,
        }
    }

    /// Like [`Node::new`], with a recorded past of so many hours.
    pub(crate) fn with_past(hours: i64, containers: &[(u32, Container)]) -> Self {
        let mut node = Self::new(containers);
        for _ in 0..hours * 12 {
            node.record(STEP);
        }
        node
    }

    /// From now on, records show the sizes that were requested.
    pub(crate) fn carry_out(&mut self, requests: &[Request]) {
        for (route, body) in requests {
            let id = u32::try_from(body["vm_id"].as_u64().unwrap()).unwrap();
            let container = self.containers.get_mut(&id).unwrap();
            match *route {
                "/scale/ram" => container.memory_mib = body["memory"].as_u64().unwrap(),
                _ => container.cores = u32::try_from(body["cores"].as_u64().unwrap()).unwrap(),
            }
        }
    }

    /// Replaces all records by one of `now`.
    pub(crate) fn only_record(&mut self, now: Timestamp) {
        self.writer = None;
        std::fs::remove_file(self.metrics_file()).unwrap();
        self.now = now;
        self.record(SignedDuration::ZERO);
    }

    /// Lets time pass, then records the state.
    pub(crate) fn record(&mut self, step: SignedDuration) {
        self.now += step;
        self.steps += 1;
        let snapshot = self.snapshot();
        let path = self.metrics_file();
        let bounds = Bounds { max_bytes: 64 << 20, max_age: Duration::from_hours(720) };
        let writer = self.writer.get_or_insert_with(|| MetricsWriter::open(path, bounds).unwrap().0);
        writer.append(&snapshot).unwrap();
    }

    pub(crate) fn metrics_file(&self) -> PathBuf {
        self.directory.path().join("log/lxc_metrics.json")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.directory.path().join("state/decisions.sqlite")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config_text(&self, url: &str, more: &str) -> String {
        format!(
            "{more}\n[metrics]\nfile = \"{}\"\nhistory = \"\"\n[api]\nurl = \"{url}\"\nretries = 0\n[state]\ndirectory = \"{}\"\n\
             [logging]\nfile = \"\"\n",
            self.metrics_file().display(),
            self.directory.path().join("state").display()
        )
    }

    pub(crate) fn daemon(&self, url: &str, more: &str) -> Daemon {
        let config: Config = config::parse(&self.config_text(url, more)).unwrap();
        Daemon::start(config).unwrap()
    }

    /// One cycle, a moment after the last record.
    pub(crate) async fn cycle(&self, daemon: &mut Daemon) -> CycleReport {
        daemon.cycle(self.now + SignedDuration::from_secs(1), &StopAsked::default()).await
    }

    fn snapshot(&self) -> Snapshot {
        let time = RecordTime::utc(self.now);
        let running = self.containers.iter().filter(|(id, _)| !self.stopped.contains(id));
        let containers: ContainerRecords =
            running.map(|(id, container)| (vmid(*id), self.container(container))).collect();
        let node = NodeRecord {
            name: "proxmox".to_owned(),
            cpus: Some(16),
            memory_total_mb: Some(65_536.0),
            memory_available_mb: Some(40_000.0),
            ..NodeRecord::default()
        };
        Snapshot {
            summary: Summary {
                collection_start_time: time,
                collection_end_time: time,
                total_containers: containers.len() as u64,
                total_duration_seconds: 0.01,
                monitor_cpu_percent: None,
                monitor_memory_usage_mb: None,
                schema_version: Some(1),
                stopped_containers: self.stopped.iter().map(|id| vmid(*id)).collect(),
                node: self.is_known.then_some(node),
            },
            containers,
        }
    }

    fn container(&self, container: &Container) -> ContainerRecord {
        let steps = self.steps as f64;
        // A little noise, so that no two records are alike.
        let unrest = 1.0 - 0.02 * (steps * 0.7).sin().abs();
        let cores_used = container.cores_used * unrest;
        let used_mib = container.memory_used_mib * unrest;
        let line = PressureLine { avg10: 0.0, avg60: 0.0, avg300: 0.0, total_usec: 0 };
        let configuration = ContainerConfig {
            cores: Some(container.cores),
            memory_mb: Mebibytes::new(container.memory_mib),
            lock: container.lock.map(str::to_owned),
            tags: container.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            template: container.template,
            pinned_cpuset: container.pinned.then(|| "0-1".to_owned()),
            ..ContainerConfig::parse(&format!("hostname: {}\n", container.name)).0
        };
        let mut record = ContainerRecord {
            cpu_usage_percent: Some(100.0 * cores_used / f64::from(container.cores)),
            memory_usage_mb: Some(used_mib),
            process_count: Some(20),
            io_stats: Some(IoStats {
                reads: 10 * self.steps,
                writes: 20 * self.steps,
                read_ops: None,
                write_ops: None,
            }),
            uptime_seconds: Some(container.uptime_seconds.unwrap_or(self.now.as_second() as f64 - BOOTED)),
            cpu_cores_used: Some(cores_used),
            cpu_throttled_share: Some(container.throttled),
            throttling: Some(Throttling { nr_periods: 0, nr_throttled: 0, throttled_usec: 0 }),
            limits: Some(Limits {
                cores: Some(f64::from(container.cores)),
                memory_mb: Some(container.memory_mib as f64),
                ..Limits::default()
            }),
            memory_events: Some(MemoryEvents {
                oom: Some(0),
                oom_kill: Some(container.oom_kills),
                ..MemoryEvents::default()
            }),
            configuration: container.configured.then_some(configuration.into()),
            pool: container.pool_missing.is_none().then(|| container.pool.unwrap_or_default().to_owned()),
            missing: container.pool_missing.map(|why| ("pool", why.to_owned().into())).into_iter().collect(),
            ..ContainerRecord::empty(RecordTime::utc(self.now))
        };
        record.pressure.memory = Some(Pressure { some: line, full: Some(line) });
        record
    }
}

pub(crate) fn vmid(id: u32) -> Vmid {
    Vmid::try_from(id).unwrap()
}
