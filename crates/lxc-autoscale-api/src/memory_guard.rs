//! Decides whether a container's memory may shrink.
//!
//! Proxmox sets a new limit without looking at the use, and the kernel answers a limit below the use with the OOM
//! killer. So this server refuses, whoever asks: **a shrink that might hurt is not made**. It is made if the
//! container is not running, or if what it holds is known and fits with the configured margin. Growth is always
//! allowed.

use lxc_autoscale_core::Mebibytes;

use crate::config::LimitsConfig;

/// What is known about the memory that a container needs now.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// The container is not running.
    Nothing,
    /// The working set of its newest record, in MiB.
    WorkingSet(f64),
    /// It is running, and its need is not known.
    Unknown {
        /// Why it is not known.
        reason: String,
    },
}

/// Why memory may not shrink.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShrinkRefused {
    /// The container holds more than requested, or nearly as much.
    #[error(
        "the container holds {working_set_mib:.0} MiB now; with the margin of {margin_percent} % it needs at \
         least {floor}, and {requested} were asked for"
    )]
    BelowWorkingSet {
        /// The working set.
        working_set_mib: f64,
        /// The configured margin.
        margin_percent: f64,
        /// The least memory it may get.
        floor: Mebibytes,
        /// The requested memory.
        requested: Mebibytes,
    },
    /// It is not known what the container holds.
    #[error(
        "the container runs and what it holds is not known ({reason}), so its memory cannot shrink safely; see \
         `limits.allow_blind_memory_shrink`"
    )]
    Blind {
        /// Why it is not known.
        reason: String,
    },
}

/// Checks that a change from `current` to `requested` leaves the container what it needs.
///
/// # Errors
/// [`ShrinkRefused`] if it does not, or if the need is not known.
pub fn check(
    limits: &LimitsConfig,
    current: Mebibytes,
    requested: Mebibytes,
    need: Need,
) -> Result<(), ShrinkRefused> {
    if current <= requested {
        return Ok(());
    }
    match need {
        Need::Nothing => Ok(()),
        Need::Unknown { .. } if limits.allow_blind_memory_shrink => Ok(()),
        Need::Unknown { reason } => Err(ShrinkRefused::Blind { reason }),
        Need::WorkingSet(working_set_mib) => {
            let margin_percent = limits.memory_margin_percent;
            let floor = Mebibytes::from_f64_ceil(working_set_mib * (1.0 + margin_percent / 100.0));
            // A running container holds something; a working set of 0 or less is a wrong reading.
            match floor.filter(|_| 0.0 < working_set_mib) {
                Some(floor) if floor <= requested => Ok(()),
                Some(floor) => {
                    Err(ShrinkRefused::BelowWorkingSet { working_set_mib, margin_percent, floor, requested })
                }
                None => Err(ShrinkRefused::Blind {
                    reason: format!("a working set of {working_set_mib} MiB is not plausible"),
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn verdict(current: u64, requested: u64, need: Need, blind: bool) -> Result<(), ShrinkRefused> {
        let limits = LimitsConfig { allow_blind_memory_shrink: blind, ..LimitsConfig::default() };
        check(&limits, Mebibytes::new(current), Mebibytes::new(requested), need)
    }

    fn unknown() -> Need {
        Need::Unknown { reason: "no metrics file".to_owned() }
    }

    #[test]
    fn growth_needs_no_evidence() {
        assert_eq!(verdict(512, 1024, unknown(), false), Ok(()));
        assert_eq!(verdict(512, 512, Need::WorkingSet(600.0), false), Ok(()));
    }

    #[test]
    fn a_stopped_container_shrinks() {
        assert_eq!(verdict(4096, 16, Need::Nothing, false), Ok(()));
    }

    #[test]
    fn a_shrink_leaves_the_working_set_and_its_margin() {
        assert_eq!(verdict(4096, 1100, Need::WorkingSet(1000.0), false), Ok(()));
        let refused = verdict(4096, 1099, Need::WorkingSet(1000.0), false).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the container holds 1000 MiB now; with the margin of 10 % it needs at least 1100 MiB, and 1099 MiB \
             were asked for"
        );
    }

    #[test]
    fn a_blind_shrink_takes_permission() {
        assert!(matches!(verdict(4096, 2048, unknown(), false), Err(ShrinkRefused::Blind { .. })));
        assert_eq!(verdict(4096, 2048, unknown(), true), Ok(()));
        for nonsense in [f64::NAN, f64::INFINITY, -0.1, 0.0] {
            let verdict = verdict(4096, 2048, Need::WorkingSet(nonsense), true);
            assert!(matches!(verdict, Err(ShrinkRefused::Blind { .. })), "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn what_is_granted_never_lies_below_the_working_set(
            current in 16u64..1 << 20, requested in 16u64..1 << 20, held in 0.0f64..2e6
        ) {
            if verdict(current, requested, Need::WorkingSet(held), true).is_ok() && requested < current {
                prop_assert!(held <= requested as f64);
            }
        }
    }
}
