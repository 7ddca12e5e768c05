//! The features of the demand model: the last eight days of one resource, independent of its size.
//!
//! All features but the scale are logarithms relative to the container's own peak of three days, so that containers of
//! 100 MiB and 100 GiB with the same behaviour have the same features, and one model serves both. Unknown values are
//! NaN and stay so: the trees handle them.

use std::sync::LazyLock;

use super::day::{Day, between, order_key, value_of};
use crate::recommend::series::{DAY_STEPS, LANES, larger, peak_of};

/// Peaks over this many past steps.
const PEAKS: [usize; 8] = [2, 3, 6, 12, 36, 72, 288, 2016];
/// Values this many steps ago.
const LAGS: [usize; 6] = [0, 1, 2, 3, 5, 8];
/// Means over this many past steps.
const MEANS: [usize; 5] = [3, 12, 72, 288, 2016];
/// Quantiles of the last day.
const DAY_QUANTILES: [f32; 6] = [0.1, 0.5, 0.75, 0.9, 0.95, 0.98];
/// Quantiles of the last hour.
const HOUR_QUANTILES: [f32; 2] = [0.5, 0.9];
/// Days ago whose same time of day is used; the last is a week.
const SEASON_DAYS: [usize; 4] = [1, 2, 3, 7];
/// (steps of slack on both sides, steps ahead) of such a lookup.
const SEASON_LOOKS: [(usize, usize); 3] = [(1, 1), (0, 12), (6, 12)];
/// Steps of the peak that serves as the scale: three days.
const SCALE_STEPS: usize = 864;
/// All of the spans above, ascending: each is computed from the one before and the steps between them.
const SPANS: [usize; 9] = [2, 3, 6, 12, 36, 72, 288, SCALE_STEPS, 2016];
/// A value above this part of the scale is near the peak.
const NEAR_PEAK: f32 = 0.8;
/// A jump is a value above this multiple of the hour before.
const JUMP: f32 = 1.3;
const HOUR_STEPS: usize = 12;
pub(super) const DAY: usize = 288;
const _: () = assert!(DAY_STEPS == 288, "a day of the series");

/// Length of the window, in steps.
pub const WINDOW_STEPS: usize = 8 * DAY;

/// Names of the features, in order.
pub static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names = Vec::new();
    names.extend(LAGS.iter().map(|steps| format!("lag_{steps}")));
    names.extend(PEAKS.iter().map(|steps| format!("peak_{steps}")));
    names.extend(MEANS.iter().map(|steps| format!("mean_{steps}")));
    names.extend(DAY_QUANTILES.iter().map(|quantile| format!("day_q{quantile}")));
    names.extend(HOUR_QUANTILES.iter().map(|quantile| format!("hour_q{quantile}")));
    for days in SEASON_DAYS {
        names.extend(SEASON_LOOKS.iter().map(|(slack, ahead)| format!("day_{days}_ago_{slack}_{ahead}")));
    }
    names.extend(["hour_ago", "hours_1_3_ago", "hours_1_24_ago"].map(str::to_owned));
    names.extend(["scale", "since_peak", "jumps_of_day", "known_steps"].map(str::to_owned));
    names
});

/// Features at one moment.
#[derive(Clone, Debug)]
pub struct Features {
    /// One value for each of [`NAMES`]; NaN is unknown.
    pub values: Vec<f32>,
    /// The peak of three days plus `epsilon`, in the resource's unit: the scale of the logarithms.
    pub scale: f32,
}

/// Keys of the day's quantiles, which are close to those of the next step.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked {
    day_quantiles: [i32; DAY_QUANTILES.len()],
}

/// Computes the features at the last step of `window` (older steps may be missing, NaN is unknown).
///
/// `epsilon`, in the resource's unit, is the amount below which differences do not matter. `None` while there is no
/// data.
pub fn features(window: &[f32], epsilon: f32) -> Option<Features> {
    features_after(window, epsilon, &mut Looked::default())
}

/// Like [`features`], faster the less has changed since `looked`.
pub(super) fn features_after(window: &[f32], epsilon: f32, looked: &mut Looked) -> Option<Features> {
    let past = Past { window };
    let spans = past.spans();
    let scale = spans.iter().find(|(steps, _)| *steps == SCALE_STEPS)?.1.peak() + epsilon;
    if !scale.is_finite() {
        return None;
    }
    let relative = |value: f32| ((value + epsilon) / scale).ln();
    let mut values = Vec::with_capacity(NAMES.len());
    values.extend(LAGS.iter().map(|back| relative(past.at(*back))));
    let of = |wanted: &'static [usize]| {
        spans.iter().filter(|(steps, _)| wanted.contains(steps)).map(|(_, known)| known)
    };
    values.extend(of(&PEAKS).map(|known| relative(known.peak())));
    values.extend(of(&MEANS).map(|known| relative(known.mean())));
    let day = Day::new(past.slice(0, DAY));
    let day_quantiles = DAY_QUANTILES.iter().zip(&mut looked.day_quantiles);
    values.extend(day_quantiles.map(|(quantile, near)| relative(day.quantile(*quantile, near))));
    let mut kept = [0; HOUR_STEPS];
    let hour = past.sorted(&mut kept);
    values.extend(HOUR_QUANTILES.iter().map(|quantile| relative(quantile_of(hour, *quantile))));
    for days in SEASON_DAYS {
        for (slack, ahead) in SEASON_LOOKS {
            let (newest, count) = ((days * DAY).saturating_sub(ahead + slack), ahead + 2 * slack);
            values.push(relative(peak_of(past.slice(newest, count))));
        }
    }
    values.push(relative(past.at(HOUR_STEPS - 1)));
    let hours =
        |count: usize| (1..=count).map(|hour| past.at(HOUR_STEPS * hour - 1)).fold(f32::NAN, f32::max);
    values.extend([relative(hours(3)), relative(hours(24))]);
    values.push(scale.ln());
    values.push(past.steps_since(NEAR_PEAK * scale - epsilon, &spans).ln_1p());
    values.push(past.jumps(epsilon));
    let (reach, Known { number, .. }) = spans[SPANS.len() - 1];
    values.push((number + known_of(past.slice(reach, window.len())) as f32).ln_1p());
    Some(Features { values, scale })
}

/// Aggregates of some steps.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The largest value; negative infinity if none is known.
    largest: f32,
    sum: f32,
    number: f32,
}

impl Known {
    const NOTHING: Self = Self { largest: f32::NEG_INFINITY, sum: 0.0, number: 0.0 };

    fn of(values: &[f32]) -> Self {
        // Independent lanes, so that none waits for the one before.
        let mut largest = [f32::NEG_INFINITY; LANES];
        let (mut sums, mut numbers) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            let counted = |value: f32, counts: f32| if value.is_nan() { 0.0 } else { counts };
            largest = std::array::from_fn(|lane| larger(largest[lane], chunk[lane]));
            sums = std::array::from_fn(|lane| sums[lane] + counted(chunk[lane], chunk[lane]));
            numbers = std::array::from_fn(|lane| numbers[lane] + counted(chunk[lane], 1.0));
        }
        let lanes = largest.into_iter().zip(sums).zip(numbers);
        let lanes = lanes.map(|((largest, sum), number)| Self { largest, sum, number });
        let single = |value: &f32| Self { largest: *value, sum: *value, number: 1.0 };
        lanes.chain(rest.iter().filter(|value| !value.is_nan()).map(single)).fold(Self::NOTHING, Self::and)
    }

    fn and(self, other: Self) -> Self {
        Self {
            largest: larger(self.largest, other.largest),
            sum: self.sum + other.sum,
            number: self.number + other.number,
        }
    }

    /// NaN without data.
    fn peak(&self) -> f32 {
        if self.largest == f32::NEG_INFINITY { f32::NAN } else { self.largest }
    }

    /// NaN without data.
    fn mean(&self) -> f32 {
        self.sum / self.number
    }
}

fn known_of(values: &[f32]) -> u32 {
    values.iter().map(|value| u32::from(!value.is_nan())).sum()
}

/// A window read backwards.
struct Past<'a> {
    window: &'a [f32],
}

impl Past<'_> {
    fn at(&self, back: usize) -> f32 {
        let index = self.window.len().checked_sub(1 + back);
        index.and_then(|index| self.window.get(index)).copied().unwrap_or(f32::NAN)
    }

    /// The `count` values that end `newest` steps ago, or as many as there are.
    fn slice(&self, newest: usize, count: usize) -> &[f32] {
        let end = self.window.len().saturating_sub(newest);
        &self.window[end.saturating_sub(count)..end]
    }

    /// The aggregates of each of [`SPANS`].
    fn spans(&self) -> [(usize, Known); SPANS.len()] {
        let (mut known, mut begin) = (Known::NOTHING, 0);
        SPANS.map(|steps| {
            known = known.and(Known::of(self.slice(begin, steps - begin)));
            begin = steps;
            (steps, known)
        })
    }

    /// The known values of the last steps, as many as fit, sorted.
    fn sorted<'b>(&self, room: &'b mut [i32]) -> Sorted<'b> {
        let mut known = 0;
        for value in self.slice(0, room.len()).iter().filter(|value| !value.is_nan()) {
            room[known] = order_key(*value);
            known += 1;
        }
        let sorted = &mut room[..known];
        // Integers in the order of `total_cmp` are sorted several times faster.
        sorted.sort_unstable();
        Sorted(sorted)
    }

    /// Steps since the value was at least `level`, using `spans`; the length of the window if it never was.
    fn steps_since(&self, level: f32, spans: &[(usize, Known)]) -> f32 {
        // Steps within spans that stay below the level can be skipped.
        let below = spans.iter().take_while(|(_, known)| known.largest < level);
        let nearer = below.last().map_or(0, |(steps, _)| *steps);
        let since = self.window.iter().rev().skip(nearer).position(|value| level <= *value);
        since.map_or(self.window.len(), |since| nearer + since) as f32
    }

    /// Share of the steps of the last day that jumped above the hour before them.
    fn jumps(&self, epsilon: f32) -> f32 {
        let recent = self.slice(0, DAY + HOUR_STEPS);
        let peaks = sliding_peaks(recent);
        let (mut jumps, mut judged) = (0_u32, 0_u32);
        for (value, before) in recent.iter().skip(HOUR_STEPS).zip(&peaks) {
            // An unknown value is above nothing, and negative infinity is below known values only. Integers instead of
            // conditions, so that the loop is vectorised.
            let is_judged = u32::from(f32::NEG_INFINITY < *value) * u32::from(f32::NEG_INFINITY < *before);
            judged += is_judged;
            jumps += is_judged * u32::from(JUMP * before + epsilon < *value);
        }
        jumps as f32 / judged as f32
    }
}

/// The largest known value of each hour that begins within a day, starting with the first hour of `values`; negative
/// infinity if nothing is known or the hour is incomplete.
fn sliding_peaks(values: &[f32]) -> [f32; DAY + HOUR_STEPS] {
    let mut peaks = [f32::NEG_INFINITY; DAY + HOUR_STEPS];
    for (peak, value) in peaks.iter_mut().zip(values) {
        *peak = larger(f32::NEG_INFINITY, *value);
    }
    // The peaks of 2, 4 and 8 steps from two overlapping halves, and of 12 from 8 and 4.
    let widen = |peaks: &mut [f32], by: &[f32]| {
        for (peak, other) in peaks.iter_mut().zip(by) {
            *peak = larger(*peak, *other);
        }
    };
    let mut other = peaks;
    widen(&mut peaks, &other[1..]);
    other = peaks;
    widen(&mut peaks, &other[2..]);
    let fours = peaks;
    widen(&mut peaks, &fours[4..]);
    widen(&mut peaks, &fours[8..]);
    peaks
}
const _: () = assert!(HOUR_STEPS == 12, "an hour is made of eight and four");

/// Sorted keys of values.
#[derive(Clone, Copy)]
struct Sorted<'a>(&'a [i32]);

impl Sorted<'_> {
    fn at(&self, place: usize) -> f32 {
        self.0.get(place).copied().map_or(f32::NAN, value_of)
    }
}

/// A quantile, interpolated; NaN if there are no values.
fn quantile_of(sorted: Sorted<'_>, quantile: f32) -> f32 {
    let Some((low, high, part)) = between(sorted.0.len(), quantile) else { return f32::NAN };
    sorted.at(low) + (sorted.at(high) - sorted.at(low)) * part
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(window: &[f32], name: &str) -> f32 {
        let place = NAMES.iter().position(|known| known == name).unwrap();
        features(window, 0.02).unwrap().values[place]
    }

    #[test]
    fn every_feature_has_a_name() {
        assert_eq!(features(&[1.0], 0.02).unwrap().values.len(), NAMES.len());
    }

    #[test]
    fn what_is_not_known_is_unknown() {
        assert!(features(&[], 0.02).is_none() && features(&[f32::NAN], 0.02).is_none());
        assert!(named(&[1.0, f32::NAN], "lag_0").is_nan());
        assert!(named(&[1.0, 1.0], "day_1_ago_1_1").is_nan());
    }

    #[test]
    fn yesterday_is_looked_up_at_the_same_time() {
        let mut window = vec![0.1_f32; 2 * DAY];
        window[DAY] = 5.0;
        // The step after the newest of a window that ends at DAY - 1, one day later.
        let now = &window[..2 * DAY];
        let ahead = named(now, "day_1_ago_1_1");
        assert!((ahead - (5.02_f32 / 5.02).ln()).abs() < 1e-6, "{ahead}");
        let later = named(&window[..2 * DAY - 30], "day_1_ago_0_12");
        assert!(later < -1.0, "{later}");
    }

    #[test]
    fn a_jump_stands_out_from_the_hour_before() {
        let mut window = vec![1.0_f32; 300];
        window[200] = 3.0;
        assert!((named(&window, "jumps_of_day") - 1.0 / 288.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn shortcuts_say_what_the_long_way_says(
            values in proptest::collection::vec(prop_oneof![Just(f32::NAN), -5.0f32..5.0, Just(-0.0f32)], 0..60),
        ) {
            // The difference of two infinities is not a number.
            let same = |a: f32, b: f32| a.total_cmp(&b).is_eq() || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-5;
            let known = |values: &[f32]| -> Vec<f32> {
                values.iter().copied().filter(|value| !value.is_nan()).collect()
            };
            let peak = |values: &[f32]| values.iter().copied().fold(f32::NAN, f32::max);
            prop_assert!(same(peak_of(&values), peak(&values)));
            let past = Past { window: &values };
            for (steps, got) in past.spans() {
                let known = known(past.slice(0, steps));
                prop_assert!(same(got.peak(), peak(&known)), "{steps}: {got:?}");
                prop_assert!(same(got.mean(), known.iter().sum::<f32>() / known.len() as f32), "{steps}: {got:?}");
            }
            let hours = sliding_peaks(&values);
            for (hour, got) in values.windows(HOUR_STEPS).zip(hours) {
                let wanted = peak(hour);
                prop_assert!(same(got, if wanted.is_nan() { f32::NEG_INFINITY } else { wanted }), "{hour:?}");
            }
            let mut wanted = known(&values);
            wanted.sort_unstable_by(f32::total_cmp);
            let mut room = [0; 60];
            let sorted = past.sorted(&mut room);
            prop_assert_eq!(sorted.0.len(), wanted.len());
            for (place, wanted) in wanted.iter().enumerate() {
                prop_assert_eq!(sorted.at(place).to_bits(), wanted.to_bits());
            }
        }

        /// Known features are finite, and the size of a container shows only in `scale`.
        #[test]
        fn size_does_not_matter(values in proptest::collection::vec(0.5f32..8.0, 1..700), factor in 1.0f32..100.0) {
            let small = features(&values, 0.0).unwrap();
            let scaled: Vec<f32> = values.iter().map(|value| value * factor).collect();
            let large = features(&scaled, 0.0).unwrap();
            for ((name, a), b) in NAMES.iter().zip(small.values).zip(large.values) {
                prop_assert!(a.is_nan() == b.is_nan());
                if !a.is_nan() && name != "scale" && name != "since_peak" && name != "jumps_of_day" {
                    prop_assert!((a - b).abs() < 1e-3, "{name}: {a} {b}");
                }
            }
        }
    }
}
