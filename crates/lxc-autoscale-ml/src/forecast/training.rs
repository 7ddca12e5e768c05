//! Trains a demand model on recorded machines.

use std::collections::BTreeMap;

use super::boosting::{BinnedRows, BoostingParams, fit};
use super::demand_model::{LearntModel, LearntResource};
use super::features::{self, WINDOW_STEPS};
use crate::columns;
use crate::recommend::series::STEP_SECONDS;

/// Fewest past steps of a training row: a container gets forecasts after an hour.
const LEAST_PAST_STEPS: usize = 12;
/// Every third step is used: neighbours are nearly equal.
const STRIDE: usize = 3;
/// CPU below two hundredths of a core and memory below 8 MiB are not distinguished.
const CPU_EPSILON: f32 = 0.02;
const MEMORY_EPSILON_MIB: f32 = 8.0;
/// CPU: the next step, because a limit that is too low shows at once and is corrected by the next.
pub const CPU_AHEAD_STEPS: u16 = 1;
/// Memory: the next hour, because a limit that is too low kills processes, and a shrink that is undone within the hour
/// was not worth it.
pub const MEMORY_AHEAD_STEPS: u16 = 12;
/// Lacking CPU costs in proportion to the amount: a share of the cost grows with 1 - level.
const CPU_LEVELS: [f32; 4] = [0.8, 0.9, 0.95, 0.98];
/// Lacking memory kills processes: the tail matters.
const MEMORY_LEVELS: [f32; 5] = [0.5, 0.9, 0.98, 0.995, 0.999];
/// Exponent of the scale in the weight of a CPU row: a large container's shortage costs more, yet small ones must be
/// served as well.
const CPU_WEIGHT_POWER: f32 = 0.5;

/// The usage of one machine in steps of five minutes; NaN is unknown.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Cores.
    pub cpu: Vec<f32>,
    /// MiB.
    pub memory: Vec<f32>,
}

/// Why a file of recordings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A line cannot be read.
    #[error(
        "the recordings are not CSV with the columns timestamp, container_id, cpu_cores_used, memory_mb_used"
    )]
    Csv(#[from] csv::Error),
    /// A column is missing.
    #[error("the column `{column}` is missing in the recordings; their first line must name the columns {}", COLUMNS.join(", "))]
    Column {
        /// Its name.
        column: &'static str,
    },
    /// A machine's times go back, or jump by more than a year.
    #[error("machine {machine}: the time {timestamp} is not after the one before it, or a year later")]
    Time {
        /// The machine.
        machine: u64,
        /// The time.
        timestamp: i64,
    },
    /// A usage is not a valid amount.
    #[error("machine {machine} at {timestamp}: {value} is not a valid amount")]
    Amount {
        /// The machine.
        machine: u64,
        /// The time.
        timestamp: i64,
        /// The usage.
        value: f32,
    },
    /// It holds no training data.
    #[error("no machine in the recordings has more than {LEAST_PAST_STEPS} steps")]
    Empty,
}

/// The columns that are read; there may be others.
const COLUMNS: [&str; 4] = ["timestamp", "container_id", "cpu_cores_used", "memory_mb_used"];

#[derive(serde::Deserialize)]
struct Line {
    timestamp: i64,
    container_id: u64,
    cpu_cores_used: Option<f32>,
    memory_mb_used: Option<f32>,
}

/// More cores or MiB than this are an error.
const MOST: f32 = 1e9;
/// Longest jump of time within one recording.
const LONGEST_JUMP_STEPS: i64 = 366 * 288;

/// Reads recordings: CSV with the columns `timestamp` (s), `container_id`, `cpu_cores_used` and
/// `memory_mb_used` (MiB) among others; lines of a machine in the order of time, missing steps unknown.
///
/// # Errors
/// [`RecordingError`].
pub fn read_recordings(input: impl std::io::Read) -> Result<Vec<Recording>, RecordingError> {
    let mut machines: BTreeMap<u64, (i64, Recording)> = BTreeMap::new();
    let mut reader = csv::Reader::from_reader(input);
    if let Some(column) = columns::missing(reader.headers()?, &COLUMNS) {
        return Err(RecordingError::Column { column });
    }
    for line in reader.deserialize() {
        let Line { timestamp, container_id: machine, cpu_cores_used, memory_mb_used } = line?;
        let step = timestamp.div_euclid(STEP_SECONDS);
        let (last, recording) = machines.entry(machine).or_insert((step - 1, Recording::default()));
        let jump = step - *last;
        if !(1..=LONGEST_JUMP_STEPS).contains(&jump) {
            return Err(RecordingError::Time { machine, timestamp });
        }
        for value in [cpu_cores_used, memory_mb_used].into_iter().flatten() {
            if !value.is_nan() && !(0.0..=MOST).contains(&value) {
                return Err(RecordingError::Amount { machine, timestamp, value });
            }
        }
        // No feature looks back further than the window, so a longer gap has the same effect.
        let gap = usize::try_from(jump).unwrap_or(WINDOW_STEPS).min(WINDOW_STEPS);
        for _ in 1..gap {
            recording.cpu.push(f32::NAN);
            recording.memory.push(f32::NAN);
        }
        *last = step;
        recording.cpu.push(cpu_cores_used.unwrap_or(f32::NAN));
        recording.memory.push(memory_mb_used.unwrap_or(f32::NAN));
    }
    Ok(machines.into_values().map(|(_, recording)| recording).collect())
}

/// Trains the demand model on `recordings`, with `rounds` trees per quantile.
///
/// # Errors
/// [`RecordingError::Empty`].
pub fn train(recordings: &[Recording], rounds: usize) -> Result<LearntModel, RecordingError> {
    let cpu: Vec<&[f32]> = recordings.iter().map(|recording| recording.cpu.as_slice()).collect();
    let memory: Vec<&[f32]> = recordings.iter().map(|recording| recording.memory.as_slice()).collect();
    let cpu = Lesson::new(&cpu, CPU_EPSILON, CPU_AHEAD_STEPS, CPU_WEIGHT_POWER);
    let memory = Lesson::new(&memory, MEMORY_EPSILON_MIB, MEMORY_AHEAD_STEPS, 0.0);
    if cpu.targets.is_empty() || memory.targets.is_empty() {
        return Err(RecordingError::Empty);
    }
    // The two resources are independent.
    let (cpu, memory) = std::thread::scope(|scope| {
        let cpu = scope.spawn(|| cpu.learn(&CPU_LEVELS, rounds));
        let memory = memory.learn(&MEMORY_LEVELS, rounds);
        (cpu.join(), memory)
    });
    let cpu = cpu.map_err(|_| RecordingError::Empty)?;
    Ok(LearntModel::new(cpu, memory))
}

/// The features at many moments, and the peaks that followed.
struct Lesson {
    rows: BinnedRows,
    targets: Vec<f32>,
    weights: Vec<f32>,
    epsilon: f32,
    ahead_steps: u16,
}

impl Lesson {
    fn new(series: &[&[f32]], epsilon: f32, ahead_steps: u16, weight_power: f32) -> Self {
        let (mut values, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let ahead = usize::from(ahead_steps);
        for (machine, series) in series.iter().enumerate() {
            // Machines start at different offsets of the stride, so that all times of day are covered.
            for now in
                (LEAST_PAST_STEPS + machine % STRIDE..series.len().saturating_sub(ahead)).step_by(STRIDE)
            {
                let peak = series[now + 1..=now + ahead].iter().copied().fold(f32::NAN, f32::max);
                let window = &series[(now + 1).saturating_sub(WINDOW_STEPS)..=now];
                if peak.is_nan() || series[now].is_nan() {
                    continue;
                }
                let Some(seen) = features::features(window, epsilon) else { continue };
                values.extend(seen.values);
                targets.push(((peak + epsilon) / seen.scale).ln());
                weights.push(seen.scale.powf(weight_power));
            }
        }
        let rows = BinnedRows::new(&values, features::NAMES.len());
        Self { rows, targets, weights, epsilon, ahead_steps }
    }

    fn learn(&self, levels: &[f32], rounds: usize) -> LearntResource {
        let quantiles = levels.iter().zip(1..).map(|(level, seed)| {
            let params =
                BoostingParams { quantile: f64::from(*level), rounds, seed, ..BoostingParams::default() };
            (*level, fit(&self.rows, &self.targets, &self.weights, &params))
        });
        LearntResource {
            epsilon: self.epsilon,
            ahead_steps: self.ahead_steps,
            quantiles: quantiles.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::DemandModel;

    #[test]
    fn recordings_are_read_with_their_gaps() {
        let text = "timestamp,container_id,cpu_cores_used,memory_mb_used,other\n\
                    300,7,0.5,100,x\n600,7,,200,x\n300,8,1,50,x\n1500,7,2,300,x\n";
        let read = read_recordings(text.as_bytes()).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].memory[..2], [100.0, 200.0]);
        assert!(read[0].cpu[1].is_nan() && read[0].memory[2].is_nan() && read[0].memory.len() == 5);
        let back = "timestamp,container_id,cpu_cores_used,memory_mb_used\n600,7,1,1\n300,7,1,1\n";
        assert!(matches!(
            read_recordings(back.as_bytes()),
            Err(RecordingError::Time { machine: 7, timestamp: 300 })
        ));
        for bad in ["-1", "inf", "1e30"] {
            let text = format!("timestamp,container_id,cpu_cores_used,memory_mb_used\n300,7,0.5,{bad}\n");
            let got = read_recordings(text.as_bytes());
            assert!(matches!(got, Err(RecordingError::Amount { machine: 7, timestamp: 300, .. })), "{bad}");
        }
        let misspelt = "timestamp,container_id,cpu_cores_used,memory_used\n300,7,1,1\n";
        let error = read_recordings(misspelt.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("the column `memory_mb_used` is missing"), "{error}");
        assert!(matches!(train(&[Recording::default()], 1), Err(RecordingError::Empty)));
    }

    #[test]
    fn what_came_every_day_is_learnt() {
        // Two machines with a daily hour of work, at different sizes and times.
        let machine = |factor: f32, start: usize| {
            let noise = |step: usize| 1.0 + 0.05 * ((step * 7919 % 101) as f32 / 101.0);
            let busy = |step: usize| (start..start + 12).contains(&(step % 288));
            let use_at = |step| factor * noise(step) * if busy(step) { 8.0 } else { 1.0 };
            let series: Vec<f32> = (0..12 * 288).map(use_at).collect();
            Recording { memory: series.iter().map(|value| value * 100.0).collect(), cpu: series }
        };
        let learnt = train(&[machine(0.2, 30), machine(3.0, 200)], 40).unwrap();
        let model = DemandModel::try_from(learnt).unwrap();
        let third = machine(1.0, 100);
        let forecast = |now: usize| model.memory.forecast(&third.memory[..=now]).unwrap();
        let (before, after) = (forecast(9 * 288 + 95).at(0.9), forecast(9 * 288 + 150).at(0.9));
        assert!(600.0 < before && after < 200.0, "{before} {after}");
    }
}
