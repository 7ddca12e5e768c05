//! Roll-ups: the statistics of a period of time.
//!
//! ## Definitions
//!
//! A bucket covers `start ≤ t < start + length`, aligned to the Unix epoch. Its 95th percentile is the **nearest
//! rank**: the smallest sample that at least 95 % of the bucket's samples do not exceed. In a bucket with one sample,
//! all four values are that sample. The mean is over the samples, not weighted by time.

use super::code::{Code, decode, encode};
use super::metric::Metric;

/// Milliseconds in a minute.
const MINUTE_MS: i64 = 60_000;
/// The period whose samples are rolled up together.
pub const WINDOW_MS: i64 = 4 * 60 * MINUTE_MS;

/// The resolution of a roll-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    /// One minute.
    Minute = 0,
    /// Five minutes.
    FiveMinutes = 1,
    /// One hour.
    Hour = 2,
}

impl Tier {
    /// All of them, finest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::FiveMinutes, Self::Hour];

    /// Length of a bucket, in milliseconds.
    pub const fn bucket_ms(self) -> i64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::FiveMinutes => 5 * MINUTE_MS,
            Self::Hour => 60 * MINUTE_MS,
        }
    }

    /// Length of the period covered by one stored chunk, in milliseconds; a multiple of [`WINDOW_MS`].
    pub const fn chunk_ms(self) -> i64 {
        match self {
            Self::Minute => WINDOW_MS,
            Self::FiveMinutes => 6 * WINDOW_MS,
            Self::Hour => 48 * WINDOW_MS,
        }
    }

    /// `1m`, `5m` or `1h`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        }
    }

    /// The number it is stored under.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Start of the chunk that covers a point in time, in milliseconds since the epoch.
    pub const fn chunk_start(self, at_ms: i64) -> i64 {
        at_ms - at_ms.rem_euclid(self.chunk_ms())
    }

    /// Start of the bucket that covers a point in time, in milliseconds since the epoch.
    pub const fn bucket_start(self, at_ms: i64) -> i64 {
        at_ms - at_ms.rem_euclid(self.bucket_ms())
    }

    /// The roll-ups of this length that begin at or after `from_ms` and before `to_ms`.
    pub const fn between(self, from_ms: i64, to_ms: i64) -> Period {
        Period { tier: self, from_ms, to_ms }
    }
}

/// Which roll-ups are asked for, whatever they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Their length.
    pub tier: Tier,
    /// They begin at or after this, in milliseconds since the epoch,
    pub from_ms: i64,
    /// and before this.
    pub to_ms: i64,
}

/// One sample of a series: its time, and the codes of the known metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// The codes by metric.
    pub codes: Codes,
}

/// The known metrics of a sample.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    mask: u64,
    codes: [Code; super::metric::COUNT],
}

impl Codes {
    /// No metric is known.
    pub const NONE: Self = Self { mask: 0, codes: [0; super::metric::COUNT] };

    /// Stores a measured value; a value that cannot be a measurement stays absent.
    pub fn set(&mut self, metric: Metric, value: Option<f64>) {
        if let Some(code) = value.and_then(|value| encode(value, metric.resolution())) {
            self.set_code(metric, code);
        }
    }

    /// Stores a code.
    pub fn set_code(&mut self, metric: Metric, code: Code) {
        self.mask |= 1 << metric.id();
        self.codes[usize::from(metric.id())] = code;
    }

    /// The code of a metric, if known.
    pub fn get(&self, metric: Metric) -> Option<Code> {
        (self.mask >> metric.id() & 1 == 1).then(|| self.codes[usize::from(metric.id())])
    }

    /// The known metrics, one bit each.
    pub fn mask(&self) -> u64 {
        self.mask
    }
}

impl std::fmt::Debug for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = Metric::ALL.iter().filter_map(|metric| Some((metric.name(), self.get(*metric)?)));
        f.debug_map().entries(known).finish()
    }
}

/// The statistics of a metric's samples in a bucket, as codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Samples that had the metric; at least one.
    pub count: u32,
    /// The smallest.
    pub min: Code,
    /// The mean.
    pub mean: Code,
    /// The largest.
    pub max: Code,
    /// The 95th percentile by nearest rank.
    pub p95: Code,
}

impl Stats {
    /// The statistics of a metric's samples, which may be in any order and are sorted; `None` if there are none.
    pub fn of(codes: &mut [Code], resolution: f64) -> Option<Self> {
        codes.sort_unstable();
        let (min, max) = (*codes.first()?, *codes.last()?);
        let rank = (95 * codes.len()).div_ceil(100);
        let p95 = codes[rank.saturating_sub(1)];
        let mean = if min == max {
            min
        } else {
            let sum: f64 = codes.iter().map(|code| decode(*code, resolution)).sum();
            encode(sum / codes.len() as f64, resolution)?.clamp(min, max)
        };
        Some(Self { count: u32::try_from(codes.len()).unwrap_or(u32::MAX), min, mean, max, p95 })
    }
}

/// One bucket of a series.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Bucket {
    /// Number of samples in it.
    pub samples: u32,
    /// The metrics that have samples, by number.
    pub metrics: Vec<(Metric, Stats)>,
}

/// Rolls samples up into buckets of `tier`, keyed by their start; samples with the same time count once.
///
/// `wanted` names the metrics; samples may come in any order and are sorted.
pub fn roll_up(samples: &mut Vec<Sample>, tier: Tier, wanted: &[Metric]) -> Vec<(i64, Bucket)> {
    samples.sort_by_key(|sample| sample.at_ms);
    samples.dedup_by_key(|sample| sample.at_ms);
    let mut codes = Vec::new();
    samples
        .chunk_by(|a, b| tier.bucket_start(a.at_ms) == tier.bucket_start(b.at_ms))
        .map(|bucket| {
            let mask = bucket.iter().fold(0, |mask, sample| mask | sample.codes.mask());
            let metrics = wanted.iter().filter(|metric| mask >> metric.id() & 1 == 1).filter_map(|metric| {
                codes.clear();
                codes.extend(bucket.iter().filter_map(|sample| sample.codes.get(*metric)));
                Some((*metric, Stats::of(&mut codes, metric.resolution())?))
            });
            let samples = u32::try_from(bucket.len()).unwrap_or(u32::MAX);
            (tier.bucket_start(bucket[0].at_ms), Bucket { samples, metrics: metrics.collect() })
        })
        .collect()
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
