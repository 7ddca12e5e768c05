//! Quantities that are decided about, each with its unit in its type.
//!
//! A *measured* value is a plain number whose field name carries the unit (`memory_usage_mb`). A value that is *set*
//! has one of these types, so that cores can never be confused with mebibytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::whole_number;

/// A number of CPU cores, finite and not negative; whole for `cores`, fractional for `cpulimit`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Cores(f64);

/// Why a number is not a number of cores.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{value} is not a number of cores: it must be finite and not negative")]
pub struct InvalidCores {
    value: f64,
}

impl Cores {
    /// No CPU at all.
    pub const ZERO: Self = Self(0.0);

    /// Checks that `value` is finite and not negative.
    ///
    /// # Errors
    /// [`InvalidCores`] for NaN, infinities and negative numbers.
    pub fn new(value: f64) -> Result<Self, InvalidCores> {
        if value.is_finite() && 0.0 <= value { Ok(Self(value)) } else { Err(InvalidCores { value }) }
    }

    /// Returns the number of cores.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Cores {
    type Error = InvalidCores;

    fn try_from(value: f64) -> Result<Self, InvalidCores> {
        Self::new(value)
    }
}

impl From<u32> for Cores {
    fn from(value: u32) -> Self {
        Self(f64::from(value))
    }
}

impl From<Cores> for f64 {
    fn from(cores: Cores) -> f64 {
        cores.0
    }
}

impl fmt::Display for Cores {
    /// Formats whole numbers without a fraction, all others with at most two decimals: `4`, `1.5`, `0.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.0);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.pad(text)
    }
}

/// An amount of memory in MiB (2^20 bytes), Proxmox's unit for `memory` and `swap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Mebibytes(#[serde(deserialize_with = "whole_number::deserialize")] u64);

impl Mebibytes {
    /// Bytes in one MiB.
    pub const BYTES: u64 = 1 << 20;

    /// Takes a number of MiB.
    pub const fn new(mebibytes: u64) -> Self {
        Self(mebibytes)
    }

    /// Returns the number of MiB.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Returns the number of MiB for arithmetic with measured values.
    pub fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// Rounds a measured or computed amount up to whole MiB; negative and non-finite amounts give `None`.
    pub fn from_f64_ceil(mebibytes: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range is checked just before"
        )]
        let whole = |value: f64| value as u64;
        let ceiled = mebibytes.ceil();
        (0.0..9.0e15).contains(&ceiled).then(|| Self(whole(ceiled)))
    }
}

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} MiB", self.0))
    }
}

/// Converts bytes, as the kernel counts them, to MiB.
pub fn bytes_to_mib(bytes: u64) -> f64 {
    bytes as f64 / Mebibytes::BYTES as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_print_without_needless_digits() {
        let shown = |value| Cores::new(value).unwrap().to_string();
        assert_eq!(
            [shown(4.0), shown(1.5), shown(0.25), shown(0.0), shown(10.0)],
            ["4", "1.5", "0.25", "0", "10"]
        );
    }

    #[test]
    fn cores_are_finite_and_not_negative() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(Cores::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mebibytes_round_up_and_refuse_nonsense() {
        assert_eq!(Mebibytes::from_f64_ceil(511.2), Some(Mebibytes::new(512)));
        assert_eq!(Mebibytes::from_f64_ceil(-1.5), None);
        assert_eq!(Mebibytes::from_f64_ceil(f64::NAN), None);
        assert_eq!(Mebibytes::from_f64_ceil(f64::INFINITY), None);
    }
}
