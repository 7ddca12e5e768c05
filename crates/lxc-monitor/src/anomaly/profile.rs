//! The usual day: for each hour a level and how far values stray from it.
//!
//! An hour is taken over when it has ended, so the value in question never moves what it is compared with. The
//! spread by the hour keeps a nightly backup from being news each night: it need not fill its hour.

use super::codec::Numbers;

/// Hours of a day.
const HOURS: usize = 24;
/// How much of an hour must have been seen for it to count, in seconds.
const LEAST_SECONDS: f32 = 1200.0;
/// Share of the difference that an hour takes over each day: a memory of about five days.
const DAILY_GAIN: f32 = 0.2;
/// Fixed point of the levels: two bytes an hour instead of four.
const LEVEL_STEPS: f32 = 1000.0;
/// Fixed point of the spreads, one byte an hour: up to 5.1 in steps of 0.02.
const SPREAD_STEPS: f32 = 50.0;
/// How many times as high as usual an hour's spread may count on one day, and what is added to that.
const SPREAD_GROWTH: (f32, f32) = (3.0, 0.1);

/// The hours, and the one that is being measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct DayProfile {
    level: [i16; HOURS],
    /// Root mean square of the residuals.
    spread: [u8; HOURS],
    /// Days on which each hour was seen, up to 255.
    days: [u8; HOURS],
    /// The hour that is being measured.
    current: u8,
    /// Its mean so far.
    mean: f32,
    /// The mean square of its residuals so far.
    square: f32,
    /// How much of it was seen, in seconds.
    seconds: f32,
}

/// One value, for the profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lesson {
    /// When, in seconds since local midnight.
    pub(super) second_of_day: f32,
    /// How long the value stands for.
    pub(super) seconds: f32,
    /// The value.
    pub(super) scaled: f32,
    /// How far it was from what was expected.
    pub(super) residual: f32,
    /// How far an hour's level may move towards a day.
    pub(super) most: f32,
}

impl DayProfile {
    /// The usual value at a second of the day, between the middles of the hours; `None` where one was not seen.
    pub(super) fn level_at(&self, second_of_day: f32) -> Option<f32> {
        let (before, after, part) = neighbours(second_of_day);
        Some(self.level_of(before)? * (1.0 - part) + self.level_of(after)? * part)
    }

    /// How far values stray in the two hours around a second of the day; zero where that is not known.
    pub(super) fn spread_at(&self, second_of_day: f32) -> f32 {
        let (before, after, _) = neighbours(second_of_day);
        f32::from(self.spread[before].max(self.spread[after])) / SPREAD_STEPS
    }

    /// Takes a value; its hour moves when the hour is over.
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

    /// Takes the hour that ended over, if enough of it was seen.
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

/// The hours whose middles lie around a second of the day, and how far the second is on the way between them.
fn neighbours(second_of_day: f32) -> (usize, usize, f32) {
    let position = (second_of_day / 3600.0 - 0.5).rem_euclid(HOURS as f32);
    let before = hour_of(position * 3600.0);
    (before, (before + 1) % HOURS, position.fract())
}

/// The hour of a second, in bounds whatever the number.
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
