//! All exported metrics: name, meaning and source.
//!
//! The table defines the exposition, and a test compares the documentation with it.

use jiff::Timestamp;
use lxc_autoscale_core::exposition::{self, Description, Samples};
use lxc_autoscale_core::own_process;

use super::{Instruments, Newest};
use crate::decide::Resource;

/// A metric of this daemon.
pub type Family = exposition::Family<Instruments>;

/// All metrics, in the order in which they are written.
pub const ALL: &[Family] = &[
    Family::new(Description::info("lxc_ml_build", "The version of the ml daemon."), |_, to| {
        to.whole_labelled(&[("version", env!("CARGO_PKG_VERSION"))], Some(1));
    }),
    Family::new(
        Description::histogram(
            "lxc_ml_cycle_duration_seconds",
            "Time that a cycle took: reading, learning, deciding, and waiting for the API.",
        ),
        |seen, to| {
            if let Some(cycles) = seen.cycles() {
                to.histogram(&[], &cycles);
            }
        },
    ),
    Family::new(
        Description::gauge("lxc_ml_interval_seconds", "Time from one cycle to the next, as configured."),
        |seen, to| to.real(seen.newest().map(|newest| newest.interval.as_secs_f64())),
    ),
    Family::new(
        Description::gauge("lxc_ml_last_cycle_timestamp_seconds", "When the newest cycle ended."),
        |seen, to| at(to, seen.newest().map(|newest| newest.ended)),
    ),
    Family::new(
        Description::gauge(
            "lxc_ml_last_snapshot_timestamp_seconds",
            "When the newest measurement that was learnt from was taken.",
        ),
        |seen, to| at(to, seen.newest().and_then(|newest| newest.measured)),
    ),
    Family::new(
        Description::gauge(
            "lxc_ml_last_checkpoint_timestamp_seconds",
            "Time of the last checkpoint; absent until the daemon has written one.",
        ),
        |seen, to| at(to, seen.newest().and_then(|newest| newest.checkpointed)),
    ),
    Family::new(
        Description::gauge("lxc_ml_containers", "Containers that were decided about in the newest cycle."),
        |seen, to| count(to, seen, |newest| newest.containers),
    ),
    Family::new(
        Description::gauge(
            "lxc_ml_judged_containers",
            "Containers of which a detector has learnt enough to say whether they behave as usual.",
        ),
        |seen, to| count(to, seen, |newest| newest.judged),
    ),
    Family::new(
        Description::gauge("lxc_ml_leaking_containers", "Containers that leak memory, as far as is known."),
        |seen, to| count(to, seen, |newest| newest.leaking),
    ),
    Family::new(
        Description::counter(
            "lxc_ml_decisions",
            "Decisions by resource, action and outcome; most keep the size.",
        ),
        |seen, to| {
            for ((resource, action, outcome), count) in seen.decisions() {
                let resource = match resource {
                    Resource::Cpu => "cpu",
                    Resource::Memory => "memory",
                };
                let labels = [("resource", resource), ("action", action), ("outcome", outcome)];
                to.whole_labelled(&labels, Some(count));
            }
        },
    ),
    Family::new(
        Description::counter(
            "lxc_ml_api_failures",
            "Calls of the API that were not answered as wanted, by what went wrong.",
        ),
        |seen, to| {
            for (kind, count) in seen.api_failures() {
                to.whole_labelled(&[("kind", kind)], Some(count));
            }
        },
    ),
    Family::new(
        Description::gauge(
            "lxc_ml_trouble",
            "Whether something the daemon needs is in trouble (1) or not (0).",
        ),
        |seen, to| {
            for (with, is_there) in seen.newest().iter().flat_map(|newest| &newest.troubles) {
                to.whole_labelled(&[("with", with)], Some(u64::from(*is_there)));
            }
        },
    ),
    Family::new(Description::counter("process_cpu_seconds", "CPU time the daemon has used."), |_, to| {
        to.real(Some(own_process::cpu_time().as_secs_f64()));
    }),
    Family::new(
        Description::gauge("process_resident_memory_bytes", "Resident memory of the daemon."),
        |_, to| to.mib(own_process::resident_mib()),
    ),
    Family::new(Description::gauge("process_start_time_seconds", "When the daemon started."), |seen, to| {
        at(to, Some(seen.started()));
    }),
];

fn at(to: &mut Samples<'_>, at: Option<Timestamp>) {
    to.real(at.map(|at| at.as_microsecond() as f64 / 1e6));
}

fn count(to: &mut Samples<'_>, seen: &Instruments, of: fn(&Newest) -> u64) {
    to.whole(seen.newest().as_ref().map(of));
}
