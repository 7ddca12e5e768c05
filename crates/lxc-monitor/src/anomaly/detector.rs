//! One series: what is usual now, and whether a value is.
//!
//! ## The expected value
//!
//! A level that follows the series over six hours, each step clipped to two deviations so that a burst does not move it
//! much (a Huber-type location: P. Huber, "Robust estimation of a location parameter", 1964). If a usual day is known
//! and has predicted this series better, the level is that of the hour plus how this day runs above or below it. The
//! deviation is the clipped mean of the residuals over a day, or the spread of this hour of the day if that is larger.
//!
//! ## Three rules
//!
//! *One value* is far out, or *four values in a row* are out on the same side by less: a burst does not trigger the
//! second rule, a shift does. Each rule and each side has its own threshold: the score that this series exceeded in the
//! requested share of its past (see [`Tail`]), and never less than [`LEAST_SINGLE`] and [`LEAST_LASTING`]. Or four
//! values in a row hold a *level that none of the last days held* (see [`Week`]).
//!
//! ## The requested share
//!
//! At first the requested share of the past is twice the wanted one, because values that trigger both rules count once
//! and those below the least deviations not at all. From then on it is adapted by the flags, so that over time a series
//! is flagged neither more nor less than wanted (I. Gibbs, E. Candès, "Adaptive conformal inference under distribution
//! shift", 2021, adapting the logarithm of the share).
//!
//! ## How an episode ends
//!
//! While a value is flagged the level stands still. After half an hour (at least six steps) the new level is accepted
//! as usual, so that a changed workload is reported once and not for ever.

use super::codec::Numbers;
use super::metric::Metric;
use super::profile::{DayProfile, Lesson};
use super::tail::Tail;
use super::week::{Left, RUN, Week};

const DAY_SECONDS: f32 = 86_400.0;
/// Memory of the level.
const LEVEL_SECONDS: f32 = 6.0 * 3600.0;
/// Memory of the spread and of the comparison of the two levels.
const SPREAD_SECONDS: f32 = DAY_SECONDS;
/// Weight of the hour's own spread.
const HOUR_SPREAD_SHARE: f32 = 0.7;
/// Least deviations of one flagged value.
pub(super) const LEAST_SINGLE: f32 = 4.0;
/// Least deviations of four flagged values in a row.
pub(super) const LEAST_LASTING: f32 = 1.2;
/// Least deviations of a new level, and its margin beyond the levels held before, in least spreads.
const LEAST_NEW: (f32, f32) = (0.8, 1.0);
/// The requested share at first, as a multiple of the wanted one.
const ASKED_AT_FIRST: f32 = 2.0;
/// Change of its logarithm per second without a flag; flagged seconds outweigh that by the wanted share.
const ADAPTED_PER_SECOND: f32 = 0.001 / 300.0;
/// Bounds of that change, downwards and upwards.
const ADAPTED: (f32, f32) = (-1.0, 2.0);
/// Part of the requested share for the rule of one value; the other rule has the rest.
const SINGLE_PART: f32 = 0.2;
/// Largest move of the level in one step, in deviations.
const LEVEL_CLIP: f32 = 2.0;
/// Clipping of a residual for the spread and the profile, in deviations.
const SPREAD_CLIP: f32 = 4.0;
/// The day's profile is used if its errors are less than this part of those without it.
const PROFILE_MUST_BEAT: f32 = 0.9;
/// Time that must be learnt before the profile is used.
const PROFILE_AFTER_SECONDS: f32 = 1.9 * DAY_SECONDS;
/// Time after which a flagged level is accepted as usual,
const ACCEPT_SECONDS: f32 = 1800.0;
/// and the number of steps that it takes at least.
const ACCEPT_STEPS: f32 = 6.0;
/// Upper bound of the learnt time.
const MOST_LEARNED_SECONDS: f32 = 400.0 * DAY_SECONDS;

/// The state of one series, in about 300 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Detector {
    level: f32,
    /// The level of the differences from the day's profile.
    above_profile: f32,
    spread: f32,
    error_plain: f32,
    error_profile: f32,
    /// The time learnt so far, in seconds.
    learned: f32,
    /// How long the present episode has been flagged, in seconds.
    flagged: f32,
    /// The bound exceeded by the present episode, in signed deviations; 0 without one. It is fixed within an episode,
    /// because counting the episode's own scores would end it.
    held: f32,
    /// Values that the spread was learnt from, up to its memory.
    steps: u16,
    /// Values that the level was learnt from since it was last lost.
    level_steps: u16,
    /// Remaining steps without a verdict.
    hold: u16,
    /// The last scores, signed, oldest first.
    recent: [f32; RUN],
    n_recent: u8,
    profile: DayProfile,
    /// Scores of single values, high and low.
    single: [Tail; 2],
    /// Scores of runs, high and low.
    lasting: [Tail; 2],
    week: Week,
    /// How far the requested share has moved from its first value, as a logarithm.
    adapted: f32,
}

/// Parameters of all series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demands {
    /// Wanted share of flagged values.
    pub(super) share: f32,
    /// Time that must be learnt before a value is flagged, in seconds.
    pub(super) least_history: f32,
}

/// One value to judge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    /// Its time, in seconds since local midnight.
    pub(super) second_of_day: f32,
    /// The time it covers.
    pub(super) seconds: f32,
    /// On the metric's transformed scale.
    pub(super) scaled: f32,
    /// Whether it follows an unusual time and is only learnt from.
    pub(super) quiet: bool,
}

/// The finding about an unusual value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    /// Distance from the expected value, in deviations.
    pub(super) score: f32,
    /// Least usual value, transformed.
    pub(super) low: f32,
    /// Highest usual value, transformed.
    pub(super) high: f32,
    /// Found by the rule of four values running.
    pub(super) lasting: bool,
    /// Whether the usual range is specific to this time of day.
    pub(super) by_hour: bool,
    /// Whether its level is accepted as usual from here on.
    pub(super) accepted: bool,
}

/// The expectation that a value is compared with.
struct Expected {
    center: f32,
    deviation: f32,
    profile: Option<f32>,
    by_hour: bool,
}

impl Detector {
    /// Judges a value, then learns from it.
    pub(super) fn step(&mut self, metric: Metric, demands: Demands, value: Value) -> Option<Finding> {
        if self.learned <= 0.0 {
            self.level = value.scaled;
        }
        self.spread = self.spread.max(metric.least_spread());
        let expected = self.expected(value.second_of_day);
        let residual = value.scaled - expected.center;
        let score = residual / expected.deviation;
        let run = self.run_with(score);
        self.week.push(value.scaled);
        let level = (RUN <= usize::from(self.n_recent)).then(|| self.week.level());
        let left = level.and_then(|level| self.week.left_by(level, LEAST_NEW.1 * metric.least_spread()));
        let silent = value.quiet || 0 < self.hold || self.learned < demands.least_history;
        let mut finding =
            if silent { None } else { self.judge(metric, demands, &expected, score, run, left) };
        if !silent {
            self.adapt(demands, value.seconds, finding.is_some());
        }
        if !value.quiet && self.hold == 0 {
            self.count(score, run);
        }
        self.hold = self.hold.saturating_sub(1);

        if let Some(finding) = &mut finding {
            self.flagged += value.seconds;
            if self.held == 0.0 {
                let bound = if score < 0.0 { finding.low } else { finding.high };
                self.held = (bound - expected.center) / expected.deviation;
            }
            finding.accepted = ACCEPT_SECONDS.max(ACCEPT_STEPS * value.seconds) <= self.flagged;
            if finding.accepted {
                self.accept(&expected);
            }
        } else {
            self.flagged = (self.flagged / 2.0 - value.seconds).max(0.0);
            if self.flagged <= 0.0 {
                self.held = 0.0;
            }
            self.follow(value, &expected);
        }
        // Flagged levels, too: a nightly event is new only the first time.
        if let Some(level) = level {
            self.week.remember(level, value.seconds);
        }
        self.widen(value, &expected, residual);
        let most = SPREAD_CLIP * expected.deviation;
        let Value { second_of_day, seconds, scaled, .. } = value;
        self.profile.learn(Lesson { second_of_day, seconds, scaled, residual, most });
        self.learned = (self.learned + value.seconds).min(MOST_LEARNED_SECONDS);
        self.steps = self.steps.saturating_add(1);
        self.level_steps = self.level_steps.saturating_add(1);
        finding
    }

    /// The level may have changed unseen (a gap, a restart): it is learnt anew, and nothing is flagged for a while.
    pub(super) fn lose_level(&mut self, hold: u16) {
        self.level_steps = 0;
        self.n_recent = 0;
        self.flagged = 0.0;
        self.held = 0.0;
        self.hold = self.hold.max(hold);
    }

    /// The values are means over another length of time: their spread is learnt anew, too.
    pub(super) fn lose_spread(&mut self, hold: u16) {
        self.steps = self.steps.min(hold);
        self.lose_level(hold);
    }

    fn expected(&self, second_of_day: f32) -> Expected {
        let profile = self.profile.level_at(second_of_day);
        let better = self.error_profile < PROFILE_MUST_BEAT * self.error_plain;
        let by_hour = better && PROFILE_AFTER_SECONDS < self.learned;
        let (center, by_hour) = match profile {
            Some(level) if by_hour => (level + self.above_profile, true),
            _ => (self.level, false),
        };
        let of_hour = HOUR_SPREAD_SHARE * self.profile.spread_at(second_of_day);
        Expected { center, deviation: self.spread.max(of_hour), profile, by_hour }
    }

    /// Stores a score; returns by how much the last ones are all high, and all low.
    fn run_with(&mut self, score: f32) -> [f32; 2] {
        self.recent.rotate_left(1);
        self.recent[RUN - 1] = score;
        self.n_recent = self.n_recent.saturating_add(1);
        if usize::from(self.n_recent) < RUN {
            return [0.0, 0.0];
        }
        let lowest = self.recent.iter().copied().fold(f32::MAX, f32::min);
        let highest = self.recent.iter().copied().fold(f32::MIN, f32::max);
        [lowest, -highest]
    }

    fn judge(
        &self,
        metric: Metric,
        demands: Demands,
        expected: &Expected,
        score: f32,
        run: [f32; 2],
        left: Option<Left>,
    ) -> Option<Finding> {
        let share = demands.share * ASKED_AT_FIRST * self.adapted.clamp(ADAPTED.0, ADAPTED.1).exp();
        let single_share = share * SINGLE_PART / 2.0;
        let lasting_share = share * (1.0 - SINGLE_PART) / 2.0;
        let single = self.single.map(|tail| tail.threshold(single_share).max(LEAST_SINGLE));
        let lasting = self.lasting.map(|tail| tail.threshold(lasting_share).max(LEAST_LASTING));
        let low_counts = !metric.only_high();
        let is_single = single[0] < score || (low_counts && single[1] < -score);
        let is_lasting = lasting[0] < run[0] || (low_counts && lasting[1] < run[1]);
        let goes_on = (0.0 < self.held && self.held < score) || (self.held < 0.0 && score < self.held);
        let is_new = match left {
            Some(Left::Above(_)) => LEAST_NEW.0 < score,
            Some(Left::Below(_)) => low_counts && score < -LEAST_NEW.0,
            None => false,
        };
        if !is_single && !is_lasting && !goes_on && !is_new {
            return None;
        }
        // The narrower bounds apply if only the run is unusual.
        let mut bounds = if is_single { single } else { lasting };
        if goes_on {
            let side = usize::from(score < 0.0);
            bounds[side] = self.held.abs();
        }
        let mut low = expected.center - bounds[1] * expected.deviation;
        let mut high = expected.center + bounds[0] * expected.deviation;
        // The levels held in the last week bound the usual range; but a bound on the other side of the expected value,
        // such as the least of four values of a series with bursts, would continue the episode with usual values.
        let least_new = LEAST_NEW.0 * expected.deviation;
        match left {
            Some(Left::Above(bound)) if is_new && !is_single => {
                high = high.min(bound.max(expected.center + least_new));
            }
            Some(Left::Below(bound)) if is_new && !is_single => {
                low = low.max(bound.min(expected.center - least_new));
            }
            _ => {}
        }
        Some(Finding {
            score: score.abs(),
            low: low.min(high),
            high: high.max(low),
            lasting: !is_single,
            by_hour: expected.by_hour,
            accepted: false,
        })
    }

    /// Adapts the requested share: raises the threshold after a flag, lowers it otherwise.
    fn adapt(&mut self, demands: Demands, seconds: f32, is_flagged: bool) {
        let surplus = if is_flagged { 1.0 / demands.share - 1.0 } else { -1.0 };
        self.adapted = (self.adapted - ADAPTED_PER_SECOND * seconds * surplus).clamp(ADAPTED.0, ADAPTED.1);
    }

    fn count(&mut self, score: f32, run: [f32; 2]) {
        self.single[0].push(score);
        self.single[1].push(-score);
        self.lasting[0].push(run[0]);
        self.lasting[1].push(run[1]);
    }

    /// Accepts the last values as the level.
    fn accept(&mut self, expected: &Expected) {
        let mut sorted = self.recent;
        sorted.sort_by(f32::total_cmp);
        self.level = expected.center + sorted[RUN / 2] * expected.deviation;
        self.above_profile = expected.profile.map_or(0.0, |profile| self.level - profile);
        self.n_recent = 0;
        self.flagged = 0.0;
        self.held = 0.0;
        self.level_steps = 3;
    }

    /// Moves the levels towards a usual value.
    fn follow(&mut self, value: Value, expected: &Expected) {
        let clip = if self.level_steps < 3 { f32::MAX } else { LEVEL_CLIP * expected.deviation };
        let gain = gain(value.seconds, LEVEL_SECONDS, self.level_steps);
        self.level += gain * (value.scaled - self.level).clamp(-clip, clip);
        if let Some(profile) = expected.profile {
            let above = value.scaled - profile;
            self.above_profile += gain * (above - self.above_profile).clamp(-clip, clip);
        }
    }

    /// Updates the spread and the errors of the two levels; a normal distribution's mean absolute deviation times 1.25
    /// is its standard deviation.
    fn widen(&mut self, value: Value, expected: &Expected, residual: f32) {
        if self.learned <= 0.0 {
            return;
        }
        let gain = gain(value.seconds, SPREAD_SECONDS, self.steps);
        let seen = (1.25 * residual.abs()).min(SPREAD_CLIP * expected.deviation);
        self.spread += gain * (seen - self.spread);
        if let Some(profile) = expected.profile {
            let most = 6.0 * expected.deviation;
            let plain = (value.scaled - self.level).abs().min(most);
            let by_profile = (value.scaled - profile - self.above_profile).abs().min(most);
            self.error_plain += gain * (plain - self.error_plain);
            self.error_profile += gain * (by_profile - self.error_profile);
        }
    }

    /// Visits each of its numbers, in the order of the state on disk.
    pub(super) fn each_number<N: Numbers>(&mut self, numbers: &mut N) -> Result<(), N::Error> {
        for number in [
            &mut self.level,
            &mut self.above_profile,
            &mut self.spread,
            &mut self.error_plain,
            &mut self.error_profile,
            &mut self.learned,
            &mut self.flagged,
            &mut self.held,
        ] {
            numbers.f32(number)?;
        }
        for number in [&mut self.steps, &mut self.level_steps, &mut self.hold] {
            numbers.u16(number)?;
        }
        self.recent.iter_mut().try_for_each(|score| numbers.f32(score))?;
        numbers.u8(&mut self.n_recent)?;
        self.profile.each_number(numbers)?;
        self.single.iter_mut().chain(&mut self.lasting).try_for_each(|tail| tail.each_number(numbers))?;
        if numbers.have_week() {
            self.week.each_number(numbers)?;
            numbers.f32(&mut self.adapted)?;
        }
        Ok(())
    }
}

/// The weight of one more value: first that of a mean, later that of a memory of `memory` seconds.
fn gain(seconds: f32, memory: f32, steps: u16) -> f32 {
    (1.0 - (-seconds / memory).exp()).max(1.0 / (f32::from(steps) + 1.0))
}
