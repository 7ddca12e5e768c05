//! The levels a series has held on the last days: a level beyond them is flagged however restless the series is.
//!
//! Scores measure the distance from the present expectation. A series that jumps between two levels has scores larger
//! than that of any new level, so its own thresholds would not flag one. Therefore the levels themselves are stored:
//! the highest and the lowest that some values in a row held, for each of the last pieces of two days.

use super::codec::Numbers;

/// Values that make a level.
pub(super) const RUN: usize = 4;
/// Length of a piece, in seconds.
const PIECE_SECONDS: f32 = 2.0 * 86_400.0;
/// At least a day must have been measured, so that daily patterns are known.
const LEAST_SECONDS: f32 = 86_400.0;
/// Number of pieces: six to eight days.
const PIECES: usize = 4;
/// Fixed-point scale of the levels, as in the profile of the day: at most 32.
const STEPS: f32 = 1000.0;

/// The levels held, in 30 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Week {
    /// The last values, oldest first.
    recent: [i16; RUN],
    /// By piece, the present one first.
    highest: [i16; PIECES],
    lowest: [i16; PIECES],
    /// How much of the present piece was measured, in seconds.
    seconds: f32,
    /// Number of known pieces.
    known: u8,
}

/// The level that the last values held, as their minimum and maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    least: i16,
    most: i16,
}

/// A level that was not held before, and the bound that it passed, transformed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Left {
    Above(f32),
    Below(f32),
}

impl Week {
    /// Takes in a value.
    pub(super) fn push(&mut self, scaled: f32) {
        self.recent.rotate_left(1);
        self.recent[RUN - 1] = fixed(scaled);
    }

    /// The level that the last values held.
    pub(super) fn level(&self) -> Level {
        let (least, most) = self
            .recent
            .iter()
            .fold((i16::MAX, i16::MIN), |(least, most), &value| (least.min(value), most.max(value)));
        Level { least, most }
    }

    /// Whether a level is outside of all that were held, by more than a margin.
    pub(super) fn left_by(&self, level: Level, margin: f32) -> Option<Left> {
        if self.known <= 1 && self.seconds < LEAST_SECONDS {
            return None;
        }
        let known = usize::from(self.known).min(PIECES);
        let highest = *self.highest[..known].iter().max()?;
        let lowest = *self.lowest[..known].iter().min()?;
        let (above, below) = (f32::from(highest) / STEPS + margin, f32::from(lowest) / STEPS - margin);
        if above < f32::from(level.least) / STEPS {
            Some(Left::Above(above))
        } else if f32::from(level.most) / STEPS < below {
            Some(Left::Below(below))
        } else {
            None
        }
    }

    /// Stores a level that was held.
    pub(super) fn remember(&mut self, level: Level, seconds: f32) {
        if self.known == 0 || PIECE_SECONDS <= self.seconds {
            self.highest.rotate_right(1);
            self.lowest.rotate_right(1);
            (self.highest[0], self.lowest[0]) = (level.least, level.most);
            self.seconds = 0.0;
            self.known = self.known.saturating_add(1);
        }
        self.highest[0] = self.highest[0].max(level.least);
        self.lowest[0] = self.lowest[0].min(level.most);
        self.seconds += seconds;
    }

    pub(super) fn each_number<N: Numbers>(&mut self, numbers: &mut N) -> Result<(), N::Error> {
        numbers.alike(&mut self.recent)?;
        numbers.alike(&mut self.highest)?;
        numbers.alike(&mut self.lowest)?;
        numbers.f32(&mut self.seconds)?;
        numbers.u8(&mut self.known)
    }
}

fn fixed(scaled: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
    let fixed = (scaled * STEPS).round() as i16;
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: f32 = 3600.0;

    /// A week of hours at these levels, one per day, the last one today.
    fn week(days: &[f32]) -> Week {
        let mut week = Week::default();
        for scaled in days {
            (0..24).for_each(|_| week.push(*scaled));
            (0..24).for_each(|_| week.remember(week.level(), HOUR));
        }
        week
    }

    fn left(week: &Week, values: [f32; RUN]) -> Option<Left> {
        let mut week = *week;
        for value in values {
            week.push(value);
        }
        week.left_by(week.level(), 0.1)
    }

    #[test]
    fn a_level_is_news_when_none_of_the_last_days_held_it() {
        let usual = week(&[2.0, 5.0, 2.0, 5.0, 2.0]);
        let rows = [
            ("between the two", [3.0; RUN], None),
            ("within the margin", [5.05; RUN], None),
            ("above both", [6.0; RUN], Some(Left::Above(5.1))),
            ("below both", [1.0; RUN], Some(Left::Below(1.9))),
            ("a burst is no level", [9.0, 9.0, 9.0, 5.0], None),
        ];
        for (what, values, want) in rows {
            assert_eq!(left(&usual, values), want, "{what}");
        }
        assert_eq!(left(&Week::default(), [9.0; RUN]), None, "nothing is known");
        let mut young = Week::default();
        (0..23).for_each(|_| young.remember(usual.level(), HOUR));
        assert_eq!(left(&young, [9.0; RUN]), None, "not a day was seen");
    }

    #[test]
    fn what_was_held_longer_ago_than_a_week_is_forgotten() {
        let days = |quiet: usize| [vec![7.0], vec![2.0; quiet]].concat();
        assert_eq!(left(&week(&days(5)), [6.0; RUN]), None);
        assert_eq!(left(&week(&days(9)), [6.0; RUN]), Some(Left::Above(2.1)));
    }
}
