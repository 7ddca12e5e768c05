//! Traits that distinguish kinds of workloads, whatever their size.

use jiff::tz::TimeZone;

use crate::forecast::outlook::{Past, day_strength};

/// Fewest known steps of each resource: three hours.
pub const LEAST_STEPS: usize = 36;
/// Amounts below which differences do not matter, in cores and MiB.
const CPU_EPSILON: f64 = 0.02;
const MEMORY_EPSILON: f64 = 8.0;
const HOUR_STEPS: usize = 12;
/// Fewest hours in which growth can be distinguished from noise: a day.
const LEAST_HOURS: usize = 24;

/// The traits of a container's last days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traits {
    /// Logarithm of the 95 % quantile of CPU usage over the least relevant amount.
    pub level: f64,
    /// Logarithm of the peak of CPU (99 % quantile) over its median.
    pub cpu_unrest: f64,
    /// Like `cpu_unrest`, for memory.
    pub memory_unrest: f64,
    /// The share of the variance explained by the time of day (0–1), of the resource with the larger one; 0 if no two
    /// days can be compared.
    pub day: f64,
    /// Logarithm of the rise of a line through the hourly means, times the share of their variance that it explains; of
    /// the resource that grows more; 0 in the first day.
    pub growth: f64,
}

/// The trait `level` of a container with this CPU usage.
pub(super) fn level(cores: f64) -> f64 {
    ((cores + CPU_EPSILON) / CPU_EPSILON).ln()
}

impl Traits {
    /// Names of the traits, in the order of [`Traits::values`].
    pub const NAMES: [&str; 5] = ["level", "cpu_unrest", "memory_unrest", "day", "growth"];

    /// From a past in steps of five minutes, newest last, NaN is unknown; `None` while less than [`LEAST_STEPS`] of a
    /// resource is known.
    pub fn of(cpu: &[f32], memory: &[f32]) -> Option<Self> {
        let (cores, mib) = (sorted(cpu)?, sorted(memory)?);
        let unrest = |values: &[f64], epsilon: f64| {
            ((quantile(values, 0.99) + epsilon) / (quantile(values, 0.5) + epsilon)).ln()
        };
        let day =
            |values: &[f32]| day_strength(Past { first_step: 0, values }, &TimeZone::UTC).unwrap_or_default();
        Some(Self {
            level: level(quantile(&cores, 0.95)),
            cpu_unrest: unrest(&cores, CPU_EPSILON),
            memory_unrest: unrest(&mib, MEMORY_EPSILON),
            day: day(cpu).max(day(memory)),
            growth: growth(cpu, CPU_EPSILON).max(growth(memory, MEMORY_EPSILON)),
        })
    }

    /// All traits as numbers.
    pub fn values(&self) -> [f64; 5] {
        [self.level, self.cpu_unrest, self.memory_unrest, self.day, self.growth]
    }

    /// The traits with these numbers.
    pub fn from_values([level, cpu_unrest, memory_unrest, day, growth]: [f64; 5]) -> Self {
        Self { level, cpu_unrest, memory_unrest, day, growth }
    }
}

/// The known values in ascending order.
fn sorted(values: &[f32]) -> Option<Vec<f64>> {
    let mut known: Vec<f64> =
        values.iter().filter(|value| !value.is_nan()).map(|value| f64::from(*value)).collect();
    known.sort_unstable_by(f64::total_cmp);
    (LEAST_STEPS <= known.len()).then_some(known)
}

/// The nearest quantile of sorted values, of which there is at least one.
fn quantile(sorted: &[f64], level: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let place = (level * (sorted.len() - 1) as f64).round() as usize;
    sorted[place]
}

/// The rise of a line through the hourly means, times the share that it explains.
fn growth(values: &[f32], epsilon: f64) -> f64 {
    let hours: Vec<(f64, f64)> = values
        .chunks(HOUR_STEPS)
        .enumerate()
        .filter_map(|(hour, steps)| {
            let known = steps.iter().filter(|value| !value.is_nan());
            let (sum, count) =
                known.fold((0.0, 0.0), |(sum, count), value| (sum + f64::from(*value), count + 1.0));
            (0.0 < count).then(|| (hour as f64, sum / count))
        })
        .collect();
    let (Some((begin, _)), Some((end, _))) = (hours.first(), hours.last()) else { return 0.0 };
    if hours.len() < LEAST_HOURS {
        return 0.0;
    }
    let number = hours.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| hours.iter().map(of).sum::<f64>() / number;
    let (middle, level) = (mean(|hour| hour.0), mean(|hour| hour.1));
    let (mut along, mut across, mut both) = (0.0, 0.0, 0.0);
    for (hour, value) in &hours {
        along += (hour - middle).powi(2);
        across += (value - level).powi(2);
        both += (hour - middle) * (value - level);
    }
    if across <= 0.0 || along <= 0.0 {
        return 0.0;
    }
    let slope = both / along;
    let at = |hour: f64| (level + slope * (hour - middle)).max(0.0) + epsilon;
    let explained = both * both / (along * across);
    explained * (at(*end) / at(*begin)).ln()
}

#[cfg(test)]
mod tests {
    use super::super::Class;
    use super::*;

    const DAY: usize = 288;

    /// The class of three days of a container with constant memory.
    #[track_caller]
    fn check(cores: impl Fn(usize) -> f32, memory: impl Fn(usize) -> f32, want: Class) {
        let series = |of: &dyn Fn(usize) -> f32| (0..3 * DAY).map(of).collect::<Vec<f32>>();
        let traits = Traits::of(&series(&cores), &series(&memory)).unwrap();
        assert_eq!(Class::of_traits(&traits), want, "{traits:?}");
    }

    /// Deterministic noise.
    fn unrest(step: usize) -> f32 {
        (step * 7919 % 101) as f32 / 101.0
    }

    #[test]
    fn kinds_have_their_names() {
        check(|step| 0.01 * unrest(step), |_| 60.0, Class::Idle);
        check(|step| 1.0 + 0.1 * unrest(step), |_| 500.0, Class::Steady);
        check(|step| if unrest(step) < 0.1 { 3.0 } else { 0.2 }, |_| 500.0, Class::Bursty);
        check(|step| if (100..150).contains(&(step % DAY)) { 2.0 } else { 0.3 }, |_| 500.0, Class::Periodic);
        check(|step| 0.3 + 0.05 * unrest(step), |step| 200.0 + step as f32, Class::Growing);
    }

    #[test]
    fn what_is_not_known_is_left_out_and_too_little_has_no_traits() {
        let mut cpu = vec![f32::NAN; 100];
        let memory = vec![100.0_f32; 100];
        assert!(Traits::of(&cpu, &memory).is_none() && Traits::of(&[], &[]).is_none());
        cpu[..LEAST_STEPS].fill(1.0);
        let traits = Traits::of(&cpu, &memory).unwrap();
        assert!((traits.level - level(1.0)).abs() < 1e-6 && traits.cpu_unrest.abs() < 1e-9, "{traits:?}");
        assert_eq!((traits.day, traits.growth), (0.0, 0.0), "hours are no days");
    }
}
