//! A node that enforces limits: what containers demand, what they get, and what the monitor would record of it.
//!
//! Memory held by a program cannot be reclaimed: if it exceeds the limit, there is an OOM kill. Page cache can be
//! reclaimed; the missing part of what is in use is read again repeatedly, which shows as refaults and as pressure. CPU
//! beyond the cores is not served, and waiting for it shows as pressure, too.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::{
    ContainerRecord, ContainerRecords, Limits, MemoryEvents, NodeRecord, Paging, Pressure, PressureLine,
    Snapshot, Summary,
};
use lxc_autoscale_core::{Mebibytes, RecordTime, Vmid};

/// The demand of a container at a time, in seconds since the start of the host.
pub(crate) struct Load {
    /// Memory held by its programs, in MiB.
    pub(crate) memory_mib: f64,
    /// Page cache in constant use, in MiB.
    pub(crate) cache_mib: f64,
    /// CPU, in cores.
    pub(crate) cores: f64,
}

impl Load {
    pub(crate) fn steady(memory_mib: f64, cores: f64) -> Self {
        Self { memory_mib, cache_mib: 0.0, cores }
    }
}

pub(crate) type LoadAt = Box<dyn Fn(f64) -> Load + Send>;

/// One container.
pub(crate) struct Guest {
    pub(crate) cores: u32,
    pub(crate) memory_mib: u64,
    pub(crate) lock: Option<&'static str>,
    load: LoadAt,
    started_seconds: f64,
    oom_kills: u64,
    refaults_mib: f64,
    stalled_usec: [f64; 2],
    /// The memory size before each shrink, with its time, newest last.
    pub(crate) shrinks: Vec<(Timestamp, u64)>,
}

/// A container that ran out of memory.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "shown where a test fails")]
pub(crate) struct Kill {
    pub(crate) id: u32,
    pub(crate) at: Timestamp,
    pub(crate) wanted_mib: f64,
    pub(crate) limit_mib: u64,
    /// Time since the last shrink, and the size before it.
    pub(crate) shrunk: Option<(SignedDuration, u64)>,
}

/// The node.
pub(crate) struct Host {
    pub(crate) guests: BTreeMap<u32, Guest>,
    pub(crate) now: Timestamp,
    pub(crate) memory_total_mib: f64,
    /// Usage by the node itself.
    pub(crate) others_mib: f64,
    pub(crate) kills: Vec<Kill>,
    begun: Timestamp,
}

impl Guest {
    pub(crate) fn new(cores: u32, memory_mib: u64, load: impl Fn(f64) -> Load + Send + 'static) -> Self {
        Self {
            cores,
            memory_mib,
            lock: None,
            load: Box::new(load),
            started_seconds: -1e6,
            oom_kills: 0,
            refaults_mib: 0.0,
            stalled_usec: [0.0; 2],
            shrinks: Vec::new(),
        }
    }

    pub(crate) fn restart(&mut self, seconds: f64) {
        self.started_seconds = seconds;
    }

    pub(crate) fn set_load(&mut self, load: impl Fn(f64) -> Load + Send + 'static) {
        self.load = Box::new(load);
    }

    pub(crate) fn oom_kills(&self) -> u64 {
        self.oom_kills
    }
}

impl Host {
    pub(crate) fn new(guests: impl IntoIterator<Item = (u32, Guest)>) -> Self {
        // Midnight, so that the hours of the day are those of the host.
        let begun = Timestamp::from_second(1_800_000_000 / 86_400 * 86_400).unwrap();
        Self {
            guests: guests.into_iter().collect(),
            now: begun,
            memory_total_mib: 1e6,
            others_mib: 2000.0,
            kills: Vec::new(),
            begun,
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.now.duration_since(self.begun).as_secs_f64()
    }

    /// The effect of the API: sets the cores or the memory of a container.
    pub(crate) fn set(&mut self, id: u32, cores: Option<u32>, memory_mib: Option<u64>) {
        let guest = self.guests.get_mut(&id).unwrap();
        guest.cores = cores.unwrap_or(guest.cores);
        if let Some(new) = memory_mib {
            if new < guest.memory_mib {
                guest.shrinks.push((self.now, guest.memory_mib));
            }
            guest.memory_mib = new;
        }
    }

    /// Lets time pass and records the state.
    pub(crate) fn step(&mut self, step: SignedDuration) -> Snapshot {
        self.now += step;
        let (now, seconds, length) = (self.now, self.seconds(), step.as_secs_f64());
        let mut containers = ContainerRecords::new();
        let mut used_mib = 0.0;
        for (id, guest) in &mut self.guests {
            let load = (guest.load)(seconds);
            if guest.memory_mib as f64 <= load.memory_mib {
                guest.oom_kills += 1;
                let last = guest.shrinks.last();
                self.kills.push(Kill {
                    id: *id,
                    at: now,
                    wanted_mib: load.memory_mib,
                    limit_mib: guest.memory_mib,
                    shrunk: last.map(|(at, before)| (now.duration_since(*at), *before)),
                });
            }
            let record = guest.record(RecordTime::utc(now), &load, seconds, length);
            used_mib += record.memory_usage_mb.unwrap();
            containers.insert(Vmid::try_from(*id).unwrap(), record);
        }
        let node = NodeRecord {
            name: "proxmox".to_owned(),
            cpus: Some(16),
            memory_total_mb: Some(self.memory_total_mib),
            memory_available_mb: Some((self.memory_total_mib - self.others_mib - used_mib).max(0.0)),
            ..NodeRecord::default()
        };
        let time = RecordTime::utc(now);
        Snapshot {
            summary: Summary {
                collection_start_time: time,
                collection_end_time: time,
                total_containers: containers.len() as u64,
                total_duration_seconds: 0.01,
                monitor_cpu_percent: None,
                monitor_memory_usage_mb: None,
                schema_version: Some(1),
                stopped_containers: Vec::new(),
                node: Some(node),
            },
            containers,
        }
    }
}

impl Guest {
    fn record(&mut self, time: RecordTime, load: &Load, seconds: f64, length: f64) -> ContainerRecord {
        let limit = self.memory_mib as f64;
        // After an OOM kill half of the memory is in use again.
        let held = if limit <= load.memory_mib { limit / 2.0 } else { load.memory_mib };
        let lacking = (load.cache_mib - (limit - held)).max(0.0);
        let lack = if 0.0 < load.cache_mib { lacking / load.cache_mib } else { 0.0 };
        let cores = f64::from(self.cores);
        let unserved = if cores < load.cores { 1.0 - cores / load.cores } else { 0.0 };
        self.refaults_mib += 50.0 * lack * length;
        self.stalled_usec[0] += 0.6 * lack * length * 1e6;
        self.stalled_usec[1] += unserved * length * 1e6;
        let pressure = |stalled: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of stalls")]
            let total_usec = stalled as u64;
            let some = PressureLine { avg10: 0.0, avg60: 0.0, avg300: 0.0, total_usec };
            Some(Pressure { some, full: None })
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of pages")]
        let refault_file = (self.refaults_mib * 256.0) as u64;
        let configuration = ContainerConfig {
            cores: Some(self.cores),
            memory_mb: Mebibytes::new(self.memory_mib),
            lock: self.lock.map(str::to_owned),
            ..ContainerConfig::parse("hostname: web\n").0
        };
        let mut record = ContainerRecord {
            cpu_usage_percent: Some(100.0 * load.cores.min(cores) / cores),
            memory_usage_mb: Some(held),
            uptime_seconds: Some(seconds - self.started_seconds),
            cpu_cores_used: Some(load.cores.min(cores)),
            cpu_throttled_share: Some(0.0),
            limits: Some(Limits { cores: Some(cores), memory_mb: Some(limit), ..Limits::default() }),
            memory_events: Some(MemoryEvents { oom_kill: Some(self.oom_kills), ..MemoryEvents::default() }),
            paging: Some(Paging { refault_file: Some(refault_file), ..Paging::default() }),
            configuration: Some(configuration.into()),
            ..ContainerRecord::empty(time)
        };
        record.pressure.memory = pressure(self.stalled_usec[0]);
        record.pressure.cpu = pressure(self.stalled_usec[1]);
        record
    }
}
