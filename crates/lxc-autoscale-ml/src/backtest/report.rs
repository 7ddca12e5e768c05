//! The figures of a back-test, as a table for people and as JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::run::Outcome;
use super::score::{Cost, Prices, Sums, ratio};
use crate::figures::{counted, rounded};
use crate::replay::Size;

/// The result of a back-test.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// A description of the replay.
    pub title: Title,
    /// The general prices.
    pub prices: Prices,
    /// One row per container.
    pub containers: Vec<Row>,
    /// The sum of all.
    pub total: Row,
}

/// A description of the replay.
#[derive(Clone, Debug, Serialize)]
pub struct Title {
    /// The file.
    pub source: String,
    /// First and last day, as dates.
    pub from: String,
    /// Last day.
    pub to: String,
    /// The origin of the policy.
    pub policy: String,
    /// How CPU is allocated.
    pub cpu: &'static str,
    /// Days of each container that are not judged.
    pub warm_up_days: f64,
    /// Days of all containers together.
    pub container_days: f64,
    /// Why the figures say little, if the longest recording is too short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub too_short: Option<String>,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The container; `None` for the sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Cores and MiB at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin: Option<[f64; 2]>,
    /// Cores and MiB at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<[f64; 2]>,
    /// The prices of its own policy, if they differ from the general ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// Their cost.
    pub cost: Cost,
    /// J: the cost divided by that of the ideal.
    pub j: Option<f64>,
    /// J of the provisioned sizes.
    pub j_provisioned: Option<f64>,
}

impl Report {
    /// Adds up the outcomes: each at the prices of its own policy, which are named where they are not the general ones.
    pub fn new(title: Title, prices: Prices, outcomes: &[Outcome]) -> Self {
        let containers: Vec<Row> = outcomes.iter().map(|outcome| Row::of(outcome, &prices)).collect();
        let (mut sums, mut cost) = (Sums::default(), Cost::default());
        for row in &containers {
            sums.add(&row.sums);
            cost.add(&row.cost);
        }
        let total = Row::new(sums, cost);
        Self { title, prices, containers, total }
    }
}

impl Row {
    fn new(sums: Sums, cost: Cost) -> Self {
        let (j, j_provisioned) = (cost.ratio(), cost.provisioned_ratio());
        Self { id: None, name: None, begin: None, end: None, prices: None, sums, cost, j, j_provisioned }
    }

    fn of(outcome: &Outcome, general: &Prices) -> Self {
        let pair = |size: Size| Some([size.cores, size.memory_mib]);
        let end = outcome.changes.last().map_or(outcome.begin, |change| change.size);
        Self {
            id: Some(outcome.id),
            name: outcome.name.clone(),
            begin: pair(outcome.begin),
            end: pair(end),
            prices: Some(outcome.prices).filter(|prices| prices != general),
            ..Self::new(outcome.sums, outcome.sums.cost(&outcome.prices))
        }
    }

    /// Changes of both resources per day; `None` when nothing was judged.
    pub fn resizes_a_day(&self) -> Option<f64> {
        let resizes = self.sums.cpu.resizes + self.sums.memory.resizes;
        ratio(resizes as f64 * 24.0, self.sums.hours)
    }

    /// Saved share of the provisioned cost; negative when it costs more.
    pub fn saved(&self) -> Option<f64> {
        ratio(self.cost.provisioned - self.cost.total(), self.cost.provisioned)
    }

    /// The cells, in the order of [`HEADINGS`].
    pub fn cells(&self) -> [String; 13] {
        let (cpu, memory) = (&self.sums.cpu, &self.sums.memory);
        // With nearly no usage, the ratio is huge and meaningless.
        let slack = |slack: f64, used: f64| match ratio(slack, used) {
            Some(share) if share < 100.0 => percent(share, 0),
            Some(_) => "> 9999 %".to_owned(),
            None => "-".to_owned(),
        };
        let figure = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        [
            self.id.map_or_else(|| "all".to_owned(), |id| id.to_string()),
            plain(self.name.as_deref().unwrap_or_default()),
            amount(cpu.provisioned),
            amount(cpu.allocated),
            slack(cpu.slack, cpu.used),
            amount(cpu.unserved),
            amount(memory.provisioned),
            amount(memory.allocated),
            slack(memory.slack, memory.used),
            memory.shortages.to_string(),
            figure(self.resizes_a_day(), 1),
            self.saved().map_or_else(|| "-".to_owned(), |share| percent(share, 0)),
            figure(self.j, 2),
        ]
    }
}

/// Headings of the table: a group and a column of it.
pub const HEADINGS: [(&str, &str); 13] = [
    ("", "CT"),
    ("", "NAME"),
    ("CORE-HOURS", "BEFORE"),
    ("", "AFTER"),
    ("", "SLACK"),
    ("", "UNSERVED"),
    ("GIB-HOURS", "BEFORE"),
    ("", "AFTER"),
    ("", "SLACK"),
    ("TIMES", "SHORT"),
    ("RESIZES", "A DAY"),
    ("COST", "SAVED"),
    ("", "J"),
];
/// The columns of names are left-aligned.
const LEFT: [usize; 2] = [0, 1];
/// Shorter recordings do not show what a day needs, in seconds.
const A_DAY: i64 = 86_400;

/// `12 %`.
pub fn percent(share: f64, digits: usize) -> String {
    format!("{} %", rounded(100.0 * share, digits))
}

/// Why a recording of `seconds` says little about a policy that takes nothing before `min_history_seconds`; `None` if it
/// is long enough.
pub fn too_short(seconds: i64, min_history_seconds: u64) -> Option<String> {
    let needed = i64::try_from(min_history_seconds).unwrap_or(i64::MAX).max(A_DAY);
    (seconds < needed).then(|| {
        format!(
            "The longest recording has only {} hours. Nothing is given back before {} hours of history \
             (`scaling.min_history_seconds`), and less than a day does not show what a day needs.",
            rounded(seconds as f64 / 3600.0, 1),
            rounded(min_history_seconds as f64 / 3600.0, 1)
        )
    })
}

/// Three digits, with separated thousands: `0.25`, `12.5`, `12,345`.
pub fn amount(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    if digits != 0 || text.len() < 4 {
        return text;
    }
    let mut apart = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index != 0 && (text.len() - index).is_multiple_of(3) && apart != "-" {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// A name without control characters for the terminal.
fn plain(name: &str) -> String {
    name.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// Writes the table.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let title = &report.title;
    writeln!(
        out,
        "{}: {}, {} to {}, {} container-days",
        title.source,
        counted(report.containers.len(), "container", "containers"),
        title.from,
        title.to,
        amount(title.container_days)
    )?;
    writeln!(
        out,
        "Policy: {}; {}; the first {} days of each, at most a third, are not judged.\n",
        title.policy, title.cpu, title.warm_up_days
    )?;
    let mut rows =
        vec![HEADINGS.map(|(group, _)| group.to_owned()), HEADINGS.map(|(_, name)| name.to_owned())];
    rows.extend(report.containers.iter().map(Row::cells));
    rows.push(report.total.cells());
    let is_named = report.containers.iter().any(|row| row.name.is_some());
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let last = rows.len() - 1;
    for (index, row) in rows.iter().enumerate() {
        if index == last {
            writeln!(out)?;
        }
        let cells = row.iter().zip(&widths).enumerate().filter(|(column, _)| *column != 1 || is_named);
        let cells: Vec<String> =
            cells
                .map(|(column, (cell, width))| {
                    if LEFT.contains(&column) { format!("{cell:width$}") } else { format!("{cell:>width$}") }
                })
                .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    verdict(report, out)
}

/// The total in sentences.
fn verdict(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let total = &report.total;
    if let Some(why) = &report.title.too_short {
        return writeln!(out, "\nThere is no verdict. {why}");
    }
    let (Some(saved), Some(j)) = (total.saved(), total.j) else {
        return writeln!(out, "\nNothing was judged: the recording is too short.");
    };
    let share = percent(saved.abs(), 0);
    let outcome = match saved {
        _ if share == percent(0.0, 0) => "costs as much as what was provisioned".to_owned(),
        saved if saved < 0.0 => format!("costs {share} more than what was provisioned"),
        _ => format!("saves {share} of what was provisioned"),
    };
    writeln!(
        out,
        "\nBy the stated prices the policy {outcome}; it costs {j:.2} times what would be ideal in hindsight."
    )?;
    let unserved = ratio(total.sums.cpu.unserved, total.sums.cpu.needed).unwrap_or_default();
    let months = total.sums.hours / 720.0;
    writeln!(
        out,
        "{} of the CPU work had to wait; memory ran short {} ({:.1} per container and month).",
        percent(unserved, 2),
        counted(total.sums.memory.shortages, "time", "times"),
        ratio(total.sums.memory.shortages as f64, months).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_three_digits_and_thousands_apart() {
        for (value, want) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.54, "12.5"),
            (999.4, "999"),
            (1234.0, "1,234"),
            (9_876_543.0, "9,876,543"),
        ] {
            assert_eq!(amount(value), want);
        }
    }

    /// The longest recording in seconds and `scaling.min_history_seconds`; what the note names, if there is one.
    #[test]
    fn a_recording_of_less_than_a_day_or_of_the_history_needed_is_too_short() {
        for (seconds, min_history_seconds, want) in [
            (600, 21_600, Some("only 0.2 hours. Nothing is given back before 6.0 hours")),
            (86_399, 21_600, Some("only 24.0 hours")),
            (86_400, 21_600, None),
            (172_800, 259_200, Some("before 72.0 hours")),
            (259_200, 259_200, None),
        ] {
            let why = too_short(seconds, min_history_seconds);
            let is_as_wanted = match (&why, want) {
                (Some(why), Some(want)) => why.contains(want),
                (why, want) => why.is_none() && want.is_none(),
            };
            assert!(is_as_wanted, "{seconds} {min_history_seconds}: {why:?}");
        }
    }

    #[test]
    fn nothing_has_no_sign() {
        assert_eq!([percent(-0.001, 0), percent(-0.0, 2)], ["0 %", "0.00 %"]);
    }

    #[test]
    fn a_name_cannot_command_a_terminal() {
        assert_eq!(plain("web\u{1b}[2J"), "web?[2J");
    }
}
