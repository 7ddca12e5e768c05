//! The usual day: a level and a spread for each hour.
//!
//! An hour is learnt only after its end, so a value never changes what it is compared with. The hourly spread keeps a
//! nightly backup from being flagged each night, even if it does not fill its hour.

use super::codec::Numbers;

/// Hours of a day.
const HOURS: usize = 24;
/// How much of an hour must be measured for it to count, in seconds.
const LEAST_SECONDS: f32 = 1200.0;
/// Share of the difference that an hour learns each day: a memory of about five days.
const DAILY_GAIN: f32 = 0.2;
/// Fixed-point scale of the levels: two bytes an hour instead of four.
const LEVEL_STEPS: f32 = 1000.0;
/// Fixed-point scale of the spreads, one byte an hour: up to 5.1 in steps of 0.02.
const SPREAD_STEPS: f32 = 50.0;
/// The largest multiple of its usual spread that an hour may count on one day, and what is added to it.
const SPREAD_GROWTH: (f32, f32) = (3.0, 0.1);

/// The hours, and the one being measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct DayProfile {
    level: [i16; HOURS],
    /// Root mean square of the residuals.
    spread: [u8; HOURS],
    /// Days on which each hour was measured, up to 255.
    days: [u8; HOURS],
    /// The hour being measured.
    current: u8,
    /// Its mean so far.
    mean: f32,
    /// The mean square of its residuals so far.
    square: f32,
    /// How much of it was measured, in seconds.
    seconds: f32,
}

/// One value, for the profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lesson {
    /// Its time, in seconds since local midnight.
    pub(super) second_of_day: f32,
    /// The time it covers.
    pub(super) seconds: f32,
    /// The value.
    pub(super) scaled: f32,
    /// Its distance from the expected value.
    pub(super) residual: f32,
    /// How far an hour's level may move per day.
    pub(super) most: f32,
}

impl DayProfile {
    /// The usual value at a second of the day, interpolated between the middles of the hours; `None` if one of them is
    /// unknown.
    pub(super) fn level_at(&self, second_of_day: f32) -> Option<f32> {
        let (before, after, part) = neighbours(second_of_day);
        Some(self.level_of(before)? * (1.0 - part) + self.level_of(after)? * part)
    }

    /// The spread in the two hours around a second of the day; zero if unknown.
    pub(super) fn spread_at(&self, second_of_day: f32) -> f32 {
        let (before, after, _) = neighbours(second_of_day);
        f32::from(self.spread[before].max(self.spread[after])) / SPREAD_STEPS
    }

    /// Takes in a value; its hour is updated at the end of the hour.
    pub(super) fn learn(&mut self, lesson: Lesson) {
        let hour = hour_of(lesson.second_of_day);
        if hour != usize::from(self.current) {
            self.close(lesson.most);
            (self.mean, self.square, self.seconds) = (0.0, 0.0, 0.0);
            self.current = u8::try_from(hour).unwrap_or_default();
        }
        self.seconds += lesson.seconds;
        let gain = (lesson.seconds / self.seconds.max(f32::MIN_POSITIVE)).min(1.0);
        self.mean += (lesson.scaled - self.mean) * gain;
        self.square += (lesson.residual * lesson.residual - self.square) * gain;
    }

    /// Learns the hour that ended, if enough of it was measured.
    fn close(&mut self, most: f32) {
        let hour = usize::from(self.current) % HOURS;
        if self.seconds < LEAST_SECONDS {
            return;
        }
        let days = self.days[hour];
        let (mut level, mut spread) = (self.mean, self.square.sqrt());
        if 0 < days {
            let gain = DAILY_GAIN.max(1.0 / (f32::from(days) + 1.0));
            let (old_level, old_spread) =
                (f32::from(self.level[hour]) / LEVEL_STEPS, f32::from(self.spread[hour]) / SPREAD_STEPS);
            let (factor, more) = SPREAD_GROWTH;
            level = old_level + gain * (level - old_level).clamp(-most, most);
            spread = old_spread + gain * (spread.min(factor * old_spread + more) - old_spread);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
        let stored = (level * LEVEL_STEPS).round() as i16;
        self.level[hour] = stored;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float saturates"
        )]
        let stored = (spread * SPREAD_STEPS).round() as u8;
        self.spread[hour] = stored;
        self.days[hour] = days.saturating_add(1);
    }

    fn level_of(&self, hour: usize) -> Option<f32> {
        (0 < self.days[hour]).then(|| f32::from(self.level[hour]) / LEVEL_STEPS)
    }

    pub(super) fn each_number<N: Numbers>(&mut self, numbers: &mut N) -> Result<(), N::Error> {
        numbers.alike(&mut self.level)?;
        self.spread = numbers.bytes(self.spread)?;
        numbers.alike_u8(&mut self.days)?;
        numbers.u8(&mut self.current)?;
        for number in [&mut self.mean, &mut self.square, &mut self.seconds] {
            numbers.f32(number)?;
        }
        Ok(())
    }
}

/// The hours whose middles are around a second of the day, and the position of the second between them.
fn neighbours(second_of_day: f32) -> (usize, usize, f32) {
    let position = (second_of_day / 3600.0 - 0.5).rem_euclid(HOURS as f32);
    let before = hour_of(position * 3600.0);
    (before, (before + 1) % HOURS, position.fract())
}

/// The hour of a second, within bounds for any number.
fn hour_of(second_of_day: f32) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    let hour = (second_of_day / 3600.0) as usize;
    hour % HOURS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three days of minutes: 2 in every hour, `at_three` between three and four.
    fn profile(at_three: impl Fn(u32) -> f32) -> DayProfile {
        let mut profile = DayProfile::default();
        for minute in 0..3 * 1440_u32 {
            let second_of_day = (minute % 1440) as f32 * 60.0;
            let scaled = if (180..240).contains(&(minute % 1440)) { at_three(minute) } else { 2.0 };
            let residual = scaled - 2.0;
            profile.learn(Lesson { second_of_day, seconds: 60.0, scaled, residual, most: 1.0 });
        }
        profile
    }

    #[test]
    fn an_hour_has_its_own_level_and_spread() {
        let profile = profile(|_| 3.0);
        assert_eq!(profile.level_at(3.5 * 3600.0), Some(3.0));
        assert_eq!(profile.level_at(12.5 * 3600.0), Some(2.0));
        assert_eq!(profile.level_at(3.0 * 3600.0), Some(2.5), "half-way between two hours");
        assert!((profile.spread_at(3.5 * 3600.0) - 1.0).abs() < 0.02);
        assert!(profile.spread_at(12.5 * 3600.0) < 0.02);
    }

    #[test]
    fn an_hour_that_was_not_seen_has_no_level() {
        assert_eq!(DayProfile::default().level_at(0.0), None);
        let mut short = DayProfile::default();
        let lesson = Lesson { second_of_day: 0.0, seconds: 600.0, scaled: 1.0, residual: 0.0, most: 1.0 };
        short.learn(lesson);
        short.learn(Lesson { second_of_day: 3600.0, ..lesson });
        assert_eq!(short.level_at(1800.0), None, "ten minutes are no hour");
    }

    #[test]
    fn one_wild_day_moves_little() {
        let wild = profile(|minute| if 2 * 1440 <= minute { 30.0 } else { 2.0 });
        let level = wild.level_at(3.5 * 3600.0).unwrap();
        assert!(level < 2.5, "{level}");
    }
}
