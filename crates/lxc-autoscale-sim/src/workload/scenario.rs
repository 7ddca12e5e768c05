//! The named workloads.
//!
//! Each is scaled by two numbers, its highest CPU usage and its largest memory, so that the same shape can be used in
//! a container that is too small for it or far too large.

use serde::{Deserialize, Serialize};

use super::noise::{step, uniform, wobble};
use crate::kernel::demand::Demand;

const MIB: f64 = 1024.0 * 1024.0;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;
/// Time between two restarts of the leaking service, which happen regardless of the leak: a weekly deployment.
const LEAK_SECONDS: f64 = 7.0 * DAY;
/// Share of its largest memory that the leaking service starts with.
const LEAK_FROM: f64 = 0.6;

/// A kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Hardly anything: an unused service.
    Idle,
    /// Constant within a few percent.
    Steady,
    /// Quiet, with bursts of half a minute up to two minutes.
    Bursty,
    /// Follows the working day: lowest at four in the morning, highest at four in the afternoon (UTC).
    DailyPeak,
    /// Little CPU, and memory that grows from 60 % to its maximum over a week, after which the service is restarted.
    Leak,
    /// A batch job: for ten minutes of every half hour, full CPU and much disk traffic; then nothing.
    NoisyNeighbour,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Steady, Self::Bursty, Self::DailyPeak, Self::Leak, Self::NoisyNeighbour];

    /// The demand at a time (in seconds since the Unix epoch) of a service that started `age` seconds ago.
    ///
    /// `cores` and `memory_mib` are the highest CPU usage and the largest memory.
    pub fn demand(self, cores: f64, memory_mib: f64, seed: u64, seconds: f64, age: f64) -> Demand {
        let level = self.level(seed, seconds);
        let memory = memory_mib * MIB * self.memory_share(level, age);
        let traffic = 40_000.0 * cores * level;
        let disk = self.disk_bytes_per_second() * cores * level;
        Demand {
            cores: cores * level * wobble(seed ^ 1, seconds, 15.0, 0.05),
            anon_bytes: memory * 0.75,
            shmem_bytes: memory * 0.05,
            hot_file_bytes: memory * 0.2,
            read_bytes_per_second: disk,
            write_bytes_per_second: disk / 2.0 + 2000.0,
            rx_bytes_per_second: traffic,
            tx_bytes_per_second: traffic * 2.5,
            processes: self.processes(),
        }
    }

    /// CPU usage as a share of the highest, from 0 to 1.
    fn level(self, seed: u64, seconds: f64) -> f64 {
        match self {
            Self::Idle => 0.5 + 0.5 * uniform(seed, step(seconds, MINUTE)),
            Self::Steady => 0.95,
            Self::Bursty => {
                let slot = step(seconds, 2.0 * MINUTE);
                let is_burst = uniform(seed, slot) < 0.3;
                let length = 30.0 + 90.0 * uniform(seed ^ 2, slot);
                if is_burst && seconds.rem_euclid(2.0 * MINUTE) < length { 1.0 } else { 0.12 }
            }
            Self::DailyPeak => {
                let angle = (seconds / DAY - 16.0 / 24.0) * std::f64::consts::TAU;
                0.15 + 0.8 * (0.5 + 0.5 * angle.cos()).powi(2)
            }
            Self::Leak => 0.6 * wobble(seed, seconds, 5.0 * MINUTE, 0.3),
            Self::NoisyNeighbour => {
                if seconds.rem_euclid(30.0 * MINUTE) < 10.0 * MINUTE {
                    1.0
                } else {
                    0.02
                }
            }
        }
    }

    /// Memory as a share of the largest.
    fn memory_share(self, level: f64, age: f64) -> f64 {
        match self {
            Self::Idle | Self::Steady => 1.0,
            Self::Bursty | Self::DailyPeak | Self::NoisyNeighbour => 0.7 + 0.3 * level,
            Self::Leak => LEAK_FROM + (1.0 - LEAK_FROM) * (age.max(0.0) / LEAK_SECONDS).fract(),
        }
    }

    fn disk_bytes_per_second(self) -> f64 {
        match self {
            Self::Idle | Self::Leak => 1000.0,
            Self::Steady | Self::Bursty | Self::DailyPeak => 100_000.0,
            Self::NoisyNeighbour => 10.0 * MIB,
        }
    }

    fn processes(self) -> u32 {
        match self {
            Self::Idle => 4,
            Self::Leak => 9,
            Self::Steady | Self::NoisyNeighbour => 14,
            Self::Bursty | Self::DailyPeak => 24,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lowest, mean and highest CPU demand, in cores, over a day in steps of ten seconds.
    fn cpu_over_a_day(scenario: Scenario) -> (f64, f64, f64) {
        let cores: Vec<f64> =
            (0..8640).map(|at| scenario.demand(2.0, 500.0, 9, f64::from(at) * 10.0, 0.0).cores).collect();
        let lowest = cores.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = cores.iter().copied().fold(0.0, f64::max);
        (lowest, cores.iter().sum::<f64>() / 8640.0, highest)
    }

    #[track_caller]
    fn check(scenario: Scenario, lowest: f64, mean: (f64, f64), highest: f64) {
        let (low, average, high) = cpu_over_a_day(scenario);
        assert!(lowest <= low && high <= highest, "{scenario:?}: {low} to {high}");
        assert!((mean.0..=mean.1).contains(&average), "{scenario:?}: {average}");
    }

    #[test]
    fn every_scenario_has_its_shape() {
        //                             lowest  mean          highest, of 2 cores
        check(Scenario::Idle, 0.9, (1.3, 1.7), 2.1);
        check(Scenario::Steady, 1.8, (1.88, 1.92), 2.0);
        check(Scenario::Bursty, 0.2, (0.4, 0.8), 2.1);
        check(Scenario::DailyPeak, 0.28, (0.8, 1.0), 2.0);
        check(Scenario::Leak, 0.7, (1.1, 1.3), 1.7);
        check(Scenario::NoisyNeighbour, 0.03, (0.65, 0.72), 2.1);
    }

    #[test]
    fn the_working_day_peaks_in_the_afternoon() {
        let at = |hour: f64| Scenario::DailyPeak.demand(1.0, 500.0, 9, hour * HOUR, 0.0);
        assert!(at(16.0).cores > 3.0 * at(4.0).cores);
        assert!(at(16.0).anon_bytes > at(4.0).anon_bytes);
    }

    #[test]
    fn a_leak_grows_until_the_service_is_restarted() {
        let anon = |days: f64| Scenario::Leak.demand(1.0, 1000.0, 9, 0.0, days * DAY).anon_bytes / MIB;
        assert!((anon(0.0) - 450.0).abs() < 1.0 && (anon(3.5) - 600.0).abs() < 1.0, "{}", anon(3.5));
        assert!(anon(6.9) > 740.0 && anon(7.0) < 460.0);
    }

    #[test]
    fn a_seed_decides_everything() {
        for scenario in Scenario::ALL {
            let at = |seed| {
                (0..500)
                    .map(|n| scenario.demand(1.0, 1.0, seed, f64::from(n) * 31.0, 5.0))
                    .collect::<Vec<_>>()
            };
            assert_eq!(at(1), at(1));
            assert_ne!(at(1), at(2), "{scenario:?}");
        }
    }
}
