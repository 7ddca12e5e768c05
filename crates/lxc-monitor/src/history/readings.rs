//! The values that the history takes from a snapshot, and the rates of its counters.
//!
//! Pure. A rate is that between two snapshots of the same run of a container: absent after a restart, when a counter
//! went back, when the clock was set in between, and over more than `LONGEST_SPAN_SECONDS`. Events (OOM kills and
//! similar) are counted over any span, and after a restart from zero, so that none is lost, also in the first run that is
//! seen if it began after the previous cycle; one whose counter went back without a restart is absent.

use lxc_autoscale_core::Run;
use lxc_autoscale_core::history_store::bucket::Codes;
use lxc_autoscale_core::history_store::{Kind, Metric, Series};
use lxc_autoscale_core::snapshot::{ContainerRecord, NodeRecord, Pressure, PressureSet, Snapshot};

use super::store::Seen;

/// A mean over a longer time says nothing about a bucket; the longest configurable interval is half of it.
const LONGEST_SPAN_SECONDS: f64 = 7200.0;
const SHORTEST_SPAN_SECONDS: f64 = 0.01;
/// As in [`usage`](crate::usage): a wall clock that deviates from the uptime by this much was set.
const CLOCK_STEP_SECONDS: f64 = 0.5;

/// Counters, with the value of one count per second in the metric's unit.
const COUNTERS: [(Metric, f64); 21] = [
    // Sectors of 512 bytes.
    (Metric::IoRead, 512.0),
    (Metric::IoWrite, 512.0),
    (Metric::IoReadOps, 1.0),
    (Metric::IoWriteOps, 1.0),
    (Metric::NetRx, 1.0),
    (Metric::NetTx, 1.0),
    // Microseconds; 1 s of stall in 1 s is 100 %.
    (Metric::PressureCpuSome, 1e-4),
    (Metric::PressureCpuFull, 1e-4),
    (Metric::PressureMemorySome, 1e-4),
    (Metric::PressureMemoryFull, 1e-4),
    (Metric::PressureIoSome, 1e-4),
    (Metric::PressureIoFull, 1e-4),
    (Metric::RefaultFile, 1.0),
    (Metric::RefaultAnon, 1.0),
    (Metric::SwapIn, 1.0),
    (Metric::SwapOut, 1.0),
    (Metric::MajorFaults, 1.0),
    (Metric::OomKills, 1.0),
    (Metric::Ooms, 1.0),
    (Metric::MemoryMaxEvents, 1.0),
    (Metric::MemoryHighEvents, 1.0),
];

/// The values of one snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    /// When the cycle began, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Each series, in ascending order, with its name if it has one.
    pub series: Vec<(Series, Option<Box<str>>, Readings)>,
}

impl Cycle {
    /// Its series with their names, and whether each may be another container than before, by what the rates know of
    /// the cycle before.
    pub fn seen<'a>(&'a self, rates: &'a Rates) -> impl Iterator<Item = Seen<'a>> {
        self.series.iter().map(|(series, name, readings)| Seen {
            series: *series,
            name: name.as_deref(),
            // The node remains the node.
            may_be_another: *series != Series::NODE && rates.may_be_another(*series, readings),
            up_since_ms: rates.up_since_if_unknown(*series, readings),
        })
    }
}

/// The values of one series in a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Readings {
    /// When it was sampled, in milliseconds since the epoch.
    pub at_ms: i64,
    /// How long the container and the node had been running, as far as known.
    pub run: Run,
    /// Values that do not depend on the previous snapshot.
    pub levels: Codes,
    counters: Counters,
}

/// The counters of a series, by index in [`COUNTERS`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counters {
    /// A bit for each known one.
    known: u32,
    values: [u64; COUNTERS.len()],
}

impl Counters {
    fn set(&mut self, place: usize, value: Option<u64>) {
        self.known = (self.known & !(1 << place)) | (u32::from(value.is_some()) << place);
        self.values[place] = value.unwrap_or(0);
    }

    /// Each counter, if known.
    fn iter(&self) -> impl Iterator<Item = Option<u64>> + '_ {
        self.values
            .iter()
            .enumerate()
            .map(|(place, value)| ((self.known >> place) & 1 == 1).then_some(*value))
    }
}

impl Readings {
    /// Without any values.
    pub fn empty(at_ms: i64) -> Self {
        let run = Run {
            at_seconds: at_ms as f64 / 1e3,
            node_uptime_seconds: None,
            uptime_seconds: None,
            boot: None,
        };
        Self { at_ms, run, levels: Codes::NONE, counters: Counters::default() }
    }

    /// Sets a counter.
    pub fn count(&mut self, metric: Metric, value: Option<u64>) {
        if let Some(place) = COUNTERS.iter().position(|(counter, _)| *counter == metric) {
            self.counters.set(place, value);
        }
    }

    fn pressure(&mut self, pressure: &PressureSet) {
        let lines: [(Metric, Metric, Option<Pressure>); 3] = [
            (Metric::PressureCpuSome, Metric::PressureCpuFull, pressure.cpu),
            (Metric::PressureMemorySome, Metric::PressureMemoryFull, pressure.memory),
            (Metric::PressureIoSome, Metric::PressureIoFull, pressure.io),
        ];
        for (some, full, pressure) in lines {
            self.count(some, pressure.map(|pressure| pressure.some.total_usec));
            self.count(full, pressure.and_then(|pressure| pressure.full).map(|full| full.total_usec));
        }
    }
}

impl From<&Snapshot> for Cycle {
    fn from(snapshot: &Snapshot) -> Self {
        let at_ms = snapshot.summary.collection_start_time.instant().as_millisecond();
        let mut series = Vec::with_capacity(snapshot.containers.len() + 1);
        if let Some(record) = &snapshot.summary.node {
            let name = (!record.name.is_empty()).then(|| record.name.as_str().into());
            series.push((Series::NODE, name, node(at_ms, record, snapshot.containers.len())));
        }
        for (vmid, record) in &snapshot.containers {
            let name = record.configuration.as_ref().and_then(|configuration| configuration.name.as_deref());
            let run = Run::of(record, snapshot.summary.node.as_ref());
            series.push((Series::from(*vmid), name.map(Into::into), container(record, run)));
        }
        Self { at_ms, series }
    }
}

fn container(record: &ContainerRecord, run: Run) -> Readings {
    let mut readings = Readings { run, ..Readings::empty(record.timestamp.instant().as_millisecond()) };
    let limits = record.limits.unwrap_or_default();
    let memory = record.memory;
    let levels = [
        (Metric::Cpu, record.cpu_cores_used),
        (Metric::CpuShare, record.cpu_usage_percent),
        (Metric::Throttled, record.cpu_throttled_share.map(|share| 100.0 * share)),
        (Metric::Memory, record.memory_usage_mb),
        (Metric::MemoryWithoutCache, memory.map(|memory| (memory.current_mb - memory.file_mb).max(0.0))),
        (Metric::CoresLimit, limits.cores),
        (Metric::MemoryLimit, limits.memory_mb),
        (Metric::Swap, record.swap_usage_mb),
        (Metric::SwapLimit, limits.swap_mb),
        (Metric::Processes, record.process_count.map(|count| count as f64)),
        (Metric::RootfsUsed, record.filesystem_usage_gb.map(|gib| 1024.0 * gib)),
        (Metric::RootfsTotal, record.filesystem_total_gb.map(|gib| 1024.0 * gib)),
    ];
    for (metric, value) in levels {
        readings.levels.set(metric, value);
    }
    readings.pressure(&record.pressure);
    let (io, network) = (record.io_stats, record.network_usage);
    let (paging, events) = (record.paging.unwrap_or_default(), record.memory_events);
    let counters = [
        (Metric::IoRead, io.map(|io| io.reads)),
        (Metric::IoWrite, io.map(|io| io.writes)),
        (Metric::IoReadOps, io.and_then(|io| io.read_ops)),
        (Metric::IoWriteOps, io.and_then(|io| io.write_ops)),
        (Metric::NetRx, network.as_ref().map(|network| network.rx_bytes)),
        (Metric::NetTx, network.as_ref().map(|network| network.tx_bytes)),
        (Metric::RefaultFile, paging.refault_file),
        (Metric::RefaultAnon, paging.refault_anon),
        (Metric::SwapIn, paging.swap_in),
        (Metric::SwapOut, paging.swap_out),
        (Metric::MajorFaults, paging.major_faults),
        (Metric::OomKills, events.and_then(|events| events.oom_kill)),
        (Metric::Ooms, events.and_then(|events| events.oom)),
        (Metric::MemoryMaxEvents, events.map(|events| events.max)),
        (Metric::MemoryHighEvents, events.and_then(|events| events.high)),
    ];
    for (metric, value) in counters {
        readings.count(metric, value);
    }
    readings
}

fn node(at_ms: i64, record: &NodeRecord, containers: usize) -> Readings {
    let mut readings = Readings::empty(at_ms);
    (readings.run.node_uptime_seconds, readings.run.boot) = (record.uptime_seconds, record.boot_id);
    let levels = [
        (Metric::Cpu, record.cpu_cores_used),
        (Metric::Cpus, record.cpus.map(f64::from)),
        (Metric::Load1, record.load.map(|load| load[0])),
        (Metric::MemoryTotal, record.memory_total_mb),
        (Metric::MemoryAvailable, record.memory_available_mb),
        (Metric::SwapTotal, record.swap_total_mb),
        (Metric::Swap, record.swap_used_mb),
        (Metric::ZfsArc, record.zfs_arc_mb),
        (Metric::ContainersMemory, record.containers_working_set_mb),
        (Metric::ContainersMemoryLimit, record.containers_memory_limit_mb),
        (Metric::ContainersCoresLimit, record.containers_cores_limit),
        (Metric::Containers, (!record.missing.contains("containers")).then_some(containers as f64)),
    ];
    for (metric, value) in levels {
        readings.levels.set(metric, value);
    }
    readings.pressure(&record.pressure);
    readings
}

/// Computes samples of cycles; keeps the state of each series that the next rate needs, in ascending order.
#[derive(Debug, Default)]
pub struct Rates {
    previous: Vec<(Series, Last)>,
    /// When the previous cycle was.
    cycle: Option<Run>,
    /// Number of cycles so far.
    n_cycles: u32,
}

/// The state of a series for the next rates.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Last {
    at_ms: i64,
    run: Run,
    counters: Counters,
    /// The number of its cycle.
    cycle: u32,
}

impl Last {
    fn of(readings: &Readings, cycle: u32) -> Self {
        let Readings { at_ms, run, levels: _, counters } = *readings;
        Self { at_ms, run, counters, cycle }
    }
}

impl Rates {
    /// Whether these readings, of the next cycle, may be the first ones of another container that has got the id: not
    /// if it has been running since the last ones. If the uptimes do not tell, it must not have been absent.
    pub fn may_be_another(&self, series: Series, now: &Readings) -> bool {
        let place = self.previous.binary_search_by_key(&series, |(known, _)| *known);
        let Ok((_, last)) = place.map(|place| &self.previous[place]) else { return true };
        now.run.restarted_since(&last.run).unwrap_or(last.cycle != self.n_cycles)
    }

    /// Since when a series has been running of which nothing is known from before, in milliseconds since the epoch.
    pub fn up_since_if_unknown(&self, series: Series, now: &Readings) -> Option<i64> {
        if self.previous.binary_search_by_key(&series, |(known, _)| *known).is_ok() {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an uptime is far less than the age of the universe"
        )]
        let up_ms = (1000.0 * now.run.uptime_seconds?) as i64;
        now.at_ms.checked_sub(up_ms)
    }

    /// The samples of a cycle, in the order of its series.
    pub fn samples(&mut self, cycle: &Cycle) -> Vec<(Series, Codes)> {
        self.n_cycles = self.n_cycles.wrapping_add(1);
        let of_series = |(series, _, now): &(Series, _, Readings)| {
            let place = self.previous.binary_search_by_key(series, |(known, _)| *known);
            let last = Last::of(now, self.n_cycles);
            let codes = match place {
                Ok(place) => {
                    let codes = sample(Some(&self.previous[place].1), self.cycle, now);
                    self.previous[place].1 = last;
                    codes
                }
                Err(place) => {
                    self.previous.insert(place, (*series, last));
                    sample(None, self.cycle, now)
                }
            };
            (*series, codes)
        };
        let samples = cycle.series.iter().map(of_series).collect();
        let node = cycle.series.iter().find(|(series, ..)| *series == Series::NODE);
        self.cycle = Some(Run {
            at_seconds: cycle.at_ms as f64 / 1e3,
            node_uptime_seconds: node.and_then(|(.., readings)| readings.run.node_uptime_seconds),
            uptime_seconds: None,
            boot: node.and_then(|(.., readings)| readings.run.boot),
        });
        let forget_ms = 24 * 60 * 60 * 1000;
        self.previous.retain(|(_, last)| (cycle.at_ms - last.at_ms).abs() < forget_ms);
        samples
    }
}

/// The values and rates of a series, which was seen before or not; `cycle` is when the previous cycle was.
fn sample(previous: Option<&Last>, cycle: Option<Run>, now: &Readings) -> Codes {
    let mut codes = now.levels;
    let has_started_since = |earlier: Run| now.run.restarted_since(&earlier) == Some(true);
    let restarted = previous.map(|previous| previous.run).or(cycle).is_some_and(has_started_since);
    let elapsed = previous
        .filter(|_| !restarted)
        .and_then(|previous| elapsed_seconds(previous, now, (now.at_ms - previous.at_ms) as f64 / 1000.0));
    let before = previous.map(|previous| previous.counters).unwrap_or_default();
    for (((metric, scale), before), after) in COUNTERS.iter().zip(before.iter()).zip(now.counters.iter()) {
        let Some(after) = after else { continue };
        let increase = before.filter(|_| !restarted).and_then(|before| after.checked_sub(before));
        let value = match metric.kind() {
            // The new counter has everything that happened since the restart.
            Kind::Events if restarted => Some(after as f64),
            Kind::Events => increase.map(|increase| increase as f64),
            _ => increase.zip(elapsed).map(|(increase, elapsed)| scale * increase as f64 / elapsed),
        };
        let value = if metric.unit() == "%" { value.map(|percent| percent.min(100.0)) } else { value };
        codes.set(*metric, value);
    }
    codes
}

/// The time of a rate, if it is within one run and the clock was not set.
fn elapsed_seconds(previous: &Last, now: &Readings, wall_seconds: f64) -> Option<f64> {
    let of_node = previous.run.node_uptime_seconds.zip(now.run.node_uptime_seconds);
    let uptimes = of_node.or_else(|| previous.run.uptime_seconds.zip(now.run.uptime_seconds));
    if let Some((before, after)) = uptimes {
        let tolerance = CLOCK_STEP_SECONDS.max(0.001 * wall_seconds.abs());
        if tolerance < (after - before - wall_seconds).abs() {
            return None;
        }
    }
    (SHORTEST_SPAN_SECONDS..=LONGEST_SPAN_SECONDS).contains(&wall_seconds).then_some(wall_seconds)
}

#[cfg(test)]
#[path = "readings_tests.rs"]
mod tests;
