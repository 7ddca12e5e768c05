//! The feature table of one container: a row per record, a column per name of the first description.
//!
//! Columns whose source is a counter (`io_reads`, `io_writes`, `network_rx_bytes`, `network_tx_bytes`) are
//! **rates per second** of the step: a counter that only ever grows would make every newest row the most
//! unusual one. Rolling means and deviations are taken over the last five rows, extremes over the
//! last hour, trends are the change per minute over the rolling rows. A gap or a restart begins them anew.
//!
//! Only rows of the same cadence are compared: rolling rows of two seconds and of five minutes describe
//! different things, and after a change of the interval every row would look unusual.
//!
//! A cell that was not measured is empty. For learning it takes the median of its column, which makes a row
//! neither usual nor unusual; a column that was never measured is left out. What is learnt from is therefore
//! finite by construction.

use std::collections::{BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use linfa::ParamGuard;
use lxc_autoscale_core::snapshot::{ContainerRecord, IoStats, NetworkUsage};
use ndarray::Array2;

use crate::decide::AnomalyScore;
use crate::detect::{IsolationForestError, IsolationForestParams};
use crate::history::Step;

/// The names of the columns, in the order they are logged.
pub const FEATURES: [&str; 26] = [
    "cpu_memory_ratio",
    "cpu_per_process",
    "cpu_trend",
    "cpu_usage_percent",
    "filesystem_free_gb",
    "filesystem_total_gb",
    "filesystem_usage_gb",
    "io_reads",
    "io_writes",
    "max_cpu",
    "max_memory",
    "memory_per_process",
    "memory_trend",
    "memory_usage_mb",
    "min_cpu",
    "min_memory",
    "network_rx_bytes",
    "network_tx_bytes",
    "process_count",
    "rolling_mean_cpu",
    "rolling_mean_memory",
    "rolling_std_cpu",
    "rolling_std_memory",
    "swap_total_mb",
    "swap_usage_mb",
    "time_diff",
];

/// Where `time_diff` stands.
const STEP_COLUMN: usize = FEATURES.len() - 1;
/// Rows that means, deviations and trends are taken over.
const ROLLING_ROWS: usize = 5;
/// Time that extremes are taken over.
const EXTREMES_SPAN: SignedDuration = SignedDuration::from_hours(1);
/// Steps that differ by more than this factor are of another cadence.
const SAME_CADENCE: f64 = 2.0;
/// Most points kept for them: an hour at one a second.
const MAX_POINTS: usize = 3600;

/// One row; a cell that was not measured is `None`, all others are finite.
pub type Row = [Option<f64>; FEATURES.len()];

/// The rows of one container.
#[derive(Clone, Debug)]
pub struct FeatureTable {
    rows: VecDeque<Row>,
    max_rows: usize,
    /// CPU (percent) and memory (MiB) since the last gap, for the rolling columns.
    points: VecDeque<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Timestamp,
    cpu: Option<f64>,
    memory: Option<f64>,
}

/// What the detector says about the newest row, and what it learnt from.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How unusual the newest row is.
    pub score: AnomalyScore,
    /// The columns that were learnt from.
    pub features: BTreeSet<&'static str>,
}

impl FeatureTable {
    /// An empty table that keeps the newest `max_rows` rows.
    pub fn new(max_rows: usize) -> Self {
        Self { rows: VecDeque::new(), max_rows, points: VecDeque::new() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds the row of a record, given what lies between it and the one before.
    pub fn push(&mut self, previous: Option<&ContainerRecord>, record: &ContainerRecord, step: &Step) {
        if step.seconds.is_none() || step.restarted {
            self.points.clear();
        }
        let at = step.observation.at;
        let point =
            Point { at, cpu: finite(record.cpu_usage_percent), memory: finite(record.memory_usage_mb) };
        self.points.push_back(point);
        while MAX_POINTS < self.points.len()
            || self.points.front().is_some_and(|point| EXTREMES_SPAN < at.duration_since(point.at))
        {
            self.points.pop_front();
        }
        let row = self.row(previous, record, step).map(finite);
        self.rows.push_back(row);
        while self.max_rows < self.rows.len() {
            self.rows.pop_front();
        }
    }

    /// Learns from the rows before the newest and scores that one; `None` after a gap, with fewer than `min_rows`
    /// of its cadence to learn from, or when no column was ever measured.
    ///
    /// # Errors
    /// When the parameters of the forest are out of range.
    pub fn judge(
        &self,
        params: &IsolationForestParams,
        min_rows: usize,
    ) -> Result<Option<Verdict>, IsolationForestError> {
        let Some((newest, past)) = self.split_newest() else { return Ok(None) };
        if past.len() < min_rows {
            return Ok(None);
        }
        let columns: Vec<(usize, f64)> =
            (0..FEATURES.len()).filter_map(|column| Some((column, median(&past, column)?))).collect();
        if columns.is_empty() {
            return Ok(None);
        }
        let filled = |row: &Row| {
            columns.iter().map(|(column, median)| row[*column].unwrap_or(*median)).collect::<Vec<_>>()
        };
        let records = Array2::from_shape_fn((past.len(), columns.len()), |(row, index)| {
            let (column, median) = columns[index];
            past[row][column].unwrap_or(median)
        });
        let forest = params.check_ref()?.grow(records.view())?;
        let score = forest.score_row(&filled(newest))?;
        let score = AnomalyScore { score, decision: score - forest.offset() };
        Ok(Some(Verdict { score, features: columns.iter().map(|(column, _)| FEATURES[*column]).collect() }))
    }

    /// The newest row, and those before it that were taken at its cadence; `None` after a gap.
    fn split_newest(&self) -> Option<(&Row, Vec<&Row>)> {
        let newest = self.rows.back()?;
        let seconds = newest[STEP_COLUMN]?;
        let alike = (seconds / SAME_CADENCE)..=(seconds * SAME_CADENCE);
        let before = self.rows.iter().take(self.rows.len() - 1);
        Some((
            newest,
            before.filter(|row| row[STEP_COLUMN].is_some_and(|step| alike.contains(&step))).collect(),
        ))
    }

    fn row(&self, previous: Option<&ContainerRecord>, record: &ContainerRecord, step: &Step) -> Row {
        let cpu = record.cpu_usage_percent;
        let memory = record.memory_usage_mb;
        let processes = record.process_count.filter(|count| 0 < *count).map(|count| count as f64);
        let rates = Rates { previous: previous.filter(|_| !step.restarted), record, seconds: step.seconds };
        let of_cpu = |point: &Point| point.cpu;
        let of_memory = |point: &Point| point.memory;
        let rolling_cpu = self.rolling(of_cpu);
        let rolling_memory = self.rolling(of_memory);
        // In the order of `FEATURES`.
        [
            ratio(cpu, memory),
            ratio(cpu, processes),
            self.trend(of_cpu),
            cpu,
            record.filesystem_free_gb,
            record.filesystem_total_gb,
            record.filesystem_usage_gb,
            rates.io(|io| io.reads),
            rates.io(|io| io.writes),
            self.extreme(of_cpu, f64::max),
            self.extreme(of_memory, f64::max),
            ratio(memory, processes),
            self.trend(of_memory),
            memory,
            self.extreme(of_cpu, f64::min),
            self.extreme(of_memory, f64::min),
            rates.network(|network| network.rx_bytes),
            rates.network(|network| network.tx_bytes),
            record.process_count.map(|count| count as f64),
            rolling_cpu.map(|(mean, _)| mean),
            rolling_memory.map(|(mean, _)| mean),
            rolling_cpu.map(|(_, deviation)| deviation),
            rolling_memory.map(|(_, deviation)| deviation),
            record.swap_total_mb,
            record.swap_usage_mb,
            step.seconds,
        ]
    }

    fn newest_points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().rev().take(ROLLING_ROWS)
    }

    /// Mean and standard deviation of the rolling rows.
    fn rolling(&self, of: impl Fn(&Point) -> Option<f64>) -> Option<(f64, f64)> {
        let values: Vec<f64> = self.newest_points().filter_map(of).collect();
        let count = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Some((mean, variance.sqrt()))
    }

    /// Change per minute over the rolling rows.
    fn trend(&self, of: impl Fn(&Point) -> Option<f64>) -> Option<f64> {
        let newest = self.newest_points().next()?;
        let oldest = self.newest_points().last()?;
        let minutes = newest.at.duration_since(oldest.at).as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return None;
        }
        Some((of(newest)? - of(oldest)?) / minutes)
    }

    fn extreme(&self, of: impl Fn(&Point) -> Option<f64>, better: fn(f64, f64) -> f64) -> Option<f64> {
        self.points.iter().filter_map(of).reduce(better)
    }
}

/// Counters as rates per second.
struct Rates<'a> {
    previous: Option<&'a ContainerRecord>,
    record: &'a ContainerRecord,
    seconds: Option<f64>,
}

impl Rates<'_> {
    fn io(&self, of: impl Fn(&IoStats) -> u64) -> Option<f64> {
        self.rate(|record| record.io_stats.as_ref().map(&of))
    }

    fn network(&self, of: impl Fn(&NetworkUsage) -> u64) -> Option<f64> {
        self.rate(|record| record.network_usage.as_ref().map(&of))
    }

    /// `None` where the counter went down: how much it had gained before that is not known.
    fn rate(&self, of: impl Fn(&ContainerRecord) -> Option<u64>) -> Option<f64> {
        let gained = of(self.record)?.checked_sub(of(self.previous?)?)?;
        Some(gained as f64 / self.seconds?)
    }
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

fn ratio(dividend: Option<f64>, divisor: Option<f64>) -> Option<f64> {
    let divisor = divisor.filter(|divisor| *divisor != 0.0)?;
    Some(dividend? / divisor)
}

/// The median of the measured cells of a column; `None` when there is none.
fn median(rows: &[&Row], column: usize) -> Option<f64> {
    let mut values: Vec<f64> = rows.iter().filter_map(|row| row[column]).collect();
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::RecordTime;
    use proptest::prelude::*;

    use super::*;
    use crate::history::step;

    fn record(seconds: i64, cpu: f64, memory: f64) -> ContainerRecord {
        let at = Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        ContainerRecord {
            cpu_usage_percent: Some(cpu),
            memory_usage_mb: Some(memory),
            process_count: Some(10),
            io_stats: Some(IoStats {
                reads: seconds.unsigned_abs() * 100,
                writes: 0,
                read_ops: None,
                write_ops: None,
            }),
            ..ContainerRecord::empty(RecordTime::utc(at))
        }
    }

    fn table(records: &[ContainerRecord]) -> FeatureTable {
        let mut table = FeatureTable::new(500);
        let mut previous = None;
        for record in records {
            table.push(previous, record, &step(previous, record));
            previous = Some(record);
        }
        table
    }

    fn cell(row: &Row, name: &str) -> Option<f64> {
        row[FEATURES.iter().position(|feature| *feature == name).unwrap()]
    }

    #[test]
    fn the_columns_are_what_their_names_say() {
        let records = [record(0, 10.0, 100.0), record(60, 20.0, 100.0), record(120, 40.0, 160.0)];
        let table = table(&records);
        let row = table.rows.back().unwrap();
        for (name, want) in [
            ("cpu_memory_ratio", Some(0.25)),
            ("cpu_per_process", Some(4.0)),
            ("cpu_trend", Some(15.0)),
            ("cpu_usage_percent", Some(40.0)),
            ("filesystem_free_gb", None),
            ("io_reads", Some(100.0)),
            ("io_writes", Some(0.0)),
            ("max_cpu", Some(40.0)),
            ("min_cpu", Some(10.0)),
            ("max_memory", Some(160.0)),
            ("memory_per_process", Some(16.0)),
            ("memory_trend", Some(30.0)),
            ("network_rx_bytes", None),
            ("process_count", Some(10.0)),
            ("rolling_mean_memory", Some(120.0)),
            ("swap_usage_mb", None),
            ("time_diff", Some(60.0)),
        ] {
            assert_eq!(cell(row, name), want, "{name}");
        }
        let deviation = cell(row, "rolling_std_cpu").unwrap();
        assert!((deviation - 12.472).abs() < 1e-3, "{deviation}");
    }

    #[test]
    fn a_gap_begins_the_rolling_columns_anew() {
        let table = table(&[record(0, 90.0, 100.0), record(7200, 10.0, 100.0)]);
        let row = table.rows.back().unwrap();
        assert_eq!((cell(row, "rolling_mean_cpu"), cell(row, "time_diff")), (Some(10.0), None));
        assert_eq!((cell(row, "max_cpu"), cell(row, "io_reads")), (Some(10.0), None));
    }

    /// Ninety quiet minutes, then one that is not.
    fn quiet_then(last: ContainerRecord) -> FeatureTable {
        let quiet =
            (0..90).map(|minute| record(60 * minute, 5.0 + (minute % 7) as f64, 200.0 + (minute % 5) as f64));
        table(&quiet.chain([last]).collect::<Vec<_>>())
    }

    #[test]
    fn a_row_unlike_the_past_is_an_anomaly_and_one_like_it_is_not() {
        let judge =
            |table: FeatureTable| table.judge(&IsolationForestParams::default(), 64).unwrap().unwrap();
        let usual = judge(quiet_then(record(5400, 7.0, 202.0)));
        let unusual = judge(quiet_then(record(5400, 95.0, 900.0)));
        assert!(!usual.score.is_anomaly(), "{usual:?}");
        assert!(unusual.score.is_anomaly(), "{unusual:?}");
        assert!(usual.features.contains("cpu_usage_percent"));
        assert!(!usual.features.contains("swap_usage_mb"), "never measured, never learnt from");
    }

    #[test]
    fn too_little_past_gives_no_verdict() {
        // The first row has no step and is not compared.
        let table = table(&[0, 60, 120, 180].map(|seconds| record(seconds, 1.0, 1.0)));
        assert_eq!(table.judge(&IsolationForestParams::default(), 3).unwrap(), None);
        assert!(table.judge(&IsolationForestParams::default(), 2).unwrap().is_some());
    }

    #[test]
    fn a_change_of_the_interval_makes_nothing_unusual() {
        let slow = (0..90).map(|n| record(300 * n, 5.0 + (n % 7) as f64, 200.0 + (n % 5) as f64));
        let fast = (1..60).map(|n| record(300 * 89 + 2 * n, 5.0 + (n % 7) as f64, 200.0 + (n % 5) as f64));
        let table = table(&slow.chain(fast).collect::<Vec<_>>());
        let judge = |min_rows| table.judge(&IsolationForestParams::default(), min_rows).unwrap();
        assert_eq!(judge(64), None, "58 fast rows are too few to learn from, and slow ones are no measure");
        assert!(!judge(58).unwrap().score.is_anomaly());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = FeatureTable::new(3);
        for minute in 0..10 {
            let record = record(60 * minute, 1.0, 1.0);
            table.push(None, &record, &step(None, &record));
        }
        assert_eq!(table.len(), 3);
    }

    fn any_number() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            Just(None),
            any::<f64>().prop_map(Some),
            Just(Some(f64::NAN)),
            Just(Some(f64::INFINITY)),
            (0.0..100.0f64).prop_map(Some)
        ]
    }

    proptest! {
        /// Whatever the file says, nothing infinite reaches the detector.
        #[test]
        fn cells_are_finite(
            cells in prop::collection::vec((1i64..2000, any_number(), any_number(), any::<Option<u64>>()), 2..12),
        ) {
            let mut seconds = 0;
            let records: Vec<_> = cells
                .into_iter()
                .map(|(pause, cpu, memory, count)| {
                    seconds += pause;
                    let io = count.map(|reads| IoStats { reads, writes: reads, read_ops: None, write_ops: None });
                    ContainerRecord {
                        cpu_usage_percent: cpu,
                        memory_usage_mb: memory,
                        process_count: count,
                        io_stats: io,
                        swap_usage_mb: memory,
                        ..record(seconds, 0.0, 0.0)
                    }
                })
                .collect();
            let table = table(&records);
            prop_assert!(table.rows.iter().flatten().flatten().all(|cell| cell.is_finite()));
            prop_assert!(table.judge(&IsolationForestParams::default(), 2).is_ok());
        }
    }
}
