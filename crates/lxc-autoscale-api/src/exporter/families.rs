//! Every metric that is served, with its name, its meaning and its source.
//!
//! These tables define the exposition: families are written in this order, and a test compares the documentation with
//! them.

use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::SizeOf;
use lxc_autoscale_core::exposition::{self, Description, Histogram, Samples, Subject};

use super::DONE;
use super::scrape::Scrape;
use crate::{jobs, ledger};

/// A metric of this server.
pub type Family = exposition::Family<Scrape>;

/// All families, in the order in which they are written.
pub fn all() -> impl Iterator<Item = &'static Family> {
    OWN.iter().chain(ALIASES)
}

const OWN: &[Family] = &[
    Family::new(Description::info("lxc_api_build", "The version of the API server."), |_, to| {
        to.whole_labelled(&[("version", env!("CARGO_PKG_VERSION"))], Some(1));
    }),
    Family::new(
        Description::counter("lxc_api_requests", "Requests that were answered, refused ones included."),
        |scrape, to| requests(scrape, to, "route"),
    ),
    Family::new(
        Description::histogram(
            "lxc_api_request_duration_seconds",
            "Time from the head of a request to its answer.",
        ),
        |scrape, to| {
            for (answer, took) in scrape.instruments.answers() {
                let status = answer.status.to_string();
                let labels = [("method", answer.method), ("route", &answer.route), ("status", &status)];
                to.histogram(&labels, &took);
            }
        },
    ),
    Family::new(
        Description::counter("lxc_api_error_answers", "Answers with an error, by its code."),
        |scrape, to| {
            for (code, count) in scrape.instruments.errors() {
                to.whole_labelled(&[("code", code)], Some(count));
            }
        },
    ),
    Family::new(
        Description::counter(
            "lxc_api_changes",
            "Changes by kind and result: done, or the code of the error.",
        ),
        |scrape, to| {
            for ((kind, result), count) in scrape.instruments.changes() {
                to.whole_labelled(&[("kind", kind), ("result", result)], Some(count));
            }
        },
    ),
    Family::new(
        Description::histogram(
            "lxc_api_change_duration_seconds",
            "Time from when a change was asked for to its end, waiting included.",
        ),
        |scrape, to| {
            for (kind, took) in scrape.instruments.change_durations() {
                to.histogram(&[("kind", kind)], &took);
            }
        },
    ),
    Family::new(
        Description::counter(
            "lxc_api_resizes",
            "Times a size of a container was set, by result: done, or the code of the error.",
        ),
        |scrape, to| {
            for ((vmid, size, result), count) in resizes(scrape) {
                to.about(Subject::Container(vmid));
                to.whole_labelled(&[("resource", ledger::word(size)), ("result", result)], Some(count));
            }
        },
    ),
    Family::new(
        Description::gauge(
            "lxc_api_changes_in_progress",
            "Changes that run, and that wait for their containers.",
        ),
        |scrape, to| {
            let waiting = scrape.instruments.waiting();
            let running = scrape.changes_in_progress.saturating_sub(waiting);
            for (state, count) in [("running", running), ("waiting", waiting)] {
                to.whole_labelled(&[("state", state)], Some(count));
            }
        },
    ),
    Family::new(
        Description::gauge("lxc_api_changes_limit", "The most changes that may run and wait at once."),
        |scrape, to| to.whole(Some(scrape.changes_limit.into())),
    ),
    Family::new(Description::gauge("lxc_api_jobs", "Jobs that are kept, by state."), |scrape, to| {
        for (state, count) in scrape.jobs.iter().flatten() {
            to.whole_labelled(&[("state", jobs::table::word(*state))], Some(*count));
        }
    }),
    Family::new(
        Description::gauge("lxc_api_boosts", "Boosts of a container that have not ended."),
        |scrape, to| {
            for ((vmid, size), count) in scrape.boosts.iter().flatten() {
                if scrape.shows(*vmid) {
                    to.about(Subject::Container(*vmid));
                    to.whole_labelled(&[("resource", ledger::word(*size))], Some(*count));
                }
            }
        },
    ),
    Family::new(
        Description::histogram(
            "lxc_api_backend_call_duration_seconds",
            "Time that pct, Proxmox or a file of the node took for a call, by result: done, or the code of its error.",
        ),
        |scrape, to| {
            for ((call, result), took) in scrape.instruments.backend_calls() {
                to.histogram(&[("call", call), ("result", result)], &took);
            }
        },
    ),
    Family::new(
        Description::counter("lxc_api_audit_records", "Records written to the audit log."),
        |scrape, to| to.whole(Some(scrape.instruments.audit().0)),
    ),
    Family::new(
        Description::counter("lxc_api_audit_failures", "Records that could not be written to the audit log."),
        |scrape, to| to.whole(Some(scrape.instruments.audit().1)),
    ),
    Family::new(
        Description::gauge(
            "lxc_api_last_snapshot_timestamp_seconds",
            "When the newest snapshot in the metrics file was taken; absent where there is none to be read.",
        ),
        |scrape, to| to.real(scrape.snapshot_taken.map(seconds)),
    ),
    Family::new(
        Description::counter("process_cpu_seconds", "CPU time the server has used."),
        |scrape, to| {
            to.real(Some(scrape.cpu_time.as_secs_f64()));
        },
    ),
    Family::new(
        Description::gauge("process_resident_memory_bytes", "Resident memory of the server."),
        |scrape, to| to.mib(scrape.resident_mib),
    ),
    Family::new(
        Description::gauge("process_start_time_seconds", "When the server started."),
        |scrape, to| {
            to.real(Some(seconds(scrape.instruments.started())));
        },
    ),
];

/// Names used by the Python original, for its dashboards and alerts. Do not build anything new on them: two of them
/// violate the naming rules of Prometheus.
const ALIASES: &[Family] = &[
    Family::new(
        Description::counter("lxc_autoscale_api_requests", "Alias of lxc_api_requests_total."),
        |scrape, to| requests(scrape, to, "endpoint"),
    ),
    Family::new(
        Description::histogram(
            "lxc_autoscale_api_request_duration_seconds",
            "Alias of lxc_api_request_duration_seconds, all statuses together.",
        ),
        |scrape, to| {
            let mut merged: BTreeMap<(&str, String), Histogram> = BTreeMap::new();
            for (answer, took) in scrape.instruments.answers() {
                merged.entry((answer.method, answer.route)).or_default().merge(&took);
            }
            for ((method, route), took) in merged {
                to.histogram(&[("method", method), ("endpoint", &route)], &took);
            }
        },
    ),
    Family::new(
        Description::counter(
            "lxc_autoscale_scaling_actions",
            "Alias of lxc_api_resizes_total: those that were done.",
        ),
        |scrape, to| scaling(scrape, to, true),
    ),
    Family::new(
        Description::counter("lxc_autoscale_scaling_failures", "Alias of lxc_api_resizes_total: all others."),
        |scrape, to| scaling(scrape, to, false),
    ),
    Family::new(
        Description::gauge(
            "lxc_autoscale_container_cpu_cores",
            "Alias of lxc_container_configured_cores, which the monitor serves.",
        ),
        |scrape, to| {
            configured(scrape, to, |config| config.cores.map(u64::from));
        },
    ),
    Family::new(
        Description::gauge(
            "lxc_autoscale_container_memory_mb",
            "Alias of lxc_container_configured_memory_bytes, which the monitor serves; in MiB.",
        ),
        |scrape, to| {
            configured(scrape, to, |config| Some(config.memory_mb.get()));
        },
    ),
];

fn requests(scrape: &Scrape, to: &mut Samples<'_>, route_label: &'static str) {
    for (answer, took) in scrape.instruments.answers() {
        let status = answer.status.to_string();
        let labels = [("method", answer.method), (route_label, &answer.route), ("status", &status)];
        to.whole_labelled(&labels, Some(took.count()));
    }
}

/// The resizes of those containers that the caller may see.
fn resizes(scrape: &Scrape) -> super::Resizes {
    let mut resizes = scrape.instruments.resizes();
    resizes.retain(|(vmid, _, _), _| scrape.shows(*vmid));
    resizes
}

/// In the terms of the Python original, which has a single one for cores and CPU limit.
fn scaling(scrape: &Scrape, to: &mut Samples<'_>, is_done: bool) {
    let mut merged: BTreeMap<(Vmid, &str, &str), u64> = BTreeMap::new();
    for ((vmid, size, result), count) in resizes(scrape) {
        let (resource, action) = match size {
            SizeOf::Cores | SizeOf::Cpulimit => ("cpu", "set"),
            SizeOf::Memory => ("ram", "set"),
            SizeOf::Rootfs => ("storage", "increase"),
        };
        if (result == DONE) == is_done {
            let what = if is_done { action } else { result };
            *merged.entry((vmid, resource, what)).or_default() += count;
        }
    }
    let what_label = if is_done { "action" } else { "reason" };
    for ((vmid, resource, what), count) in merged {
        let id = vmid.to_string();
        to.whole_labelled(&[("container_id", &id), ("resource", resource), (what_label, what)], Some(count));
    }
}

fn configured(
    scrape: &Scrape,
    to: &mut Samples<'_>,
    read: fn(&lxc_autoscale_core::container_config::ContainerConfig) -> Option<u64>,
) {
    for (vmid, record) in scrape.snapshot.iter().flat_map(|snapshot| &snapshot.containers) {
        if scrape.shows(*vmid) {
            let id = vmid.to_string();
            to.whole_labelled(&[("container_id", &id)], record.configuration.as_deref().and_then(read));
        }
    }
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}
