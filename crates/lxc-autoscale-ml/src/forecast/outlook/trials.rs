//! How wrong each method was in this container's own past, by how far it looked ahead.
//!
//! Each method forecasts from several moments of the past, and what followed gives the errors. The quantiles of these
//! errors, added to a present forecast, make its band: split conformal prediction (V. Vovk, A. Gammerman, G. Shafer,
//! "Algorithmic learning in a random world", Springer 2005; J. Lei et al., JASA 113, 2018), with the ranks of `n + 1`
//! values, so that few trials make wide bands. The same errors decide which method is used.

use super::calendar::Place;
use super::method::Method;
use super::{LEVELS, Quantile};

/// Steps ahead are judged in groups that end with these.
pub(super) const GROUP_ENDS: [usize; 9] = [1, 3, 6, 12, 24, 48, 96, 192, 288];
/// Most errors of one trial in a group: neighbours are nearly equal.
const PER_GROUP: usize = 8;
/// Trials begin at most so many steps apart, five hours and five minutes, so that they cover all times of day.
const MOST_APART: usize = 61;
const LEAST_APART: usize = 3;
/// Only the newest trials count.
const TRIALS: usize = 40;
/// Trials needed for a group: with fewer the outer levels are guesses.
const LEAST_TRIALS: usize = 8;
/// A trial needs a past, too: an hour.
const LEAST_PAST: usize = 12;
/// Relative errors are relative to the forecast plus this share of the mean, which prevents division by zero.
const OFFSET_SHARE: f64 = 0.05;

/// How an error is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// In the resource's unit.
    Absolute,
    /// As the logarithm of a ratio.
    Relative,
}

/// One error: its trial, the forecast and the actual value.
#[derive(Clone, Copy, Debug)]
struct Miss {
    trial: usize,
    /// Whether it lies in the farther half of its group.
    far: bool,
    foreseen: f64,
    came: f64,
}

/// All errors of one method, by group.
#[derive(Clone, Debug)]
pub(super) struct Trials {
    pub(super) method: Method,
    groups: Vec<Vec<Miss>>,
    offset: f64,
}

/// Moments from which forecasts are tried: the number of values known at each, newest first.
pub(super) fn moments(count: usize) -> Vec<usize> {
    let apart = (count / TRIALS).clamp(LEAST_APART, MOST_APART);
    let tried = (1..=TRIALS).map_while(|trial| count.checked_sub(1 + (trial - 1) * apart));
    tried.filter(|known| LEAST_PAST <= *known).collect()
}

impl Trials {
    /// Tries `method` from each of `moments`, up to `ahead` steps.
    pub(super) fn new(
        method: Method,
        values: &[f32],
        places: &[Place],
        moments: &[usize],
        ahead: usize,
    ) -> Self {
        let mut groups = vec![Vec::new(); GROUP_ENDS.len()];
        for (trial, now) in moments.iter().enumerate() {
            let end = values.len().min(now + ahead);
            let foreseen = method.go_on(&values[..*now], &places[..*now], &places[*now..end]);
            let mut begin = 0;
            for (group, group_end) in groups.iter_mut().zip(GROUP_ENDS) {
                for lead in (begin..group_end).step_by((group_end - begin).div_ceil(PER_GROUP)) {
                    let Some(Some(foreseen)) = foreseen.get(lead).copied() else { continue };
                    let came = values[now + lead];
                    if !came.is_nan() {
                        let far = begin + group_end < 2 * lead + 2;
                        group.push(Miss { trial, far, foreseen, came: f64::from(came) });
                    }
                }
                begin = group_end;
            }
        }
        let known = values.iter().filter(|value| !value.is_nan());
        let (sum, number) =
            known.fold((0.0, 0.0), |(sum, number), value| (sum + f64::from(*value), number + 1.0));
        Self { method, groups, offset: (OFFSET_SHARE * sum / f64::max(number, 1.0)).max(1e-6) }
    }

    /// The number of groups, from the nearest on, with enough trials up to their far ends.
    pub(super) fn known_groups(&self) -> usize {
        let enough = |group: &&Vec<Miss>| {
            let mut trials: Vec<usize> =
                group.iter().filter(|miss| miss.far).map(|miss| miss.trial).collect();
            trials.dedup();
            LEAST_TRIALS <= trials.len()
        };
        self.groups.iter().take_while(enough).count()
    }

    /// The mean pinball loss over groups `from..to` and all levels; the bands of each half of the trials use the other
    /// half.
    pub(super) fn loss(&self, scale: Scale, from: usize, to: usize) -> f64 {
        let (mut loss, mut number) = (0.0, 0.0);
        for group in &self.groups[from..to] {
            for half in [0, 1] {
                let errors = self.errors(scale, group.iter().filter(|miss| miss.trial % 2 != half));
                for miss in group.iter().filter(|miss| miss.trial % 2 == half) {
                    for level in LEVELS {
                        let Some(error) = quantile(&errors, level) else { return f64::INFINITY };
                        let quantile = self.moved(scale, miss.foreseen, error);
                        loss += pinball(level, quantile, miss.came);
                        number += 1.0;
                    }
                }
            }
        }
        if 0.0 < number { loss / number } else { f64::INFINITY }
    }

    /// The sorted errors of a group.
    pub(super) fn group_errors(&self, scale: Scale, group: usize) -> Vec<f64> {
        self.errors(scale, self.groups[group].iter())
    }

    /// The band around a forecast, from the errors of its group.
    pub(super) fn band(
        &self,
        scale: Scale,
        foreseen: f64,
        errors: &[f64],
    ) -> Option<[Quantile; LEVELS.len()]> {
        let mut band = [Quantile { level: 0.0, value: 0.0 }; LEVELS.len()];
        for (one, level) in band.iter_mut().zip(LEVELS) {
            let value = self.moved(scale, foreseen, quantile(errors, level)?);
            *one = Quantile { level, value };
        }
        Some(band)
    }

    fn errors<'a>(&self, scale: Scale, misses: impl Iterator<Item = &'a Miss>) -> Vec<f64> {
        let error = |miss: &Miss| match scale {
            Scale::Absolute => miss.came - miss.foreseen,
            Scale::Relative => ((miss.came + self.offset) / (miss.foreseen + self.offset)).ln(),
        };
        let mut errors: Vec<f64> = misses.map(error).collect();
        errors.sort_unstable_by(f64::total_cmp);
        errors
    }

    fn moved(&self, scale: Scale, foreseen: f64, error: f64) -> f64 {
        let value = match scale {
            Scale::Absolute => foreseen + error,
            Scale::Relative => (foreseen + self.offset) * error.exp() - self.offset,
        };
        value.max(0.0)
    }
}

/// The pinball loss of a quantile for the actual value `came` (R. Koenker, G. Bassett, Econometrica 46, 1978).
pub fn pinball(level: f64, quantile: f64, came: f64) -> f64 {
    let short = came - quantile;
    if short < 0.0 { (level - 1.0) * short } else { level * short }
}

/// The quantile of sorted errors with the ranks of `n + 1` values; beyond them, the outermost.
fn quantile(sorted: &[f64], level: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = ((sorted.len() as f64 + 1.0) * level - 1.0).clamp(0.0, last as f64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}
