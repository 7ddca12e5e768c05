//! Whether what was used on a day came at random, and what was enough for it then.
//!
//! Where each step tells nothing about the next one, a quiet hour is chance, not a lower level: the largest use comes again,
//! and nobody knows when.

/// Half a day at least must be known, in steps.
const LEAST_STEPS: usize = 144;
/// The tenth of the day above which a level is looked for.
const UPPER_SHARE: f64 = 0.1;
/// So many steps in a row in the upper tenth are a level that lasted, as a backup or a job is: by chance they come on one
/// day in four hundred.
const LASTING_STEPS: usize = 5;
/// A day is random unless its ratio lies so many standard deviations below that of chance: chance does on one day in 740.
/// Looked at again in each step, it does for a while once in two months.
const LEAST_DEVIATIONS: f64 = 3.0;
/// Once it is called random it is until so many: a load just at the bound would be called both, several times a day.
const STAYING_DEVIATIONS: f64 = 4.5;
/// Where so many of the steps are equal there is a level, and what rises above it is no noise of it.
const MOST_EQUAL_SHARE: f64 = 0.5;

/// A load whose peak is more than so many times its median is no level with noise: it does nothing, and now and then
/// something. To hold the peak all day would cost more than the changes do: 1.6 % on 79 recorded machines without this
/// bound, 0.3 % with it, and 0.2 % with half of it, for which log-normal noise with a σ of a half is too much.
const MOST_MEDIANS: f64 = 8.0;

/// What was enough for all of a random day but for its lasting levels, without headroom. The steps come oldest first, NaN
/// is unknown; `None` where too little is known, where the day has a shape, where all the days that are `kept` have one
/// together (a shape too faint for a day shows in a week), and where it is bursts over nothing.
///
/// A short peak that comes at the same time each day is random in this sense, too, and is kept for all of the day.
pub(crate) fn enough_for_random(
    day: &[f32],
    kept: impl FnOnce() -> Vec<f32>,
    was_random: bool,
) -> Option<f64> {
    let deviations = if was_random { STAYING_DEVIATIONS } else { LEAST_DEVIATIONS };
    let passing = without_lasting(day)?;
    if passing.len() < LEAST_STEPS
        || !is_random(&passing, deviations)
        || !is_random(&without_lasting(&kept())?, deviations)
    {
        return None;
    }
    let sorted = sorted(passing);
    let (median, most) = (f64::from(sorted[sorted.len() / 2]), f64::from(*sorted.last()?));
    (most <= MOST_MEDIANS * median).then_some(most)
}

/// The known steps without those of levels that lasted and of the steps next to them, in which a level began and ended.
fn without_lasting(day: &[f32]) -> Option<Vec<f32>> {
    let sorted = sorted(day.iter().copied().filter(|value| !value.is_nan()).collect());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let lower = ((1.0 - UPPER_SHARE) * sorted.len() as f64) as usize;
    let most = *sorted.get(lower.checked_sub(1)?)?;
    let mut is_lasting = vec![false; day.len()];
    let mut begin = 0;
    for run in day.chunk_by(|a, b| (most < *a) == (most < *b)) {
        let end = begin + run.len();
        if most < run[0] && LASTING_STEPS <= run.len() {
            is_lasting[begin.saturating_sub(1)..day.len().min(end + 1)].fill(true);
        }
        begin = end;
    }
    let passing = day.iter().zip(is_lasting).filter(|(value, is_lasting)| !value.is_nan() && !is_lasting);
    Some(passing.map(|(value, _)| *value).collect())
}

fn sorted(mut values: Vec<f32>) -> Vec<f32> {
    values.sort_unstable_by(f32::total_cmp);
    values
}

/// Whether the order of the values is that of chance: the rank version of von Neumann's ratio (Bartels, Journal of the
/// American Statistical Association 77, 1982), against values that follow each other.
fn is_random(values: &[f32], deviations: f64) -> bool {
    let (ranks, most_equal) = ranks(values);
    let count = values.len() as f64;
    let mean = f64::midpoint(count, 1.0);
    let spread: f64 = ranks.iter().map(|rank| (rank - mean).powi(2)).sum();
    let steps: f64 = ranks.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
    // Of chance the ratio is 2 on average, with a variance of about 4 / n while few values are equal.
    most_equal as f64 <= MOST_EQUAL_SHARE * count && (2.0 - deviations * 2.0 / count.sqrt()) * spread <= steps
}

/// The rank of each value, from 1, and how many are equal at the most; equal values share the mean of their ranks.
fn ranks(values: &[f32]) -> (Vec<f64>, usize) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let (mut below, mut most_equal) = (0, 0);
    for equal in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        let rank = below as f64 + f64::midpoint(equal.len() as f64, 1.0);
        for place in equal {
            ranks[*place] = rank;
        }
        below += equal.len();
        most_equal = most_equal.max(equal.len());
    }
    (ranks, most_equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number between 0 and 1 that looks random.
    fn chance(step: usize) -> f32 {
        let mixed = (step as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn day(at: impl Fn(usize) -> f32) -> Vec<f32> {
        (0..288).map(at).collect()
    }

    /// Of a single day.
    fn enough(day: &[f32]) -> Option<f64> {
        enough_for_random(day, || day.to_vec(), false)
    }

    #[test]
    fn noise_is_random_and_its_peak_is_enough() {
        let noise = day(|step| 1.0 + chance(step).powi(4));
        let most = noise.iter().copied().reduce(f32::max).map(f64::from);
        assert_eq!(enough(&noise), most);
    }

    #[test]
    fn a_day_with_a_shape_is_not_random() {
        let people = day(|step| chance(step) + if (100..220).contains(&step) { 1.0 } else { 0.0 });
        let slow = day(|step| (step as f32 / 40.0).sin() + 0.5 * chance(step));
        let rising = day(|step| step as f32 * 0.01 + chance(step));
        let alternating = day(|step| if step / 6 % 2 == 0 { 3.0 } else { 1.0 });
        for day in [people, slow, rising, alternating, vec![0.3; 288]] {
            assert_eq!(enough(&day), None, "{day:?}");
        }
    }

    /// A backup of an hour, begun and ended in the middle of a step.
    #[test]
    fn a_level_that_lasted_does_not_come_by_chance() {
        let high = |step: usize| match step {
            99 | 112 => 4.0,
            100..112 => 8.0,
            _ => 0.0,
        };
        let with_backup = day(|step| chance(step) + high(step));
        let most = (0..288).filter(|step| high(*step) < 1.0).map(chance).reduce(f32::max).map(f64::from);
        assert_eq!(enough(&with_backup), most);
        // What comes and goes within twenty minutes may come again at any time.
        let burst = day(|step| chance(step) + if (100..104).contains(&step) { 2.0 } else { 0.0 });
        assert!(2.0 < enough(&burst).unwrap());
    }

    #[test]
    fn bursts_over_nothing_are_no_noise() {
        let bursts =
            |high: f32| day(|step| 0.1 + if chance(step) < 0.05 { high } else { 0.1 * chance(step) });
        assert!(enough(&bursts(0.9)).is_some());
        assert_eq!(enough(&bursts(2.0)), None);
    }

    /// A rise too slow to show in a day.
    #[test]
    fn a_shape_that_shows_in_a_week_is_one() {
        let kept: Vec<f32> = (0..2304).map(|step| step as f32 * 0.0003 + chance(step)).collect();
        let day = &kept[2304 - 288..];
        assert!(enough(day).is_some());
        assert_eq!(enough_for_random(day, || kept.clone(), false), None);
    }

    /// Memory in whole pages, or an idle CPU, and now and then something above it.
    #[test]
    fn a_level_that_is_left_now_and_then_is_no_noise() {
        let flat = day(|step| if step % 41 == 0 { 2.0 } else { 1.0 });
        assert_eq!(enough(&flat), None);
        let steps = day(|step| (chance(step) * 5.0).floor() + 1.0);
        assert_eq!(enough(&steps), Some(5.0), "few values, none of them the level");
    }

    #[test]
    fn what_was_random_stays_so_at_the_bound() {
        let mut last = 0.0;
        let linked: Vec<f32> = (0..288)
            .map(|step| {
                last = 0.22 * last + chance(step);
                last
            })
            .collect();
        let said = |was_random| enough_for_random(&linked, || linked.clone(), was_random).is_some();
        assert_eq!((said(false), said(true)), (false, true));
    }

    #[test]
    fn half_a_day_must_be_known() {
        let known = |count: usize| day(|step| if step < 288 - count { f32::NAN } else { chance(step) });
        assert_eq!(enough(&known(143)), None);
        assert!(enough(&known(200)).is_some());
        assert_eq!(enough(&[]), None);
    }

    #[test]
    fn equal_values_share_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), (vec![3.5, 1.0, 3.5, 2.0], 2));
    }

    /// How often chance is taken for a shape is what the number of deviations says: on one of 740 days.
    #[test]
    fn chance_is_seldom_taken_for_a_shape() {
        let days = 2000;
        let noise = |number: usize| (0..288).map(|step| chance(number * 288 + step)).collect::<Vec<f32>>();
        let missed = (0..days).filter(|number| !is_random(&noise(*number), LEAST_DEVIATIONS)).count();
        assert!(missed <= 10, "{missed} of {days}");
    }
}
