//! Shows the report for people.

use std::io::{self, Write};

use super::Report;
use super::collect::Source;
use crate::commands::decisions::local_time;
use crate::commands::screen::{Screen, Tone};
use crate::commands::table::Table;
use crate::figures::{counted, signed};
use crate::report::{Account, Held, Sign, Worse};

impl Report {
    pub(super) fn show(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        let title = format!(
            "What was saved from {} to {} ({:.1} days)",
            local_time(self.since),
            local_time(self.until),
            self.hours / 24.0
        );
        writeln!(out, "{}", screen.paint(Tone::Strong, &title))?;
        let source = match self.source {
            Source::History => "the monitor's history",
            Source::MetricsFile => "the metrics file, which holds hours; the monitor keeps no history here",
        };
        writeln!(
            out,
            "Measured: {source}. Compared with what people gave each container: its first size, or one set since."
        )?;
        for note in &self.notes {
            writeln!(out, "{}", screen.paint(Tone::Bad, &screen.wrap(&format!("Note: {note}"), 0, 6)))?;
        }
        if self.containers.is_empty() {
            return writeln!(out, "\nNothing was measured in this time.");
        }
        writeln!(out)?;
        self.table(out)?;
        writeln!(out)?;
        self.sums(screen, out)?;
        self.worse(screen, out)
    }

    fn table(&self, out: &mut impl Write) -> io::Result<()> {
        let headings = [
            "CT",
            "NAME",
            "COVERED",
            "CORE-HOURS FREED",
            "CPU SLACK",
            "GIB-HOURS FREED",
            "MEMORY SLACK",
            "CHANGES",
            "REVERTED",
        ];
        let mut table = Table::headed(&headings).right_aligned(&[2, 3, 5, 7, 8]);
        for account in self.containers.iter().chain([&self.node]) {
            let id = account.id.map_or_else(|| "node".to_owned(), |id| id.to_string());
            table.row(vec![
                id,
                account.name.clone().unwrap_or_default(),
                format!("{:.0} h", account.cpu.covered_hours.max(account.memory.covered_hours)),
                freed(&account.cpu),
                slack(&account.cpu),
                freed(&account.memory),
                slack(&account.memory),
                (account.grown + account.shrunk).to_string(),
                account.reverted.to_string(),
            ]);
        }
        table.write(out)
    }

    fn sums(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        let Account { cpu, memory, grown, shrunk, reverted, by_people, failed, .. } = &self.node;
        let containers = self.containers.len();
        let possible = containers as f64 * self.hours;
        let covered = cpu.covered_hours.max(memory.covered_hours);
        let text = format!(
            "{:.1} core-hours and {:.1} GiB-hours were freed. {covered:.0} of {possible:.0} container-hours were \
             measured; what was not does not count.",
            cpu.freed(),
            memory.freed()
        );
        writeln!(out, "{}", screen.paint(Tone::Strong, &screen.wrap(&text, 0, 0)))?;
        if let Some(text) = by_others(cpu, memory) {
            writeln!(out, "{}", screen.wrap(&text, 0, 0))?;
        }
        let text = format!(
            "{}: {grown} to more, {shrunk} to less; {reverted} of them gave back what a shrink had taken, \
             {by_people} {} wanted by people. {failed} failed.",
            counted(grown + shrunk, "change", "changes"),
            if *by_people == 1 { "was" } else { "were" }
        );
        writeln!(out, "{}", screen.wrap(&text, 0, 0))
    }

    fn worse(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        let worse: Vec<(&Account, &Worse)> =
            self.containers.iter().flat_map(|it| it.worse.iter().map(move |worse| (it, worse))).collect();
        let compared = self.node.compared;
        if compared == 0 {
            let text = "Whether anything got worse cannot be told yet: it takes 6 measured hours before our first \
                        change of a container, and 6 after it.";
            return writeln!(out, "{}", screen.wrap(text, 0, 0));
        }
        if worse.is_empty() {
            let text = format!(
                "Nothing got worse: in {compared} comparisons of the week before our first change with the time since, \
                 throttling, memory pressure and OOM kills have not risen."
            );
            return writeln!(out, "{}", screen.wrap(&text, 0, 0));
        }
        let text = format!(
            "Worse than in the week before our first change, in {} of {compared} comparisons; the load may have \
             grown, too:",
            worse.len()
        );
        writeln!(out, "{}", screen.wrap(&text, 0, 0))?;
        for (account, worse) in worse {
            let id = account.id.map(|id| id.to_string()).unwrap_or_default();
            let name = account.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            let Worse { sign, before, after, hours_before, hours_after } = worse;
            let what = match sign {
                Sign::Throttling => format!("CPU limit hit {before:.2} % → {after:.2} % of the periods"),
                Sign::MemoryPressure => {
                    format!("waiting for memory {before:.2} % → {after:.2} % of the time")
                }
                Sign::OomKills => format!("OOM kills {before:.2} → {after:.2} a day"),
            };
            let line = format!("  {id}{name}: {what} ({hours_before} h before, {hours_after} h since)");
            writeln!(out, "{}", screen.paint(Tone::Bad, &screen.wrap(&line, 0, 6)))?;
        }
        Ok(())
    }
}

/// What others' changes gave or took; `None` if that is nothing.
fn by_others(cpu: &Held, memory: &Held) -> Option<String> {
    let counts = |more: f64| 0.05 <= more.abs();
    (counts(cpu.given_more) || counts(memory.given_more)).then(|| {
        format!(
            "Sizes that somebody else set came to {} core-hours and {} GiB-hours in this time, compared with the first \
             sizes; that is not counted as freed.",
            signed(cpu.given_more, 1),
            signed(memory.given_more, 1)
        )
    })
}

fn freed(held: &Held) -> String {
    if held.covered_hours == 0.0 { "?".to_owned() } else { format!("{:.1}", held.freed()) }
}

/// `78 % → 41 %`: the unused share of what people gave and with the actual sizes.
fn slack(held: &Held) -> String {
    match (held.slack_before_percent(), held.slack_after_percent()) {
        (Some(before), Some(after)) => format!("{} → {}", whole_percent(before), whole_percent(after)),
        _ => "?".to_owned(),
    }
}

/// In whole percent; a value slightly below zero is `0 %`, not `-0 %`.
fn whole_percent(percent: f64) -> String {
    format!("{:.0} %", percent.round() + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_below_nothing_is_nothing() {
        let shown = [-0.4, -0.0, 0.4, 41.5, -0.6].map(whole_percent);
        assert_eq!(shown, ["0 %", "0 %", "0 %", "42 %", "-1 %"]);
    }
}
