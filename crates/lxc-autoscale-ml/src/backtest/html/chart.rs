//! Positions in a chart, and the shapes of long series.

use std::fmt::Write;

/// Size of the drawing area; the page scales it.
pub(super) const WIDTH: usize = 900;
pub(super) const HEIGHT: f64 = 150.0;
/// Width of a column of a long series: finer than the eye can see on a screen of that width.
pub(super) const PIXEL: usize = 3;
const COLUMNS: usize = WIDTH / PIXEL;

/// The ranges of time and amounts of a chart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// First and last time, in seconds.
    pub(super) from: i64,
    pub(super) to: i64,
    /// The amount at the top.
    pub(super) top: f64,
}

/// The minimum and maximum of each column; `None` where nothing is known.
#[derive(Clone, Debug)]
pub(super) struct Columns(Vec<Option<(f64, f64)>>);

impl Frame {
    /// The column of a time.
    pub(super) fn column(&self, at: i64) -> usize {
        let span = (self.to - self.from).max(1) as f64;
        let part = (at - self.from) as f64 / span;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the columns")]
        let column = (part * COLUMNS as f64).clamp(0.0, (COLUMNS - 1) as f64) as usize;
        column
    }

    /// Pixels from the left.
    pub(super) fn x(&self, at: i64) -> f64 {
        (self.column(at) * PIXEL) as f64 + PIXEL as f64 / 2.0
    }

    /// Pixels from the top.
    pub(super) fn y(&self, amount: f64) -> f64 {
        HEIGHT - HEIGHT * (amount / self.top).clamp(0.0, 1.0)
    }
}

impl Columns {
    /// Columns without data.
    pub(super) fn new() -> Self {
        Self(vec![None; COLUMNS])
    }

    /// Adds the range from `low` to `high` to a column.
    pub(super) fn add(&mut self, column: usize, low: f64, high: f64) {
        if let Some(known) = self.0.get_mut(column) {
            let (least, most) = known.unwrap_or((low, high));
            *known = Some((least.min(low), most.max(high)));
        }
    }

    /// Fills the columns between the points of an hourly series; longer gaps stay.
    pub(super) fn bridged(mut self, most: usize) -> Self {
        let known: Vec<usize> =
            (0..COLUMNS).filter(|column| self.0.get(*column).is_some_and(Option::is_some)).collect();
        for pair in known.windows(2) {
            if pair[1] - pair[0] <= most {
                for column in pair[0] + 1..pair[1] {
                    self.0[column] = self.0[pair[0]];
                }
            }
        }
        self
    }

    /// The area between the minimum and the maximum, at least a hair thick; one piece per run.
    pub(super) fn area(&self, frame: &Frame) -> String {
        let mut path = String::new();
        let mut column = 0;
        while column < COLUMNS {
            let run: Vec<(f64, f64)> = self.0[column..].iter().map_while(|known| *known).collect();
            if run.is_empty() {
                column += 1;
                continue;
            }
            // Each column is a step of its own: a slope would show amounts that never occurred.
            let _ = write!(path, "M{}", column * PIXEL);
            for (index, (_, high)) in run.iter().enumerate() {
                let command = if index == 0 { ' ' } else { 'V' };
                let _ = write!(path, "{command}{:.0}h{PIXEL}", frame.y(*high) - 0.5);
            }
            for (low, _) in run.iter().rev() {
                let _ = write!(path, "V{:.0}h-{PIXEL}", frame.y(*low) + 1.0);
            }
            path.push('Z');
            column += run.len();
        }
        path
    }

    /// The area below the minimum.
    pub(super) fn ground(&self, frame: &Frame) -> String {
        let mut path = String::new();
        let mut is_open = false;
        for (column, known) in self.0.iter().enumerate() {
            match known {
                Some((low, _)) => {
                    if !is_open {
                        let _ = write!(path, "M{} {HEIGHT}", column * PIXEL);
                    }
                    let _ = write!(path, "V{:.0}h{PIXEL}", frame.y(*low) + 1.0);
                }
                None if is_open => {
                    let _ = write!(path, "V{HEIGHT}Z");
                }
                None => {}
            }
            is_open = known.is_some();
        }
        if is_open {
            let _ = write!(path, "V{HEIGHT}Z");
        }
        path
    }

    /// The maximum of all columns.
    pub(super) fn most(&self) -> f64 {
        self.0.iter().flatten().map(|(_, high)| *high).fold(0.0, f64::max)
    }
}

/// A step line through (time, amount), with no more corners than the columns need.
pub(super) fn steps(frame: &Frame, begin: f64, changes: impl Iterator<Item = (i64, f64)>) -> String {
    let mut path = format!("M0 {:.1}", frame.y(begin));
    // Of the changes in one column, the minimum, the maximum and the last are drawn.
    let mut open_column = None;
    let mut amounts: Vec<f64> = Vec::new();
    let mut flush = |column: Option<usize>, values: &mut Vec<f64>| {
        let (Some(column), Some(end)) = (column, values.last().copied()) else { return };
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let _ = write!(path, "H{}", column * PIXEL);
        if 1 < values.len() {
            let _ = write!(path, "V{:.1}V{:.1}", frame.y(least), frame.y(most));
        }
        let _ = write!(path, "V{:.1}", frame.y(end));
        values.clear();
    };
    for (at, amount) in changes {
        let next = frame.column(at);
        if open_column != Some(next) {
            flush(open_column, &mut amounts);
            open_column = Some(next);
        }
        amounts.push(amount);
    }
    flush(open_column, &mut amounts);
    let _ = write!(path, "H{WIDTH}");
    path
}

/// A round amount not below `value`.
pub(super) fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let mut factors = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0].into_iter();
    let factor = factors.find(|factor| value <= factor * power * (1.0 + 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { from: 0, to: 9000, top: 10.0 };

    #[test]
    fn a_long_series_keeps_its_extremes_and_a_gap_stays_one() {
        let mut columns = Columns::new();
        for at in 0..100 {
            columns.add(FRAME.column(at), 5.0, 5.0);
        }
        columns.add(FRAME.column(3), 9.0, 9.0);
        columns.add(FRAME.column(8000), 1.0, 1.0);
        let area = columns.area(&FRAME);
        assert_eq!(area.matches('M').count(), 2, "{area}");
        assert!(area.starts_with("M0 14"), "{area}");
        assert!((columns.most() - 9.0).abs() < 1e-9);
    }

    #[test]
    fn many_changes_in_one_column_are_one_stroke() {
        let path = steps(
            &FRAME,
            5.0,
            (0..1000).map(|at| (1200 + at % 20, f64::from(u8::try_from(at % 7).unwrap()))),
        );
        assert!(path.len() < 100, "{path}");
    }

    #[test]
    fn the_top_is_a_round_number() {
        for (value, want) in
            [(0.0, 1.0), (0.3, 0.3), (1.0, 1.0), (2.1, 2.5), (7.0, 8.0), (9.0, 10.0), (1100.0, 1500.0)]
        {
            assert!((round_up(value) - want).abs() < 1e-9, "{value}");
        }
    }
}
