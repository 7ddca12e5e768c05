//! Distinguishes the runs of a container.
//!
//! Counters begin at zero with each run, so anyone who compares two of them must know whether both belong to the same
//! run. Whether a counter has decreased is not enough: one that was at 1 may be at 1 again, and on cgroup version 1
//! the sum over the groups of a container decreases when a group is removed.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::snapshot::{ContainerRecord, NodeRecord};

/// How much two exact uptimes may deviate, in seconds: each is rounded to a hundredth.
const ROUNDED_SECONDS: f64 = 0.1;
/// The same if the time between them is that of the wall clock, which is not read at the same instant.
const APART_SECONDS: f64 = 1.0;

/// One boot of the node: the first sixteen hexadecimal digits of the kernel's `boot_id`, which it draws at random at each
/// boot. Uptimes alone do not tell two boots apart: after a reboot, the node may soon be up for longer than it was when
/// it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootId(NonZeroU64);

/// Why a text is no boot id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a boot id begins with 16 hexadecimal digits, which are not all zero")]
pub struct InvalidBootId;

impl FromStr for BootId {
    type Err = InvalidBootId;

    /// Parses the kernel's text, which has hyphens and more digits, or ours.
    fn from_str(text: &str) -> Result<Self, InvalidBootId> {
        let digits: String = text.trim().chars().filter(|digit| *digit != '-').take(16).collect();
        if digits.len() != 16 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(InvalidBootId);
        }
        let number = u64::from_str_radix(&digits, 16).map_err(|_| InvalidBootId)?;
        NonZeroU64::new(number).map(Self).ok_or(InvalidBootId)
    }
}

impl TryFrom<String> for BootId {
    type Error = InvalidBootId;

    fn try_from(text: String) -> Result<Self, InvalidBootId> {
        text.parse()
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<BootId> for String {
    fn from(boot: BootId) -> String {
        boot.to_string()
    }
}

/// When a container was measured, and how long it had been running then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Seconds since the Unix epoch, by a clock that may be set.
    pub at_seconds: f64,
    /// Seconds since the node booted, read at the same instant as the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_uptime_seconds: Option<f64>,
    /// Seconds since the container's init started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// Which boot of the node that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
}

impl Run {
    /// The run according to a record and to the node's record in the same snapshot.
    pub fn of(record: &ContainerRecord, node: Option<&NodeRecord>) -> Self {
        let finite = |seconds: Option<f64>| seconds.filter(|seconds| seconds.is_finite());
        Self {
            at_seconds: record.timestamp.as_seconds(),
            node_uptime_seconds: finite(node.and_then(|node| node.uptime_seconds)),
            uptime_seconds: finite(record.uptime_seconds),
            boot: node.and_then(|node| node.boot_id),
        }
    }

    /// Whether the node is known to have been restarted since that boot.
    fn is_of_another_boot(&self, earlier: Option<BootId>) -> bool {
        self.boot.zip(earlier).is_some_and(|(now, before)| now != before)
    }

    /// Whether the container was restarted since `earlier`; `None` if that is not known.
    ///
    /// The time between the two comes from the node's uptime if both have it, because setting the clock does not
    /// change that, and otherwise from the wall clock.
    pub fn restarted_since(&self, earlier: &Self) -> Option<bool> {
        if self.is_of_another_boot(earlier.boot) {
            return Some(true);
        }
        let (elapsed, slack) = match (earlier.node_uptime_seconds, self.node_uptime_seconds) {
            // The node itself was restarted.
            (Some(before), Some(now)) if now < before => return Some(true),
            (Some(before), Some(now)) => (now - before, ROUNDED_SECONDS),
            _ => (self.at_seconds - earlier.at_seconds, APART_SECONDS),
        };
        let now = self.uptime_seconds?;
        // It was running at that time, whatever else is known.
        if now + slack < elapsed {
            return Some(true);
        }
        Some(now < earlier.uptime_seconds?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run measured at a second of the wall clock, with the uptimes of the node and of the container.
    fn run(at_seconds: f64, node: impl Into<Option<f64>>, container: impl Into<Option<f64>>) -> Run {
        Run { at_seconds, node_uptime_seconds: node.into(), uptime_seconds: container.into(), boot: None }
    }

    /// In the boot with this number.
    fn booted(boot: u64, run: Run) -> Run {
        Run { boot: NonZeroU64::new(boot).map(BootId), ..run }
    }

    #[test]
    fn a_run_is_told_from_the_next_by_uptimes() {
        let rows = [
            ("it goes on", run(0.0, 1000.0, 500.0), run(60.0, 1060.0, 560.0), Some(false)),
            ("its uptime fell", run(0.0, 1000.0, 500.0), run(60.0, 1060.0, 30.0), Some(true)),
            (
                "it is up for less than has passed",
                run(0.0, 1000.0, 10.0),
                run(60.0, 1060.0, 30.0),
                Some(true),
            ),
            ("the clock was set ahead", run(0.0, 1000.0, 10.0), run(7260.0, 1060.0, 70.0), Some(false)),
            ("the clock was set back", run(0.0, 1000.0, 10.0), run(-600.0, 1060.0, 30.0), Some(true)),
            ("the node was restarted", run(0.0, 1000.0, 10.0), run(600.0, 300.0, 290.0), Some(true)),
            ("the node's is unknown", run(0.0, None, 10.0), run(60.0, 1060.0, 30.0), Some(true)),
            ("the same, and it goes on", run(0.0, None, 10.0), run(60.4, None, 70.0), Some(false)),
            ("its own was unknown", run(0.0, 1000.0, None), run(60.0, 1060.0, 30.0), Some(true)),
            ("the same, and it may go on", run(0.0, 1000.0, None), run(60.0, 1060.0, 70.0), None),
            // The node lost its power soon after it was started, and has now been up for longer than then.
            (
                "another boot, and it is up for long enough",
                booted(1, run(0.0, 100.0, 90.0)),
                booted(2, run(60.0, 200.0, 190.0)),
                Some(true),
            ),
            (
                "another boot, and nothing else is known",
                booted(1, run(0.0, None, None)),
                booted(2, run(60.0, None, None)),
                Some(true),
            ),
            (
                "the same boot",
                booted(1, run(0.0, 100.0, 90.0)),
                booted(1, run(100.0, 200.0, 190.0)),
                Some(false),
            ),
            (
                "one is unknown, as in records of earlier versions",
                run(0.0, 100.0, 90.0),
                booted(2, run(100.0, 200.0, 190.0)),
                Some(false),
            ),
            ("its own is unknown", run(0.0, 1000.0, 10.0), run(60.0, 1060.0, None), None),
        ];
        for (what, earlier, later, want) in rows {
            assert_eq!(later.restarted_since(&earlier), want, "{what}");
        }
    }

    #[test]
    fn a_boot_id_is_the_beginning_of_the_kernels_and_nothing_else() {
        let boot: BootId = "0a9cb1de-7a5e-4f7c-9d55-0242ac110002\n".parse().unwrap();
        assert_eq!(boot.to_string(), "0a9cb1de7a5e4f7c");
        assert_eq!(boot.to_string().parse(), Ok(boot));
        for text in ["", "0a9cb1de", "0000000000000000", "+a9cb1de7a5e4f7c", "not a boot id at all"] {
            assert_eq!(text.parse::<BootId>(), Err(InvalidBootId), "{text:?}");
        }
    }
}
