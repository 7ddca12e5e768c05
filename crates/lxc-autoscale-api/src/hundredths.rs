//! CPU limits in whole numbers, in which they are compared and recorded. Pure.

/// A CPU limit in hundredths of a core, the smallest step that the kernel's quota can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hundredths(u32);

impl Hundredths {
    /// Rounded up, so that a tiny limit does not become "no limit"; `None` for an invalid number of cores.
    pub(crate) fn from_cores(cores: f64) -> Option<Self> {
        let hundredths = (cores * 100.0 - 1e-6).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        let fits = (0.0 <= cores && hundredths <= f64::from(u32::MAX)).then_some(hundredths.max(0.0) as u32);
        fits.map(Self)
    }

    /// In cores.
    pub(crate) fn cores(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// In cores; `None` for 0, which means that there is no limit.
    pub(crate) fn limit(self) -> Option<f64> {
        (0 < self.0).then(|| self.cores())
    }
}

/// A CPU limit in hundredths of a core; 0 for an invalid one.
pub(crate) fn hundredths(cores: f64) -> u64 {
    Hundredths::from_cores(cores).map_or(0, |hundredths| hundredths.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_rounded_up_to_the_next_hundredth() {
        for (cores, limit) in [
            (0.0, Some(None)),
            (0.001, Some(Some(0.01))),
            (1.1, Some(Some(1.1))),
            (1.101, Some(Some(1.11))),
            (-0.5, None),
            (f64::NAN, None),
            (1e12, None),
        ] {
            assert_eq!(Hundredths::from_cores(cores).map(Hundredths::limit), limit, "{cores}");
        }
        assert_eq!((hundredths(1.5), hundredths(f64::NAN)), (150, 0));
    }
}
