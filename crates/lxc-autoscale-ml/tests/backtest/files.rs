//! Traces in a directory of their own, and the program run on them.

use std::fmt::Write;
use std::process::{Command, Output};

/// The beginning of the traces: a multiple of five minutes.
pub(crate) const BEGIN: i64 = 1_800_000_000;

/// A line: time, id, used cores and MiB.
pub(crate) type Line = (i64, u64, f64, f64);

/// Synthetic traces, and a place for results.
pub(crate) struct Traces {
    directory: tempfile::TempDir,
    csv: String,
    out: String,
    page: String,
}

/// Four cores and 4 GiB, with more usage by day and occasional bursts.
pub(crate) fn lines(containers: u64, days: i64) -> Vec<Line> {
    let mut lines = Vec::new();
    for id in 200..200 + containers {
        let own = i64::try_from(id).unwrap();
        for step in 1..=days * 288 {
            let of_day = step % 288;
            let daily = if (100..200).contains(&of_day) { 1.0 } else { 0.1 };
            // Deterministic noise.
            let noise = f64::from(u16::try_from((step * 7919 + 31 * own) % 101).unwrap()) / 101.0;
            let burst = if (step + own) % 97 == 0 { 2.0 } else { 0.0 };
            // The first container was off for two hours on the third day.
            if id == 200 && (600..624).contains(&step) {
                continue;
            }
            let cpu = 0.1 + daily * (0.6 + 0.4 * noise) + burst;
            lines.push((BEGIN + 300 * step, id, cpu, 300.0 + 900.0 * daily + 60.0 * noise));
        }
    }
    lines
}

/// The lines as a table.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut text =
        "timestamp,container_id,provisioned_cores,provisioned_memory_mb,cpu_cores_used,memory_mb_used\n"
            .to_owned();
    for (at, id, cpu, memory) in lines {
        writeln!(text, "{at},{id},4,4096,{cpu},{memory}").unwrap();
    }
    text
}

impl Traces {
    pub(crate) fn new(containers: u64, days: i64) -> Self {
        Self::of(&lines(containers, days))
    }

    pub(crate) fn of(lines: &[Line]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (csv, out, page) = (path("traces.csv"), path("out.csv"), path("page.html"));
        std::fs::write(&csv, table(lines)).unwrap();
        Self { directory, csv, out, page }
    }

    pub(crate) fn csv(&self) -> &str {
        &self.csv
    }

    pub(crate) fn out(&self) -> &str {
        &self.out
    }

    pub(crate) fn page(&self) -> &str {
        &self.page
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Time, id, cores and MiB of each line of the allocations.
    pub(crate) fn decisions(&self) -> Vec<(i64, u64, f64, f64)> {
        let text = std::fs::read_to_string(&self.out).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("timestamp,container_id,cores,memory_mb"));
        let parse = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            let number = |place: usize| fields[place].parse::<f64>().unwrap();
            (fields[0].parse().unwrap(), fields[1].parse().unwrap(), number(2), number(3))
        };
        lines.map(parse).collect()
    }
}

fn run(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"));
    program.arg("backtest").args(arguments);
    // Whatever is installed on the machine that runs the tests.
    if !arguments.contains(&"--policy") {
        program.arg("--built-in");
    }
    program.output().unwrap()
}

/// The output of the program, which must succeed.
pub(crate) fn backtest(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The error message of the program, which must fail.
pub(crate) fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}
