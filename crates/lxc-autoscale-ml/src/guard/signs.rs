//! The signs of one step, stored compactly.
//!
//! Dozens of steps are kept per container, and an `Option` of a number takes twice the space of the number: half a MiB
//! for two hundred containers. So unknown values are NaN here.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::symptom::Symptoms;

/// A step and its signs; serialised as a pair of both.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(from = "(Timestamp, Symptoms)", into = "(Timestamp, Symptoms)")]
pub(super) struct Signs {
    /// The time of the record.
    pub(super) at: Timestamp,
    ran_out: Option<bool>,
    /// In the order of the fields of [`Symptoms`].
    numbers: [f64; 5],
}

impl Signs {
    /// The signs.
    pub(super) fn symptoms(&self) -> Symptoms {
        let known = self.numbers.map(|number| (!number.is_nan()).then_some(number));
        let [
            memory_pressure_percent,
            read_back_mib_per_second,
            throttled_percent,
            cpu_pressure_percent,
            cpu_limit_used,
        ] = known;
        Symptoms {
            ran_out: self.ran_out,
            memory_pressure_percent,
            read_back_mib_per_second,
            throttled_percent,
            cpu_pressure_percent,
            cpu_limit_used,
        }
    }
}

impl From<(Timestamp, Symptoms)> for Signs {
    fn from((at, symptoms): (Timestamp, Symptoms)) -> Self {
        let Symptoms {
            ran_out,
            memory_pressure_percent,
            read_back_mib_per_second,
            throttled_percent,
            cpu_pressure_percent,
            cpu_limit_used,
        } = symptoms;
        let numbers = [
            memory_pressure_percent,
            read_back_mib_per_second,
            throttled_percent,
            cpu_pressure_percent,
            cpu_limit_used,
        ];
        Self { at, ran_out, numbers: numbers.map(|number| number.unwrap_or(f64::NAN)) }
    }
}

impl From<Signs> for (Timestamp, Symptoms) {
    fn from(signs: Signs) -> Self {
        (signs.at, signs.symptoms())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Text of an earlier version can be read, too.
        #[test]
        fn they_are_what_they_were_and_are_stored_as_they_were(
            ran_out: Option<bool>,
            numbers in proptest::array::uniform5(proptest::option::of((-1000i32..1000).prop_map(f64::from))),
        ) {
            let [memory_pressure_percent, read_back_mib_per_second, throttled_percent, cpu_pressure_percent, cpu_limit_used] = numbers;
            let symptoms = Symptoms { ran_out, memory_pressure_percent, read_back_mib_per_second, throttled_percent, cpu_pressure_percent, cpu_limit_used };
            let step = (Timestamp::UNIX_EPOCH, symptoms);
            prop_assert_eq!(Signs::from(step).symptoms(), symptoms);
            let text = serde_json::to_string(&step).unwrap();
            prop_assert_eq!(serde_json::to_string(&Signs::from(step)).unwrap(), text.clone());
            prop_assert_eq!(serde_json::from_str::<Signs>(&text).unwrap().symptoms(), symptoms);
        }
    }
}
