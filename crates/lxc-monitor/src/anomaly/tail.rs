//! How often a score this high occurred: the threshold that keeps the flagged share.
//!
//! Workloads have heavy tails unlike a normal distribution, so a fixed number of deviations flags one container all day
//! and another never. The threshold is therefore the score that the series itself exceeded in the wanted share of its
//! past (a conformal p-value: `(1 + #{scores >= s}) / (n + 1)`, Laxhammar and Falkman, "Conformal prediction for
//! distribution-independent anomaly detection in streaming vehicle data", 2010). If the past is too short for such a
//! share, its last decade is continued as a power law.

use super::codec::Numbers;

/// Counts of scores by size.
const BINS: usize = 10;
/// Where the first bin begins; smaller scores only count towards the total.
const FIRST: f32 = 1.25;
/// Ratio of neighbouring bins; the last begins at 48 deviations.
const RATIO: f32 = 1.5;
/// What one score adds; more than one, so that halving does not forget single ones at once.
const UNIT: u16 = 4;
/// Total at which all counts are halved: about ten days of minutes.
const FULL: u16 = 60_000;
/// Assumed tail beyond the observed scores: score ~ share^-0.3.
const TAIL_INDEX: f32 = 0.3;

/// A decayed histogram of scores, in 22 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    total: u16,
    bins: [u16; BINS],
}

impl Tail {
    /// Counts a score; one that is not positive counts as small.
    pub(super) fn push(&mut self, score: f32) {
        if FULL - UNIT < self.total {
            self.halve();
        }
        self.total += UNIT;
        if let Some(bin) = bin_of(score).and_then(|bin| self.bins.get_mut(bin)) {
            *bin = bin.saturating_add(UNIT);
        }
    }

    /// Halves all counts.
    fn halve(&mut self) {
        self.total /= 2;
        self.bins.iter_mut().for_each(|bin| *bin /= 2);
    }

    /// The score that a share of the past exceeded.
    pub(super) fn threshold(&self, share: f32) -> f32 {
        let total = f32::from(self.total.max(UNIT));
        let allowed = share * total - f32::from(UNIT);
        let mut above = 0.0;
        for (bin, &count) in self.bins.iter().enumerate().rev() {
            let count = f32::from(count);
            if 0.0 < count && allowed < above + count {
                // Within the bin, scores are assumed to be uniform on the logarithmic scale.
                let part = ((allowed.max(0.0) - above) / count).clamp(0.0, 1.0);
                let edge = edge(bin + 1) / RATIO.powf(part);
                let unseen = (f32::from(UNIT) / (share * total)).max(1.0);
                return edge * unseen.powf(TAIL_INDEX);
            }
            above += count;
        }
        let unseen = (f32::from(UNIT) / (share * total)).max(1.0);
        FIRST * unseen.powf(TAIL_INDEX)
    }

    pub(super) fn each_number<N: Numbers>(&mut self, numbers: &mut N) -> Result<(), N::Error> {
        numbers.u16(&mut self.total)?;
        self.bins.iter_mut().try_for_each(|bin| numbers.u16(bin))
    }
}

/// The bin of a score; `None` below the first.
fn bin_of(score: f32) -> Option<usize> {
    (0..BINS).rev().find(|&bin| edge(bin) <= score)
}

/// Where a bin begins.
fn edge(bin: usize) -> f32 {
    let mut edge = FIRST;
    for _ in 0..bin {
        edge *= RATIO;
    }
    edge
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(scores: impl IntoIterator<Item = f32>) -> Tail {
        let mut tail = Tail::default();
        scores.into_iter().for_each(|score| tail.push(score));
        tail
    }

    #[test]
    fn the_threshold_is_exceeded_by_the_wanted_share() {
        // One score in a hundred is 10, the rest are small.
        let seen = tail((0..5000).map(|n| if n % 100 == 0 { 10.0 } else { 0.5 }));
        assert!(10.0 < seen.threshold(0.001), "{}", seen.threshold(0.001));
        assert!(seen.threshold(0.05) < 2.0, "{}", seen.threshold(0.05));
    }

    #[test]
    fn a_short_past_asks_for_more() {
        let short = tail((0..50).map(|_| 0.5)).threshold(0.001);
        let long = tail((0..5000).map(|_| 0.5)).threshold(0.001);
        assert!(long < short, "{long} {short}");
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut seen = tail((0..2000).map(|_| 20.0));
        let before = seen.threshold(0.01);
        (0..200_000).for_each(|_| seen.push(0.1));
        assert!(seen.threshold(0.01) < before / 4.0, "{} {before}", seen.threshold(0.01));
    }
}
