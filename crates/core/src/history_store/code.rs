//! Measured values as 16-bit codes.
//!
//! A value is rounded to a multiple `n` of its metric's resolution. Up to 2,047 the code is `n` itself; above that,
//! eleven significant bits are kept, as in a floating-point number. The error is at most half the resolution or 2⁻¹¹
//! (0.05 %) of the value, whichever is larger. Codes have the same order as values, so the minimum, the maximum and
//! every percentile of codes correspond to those of the values, and a small change of a value is a small change of
//! its code.

/// The code of a value.
pub type Code = u16;

/// Number of significant bits that are kept.
const SIGNIFICANT_BITS: u32 = 11;
const EXACT: u64 = 1 << SIGNIFICANT_BITS;
const HALF: u64 = EXACT >> 1;
/// Larger values are clipped to this, which is far beyond anything measured.
const LARGEST: f64 = 9.0e15;

/// The code of a value; `None` if it cannot be a measurement (negative, infinite, not a number).
pub fn encode(value: f64, resolution: f64) -> Option<Code> {
    if !value.is_finite() || value < 0.0 {
        return None;
    }
    let multiple = (value / resolution).min(LARGEST);
    let n = whole(multiple);
    if n < EXACT {
        // 2,047.5 and more rounds to 2,048, whose code is also 2,048.
        return Code::try_from(whole(multiple.round())).ok();
    }
    let shift = u64::BITS - n.leading_zeros() - SIGNIFICANT_BITS;
    // Rounding up may carry into one more bit, but the resulting code is still right.
    let mantissa = whole((multiple / (1_u64 << shift) as f64).round());
    Code::try_from(u64::from(shift) * HALF + mantissa).ok()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to LARGEST")]
fn whole(value: f64) -> u64 {
    value as u64
}

/// The value of a code.
pub fn decode(code: Code, resolution: f64) -> f64 {
    let code = u64::from(code);
    if code < EXACT {
        return code as f64 * resolution;
    }
    let shift = code / HALF - 1;
    let mantissa = code - shift * HALF;
    // No encoder produces a code that large, but a wrong one must not overflow.
    (mantissa as f64) * 2_f64.powi(i32::try_from(shift).unwrap_or(i32::MAX)) * resolution
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_people_set_are_exact() {
        for mebibytes in [0.0, 1.0, 31.0, 512.0, 1536.0, 2048.0, 3000.0, 6144.0, 16384.0, 10240.0, 262_144.0]
        {
            assert!((decode(encode(mebibytes, 1.0).unwrap(), 1.0) - mebibytes).abs() < 1e-9, "{mebibytes}");
        }
        assert!((decode(encode(12.5, 0.01).unwrap(), 0.01) - 12.5).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_measurement_has_no_code() {
        for bad in [f64::NAN, f64::INFINITY, -0.001, f64::NEG_INFINITY] {
            assert_eq!(encode(bad, 0.001), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_error_is_as_stated(value in 0.0..1e12_f64, resolution in prop::sample::select(vec![0.001, 0.05, 1.0, 16.0])) {
            let back = decode(encode(value, resolution).unwrap(), resolution);
            let allowed = (resolution / 2.0).max(value / 2048.0) * (1.0 + 1e-9);
            prop_assert!((back - value).abs() <= allowed, "{value} → {back}");
            prop_assert_eq!(encode(back, resolution), encode(value, resolution));
        }

        #[test]
        fn codes_are_in_the_order_of_the_values(a in 0.0..1e9_f64, b in 0.0..1e9_f64) {
            prop_assume!(a <= b);
            prop_assert!(encode(a, 0.001) <= encode(b, 0.001));
        }

        #[test]
        fn any_code_is_read(code in any::<u16>()) {
            prop_assert!(decode(code, 0.001).is_finite());
        }
    }
}
