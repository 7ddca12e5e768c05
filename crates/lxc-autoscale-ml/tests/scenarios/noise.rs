//! Noise is not followed: four kinds of it around a constant level, for four days, decided upon once a minute.

use std::sync::Arc;

use lxc_autoscale_ml::backtest::recording::{Recording, Sample};
use lxc_autoscale_ml::backtest::run::{Bounds, Outcome, Replay};
use lxc_autoscale_ml::backtest::score::Rules;
use lxc_autoscale_ml::decide::{Decision, Obstacles};
use lxc_autoscale_ml::policy::Pool;
use lxc_autoscale_ml::recommend::Shared;
use lxc_autoscale_ml::replay::{CpuClass, Size, boundless_node};

use super::*;

const BEGIN: i64 = 1_800_057_600;
const DAYS: i64 = 4;
const DAY_SECONDS: i64 = 86_400;

/// The factor that noise applies to a level in one minute, from random numbers between 0 and 1.
type Noise = fn(&dyn Fn(u64) -> f64) -> f64;

fn recording(seed: u64, noise: Noise) -> Recording {
    let sample = |minute: u64| {
        let factor = |resource: u64| noise(&|part| hash(1000 * seed + 100 * resource + part, minute));
        let at = BEGIN + 60 * i64::try_from(minute + 1).unwrap();
        Sample {
            at,
            cpu_cores: Some(1.4 * factor(1)),
            memory_mib: Some(1000.0 * factor(2)),
            is_disturbed: false,
        }
    };
    Recording {
        id: seed,
        name: None,
        pool: Pool::Unknown,
        provisioned: Size { cores: 8.0, memory_mib: 8192.0 },
        cpu_class: None,
        obstacles: Obstacles::default(),
        node: boundless_node(),
        samples: (0..1440 * u64::try_from(DAYS).unwrap()).map(sample).collect(),
    }
}

/// Changes of a resource on each of the days after the first, and the most reversals within six hours there.
fn unrest_of(outcomes: &[Outcome], of: fn(&Outcome) -> Vec<(i64, &Decision)>) -> (f64, usize) {
    let (mut changes, mut most) = (0, 0);
    for outcome in outcomes {
        let made = of(outcome);
        changes += made.iter().filter(|(at, _)| BEGIN + DAY_SECONDS < *at).count();
        let turns: Vec<i64> = made
            .windows(2)
            .filter(|pair| pair[0].1.action != pair[1].1.action && BEGIN + DAY_SECONDS < pair[1].0)
            .map(|pair| pair[1].0)
            .collect();
        let within = |at: &i64| turns.iter().filter(|turn| (at - 6 * 3600 + 1..=*at).contains(turn)).count();
        most = most.max(turns.iter().map(within).max().unwrap_or_default());
    }
    let days = u32::try_from(outcomes.len()).unwrap() * u32::try_from(DAYS - 1).unwrap();
    (f64::from(u32::try_from(changes).unwrap()) / f64::from(days), most)
}

fn of_cpu(outcome: &Outcome) -> Vec<(i64, &Decision)> {
    outcome.changes.iter().filter_map(|change| Some((change.at, change.cpu.as_ref()?))).collect()
}

fn of_memory(outcome: &Outcome) -> Vec<(i64, &Decision)> {
    outcome.changes.iter().filter_map(|change| Some((change.at, change.memory.as_ref()?))).collect()
}

/// Most changes a day and reversals in six hours, of CPU in hundredths, in whole cores, and of memory.
type Bound = [(f64, usize); 3];

#[expect(clippy::print_stdout, reason = "the figures are for the reader of the test's output")]
#[track_caller]
fn check(name: &str, noise: Noise, most: Bound) {
    let config: Config = parse("").unwrap();
    let recordings: Vec<Recording> = (1..=2).map(|seed| recording(seed, noise)).collect();
    let replayed = |class| {
        let replay = Replay {
            bounds: Bounds::Provisioned(Box::new(config.policy())),
            shared: Arc::new(Shared::with_shipped(&config.recommend)),
            rules: Rules::benchmark(class),
            interval_seconds: 0,
            with_guards: true,
            with_forecasts: false,
        };
        replay.all(&recordings, &|_| ())
    };
    let (parts, whole) = (replayed(CpuClass::Fractional), replayed(CpuClass::Integer));
    let got = [unrest_of(&parts, of_cpu), unrest_of(&whole, of_cpu), unrest_of(&parts, of_memory)];
    println!("{name}: {got:?} changes a day, and reversals in six hours at the most");
    for ((changes, turns), (most_changes, most_turns)) in got.into_iter().zip(most) {
        assert!(changes <= most_changes && turns <= most_turns, "{name}: {got:?}");
    }
}

#[test]
fn noise_of_five_per_cent_is_not_followed() {
    check("5 %", |chance| 1.0 + 0.1 * (chance(0) - 0.5), [(0.0, 0), (0.0, 0), (0.5, 1)]);
}

#[test]
fn noise_of_ten_per_cent_is_not_followed() {
    check("10 %", |chance| 1.0 + 0.2 * (chance(0) - 0.5), [(0.5, 1), (0.0, 0), (0.5, 1)]);
}

#[test]
fn noise_of_thirty_per_cent_is_hardly_followed() {
    check("30 %", |chance| 1.0 + 0.6 * (chance(0) - 0.5), [(0.3, 1), (0.3, 1), (0.5, 1)]);
}

/// Noise without a bound: now and then far above its median. The largest of it is kept, because it comes again at random. What
/// is left are its records: use that nobody saw on the day before is answered, and given back a day later.
fn lognormal(sigma: f64, chance: &dyn Fn(u64) -> f64) -> f64 {
    // The sum of twelve uniform numbers is nearly normal, of variance one.
    let normal = (0..12).map(chance).sum::<f64>() - 6.0;
    (sigma * normal).exp()
}

#[test]
fn unbounded_noise_of_fifteen_per_cent_is_hardly_followed() {
    check("lognormal, 0.15", |chance| lognormal(0.15, chance), [(1.0, 1), (0.0, 0), (0.5, 2)]);
}

#[test]
fn unbounded_noise_of_a_quarter_is_hardly_followed() {
    check("lognormal, 0.25", |chance| lognormal(0.25, chance), [(1.0, 1), (0.5, 1), (3.0, 4)]);
}

#[test]
fn unbounded_noise_of_a_half_is_hardly_followed() {
    check("lognormal, 0.5", |chance| lognormal(0.5, chance), [(0.5, 1), (0.5, 1), (2.0, 2)]);
}
