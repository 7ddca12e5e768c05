//! Distinguishes the runs of a container.
//!
//! Counters begin at zero with each run, so anyone who compares two of them must know whether both belong to the same
//! run. Whether a counter has decreased is not enough: one that was at 1 may be at 1 again, and on cgroup version 1
//! the sum over the groups of a container decreases when a group is removed.

use serde::{Deserialize, Serialize};

use crate::snapshot::{ContainerRecord, NodeRecord};

/// How much two exact uptimes may deviate, in seconds: each is rounded to a hundredth.
const ROUNDED_SECONDS: f64 = 0.1;
/// The same if the time between them is that of the wall clock, which is not read at the same instant.
const APART_SECONDS: f64 = 1.0;

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
}

impl Run {
    /// The run according to a record and to the node's record in the same snapshot.
    pub fn of(record: &ContainerRecord, node: Option<&NodeRecord>) -> Self {
        let finite = |seconds: Option<f64>| seconds.filter(|seconds| seconds.is_finite());
        Self {
            at_seconds: record.timestamp.as_seconds(),
            node_uptime_seconds: finite(node.and_then(|node| node.uptime_seconds)),
            uptime_seconds: finite(record.uptime_seconds),
        }
    }

    /// Whether the container was restarted since `earlier`; `None` if that is not known.
    ///
    /// The time between the two comes from the node's uptime if both have it, because setting the clock does not
    /// change that, and otherwise from the wall clock.
    pub fn restarted_since(&self, earlier: &Self) -> Option<bool> {
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
        Run { at_seconds, node_uptime_seconds: node.into(), uptime_seconds: container.into() }
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
            ("its own is unknown", run(0.0, 1000.0, 10.0), run(60.0, 1060.0, None), None),
        ];
        for (what, earlier, later, want) in rows {
            assert_eq!(later.restarted_since(&earlier), want, "{what}");
        }
    }
}
