//! The content of a scrape, written piece by piece.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::exposition::{Format, Samples, Subject, endpoint};
use lxc_autoscale_core::metrics_file::KeptRecord;
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_autoscale_core::telemetry::LogFile;
use lxc_autoscale_core::{ErrorChain, Vmid, own_process};

use super::families::{self, Family, MonitorState, NewestCycle, Source};
use crate::clock;

/// A snapshot is fresh for this many intervals after the end of its cycle,
pub const STALE_AFTER_INTERVALS: u32 = 3;
/// but at least for this long, so that a short interval does not turn every delay into a gap.
const LEAST_STALE_AFTER: Duration = Duration::from_secs(5);
/// Size at which a piece of the exposition is passed on.
const PIECE_BYTES: usize = 16 << 10;

/// What was last known of the configuration of each container, measured or stopped, in the order of their ids.
pub type Identities = Arc<[(Vmid, Arc<ContainerConfig>)]>;

/// The result of the newest cycle.
#[derive(Clone, Debug)]
pub struct Page {
    /// The newest snapshot; absent before the first cycle.
    pub snapshot: Option<Served>,
    /// How each of its containers, also of the stopped ones, was configured when that was last known: by their names, which
    /// are then those of before, the other series are joined.
    pub identities: Identities,
    /// The end of its cycle, as time since boot: the wall clock may be set.
    pub ended_since_boot: Duration,
    /// Why no container could be looked at in it; absent if they could.
    pub trouble: Option<String>,
    /// The monitor itself, without values read at the scrape.
    pub monitor: MonitorState,
    /// Its log file.
    pub log: LogFile,
}

impl Page {
    /// The page before the first cycle.
    pub fn empty(started: Timestamp, interval: Duration) -> Self {
        let monitor = MonitorState {
            started,
            cpu_time: Duration::ZERO,
            interval,
            cycles: 0,
            write_failures: 0,
            log_is_writable: None,
            newest: None,
        };
        let identities = Identities::default();
        let log = LogFile::default();
        Self { snapshot: None, identities, ended_since_boot: Duration::ZERO, trouble: None, monitor, log }
    }

    /// The page after one more cycle, which ended at `ended_since_boot`.
    #[must_use]
    pub fn after(&self, cycle: Cycle, ended_since_boot: Duration) -> Self {
        let summary = &cycle.snapshot.summary;
        let monitor = MonitorState {
            interval: cycle.interval,
            cycles: self.monitor.cycles + 1,
            write_failures: self.monitor.write_failures + u64::from(!cycle.is_written),
            newest: Some(NewestCycle {
                ended: summary.collection_end_time.instant(),
                duration_seconds: summary.total_duration_seconds,
                memory_mib: summary.monitor_memory_usage_mb,
            }),
            ..self.monitor.clone()
        };
        let trouble = summary.node.as_ref().and_then(|node| node.missing.reason("containers"));
        let trouble = trouble.map(str::to_owned);
        let identities = identities(&self.identities, &cycle.snapshot, &cycle.stopped);
        let snapshot = match cycle.kept {
            Some(record) => Served::Stored(Arc::new(Stored { record, read: Mutex::default() })),
            None => Served::InMemory(cycle.snapshot),
        };
        let log = self.log.clone();
        Self { snapshot: Some(snapshot), identities, ended_since_boot, trouble, monitor, log }
    }

    /// How old the newest snapshot is.
    pub fn age(&self, since_boot: Duration) -> Duration {
        since_boot.saturating_sub(self.ended_since_boot)
    }

    /// Whether the newest snapshot is fresh.
    pub fn is_fresh(&self, since_boot: Duration) -> bool {
        let limit = (self.monitor.interval * STALE_AFTER_INTERVALS).max(LEAST_STALE_AFTER);
        self.snapshot.is_some() && self.age(since_boot) <= limit
    }

    /// Whether measurements are made.
    ///
    /// # Errors
    /// Why not.
    pub fn health_at(&self, since_boot: Duration) -> Result<(), String> {
        match (&self.snapshot, &self.trouble) {
            (None, _) => Err("nothing was measured yet".to_owned()),
            (Some(_), _) if !self.is_fresh(since_boot) => {
                Err(format!("the newest cycle ended {} s ago", self.age(since_boot).as_secs()))
            }
            (Some(_), Some(trouble)) => Err(format!("no container could be looked at: {trouble}")),
            (Some(_), None) => Ok(()),
        }
    }
}

/// What is known after a snapshot, and of the containers that are stopped; the same list where nothing has changed.
fn identities(before: &Identities, snapshot: &Snapshot, stopped: &Identities) -> Identities {
    let now = || {
        let measured =
            snapshot.containers.iter().map(|(vmid, record)| (*vmid, record.configuration.as_ref()));
        let stopped =
            snapshot.summary.stopped_containers.iter().map(|vmid| (*vmid, identity(stopped, *vmid)));
        in_order(measured, stopped)
            .filter_map(|(vmid, stored)| Some((vmid, stored.or_else(|| identity(before, vmid))?)))
    };
    let is_same = |((vmid, stored), (known, before)): ((Vmid, &Arc<ContainerConfig>), &(Vmid, _))| {
        vmid == *known && Arc::ptr_eq(stored, before)
    };
    if now().count() == before.len() && now().zip(before.iter()).all(is_same) {
        return Arc::clone(before);
    }
    now().map(|(vmid, stored)| (vmid, Arc::clone(stored))).collect()
}

/// Containers of two kinds, each in the order of their ids, in the order of all ids.
fn in_order<T>(
    one: impl Iterator<Item = (Vmid, T)>,
    other: impl Iterator<Item = (Vmid, T)>,
) -> impl Iterator<Item = (Vmid, T)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some((first, _)), Some((second, _))) if second < first => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

fn identity(known: &Identities, vmid: Vmid) -> Option<&Arc<ContainerConfig>> {
    let place = known.binary_search_by_key(&vmid, |(vmid, _)| *vmid).ok()?;
    known.get(place).map(|(_, stored)| stored)
}

impl endpoint::Page for Page {
    type Pieces = Exposition;

    fn exposition(&self, format: Format) -> Exposition {
        Exposition::begin(self, format, clock::now().since_boot, own_process::cpu_time())
    }

    fn health(&self) -> Result<(), String> {
        self.health_at(clock::now().since_boot)
    }

    fn remarks(&self) -> Vec<String> {
        self.log.trouble().into_iter().collect()
    }
}

/// Where an exported snapshot is kept.
#[derive(Clone, Debug)]
pub enum Served {
    /// In memory.
    InMemory(Arc<Snapshot>),
    /// In a file, because it is large and may never be requested.
    Stored(Arc<Stored>),
}

/// A snapshot in a file.
#[derive(Debug)]
pub struct Stored {
    record: Arc<KeptRecord>,
    /// The snapshot, while it is being served: it is read once for all concurrent scrapes.
    read: Mutex<Weak<Snapshot>>,
}

impl Served {
    /// The snapshot; `None`, with a log line, when it cannot be read back.
    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        let stored = match self {
            Self::InMemory(snapshot) => return Some(Arc::clone(snapshot)),
            Self::Stored(stored) => stored,
        };
        let mut read = stored.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = read.upgrade() {
            return Some(snapshot);
        }
        match stored.record.read() {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                *read = Arc::downgrade(&snapshot);
                Some(snapshot)
            }
            Err(error) => {
                tracing::error!("{}; nothing but the monitor itself is served", ErrorChain(&error));
                None
            }
        }
    }
}

/// A cycle that has just ended.
#[derive(Clone, Debug)]
pub struct Cycle {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// How its stopped containers are configured, as far as that is known.
    pub stopped: Identities,
    /// A stored copy, if it need not be kept in memory.
    pub kept: Option<Arc<KeptRecord>>,
    /// Whether it is in the metrics file.
    pub is_written: bool,
    /// The configured time between cycles.
    pub interval: Duration,
}

/// An exposition being written.
///
/// It holds one snapshot, so a slow reader gets data of one cycle whatever is measured meanwhile.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    monitor: MonitorState,
    /// Absent if it is not fresh.
    snapshot: Option<Arc<Snapshot>>,
    identities: Identities,
    family: usize,
    /// The last container written of this family.
    after: Option<Vmid>,
    has_heading: bool,
    has_ended: bool,
}

impl Exposition {
    /// Begins to write `page` as of `since_boot`; `cpu_time` is the monitor's CPU time until then.
    pub fn begin(page: &Page, format: Format, since_boot: Duration, cpu_time: Duration) -> Self {
        Self {
            format,
            monitor: MonitorState {
                cpu_time,
                log_is_writable: page.log.is_writable(),
                ..page.monitor.clone()
            },
            snapshot: page.snapshot.as_ref().filter(|_| page.is_fresh(since_boot)).and_then(Served::snapshot),
            identities: Arc::clone(&page.identities),
            family: 0,
            after: None,
            has_heading: false,
            has_ended: false,
        }
    }

    /// The next piece; `None` at the end.
    fn next_piece(&mut self) -> Option<String> {
        if self.has_ended {
            return None;
        }
        let mut out = String::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        while out.len() < PIECE_BYTES {
            let Some(family) = families::at(self.family) else {
                out.push_str(self.format.end());
                self.has_ended = true;
                break;
            };
            if self.write(family, &mut out) {
                self.family += 1;
                self.after = None;
                self.has_heading = false;
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// Writes a family, or as much of it as fits into a piece; returns whether it is complete.
    fn write(&mut self, family: &'static Family, out: &mut String) -> bool {
        let snapshot = self.snapshot.clone();
        let node = snapshot.as_ref().and_then(|snapshot| snapshot.summary.node.as_ref());
        let node = node.filter(|node| !node.name.is_empty());
        let mut samples = Samples::new(out, self.format, &family.description, false);
        match (family.source, &snapshot) {
            (Source::Monitor(read), _) => read(&self.monitor, &mut samples),
            (_, None) => {}
            (Source::Snapshot(read), Some(snapshot)) => read(snapshot, &mut samples),
            (Source::Node(read), Some(_)) => {
                if let Some(node) = node {
                    read(node, samples.about(Subject::Node(&node.name)));
                }
            }
            (Source::Container(read), Some(snapshot)) => {
                let containers = snapshot.containers.after(self.after).map(|(vmid, record)| (*vmid, record));
                return self.write_containers(containers, family, out, |_, record, to| read(record, to));
            }
            (Source::Identity(read), Some(snapshot)) => {
                let node_name = node.map_or("", |node| node.name.as_str());
                let (known, after) = (Arc::clone(&self.identities), self.after);
                let measured = snapshot.containers.after(after).map(|(vmid, record)| (*vmid, Some(record)));
                let stopped = snapshot.summary.stopped_containers.iter().map(|vmid| (*vmid, None));
                let stopped = stopped.filter(|(vmid, _)| after.is_none_or(|after| after < *vmid));
                let containers = in_order(measured, stopped);
                return self.write_containers(containers, family, out, |vmid, record, to| {
                    let stored = record.and_then(|record| record.configuration.as_ref());
                    let stored = stored.or_else(|| identity(&known, vmid));
                    read(stored.map(Arc::as_ref), node_name, to);
                });
            }
        }
        true
    }

    /// Continues with the containers of a family until they end or the piece is full.
    fn write_containers<T>(
        &mut self,
        containers: impl Iterator<Item = (Vmid, T)>,
        family: &'static Family,
        out: &mut String,
        read: impl Fn(Vmid, T, &mut Samples<'_>),
    ) -> bool {
        for (vmid, container) in containers {
            if PIECE_BYTES <= out.len() {
                return false;
            }
            let mut samples = Samples::new(out, self.format, &family.description, self.has_heading);
            read(vmid, container, samples.about(Subject::Container(vmid)));
            self.has_heading = samples.has_heading();
            self.after = Some(vmid);
        }
        true
    }
}

impl Iterator for Exposition {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.next_piece()
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
