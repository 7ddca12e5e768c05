//! Whole numbers in JSON: `4` and `4.0` are the same number, and some clients write the second.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The first whole number from which on not all have a floating-point form (2^53).
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// A whole number that is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WholeNumber(u64);

impl From<WholeNumber> for u64 {
    fn from(number: WholeNumber) -> Self {
        number.0
    }
}

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(WholeNumberVisitor)
    }
}

struct WholeNumberVisitor;

impl Visitor<'_> for WholeNumberVisitor {
    type Value = WholeNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<WholeNumber, E> {
        Ok(WholeNumber(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<WholeNumber, E> {
        u64::try_from(value).map(WholeNumber).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<WholeNumber, E> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and within the range, checked just before"
        )]
        let whole = |value: f64| value as u64;
        let is_whole = value.fract() == 0.0 && (0.0..EXACT_BELOW).contains(&value);
        if is_whole {
            Ok(WholeNumber(whole(value)))
        } else {
            Err(E::invalid_value(Unexpected::Float(value), &self))
        }
    }
}

/// Deserialises a field with a whole number of a smaller type.
pub(crate) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let WholeNumber(number) = WholeNumber::deserialize(deserializer)?;
    T::try_from(number)
        .map_err(|_| D::Error::invalid_value(Unexpected::Unsigned(number), &"a smaller number"))
}

/// As [`deserialize`], for a field that may be omitted or null.
pub(crate) fn deserialize_optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    match Option::<WholeNumber>::deserialize(deserializer)? {
        None => Ok(None),
        Some(WholeNumber(number)) => T::try_from(number)
            .map(Some)
            .map_err(|_| D::Error::invalid_value(Unexpected::Unsigned(number), &"a smaller number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Small(#[serde(deserialize_with = "deserialize")] u32);

    #[test]
    fn a_whole_number_may_have_a_point() {
        for (text, number) in [("4", 4), ("4.0", 4), ("0.0", 0), ("4e2", 400), ("4294967295", u32::MAX)] {
            assert_eq!(serde_json::from_str::<Small>(text).unwrap().0, number, "{text}");
        }
    }

    #[test]
    fn nothing_else_is_one() {
        for text in
            ["4.5", "-1", "-1.0", "1e300", "4294967296", "4294967296.0", "\"4\"", "null", "true", "[4]"]
        {
            assert!(serde_json::from_str::<Small>(text).is_err(), "{text}");
        }
    }
}
