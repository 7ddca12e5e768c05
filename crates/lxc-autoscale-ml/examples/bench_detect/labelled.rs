//! Series with events of known position and kind, and the same without them.

use jiff::Timestamp;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::snapshot::{ContainerRecord, IoStats, NetworkUsage};
use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::replay::Size;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Samples per day: traces have one every five minutes.
pub(crate) const DAY: usize = 288;
const HOUR: usize = 12;
/// Most samples that are used of a recording.
const MOST: usize = 14 * DAY;
/// Earlier samples are only used for training.
pub(crate) const WARM_UP: usize = 3 * DAY;

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) enum Kind {
    /// A quarter of an hour far above everything.
    Spike,
    /// Three hours at a higher level.
    Shift,
    /// Eight hours in which memory grows.
    Leak,
    /// Two hours of silence: the service has died.
    Silence,
    /// Six hours with the values of half a day before; only if days are alike.
    Break,
}

pub(crate) const KINDS: [Kind; 5] = [Kind::Spike, Kind::Shift, Kind::Leak, Kind::Silence, Kind::Break];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Shift => "level shift",
            Self::Leak => "leak",
            Self::Silence => "silence",
            Self::Break => "pattern break",
        }
    }

    fn samples(self) -> usize {
        match self {
            Self::Spike => 3,
            Self::Shift => 3 * HOUR,
            Self::Leak => 8 * HOUR,
            Self::Silence => 2 * HOUR,
            Self::Break => 6 * HOUR,
        }
    }
}

/// An event: the samples `first..end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) first: usize,
    pub(crate) end: usize,
}

/// A series of records and its events.
pub(crate) struct Labelled {
    pub(crate) records: Vec<ContainerRecord>,
    pub(crate) events: Vec<Event>,
}

/// Usage of CPU (cores) and memory (MiB).
type Use = (f64, f64);

/// The recording as it is, and with events about every day and a half; `None` if it is too short.
pub(crate) fn label(recording: &Recording) -> Option<(Labelled, Labelled)> {
    let uses: Vec<Use> = recording
        .samples
        .iter()
        .filter_map(|sample| Some((sample.cpu_cores?, sample.memory_mib?)))
        .take(MOST)
        .collect();
    if uses.len() < WARM_UP + 2 * DAY {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(recording.id);
    let mut with = uses.clone();
    let events = inject(&uses, &mut with, recording.provisioned, &mut rng);
    let labelled = |uses: &[Use], events| Labelled { records: records(recording, uses), events };
    Some((labelled(&uses, Vec::new()), labelled(&with, events)))
}

fn inject(clean: &[Use], with: &mut [Use], built: Size, rng: &mut ChaCha8Rng) -> Vec<Event> {
    let (cpu, memory) = (range(clean, |one| one.0, built.cores), range(clean, |one| one.1, built.memory_mib));
    let mut events = Vec::new();
    let mut kind = rng.gen_range(0..KINDS.len());
    let mut first = WARM_UP + rng.gen_range(HOUR..DAY);
    loop {
        let mut now = KINDS[kind % KINDS.len()];
        if now == Kind::Break && !is_daily(clean) {
            kind += 1;
            now = KINDS[kind % KINDS.len()];
        }
        let end = first + now.samples();
        if with.len() < end {
            return events;
        }
        for at in first..end {
            let (used_cpu, used_memory) = clean[at];
            let share = (at - first + 1) as f64 / (end - first) as f64;
            let (new_cpu, new_memory) = match now {
                Kind::Spike => (used_cpu + 2.0 * cpu, used_memory + 1.5 * memory),
                Kind::Shift => (used_cpu + cpu, used_memory + memory),
                Kind::Leak => (used_cpu, used_memory + 2.0 * memory * share),
                Kind::Silence => (0.02 * used_cpu, 0.5 * used_memory),
                Kind::Break => clean[at - DAY / 2],
            };
            with[at] = (new_cpu.min(built.cores), new_memory.min(built.memory_mib));
        }
        events.push(Event { kind: now, first, end });
        kind += 1;
        first = end + DAY + rng.gen_range(0..DAY / 2);
    }
}

/// The distance between the median and the 99th percentile; at least a twentieth of the provisioned size.
fn range(uses: &[Use], of: fn(&Use) -> f64, built: f64) -> f64 {
    let mut values: Vec<f64> = uses.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let (median, high) = (values[values.len() / 2], values[values.len() * 99 / 100]);
    (high - median).max(built / 20.0)
}

/// Whether a day is like the one before: the correlation of CPU over a day.
fn is_daily(uses: &[Use]) -> bool {
    let pairs = || uses.iter().zip(&uses[DAY..]).map(|(before, now)| (before.0, now.0));
    let count = pairs().count() as f64;
    let (mean_a, mean_b) = pairs().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / count, b + y / count));
    let (mut both, mut a, mut b) = (0.0, 0.0, 0.0);
    for (x, y) in pairs() {
        let (x, y) = (x - mean_a, y - mean_b);
        (both, a, b) = (both + x * y, a + x * x, b + y * y);
    }
    0.3 < both / (a * b).sqrt()
}

/// The monitor's records. Values that a trace lacks are synthetic: traffic that follows CPU, random reads and writes,
/// some processes. They make the tables as wide as a real container's, and say nothing else about the events.
fn records(recording: &Recording, uses: &[Use]) -> Vec<ContainerRecord> {
    let mut rng = ChaCha8Rng::seed_from_u64(!recording.id);
    let (mut io, mut network) = ((0.0, 0.0), (0.0, 0.0));
    let built = recording.provisioned;
    let begin = recording.samples.first().map_or(0, |sample| sample.at);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters, not negative")]
    let count = |value: f64| value as u64;
    let record = |(index, (cpu, memory)): (usize, &Use)| {
        let seconds = begin + 300 * i64::try_from(index).unwrap_or_default();
        let at = RecordTime::utc(Timestamp::from_second(seconds).unwrap_or_default());
        let mut noise = |spread: f64| rng.gen_range(1.0 - spread..1.0 + spread);
        network.0 += 300.0 * (2e3 + 4e4 * cpu) * noise(0.3);
        network.1 += 300.0 * (3e3 + 9e4 * cpu) * noise(0.3);
        io.0 += 300.0 * 20.0 * noise(0.9).powi(4);
        io.1 += 300.0 * (30.0 + 60.0 * cpu) * noise(0.6);
        ContainerRecord {
            cpu_usage_percent: Some(100.0 * cpu / built.cores),
            cpu_cores_used: Some(*cpu),
            memory_usage_mb: Some(*memory),
            swap_usage_mb: Some(0.0),
            swap_total_mb: Some(512.0),
            process_count: Some(count(24.0 * noise(0.1))),
            io_stats: Some(IoStats {
                reads: count(io.0),
                writes: count(io.1),
                read_ops: None,
                write_ops: None,
            }),
            network_usage: Some(NetworkUsage { rx_bytes: count(network.0), tx_bytes: count(network.1) }),
            filesystem_usage_gb: Some(2.0 + index as f64 / 1e5),
            filesystem_total_gb: Some(8.0),
            filesystem_free_gb: Some(6.0 - index as f64 / 1e5),
            ..ContainerRecord::empty(at)
        }
    };
    uses.iter().enumerate().map(record).collect()
}
