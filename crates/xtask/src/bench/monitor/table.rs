//! The figures as a table and as JSON.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::MonitorBenchError;
use super::measure::Used;

/// A contestant with one number of containers.
#[derive(Clone, Debug)]
pub(super) struct Row {
    contestant: &'static str,
    containers: usize,
    /// CPU time for one measurement of one container, in seconds.
    cpu_seconds: f64,
    /// The part of it spent in the kernel.
    system_share: Option<f64>,
    /// CPU time with one measurement per second, in percent of one core.
    core_percent: f64,
    resident_mib: Option<f64>,
    charged_mib: Option<f64>,
    open_files: Option<usize>,
}

impl Row {
    /// A row from what was used in a number of cycles.
    pub(super) fn measured(contestant: &'static str, containers: usize, used: Used, cycles: u64) -> Self {
        let samples = (containers as f64) * (cycles.max(1) as f64);
        let cpu_seconds = used.cpu.as_secs_f64() / samples;
        Self {
            contestant,
            containers,
            cpu_seconds,
            system_share: Some(used.system.as_secs_f64() / used.cpu.as_secs_f64()),
            core_percent: 100.0 * cpu_seconds * containers as f64,
            resident_mib: Some(used.resident_mib),
            charged_mib: used.charged_mib,
            open_files: Some(used.open_files),
        }
    }

    /// A row from a known cost.
    pub(super) fn computed(contestant: &'static str, containers: usize, cpu_seconds: f64) -> Self {
        Self {
            contestant,
            containers,
            cpu_seconds,
            system_share: None,
            core_percent: 100.0 * cpu_seconds * containers as f64,
            resident_mib: None,
            charged_mib: None,
            open_files: None,
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:.1} µs of CPU per container-sample", self.contestant, self.cpu_seconds * 1e6)?;
        self.resident_mib.map_or(Ok(()), |mib| write!(f, ", {mib:.1} MiB"))
    }
}

/// Names of the contestants that have targets.
pub(super) const OURS: &str = "lxc-monitor";
/// The same without history, alerts and flags.
pub(super) const OURS_RATES_ONLY: &str = "lxc-monitor, rates and the snapshot's line only";
/// The same, reading all files of all containers in each cycle.
pub(super) const OURS_ALL_FILES: &str = "lxc-monitor, rates and line only, all files in each cycle";
/// The cheapest way to read these files.
pub(super) const ALL_FILES_FLOOR: &str = "floor: pread, all files in each cycle";
/// The cheapest way to read the same files equally often.
pub(super) const PREAD_FLOOR: &str = "floor: pread, the same files as often";
/// netdata.
pub(super) const NETDATA: &str = "netdata, cgroups plugin only";

/// Maximum CPU time for rates and the snapshot's line, as a multiple of the floor's.
const MAX_TIMES_FLOOR: f64 = 1.5;
/// Maximum CPU time with everything, as a multiple of netdata's.
const MAX_TIMES_NETDATA: f64 = 0.75;
/// Maximum resident memory with a thousand containers, in MB of 1,000,000 bytes.
const MAX_RESIDENT_MB: f64 = 12.0;
/// The number of containers for which memory has a target.
const CONTAINERS_OF_RESIDENT: usize = 1000;

/// Prints the table as Markdown, each contestant compared with ours, and whether the targets were met.
pub(super) fn print(rows: &[Row], hierarchies: &str, fork: Duration) -> Result<(), MonitorBenchError> {
    let failed = |source| MonitorBenchError::Io { what: "write to", path: "stdout".to_owned(), source };
    let mut output = std::io::stdout().lock();
    let text = markdown(rows, hierarchies, fork) + &targets(rows);
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(failed)
}

fn markdown(rows: &[Row], hierarchies: &str, fork: Duration) -> String {
    let mut text = format!(
        "{hierarchies}; one look a second; a forked `true` costs {:.0} µs of CPU.\n\n\
         | containers | | CPU per container-sample | of it in the kernel | ours against it | of one core at 1 Hz | resident | charged but for page cache | open files |\n\
         | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        fork.as_secs_f64() * 1e6
    );
    for row in rows {
        let ours = rows.iter().find(|other| other.containers == row.containers && other.contestant == OURS);
        let ratio = ours.map_or(f64::NAN, |ours| ours.cpu_seconds / row.cpu_seconds);
        let ratio = if ratio < 0.01 { format!("{ratio:.5}") } else { format!("{ratio:.2}") };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} µs | {} | {ratio} | {:.2} % | {} | {} | {} |",
            row.containers,
            row.contestant,
            grouped(row.cpu_seconds * 1e6),
            row.system_share.map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
            row.core_percent,
            mebibytes(row.resident_mib),
            mebibytes(row.charged_mib),
            row.open_files.map_or("–".to_owned(), |files| files.to_string()),
        );
    }
    text
}

fn mebibytes(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |mib| format!("{mib:.1} MiB"))
}

/// The results for the targets, for each number of containers.
fn targets(rows: &[Row]) -> String {
    let mut text = String::from(
        "\n| containers | target | reached | |\n\
         | ---: | --- | ---: | --- |\n",
    );
    let mut line = |containers: usize, target: String, reached: String, is_met: bool| {
        let verdict = if is_met { "met" } else { "missed" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {containers} | {target} | {reached} | {verdict} |");
    };
    for ours in rows.iter().filter(|row| row.contestant == OURS) {
        let of =
            |name: &str| rows.iter().find(|row| row.containers == ours.containers && row.contestant == name);
        let pairs = [
            (OURS_RATES_ONLY, PREAD_FLOOR, MAX_TIMES_FLOOR),
            (OURS_ALL_FILES, ALL_FILES_FLOOR, MAX_TIMES_FLOOR),
            (OURS, NETDATA, MAX_TIMES_NETDATA),
        ];
        for (whose, name, most) in pairs {
            let (Some(one), Some(other)) = (of(whose), of(name)) else { continue };
            let times = one.cpu_seconds / other.cpu_seconds;
            let target = format!("CPU of {whose}: at most {most} times that of {name}");
            line(ours.containers, target, format!("{times:.2}"), times <= most);
        }
        if let Some(resident) = ours.resident_mib.filter(|_| ours.containers == CONTAINERS_OF_RESIDENT) {
            let megabytes = resident * 1.048_576;
            let target = format!("resident at most {MAX_RESIDENT_MB} MB");
            line(ours.containers, target, format!("{megabytes:.1} MB"), megabytes <= MAX_RESIDENT_MB);
        }
    }
    text
}

/// One decimal below a thousand, groups of three digits above.
fn grouped(number: f64) -> String {
    if number < 1000.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The figures as a JSON array.
pub(super) fn json(rows: &[Row]) -> String {
    let number = |value: Option<f64>| value.map_or("null".to_owned(), |value| value.to_string());
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{{\"contestant\":\"{}\",\"containers\":{},\"cpu_us_per_container_sample\":{},\
                 \"system_share\":{},\"resident_mib\":{},\"charged_mib\":{},\"open_files\":{}}}",
                row.contestant,
                row.containers,
                row.cpu_seconds * 1e6,
                number(row.system_share),
                number(row.resident_mib),
                number(row.charged_mib),
                number(row.open_files.map(|files| files as f64)),
            )
        })
        .collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_compares_with_ours() {
        let used = |micros| Used {
            cpu: Duration::from_micros(micros),
            system: Duration::from_micros(micros / 2),
            resident_mib: 8.0,
            charged_mib: Some(12.5),
            open_files: 30,
        };
        let rows = [
            Row::measured("lxc-monitor", 10, used(6000), 10),
            Row::measured("floor", 10, used(4000), 10),
            Row::computed("forked", 10, 6.3),
        ];
        let text = markdown(&rows, "cgroup version 2", Duration::from_micros(500));
        assert!(
            text.contains("| 10 | lxc-monitor | 60.0 µs | 50 % | 1.00 | 0.06 % | 8.0 MiB | 12.5 MiB | 30 |"),
            "{text}"
        );
        assert!(text.contains("| 10 | floor | 40.0 µs | 50 % | 1.50 |"), "{text}");
        assert!(
            text.contains("| 10 | forked | 6,300,000 µs | – | 0.00001 | 6300.00 % | – | – | – |"),
            "{text}"
        );
        assert!(
            json(&rows)
                .contains("\"contestant\":\"floor\",\"containers\":10,\"cpu_us_per_container_sample\":40")
        );
    }

    #[test]
    fn each_target_is_said_with_what_was_reached() {
        let used = |micros| Used {
            cpu: Duration::from_micros(micros),
            system: Duration::ZERO,
            resident_mib: 11.0,
            charged_mib: None,
            open_files: 1,
        };
        let rows = [
            Row::measured(OURS, 1000, used(90_000), 1),
            Row::measured(OURS_RATES_ONLY, 1000, used(75_000), 1),
            Row::measured(PREAD_FLOOR, 1000, used(60_000), 1),
            Row::measured(NETDATA, 1000, used(100_000), 1),
            Row::measured(OURS, 10, used(900), 1),
        ];
        let text = targets(&rows);
        let lines: Vec<_> = text.lines().skip(3).collect();
        assert_eq!(
            lines,
            [
                "| 1000 | CPU of lxc-monitor, rates and the snapshot's line only: \
                 at most 1.5 times that of floor: pread, the same files as often | 1.25 | met |",
                "| 1000 | CPU of lxc-monitor: at most 0.75 times that of netdata, cgroups plugin only | 0.90 | missed |",
                "| 1000 | resident at most 12 MB | 11.5 MB | met |",
            ]
        );
    }
}
