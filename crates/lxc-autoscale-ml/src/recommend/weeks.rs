//! What comes once a week: the peak of each hour of the last four weeks, in a byte each.
//!
//! The series of five minutes reaches back eight days, where a weekly peak stands once, if at all; so weeks have a memory
//! of their own. A peak is foreseen for an hour where at least two of the last four weeks, and more than were without it, had
//! it at that time of the week, by the clock on the wall, an hour earlier or later included, and the other days of these
//! weeks so seldom that it is no chance. One week in which it stayed away, or was not measured, does not end that.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::clock::days_before;
use super::recommendation::WeeklyPeak;
use crate::checkpoint::packed;

const HOUR_SECONDS: i64 = 3600;
const DAY_HOURS: i64 = 24;
const WEEK_HOURS: i64 = 7 * DAY_HOURS;
/// Weeks that are asked.
pub(crate) const WEEKS: i64 = 4;
/// Four weeks and a day: the coming hour, an hour more to both sides, and what a change of the clocks moves.
pub(crate) const KEPT_HOURS: i64 = WEEKS * WEEK_HOURS + DAY_HOURS;

/// Up to this, in cores or MiB, values are not told apart; beyond it each code is this much more than the one before. The
/// last code is 1.8 million: cores as well as MiB of any container.
const LEAST: f64 = 0.02;
const GROWTH: f64 = 1.075;
const UNKNOWN: u8 = 0;
/// A peak that reaches 80 % of another one counts as equal: three codes less.
const AS_HIGH: u8 = 3;
/// Half as high: ten codes less.
const HALF_AS_HIGH: u8 = 10;
/// How likely it may be that chance made the weeks agree, for a peak twice as high as what other days had: two of two are
/// enough.
const CHANCE: f64 = 0.01;
/// The same for any other peak: it takes three weeks. A hundredth for all of them costs 0.3 % more on 79 recorded machines.
const LEAST_CHANCE: f64 = 0.0005;
/// One week alone is no habit. Nor are two of four: what bursts at random now and then has such a pair in every third week,
/// for it may be at any of 168 hours.
const LEAST_WEEKS: usize = 2;
/// For an hour, those are looked at that lie so many hours before it or more: a day, and an hour later.
const YOUNGEST_ASKED: i64 = DAY_HOURS - 1;
/// No hour lies further from the epoch than this: two million years.
const LAST_HOUR: i64 = 1 << 34;

/// The peaks of the hours of the last four weeks of one resource.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Kept")]
pub(super) struct Weeks {
    /// By hour modulo [`KEPT_HOURS`]; nothing until the first value.
    #[serde(serialize_with = "bytes")]
    codes: Vec<u8>,
    /// The newest hour that is known, in hours since the Unix epoch.
    newest: Option<i64>,
    /// What was foreseen last, for the hours from the first to the last of these.
    #[serde(skip)]
    asked: Option<((i64, i64), Option<WeeklyPeak>)>,
}

/// The same as it stands in a checkpoint.
#[derive(Deserialize)]
struct Kept {
    #[serde(deserialize_with = "packed::bytes")]
    codes: Vec<u8>,
    newest: Option<i64>,
}

impl TryFrom<Kept> for Weeks {
    type Error = &'static str;

    fn try_from(Kept { codes, newest }: Kept) -> Result<Self, Self::Error> {
        let is_ring = match newest {
            None => codes.is_empty(),
            Some(newest) => {
                i64::try_from(codes.len()) == Ok(KEPT_HOURS) && (-LAST_HOUR..=LAST_HOUR).contains(&newest)
            }
        };
        if is_ring { Ok(Self { codes, newest, asked: None }) } else { Err("weeks of another length or time") }
    }
}

/// The hour that ends at or after `at_seconds`: what is seen belongs to the time before it.
pub(super) fn hour_of(at_seconds: i64) -> i64 {
    (at_seconds - 1).div_euclid(HOUR_SECONDS)
}

impl Weeks {
    /// Takes in that in an hour it was so much, in cores or MiB.
    pub(super) fn note(&mut self, hour: i64, value: f64) {
        if self.codes.is_empty() {
            self.codes = vec![UNKNOWN; usize::try_from(KEPT_HOURS).unwrap_or_default()];
        }
        let newest = self.newest.unwrap_or(hour);
        if hour <= newest - KEPT_HOURS {
            return;
        }
        for unknown in (newest + 1).max(hour - KEPT_HOURS + 1)..=hour {
            self.codes[place(unknown)] = UNKNOWN;
        }
        self.newest = Some(newest.max(hour));
        if self.asked.is_some_and(|((_, last), _)| hour <= last - YOUNGEST_ASKED) {
            self.asked = None;
        }
        let kept = &mut self.codes[place(hour)];
        *kept = (*kept).max(code(value));
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_none()
    }

    /// As [`Self::foreseen`], and found out anew only for other hours: what it looks at is nearly a day old.
    pub(super) fn foreseen_by_hour(&mut self, begin: i64, end: i64, zone: &TimeZone) -> Option<WeeklyPeak> {
        let hours = (begin.div_euclid(HOUR_SECONDS), (end - 1).div_euclid(HOUR_SECONDS));
        if let Some((asked, peak)) = self.asked
            && asked == hours
        {
            return peak;
        }
        let peak = self.foreseen(begin, end, zone);
        self.asked = Some((hours, peak));
        peak
    }

    /// Another clock counts from now on.
    pub(super) fn set_clock(&mut self) {
        self.asked = None;
    }

    /// The highest peak that is foreseen for the time from `begin` to before `end`, in seconds since the Unix epoch; habits
    /// follow the clock of `zone`.
    pub(super) fn foreseen(&self, begin: i64, end: i64, zone: &TimeZone) -> Option<WeeklyPeak> {
        let hours = begin.div_euclid(HOUR_SECONDS)..=(end - 1).div_euclid(HOUR_SECONDS);
        let peaks = hours.filter_map(|hour| self.weekly(hour, zone));
        peaks.reduce(|highest, next| if highest.value < next.value { next } else { highest })
    }

    /// The peak that is foreseen for one hour.
    fn weekly(&self, hour: i64, zone: &TimeZone) -> Option<WeeklyPeak> {
        let then = (1..=WEEKS).map(|weeks| same_time(hour, weeks, zone));
        let then: Vec<i64> = then.collect();
        // Only what came in the very hour is prepared for; the hours beside it bear it out.
        let mut levels: Vec<u8> = then.iter().filter_map(|hour| self.at(*hour)).collect();
        if levels.is_empty() {
            return None;
        }
        let days = |hour: &i64| (1..7).map(move |day| hour + day * DAY_HOURS).collect::<Vec<_>>();
        let others: Vec<u8> = then.iter().flat_map(days).filter_map(|hour| self.around(hour).0).collect();
        let weeks: Vec<(Option<u8>, bool)> = then.iter().map(|hour| self.around(*hour)).collect();
        levels.sort_unstable_by(|one, other| other.cmp(one));
        levels.dedup();
        levels.into_iter().find_map(|level| {
            let is_reached = |code: u8| level <= code.saturating_add(AS_HIGH);
            let had = weeks.iter().filter(|(code, _)| code.is_some_and(is_reached)).count();
            // A week of which a part is not known may have had it in that.
            let had_not =
                weeks.iter().filter(|(code, whole)| *whole && !code.is_some_and(is_reached)).count();
            // The rule of succession: what was seen on no day is not impossible.
            let chance = |codes: u8| {
                let elsewhere = others.iter().filter(|code| level <= code.saturating_add(codes)).count();
                at_least(had, had + had_not, (elsewhere + 1) as f64 / (others.len() + 2) as f64)
            };
            let is_habit = LEAST_WEEKS.max(had_not + 1) <= had
                && (chance(AS_HIGH) < LEAST_CHANCE || chance(HALF_AS_HIGH) < CHANCE);
            is_habit.then_some(()).and_then(|()| {
                Some(WeeklyPeak {
                    at: Timestamp::from_second(hour * HOUR_SECONDS).ok()?,
                    value: value(level),
                    weeks: u32::try_from(had).ok()?,
                    of: u32::try_from(had + had_not).ok()?,
                })
            })
        })
    }

    /// The code of an hour, where it is known.
    fn at(&self, hour: i64) -> Option<u8> {
        let newest = self.newest?;
        let is_kept = hour <= newest && newest - KEPT_HOURS < hour;
        is_kept.then(|| self.codes[place(hour)]).filter(|code| *code != UNKNOWN)
    }

    /// The highest code of an hour and the ones beside it, and whether all three are known.
    fn around(&self, hour: i64) -> (Option<u8>, bool) {
        let known = || (hour - 1..=hour + 1).filter_map(|hour| self.at(hour));
        (known().max(), known().count() == 3)
    }
}

/// The hour that had the same local time so many weeks ago.
fn same_time(hour: i64, weeks: i64, zone: &TimeZone) -> i64 {
    // Where clocks change by half an hour (Lord Howe), it is the hour that the moment lies in.
    days_before(hour.saturating_mul(HOUR_SECONDS), 7 * weeks, zone).div_euclid(HOUR_SECONDS)
}

/// How likely at least `times` of `of` are, where each is so likely (the binomial distribution).
fn at_least(times: usize, of: usize, likely: f64) -> f64 {
    let mut exactly = vec![1.0];
    for _ in 0..of {
        let mut next = vec![0.0; exactly.len() + 1];
        for (count, share) in exactly.iter().enumerate() {
            next[count] += share * (1.0 - likely);
            next[count + 1] += share * likely;
        }
        exactly = next;
    }
    exactly.iter().skip(times).sum()
}

/// The code of a value: what it stands for is not less, so that what comes back finds enough.
fn code(value: f64) -> u8 {
    // What a code stands for has that code.
    const ROUNDING: f64 = 1e-6;
    let code = ((value / LEAST).ln() / GROWTH.ln() - ROUNDING).ceil() + 1.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the codes")]
    let code = code.clamp(1.0, f64::from(u8::MAX)) as u8;
    code
}

/// The value that a code stands for.
fn value(code: u8) -> f64 {
    LEAST * GROWTH.powi(i32::from(code) - 1)
}

fn place(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(KEPT_HOURS)).unwrap_or_default()
}

fn bytes<S: Serializer>(codes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(codes)
}

#[cfg(test)]
mod tests;
