//! The live table.

use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};

use super::decisions::Known;

/// Maximum line width of the plain form, which goes to files.
const PLAIN_WIDTH: usize = 160;

/// The content of the table.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The newest snapshot; `None` if there is none yet.
    pub snapshot: Option<&'a Snapshot>,
    /// The decisions.
    pub decisions: &'a BTreeMap<Vmid, Known>,
    /// How long the demo has run, in seconds.
    pub seconds: u64,
    /// Each daemon, and whether it is running.
    pub daemons: &'a [(&'static str, bool)],
    /// Number of resizes so far, up and down.
    pub resizes: (u64, u64),
    /// Number of OOM kills so far.
    pub oom_kills: u64,
}

/// Draws the table, at most `width` columns wide.
pub fn draw(view: &View<'_>, width: Option<usize>) -> String {
    let width = width.unwrap_or(PLAIN_WIDTH);
    let daemons: Vec<String> = view
        .daemons
        .iter()
        .map(|(name, runs)| format!("{name} {}", if *runs { "up" } else { "down" }))
        .collect();
    let mut lines = vec![format!(
        "{:>4} s · {} · {} up, {} down · {} OOM kills",
        view.seconds,
        daemons.join(", "),
        view.resizes.0,
        view.resizes.1,
        view.oom_kills
    )];
    lines.push(format!(
        "{:<5} {:<10} {:>13} {:>15} {:>6} {:>6}  {}",
        "ID", "NAME", "CPU (cores)", "MEMORY (MiB)", "CPU!", "MEM!", "DECISION"
    ));
    match view.snapshot {
        None => lines.push("(nothing has been measured yet)".to_owned()),
        Some(snapshot) => {
            lines.extend(
                snapshot.containers.iter().map(|(id, record)| row(*id, record, view.decisions.get(id))),
            );
        }
    }
    let cut = |line: String| line.chars().take(width).collect::<String>() + "\n";
    lines.into_iter().map(cut).collect()
}

/// Usage and allocation, the share of the last ten seconds in which tasks waited, and the decision.
fn row(id: Vmid, record: &ContainerRecord, known: Option<&Known>) -> String {
    let config = record.configuration.as_deref();
    let limits = record.limits.as_ref();
    let number =
        |value: Option<f64>, digits: usize| value.map_or("?".to_owned(), |value| format!("{value:.digits$}"));
    let name = config.and_then(|config| config.name.clone()).unwrap_or_default();
    let cores =
        config.and_then(|config| config.cores).map(f64::from).or(limits.and_then(|limits| limits.cores));
    let memory = config.map(|config| config.memory_mb.as_f64());
    let waits = |pressure: Option<lxc_autoscale_core::snapshot::Pressure>| {
        pressure.map_or("?".to_owned(), |pressure| format!("{:.0}%", pressure.some.avg10))
    };
    let decision = known.map(Known::line);
    format!(
        "{:<5} {name:<10} {:>13} {:>15} {:>6} {:>6}  {}",
        id.get(),
        format!("{} / {}", number(record.cpu_cores_used, 2), number(cores, 0)),
        format!("{} / {}", number(record.memory_usage_mb, 0), number(memory, 0)),
        waits(record.pressure.cpu),
        waits(record.pressure.memory),
        decision.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(snapshot: Option<&'a Snapshot>, decisions: &'a BTreeMap<Vmid, Known>) -> View<'a> {
        View {
            snapshot,
            decisions,
            seconds: 42,
            daemons: &[("lxc-monitor", true), ("lxc-autoscale-ml", false)],
            resizes: (3, 1),
            oom_kills: 0,
        }
    }

    #[test]
    fn usage_stands_beside_the_allocation() {
        let snapshot: Snapshot = serde_json::from_value(serde_json::json!({
            "104": {"timestamp": "2026-11-23T17:20:00Z", "cpu_cores_used": 1.996, "memory_usage_mb": 411.7,
                    "configuration": {"name": "busy", "cores": 2, "memory_mb": 768, "swap_mb": 512},
                    "pressure": {"cpu": {"some": {"avg10": 61.5, "avg60": 1.0, "avg300": 1.0, "total_usec": 5}}}},
            "summary": {"collection_start_time": "2026-11-23T17:20:00Z", "collection_end_time": "2026-11-23T17:20:00Z",
                        "total_containers": 1, "total_duration_seconds": 0.1}
        }))
        .unwrap();
        let decisions = BTreeMap::new();
        let text = draw(&view(Some(&snapshot), &decisions), None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  42 s · lxc-monitor up, lxc-autoscale-ml down · 3 up, 1 down · 0 OOM kills");
        assert_eq!(lines[2].trim_end(), "104   busy            2.00 / 2       412 / 768    62%      ?");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_lines() {
        let decisions = BTreeMap::new();
        let text = draw(&view(None, &decisions), Some(20));
        assert!(text.lines().all(|line| line.chars().count() <= 20));
        assert!(draw(&view(None, &decisions), None).contains("nothing has been measured yet"));
    }
}
