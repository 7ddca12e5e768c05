//! The report for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use lxc_autoscale_core::snapshot::ContainerRecord;
use lxc_autoscale_core::{Cores, Vmid};

use super::{Lack, MeasuredContainer, Report, State};
use crate::printable::printable;
use crate::usage;

/// Width of the column with the names of the probes.
const NAME_WIDTH: usize = 15;

/// Formats the report.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_table(&mut text, report);
    printable(&text).into_owned()
}

fn write_table(text: &mut String, report: &Report) -> std::fmt::Result {
    let node = report.node.as_deref().unwrap_or("an unknown node");
    writeln!(text, "lxc-monitor {} on {node}\n", env!("CARGO_PKG_VERSION"))?;
    for probe in &report.probes {
        let state = match probe.state {
            State::Ok => "ok",
            State::Note => "note",
            State::Bad => "FAIL",
        };
        writeln!(text, "  {state:<5} {:<NAME_WIDTH$} {}", probe.name, probe.detail)?;
        if let Some(fix) = &probe.fix {
            writeln!(text, "  {:<5} {:<NAME_WIDTH$} -> {fix}", "", "")?;
        }
    }
    if !report.containers.is_empty() {
        writeln!(text, "\n  {:<24} {:<20} {:<22} absent", "container", "CPU used", "memory needed")?;
        for container in &report.containers {
            write_container(text, container)?;
        }
    }
    write_reasons(text, &report.containers)?;
    write_lacks(text, report)?;
    let lacks = |container: &&MeasuredContainer| !usage::absent_required(&container.record).is_empty();
    let n_lacking = report.containers.iter().filter(lacks).count();
    let verdict = match (report.is_healthy(), report.containers.len()) {
        (true, n) if 0 < n_lacking => {
            format!(
                "All that is needed can be read of {} of {n} containers; see the note above.",
                n - n_lacking
            )
        }
        (false, _) => "Something essential cannot be read or written; see FAIL above.".to_owned(),
        (true, 0) => "All that is needed can be read; no container runs.".to_owned(),
        (true, 1) => "All that is needed can be read; 1 container is measured.".to_owned(),
        (true, n) => format!("All that is needed can be read; {n} containers are measured."),
    };
    writeln!(text, "\n{verdict}")
}

/// The kernel's gaps, with the affected containers unless all are.
fn write_lacks(text: &mut String, report: &Report) -> std::fmt::Result {
    if report.lacks.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n  what Linux {} does not count", report.kernel.as_deref().unwrap_or("here"))?;
    for Lack { gap, containers } in &report.lacks {
        match whose(containers, report.containers.len()) {
            Some(whose) => writeln!(text, "  {} ({whose}): {}", gap.name(), gap.why)?,
            None => writeln!(text, "  {}: {}", gap.name(), gap.why)?,
        }
    }
    Ok(())
}

/// The affected containers; `None` if it does not concern containers.
fn whose(containers: &[Vmid], of: usize) -> Option<String> {
    match containers.len() {
        0 => None,
        n if n == of && 1 < n => Some("all".to_owned()),
        _ => Some(containers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn write_container(
    text: &mut String,
    MeasuredContainer { id, record }: &MeasuredContainer,
) -> std::fmt::Result {
    let name = record.configuration.as_ref().and_then(|stored| stored.name.clone()).unwrap_or_default();
    let limits = record.limits.unwrap_or_default();
    let cpu = of(
        record.cpu_cores_used.map(|cores| format!("{cores:.2}")),
        limits.cores.and_then(|cores| Cores::new(cores).ok()).map(|cores| cores.to_string()),
        "cores",
    );
    let memory = of(
        record.memory_usage_mb.map(|mib| format!("{mib:.0}")),
        limits.memory_mb.map(|mib| format!("{mib:.0}")),
        "MiB",
    );
    let absent = absent_groups(record).join(", ");
    let absent = if absent.is_empty() { "nothing" } else { absent.as_str() };
    let title: String = format!("{id} {name}").trim().chars().take(24).collect();
    writeln!(text, "  {title:<24} {cpu:<20} {memory:<22} {absent}")
}

fn of(used: Option<String>, limit: Option<String>, unit: &str) -> String {
    match (used, limit) {
        (Some(used), Some(limit)) => format!("{used} of {limit} {unit}"),
        (Some(used), None) => format!("{used} {unit}"),
        (None, _) => "unknown".to_owned(),
    }
}

/// Absent fields, with `pressure.cpu` and similar ones combined.
fn absent_groups(record: &ContainerRecord) -> Vec<&str> {
    let mut groups: Vec<_> = record.missing.keys().map(group_of).collect();
    groups.dedup();
    groups
}

fn group_of(field: &str) -> &str {
    let of_filesystem = field.starts_with("filesystem_");
    if of_filesystem { "filesystem" } else { field.split('.').next().unwrap_or(field) }
}

/// Each reason once, with its fields and the number of containers.
fn write_reasons(text: &mut String, containers: &[MeasuredContainer]) -> std::fmt::Result {
    let mut by_reason: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for MeasuredContainer { id, record } in containers {
        for (field, reason) in record.missing.entries() {
            let ids = by_reason.entry((group_of(field), reason.as_str())).or_default();
            let id = id.to_string();
            if ids.last() != Some(&id) {
                ids.push(id);
            }
        }
    }
    if !by_reason.is_empty() {
        writeln!(text, "\n  why absent")?;
    }
    for ((field, reason), ids) in by_reason {
        let whose =
            if ids.len() == containers.len() && 1 < ids.len() { "all".to_owned() } else { ids.join(", ") };
        writeln!(text, "  {field} ({whose}): {reason}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::snapshot::Limits;

    use super::*;
    use crate::check::{Lack, Probe};
    use crate::clock;
    use crate::kernel_gaps::KernelGap;

    #[test]
    fn the_table_shows_what_is_wrong_and_what_to_do() {
        let mut record = ContainerRecord::empty(clock::record_time(clock::now().wall));
        record.cpu_cores_used = Some(0.5);
        record.memory_usage_mb = Some(200.4);
        record.limits = Some(Limits { cores: Some(2.0), memory_mb: Some(512.0), ..Limits::default() });
        record.missing.insert("pressure.cpu", "no PSI".into());
        record.missing.insert("pressure.io", "no PSI".into());
        let report = Report {
            node: Some("proxmox".to_owned()),
            probes: vec![Probe::ok("control groups", "version 2"), Probe::bad("node", "no stat", "mount it")],
            kernel: Some("5.15.158-2-pve".to_owned()),
            lacks: vec![Lack {
                gap: KernelGap { fields: &["pids_events"], why: "not counted" },
                containers: vec!["104".parse().unwrap()],
            }],
            containers: vec![MeasuredContainer { id: "104".parse().unwrap(), record }],
            stopped: Vec::new(),
        };
        let want = format!(
            "lxc-monitor {} on proxmox\n\n\
            \x20 ok    control groups  version 2\n\
            \x20 FAIL  node            no stat\n\
            \x20                       -> mount it\n\n\
            \x20 container                CPU used             memory needed          absent\n\
            \x20 104                      0.50 of 2 cores      200 of 512 MiB         pressure\n\n\
            \x20 why absent\n\
            \x20 pressure (104): no PSI\n\n\
            \x20 what Linux 5.15.158-2-pve does not count\n\
            \x20 pids_events (104): not counted\n\n\
            Something essential cannot be read or written; see FAIL above.\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(table(&report), want);
    }
}
