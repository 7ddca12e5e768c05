//! How many values of real workloads are flagged, and how many injected shifts are found within five samples: by ours
//! and by two textbook detectors (one of them with two thresholds), on the same series. `cargo xtask bench anomaly`
//! runs it.
//!
//! The series are used as recorded, so every flag counts as a false one, whatever really happened. A shift is injected
//! by continuing a copy of the detectors with changed values for five samples from a random moment (fixed seeds) after
//! the third day.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use jiff::Timestamp;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::snapshot::ContainerRecord;
use lxc_monitor::anomaly::{AnomalyConfig, ContainerState, Metric, Settings};
use serde_json::json;

/// The metrics in the traces.
const METRICS: [Metric; 4] = [Metric::CpuCores, Metric::MemoryMib, Metric::IoBytes, Metric::NetworkBytes];
/// The number of samples in which a shift must be found.
const WITHIN: usize = 5;
const POINTS_PER_SERIES: usize = 20;
const DAY: f64 = 86_400.0;
/// Containers with even numbers were used while the method was developed; the others were not.
const TUNED_ON: [&str; 2] = ["numbers the method was tuned on (even)", "held out (odd)"];
const SHIFTS: [&str; 6] = ["x2", "x3", "/3", "+6 sigma", "+1 range", "+2 ranges"];
const DETECTORS: [&str; N_DETECTORS] = ["ours", "EWMA, 3 sigma", "EWMA, 5 sigma", "median/MAD of a day, 3.5"];
const N_DETECTORS: usize = 4;

#[derive(Parser)]
struct Args {
    /// Traces in one CSV file of the columns of crates/lxc-autoscale-sim/traces/README.md.
    #[arg(long, value_name = "CSV")]
    traces: Option<PathBuf>,
    /// Write the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Wanted share of flagged values.
    #[arg(long, default_value_t = AnomalyConfig::default().false_alarm_share)]
    share: f64,
}

/// One sample of one container, in the units of [`METRICS`].
#[derive(Clone, Copy)]
struct Sample {
    at: f64,
    values: [f64; 4],
}

/// Our complete engine on one container, with records as the monitor makes them.
#[derive(Clone)]
struct Ours {
    state: ContainerState,
    settings: Settings,
    /// Cumulative sectors and bytes.
    totals: [f64; 2],
    before: Option<f64>,
}

impl Ours {
    fn judge(&mut self, sample: Sample) -> [bool; 4] {
        let elapsed = self.before.map_or(0.0, |before| sample.at - before);
        self.before = Some(sample.at);
        self.totals[0] += sample.values[2] * elapsed / 512.0;
        self.totals[1] += sample.values[3] * elapsed;
        #[expect(clippy::cast_possible_truncation, reason = "a time of the traces")]
        let time = Timestamp::from_second(sample.at as i64).unwrap_or_default();
        let mut record = ContainerRecord::empty(RecordTime::utc(time));
        record.cpu_cores_used = Some(sample.values[0]);
        record.memory_usage_mb = Some(sample.values[1]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "totals of the traces")]
        let totals = self.totals.map(|total| total as u64);
        record.io_stats = serde_json::from_value(json!({"reads": totals[0], "writes": 0})).ok();
        record.network_usage = serde_json::from_value(json!({"rx_bytes": totals[1], "tx_bytes": 0})).ok();
        self.state.take(&self.settings, &record);
        let flags = self.state.anomalies();
        METRICS.map(|metric| flags.iter().any(|flag| flag.metric == metric.name()))
    }
}

/// Mean and variance with a memory of a day; flags beyond so many standard deviations.
#[derive(Clone, Copy)]
struct Ewma {
    deviations: f64,
    mean: f64,
    variance: f64,
    seen: f64,
}

impl Ewma {
    fn new(deviations: f64) -> Self {
        Self { deviations, mean: 0.0, variance: 0.0, seen: 0.0 }
    }

    fn judge(&mut self, value: f64) -> bool {
        let far = self.deviations * self.variance.sqrt() < (value - self.mean).abs();
        let flagged = DAY <= self.seen * 300.0 && far;
        self.seen += 1.0;
        let gain = (300.0 / DAY).max(1.0 / self.seen);
        let difference = value - self.mean;
        self.mean += gain * difference;
        self.variance = (1.0 - gain) * (self.variance + gain * difference * difference);
        flagged
    }
}

/// Median and median absolute deviation of the last day, updated each hour; flags beyond 3.5 of them (Iglewicz and
/// Hoaglin, "How to detect and handle outliers", 1993).
#[derive(Clone, Default)]
struct RobustZ {
    window: Vec<f64>,
    median: f64,
    deviation: f64,
    seen: usize,
}

impl RobustZ {
    fn judge(&mut self, value: f64) -> bool {
        if self.seen.is_multiple_of(12) && 288 <= self.window.len() {
            let (median, deviation) = median_and_deviation(&self.window);
            (self.median, self.deviation) = (median, deviation);
        }
        let flagged = 288 <= self.window.len() && 3.5 * self.deviation < (value - self.median).abs();
        if self.window.len() < 288 {
            self.window.push(value);
        } else {
            self.window[self.seen % 288] = value;
        }
        self.seen += 1;
        flagged
    }
}

/// All detectors on one container.
#[derive(Clone)]
struct Contest {
    ours: Ours,
    three_sigma: [Ewma; 4],
    five_sigma: [Ewma; 4],
    robust: [RobustZ; 4],
}

impl Contest {
    fn new(settings: Settings) -> Self {
        let ours = Ours { state: ContainerState::default(), settings, totals: [0.0; 2], before: None };
        Self {
            ours,
            three_sigma: [Ewma::new(3.0); 4],
            five_sigma: [Ewma::new(5.0); 4],
            robust: Default::default(),
        }
    }

    /// By detector and metric.
    fn judge(&mut self, sample: Sample) -> [[bool; 4]; N_DETECTORS] {
        let mut judged = [[false; 4]; N_DETECTORS];
        let [ours, three_sigma, five_sigma, robust] = &mut judged;
        *ours = self.ours.judge(sample);
        for (metric, value) in sample.values.into_iter().enumerate() {
            three_sigma[metric] = self.three_sigma[metric].judge(value);
            five_sigma[metric] = self.five_sigma[metric].judge(value);
            robust[metric] = self.robust[metric].judge(value);
        }
        judged
    }
}

/// The counts of one detector and metric.
#[derive(Clone, Default)]
struct Tally {
    values: u64,
    flagged: u64,
    tried: u64,
    found: [u64; 6],
    delays: Vec<usize>,
    shares: Vec<f64>,
}

type Tallies = [[Tally; 4]; N_DETECTORS];

fn main() -> io::Result<()> {
    let args = Args::parse();
    let traces = match &args.traces {
        Some(path) => read_csv(path)?,
        None => own_traces()?,
    };
    let settings = Settings { false_alarm_share: args.share, ..AnomalyConfig::default().settings() };
    let mut groups: [Tallies; 2] = Default::default();
    for (&id, samples) in traces.iter().filter(|(_, samples)| 1000 <= samples.len()) {
        let group = usize::try_from(id % 2).unwrap_or_default();
        contest(id, samples, settings, &mut groups[group]);
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} containers, 300 s a sample; state of one container, all metrics: {} bytes",
        traces.len(),
        size_of::<ContainerState>()
    )?;
    let mut figures = serde_json::Map::new();
    for (name, tallies) in TUNED_ON.iter().zip(&groups) {
        if tallies[0][0].values == 0 {
            continue;
        }
        writeln!(out, "\n{name}: flagged of all values, and shifts found within {WITHIN} samples")?;
        figures.insert((*name).to_owned(), report(&mut out, tallies)?);
    }
    match &args.json {
        Some(path) => std::fs::write(path, serde_json::Value::Object(figures).to_string()),
        None => Ok(()),
    }
}

/// Runs all detectors over one container and injects the shifts.
fn contest(id: u64, samples: &[Sample], settings: Settings, tallies: &mut Tallies) {
    let mut contest = Contest::new(settings);
    let mut random = Random(id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let first = samples.iter().position(|sample| samples[0].at + 3.0 * DAY <= sample.at);
    let first = first.unwrap_or(samples.len());
    let room = samples.len().saturating_sub(first + WITHIN).max(1);
    let mut points: Vec<usize> = (0..POINTS_PER_SERIES).map(|_| first + random.below(room)).collect();
    points.sort_unstable();
    points.dedup();
    let mut counts = [[(0_u64, 0_u64); 4]; N_DETECTORS];
    for (index, &sample) in samples.iter().enumerate() {
        if points.binary_search(&index).is_ok() && index + WITHIN <= samples.len() {
            inject(&contest, samples, index, tallies);
        }
        let verdicts = contest.judge(sample);
        if samples[0].at + DAY <= sample.at {
            for (counts, verdicts) in counts.iter_mut().zip(verdicts) {
                for (count, flagged) in counts.iter_mut().zip(verdicts) {
                    *count = (count.0 + 1, count.1 + u64::from(flagged));
                }
            }
        }
    }
    for (tallies, counts) in tallies.iter_mut().zip(counts) {
        for (tally, (values, flagged)) in tallies.iter_mut().zip(counts) {
            tally.values += values;
            tally.flagged += flagged;
            tally.shares.push(flagged as f64 / values.max(1) as f64);
        }
    }
}

/// Continues copies of the detectors with every shift of every metric.
fn inject(contest: &Contest, samples: &[Sample], at: usize, tallies: &mut Tallies) {
    for metric in 0..4 {
        let values = |days: usize| -> Vec<f64> {
            samples[at.saturating_sub(288 * days)..at].iter().map(|sample| sample.values[metric]).collect()
        };
        let (median, deviation) = median_and_deviation(&values(1));
        // For a constant series, a twentieth of the value serves as its deviation.
        let sigma = deviation.max(0.05 * median).max(least(METRICS[metric]));
        let mut week = values(7);
        week.sort_by(f64::total_cmp);
        let range = (week[week.len() * 99 / 100] - week[week.len() / 2]).max(6.0 * sigma);
        for shift in 0..SHIFTS.len() {
            let mut copy = contest.clone();
            let mut found = [None; N_DETECTORS];
            for (delay, &sample) in samples[at..at + WITHIN].iter().enumerate() {
                let mut shifted = sample;
                let value = &mut shifted.values[metric];
                *value = match shift {
                    0 => *value * 2.0,
                    1 => *value * 3.0,
                    2 => *value / 3.0,
                    3 => *value + 6.0 * sigma,
                    4 => *value + range,
                    _ => *value + 2.0 * range,
                };
                let verdicts = copy.judge(shifted);
                for (found, verdicts) in found.iter_mut().zip(verdicts) {
                    if found.is_none() && verdicts[metric] {
                        *found = Some(delay + 1);
                    }
                }
            }
            for (tallies, found) in tallies.iter_mut().zip(found) {
                let tally = &mut tallies[metric];
                tally.tried += u64::from(shift == 0);
                if let Some(delay) = found {
                    tally.found[shift] += 1;
                    tally.delays.push(delay);
                }
            }
        }
    }
}

/// An irrelevant difference, in the unit of the metric.
fn least(metric: Metric) -> f64 {
    match metric {
        Metric::CpuCores => 0.01,
        Metric::MemoryMib => 1.0,
        _ => 4096.0,
    }
}

fn report(out: &mut impl Write, tallies: &Tallies) -> io::Result<serde_json::Value> {
    writeln!(
        out,
        "{:<25} {:<22} {:>8} {:>8} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9} {:>6}",
        "",
        "metric",
        "flagged",
        "worst 5%",
        SHIFTS[0],
        SHIFTS[1],
        SHIFTS[2],
        SHIFTS[3],
        SHIFTS[4],
        SHIFTS[5],
        "delay"
    )?;
    let mut figures = serde_json::Map::new();
    for (name, tallies) in DETECTORS.iter().zip(tallies) {
        let mut rows = serde_json::Map::new();
        let mut all = Tally::default();
        for tally in tallies {
            all.values += tally.values;
            all.flagged += tally.flagged;
            all.tried += tally.tried;
            all.found.iter_mut().zip(tally.found).for_each(|(all, found)| *all += found);
            all.delays.extend(&tally.delays);
            all.shares.extend(&tally.shares);
        }
        let names = METRICS.map(Metric::name).into_iter().chain(["all"]);
        for (metric, tally) in names.zip(tallies.iter().chain([&all])) {
            rows.insert(metric.to_owned(), row(out, name, metric, tally)?);
        }
        figures.insert((*name).to_owned(), rows.into());
    }
    Ok(figures.into())
}

fn row(out: &mut impl Write, name: &str, metric: &str, tally: &Tally) -> io::Result<serde_json::Value> {
    let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    let flagged = percent(tally.flagged, tally.values);
    let mut shares = tally.shares.clone();
    shares.sort_by(f64::total_cmp);
    let worst = 100.0 * shares.get(shares.len() * 95 / 100).copied().unwrap_or_default();
    let found = tally.found.map(|found| percent(found, tally.tried));
    let mut delays = tally.delays.clone();
    delays.sort_unstable();
    let delay = delays.get(delays.len() / 2).copied();
    writeln!(
        out,
        "{name:<25} {metric:<22} {flagged:>7.2}% {worst:>7.2}% {:>6.0}% {:>6.0}% {:>6.0}% {:>8.0}% {:>8.0}% {:>8.0}% {:>6}",
        found[0],
        found[1],
        found[2],
        found[3],
        found[4],
        found[5],
        delay.map_or_else(|| "-".to_owned(), |delay| delay.to_string())
    )?;
    Ok(json!({
        "flagged_percent": flagged,
        "values": tally.values,
        "injections_of_each_shift": tally.tried,
        "found_percent": SHIFTS.iter().zip(found).collect::<BTreeMap<_, _>>(),
        "median_delay_samples": delay,
    }))
}

/// Median and 1.4826 times the median absolute deviation.
fn median_and_deviation(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    for value in &mut sorted {
        *value = (*value - median).abs();
    }
    sorted.sort_by(f64::total_cmp);
    (median, 1.4826 * sorted.get(sorted.len() / 2).copied().unwrap_or_default())
}

/// The traces that come with the simulated node.
fn own_traces() -> io::Result<BTreeMap<u64, Vec<Sample>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lxc-autoscale-sim/traces");
    let mut traces = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            traces.extend(read_csv(&path)?);
        }
    }
    Ok(traces)
}

fn read_csv(path: &Path) -> io::Result<BTreeMap<u64, Vec<Sample>>> {
    let mut traces: BTreeMap<u64, Vec<Sample>> = BTreeMap::new();
    for line in std::fs::read_to_string(path)?.lines().skip(1) {
        let field = |index: usize| line.split(',').nth(index).and_then(|field| field.parse::<f64>().ok());
        let id = line.split(',').nth(1).and_then(|field| field.parse().ok());
        let row = || {
            let values = [field(4)?, field(5)?, 1e3 * (field(6)? + field(7)?), 1e3 * (field(8)? + field(9)?)];
            Some((id?, Sample { at: field(0)?, values }))
        };
        let Some((id, sample)) = row() else {
            return Err(io::Error::other(format!("{}: not a line of a trace: {line}", path.display())));
        };
        traces.entry(id).or_default().push(sample);
    }
    Ok(traces)
}

/// xorshift64 (Marsaglia, 2003): the same moments in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap_or_default()
    }
}
