//! Quantiles of the last day without sorting it.
//!
//! From one step to the next a day loses a value and gains one, so a quantile stays where it was or moves to a
//! neighbouring value. Counting the values below and above a nearby value tells which, and that can be vectorised.

use super::features::DAY;
use crate::recommend::series::LANES;

/// A start at most this many positions away from the target is followed step by step.
const MOST_STEPS: usize = 8;
/// Unknown: larger than the key of any number.
const UNKNOWN: i32 = i32::MAX;
const _: () = assert!(DAY.is_multiple_of(LANES), "no rest of a day");

/// The values of a day, as keys in the same order.
pub(super) struct Day {
    keys: [i32; DAY],
    /// Number of known values.
    known: usize,
}

impl Day {
    /// From the values of a day or less; NaN is unknown.
    pub(super) fn new(values: &[f32]) -> Self {
        let mut keys = [UNKNOWN; DAY];
        for (key, value) in keys.iter_mut().zip(values) {
            *key = if value.is_nan() { UNKNOWN } else { order_key(*value) };
        }
        let known = keys.iter().map(|key| u16::from(*key != UNKNOWN)).sum::<u16>();
        Self { keys, known: known.into() }
    }

    /// A quantile, interpolated; NaN if there are no values. The search starts at the key `near`, which is set to the
    /// result.
    pub(super) fn quantile(&self, quantile: f32, near: &mut i32) -> f32 {
        let Some((low, high, part)) = between(self.known, quantile) else { return f32::NAN };
        *near = self.at(low, *near);
        let (low, high) = (value_of(*near), value_of(self.at(high, *near)));
        low + (high - low) * part
    }

    /// The key with this rank; `near` is the key of a known value.
    fn at(&self, place: usize, near: i32) -> i32 {
        let mut key = near;
        for _ in 0..MOST_STEPS {
            let (smaller, larger) = self.beside(key);
            let end = DAY - larger;
            if (smaller..end).contains(&place) {
                return key;
            }
            key = if place < smaller { self.next_smaller(key) } else { self.next_larger(key) };
            // The neighbouring key in that direction has the rank.
            if place + 1 == smaller || place == end {
                return key;
            }
        }
        let mut keys = self.keys;
        *keys.select_nth_unstable(place).1
    }

    /// The number of smaller keys and of larger keys.
    fn beside(&self, key: i32) -> (usize, usize) {
        let count = |is_beside: fn(i32, i32) -> bool| {
            // As wide as the keys, so that counting is vectorised as widely as comparing.
            let counted = self.keys.iter().map(|other| u32::from(is_beside(*other, key))).sum::<u32>();
            counted as usize
        };
        (count(|other, key| other < key), count(|other, key| key < other))
    }

    fn next_larger(&self, key: i32) -> i32 {
        self.next(key, 0)
    }

    fn next_smaller(&self, key: i32) -> i32 {
        // Inverting all bits reverses the order.
        self.next(key, -1)
    }

    /// The next larger key, in the order of keys with their bits xored with `turn`.
    fn next(&self, key: i32, turn: i32) -> i32 {
        let key = key ^ turn;
        let mut next = [i32::MAX; LANES];
        for chunk in self.keys.as_chunks::<LANES>().0 {
            next = std::array::from_fn(|lane| {
                let other = chunk[lane] ^ turn;
                if key < other && other < next[lane] { other } else { next[lane] }
            });
        }
        next.into_iter().fold(i32::MAX, i32::min) ^ turn
    }
}

/// The ranks among `count` values between which a quantile lies, and its position between the two; `None` if there are
/// no values.
pub(super) fn between(count: usize, quantile: f32) -> Option<(usize, usize, f32)> {
    let last = count.checked_sub(1)?;
    let place = quantile * last as f32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let below = place.floor() as usize;
    Some((below, (below + 1).min(last), place - below as f32))
}

/// An integer in the same order as [`f32::total_cmp`]. Integers are sorted several times faster.
pub(super) fn order_key(value: f32) -> i32 {
    order_key_bits(value.to_bits().cast_signed())
}

/// The value of a key.
pub(super) fn value_of(key: i32) -> f32 {
    f32::from_bits(order_key_bits(key).cast_unsigned())
}

/// Converts bits to a key and back: negative values have the reverse order of their bits.
fn order_key_bits(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f32> {
        // With duplicates, so that a value has several ranks.
        prop_oneof![
            Just(f32::NAN),
            (-3i8..4).prop_map(f32::from),
            -5.0f32..5.0,
            Just(-0.0),
            Just(f32::INFINITY)
        ]
    }

    proptest! {
        /// Exact to the last bit, wherever the search starts.
        #[test]
        fn a_place_in_the_order_is_found_without_putting_in_order(
            values in proptest::collection::vec(value(), 0..=DAY),
            looked_for in proptest::collection::vec(any::<prop::sample::Index>(), 4),
            from in prop_oneof![any::<i32>(), value().prop_map(order_key)],
        ) {
            let day = Day::new(&values);
            let mut sorted: Vec<f32> = values.into_iter().filter(|value| !value.is_nan()).collect();
            sorted.sort_unstable_by(f32::total_cmp);
            prop_assert_eq!(day.known, sorted.len());
            let mut last = from;
            for place in looked_for.iter().filter(|_| !sorted.is_empty()).map(|place| place.index(sorted.len())) {
                // The neighbour is one step away, the next rank usually too far.
                for place in [place, place.saturating_sub(1), place] {
                    last = day.at(place, last);
                    prop_assert_eq!(value_of(last).to_bits(), sorted[place].to_bits());
                    prop_assert_eq!(day.at(place, from), last);
                }
            }
        }
    }

    #[test]
    fn a_quantile_lies_between_two() {
        let mut near = 0;
        let day = Day::new(&[4.0, 1.0, f32::NAN, 3.0]);
        for (quantile, wanted) in [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (1.0, 4.0)] {
            let got = day.quantile(quantile, &mut near);
            assert!((got - wanted).abs() < 1e-6, "{quantile}: {got}");
        }
        assert!(Day::new(&[]).quantile(0.5, &mut near).is_nan());
    }
}
