//! Quantiles of the last day without putting it in order.
//!
//! From one step to the next a day loses a value and gains one, so a quantile stays where it was or moves to the next larger or
//! smaller value. Counting what is smaller and what is larger than a value that is near tells which, many values at a time.

use super::features::DAY;
use crate::recommend::series::LANES;

/// A value that is nearer than so many to the one that is looked for is found by going there.
const MOST_STEPS: usize = 8;
/// What is not known: larger than the key of any number.
const UNKNOWN: i32 = i32::MAX;
const _: () = assert!(DAY.is_multiple_of(LANES), "no rest of a day");

/// The values of a day, as keys that are ordered as they are.
pub(super) struct Day {
    keys: [i32; DAY],
    /// How many of them are known.
    known: usize,
}

impl Day {
    /// Of a day's values or fewer; NaN is unknown.
    pub(super) fn new(values: &[f32]) -> Self {
        let mut keys = [UNKNOWN; DAY];
        for (key, value) in keys.iter_mut().zip(values) {
            *key = if value.is_nan() { UNKNOWN } else { order_key(*value) };
        }
        let known = keys.iter().map(|key| u16::from(*key != UNKNOWN)).sum::<u16>();
        Self { keys, known: known.into() }
    }

    /// A quantile, interpolated; NaN of none. It is looked for from the key `near` on, which becomes its own.
    pub(super) fn quantile(&self, quantile: f32, near: &mut i32) -> f32 {
        let Some((low, high, part)) = between(self.known, quantile) else { return f32::NAN };
        *near = self.at(low, *near);
        let (low, high) = (value_of(*near), value_of(self.at(high, *near)));
        low + (high - low) * part
    }

    /// The key at a place in the order, which is that of a known one.
    fn at(&self, place: usize, near: i32) -> i32 {
        let mut key = near;
        for _ in 0..MOST_STEPS {
            let (smaller, larger) = self.beside(key);
            let end = DAY - larger;
            if (smaller..end).contains(&place) {
                return key;
            }
            key = if place < smaller { self.next_smaller(key) } else { self.next_larger(key) };
            // The next smaller one ends, and the next larger one begins, right there.
            if place + 1 == smaller || place == end {
                return key;
            }
        }
        let mut keys = self.keys;
        *keys.select_nth_unstable(place).1
    }

    /// How many keys are smaller, and how many larger.
    fn beside(&self, key: i32) -> (usize, usize) {
        let count = |is_beside: fn(i32, i32) -> bool| {
            // Of the width of the keys, so that as many are counted at a time as are compared.
            let counted = self.keys.iter().map(|other| u32::from(is_beside(*other, key))).sum::<u32>();
            counted as usize
        };
        (count(|other, key| other < key), count(|other, key| key < other))
    }

    fn next_larger(&self, key: i32) -> i32 {
        self.next(key, 0)
    }

    fn next_smaller(&self, key: i32) -> i32 {
        // Turning all bits turns the order.
        self.next(key, -1)
    }

    /// The next larger one in the order of the keys whose bits are turned by `turn`.
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

/// The places in an order of `count` between which a quantile lies, and how far it is from the first to the second; `None` of
/// none.
pub(super) fn between(count: usize, quantile: f32) -> Option<(usize, usize, f32)> {
    let last = count.checked_sub(1)?;
    let place = quantile * last as f32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let below = place.floor() as usize;
    Some((below, (below + 1).min(last), place - below as f32))
}

/// A whole number that is ordered as [`f32::total_cmp`] orders the value. It is put in order several times faster.
pub(super) fn order_key(value: f32) -> i32 {
    order_key_bits(value.to_bits().cast_signed())
}

/// The value that has this key.
pub(super) fn value_of(key: i32) -> f32 {
    f32::from_bits(order_key_bits(key).cast_unsigned())
}

/// Turns bits into a key and a key into bits: the order of negative values is the reverse of their bits'.
fn order_key_bits(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f32> {
        // Some that are the same, so that a value has many places.
        prop_oneof![
            Just(f32::NAN),
            (-3i8..4).prop_map(f32::from),
            -5.0f32..5.0,
            Just(-0.0),
            Just(f32::INFINITY)
        ]
    }

    proptest! {
        /// To the last bit, wherever it is looked for from.
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
                // The one beside it is a step away, the next place most often too far.
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
