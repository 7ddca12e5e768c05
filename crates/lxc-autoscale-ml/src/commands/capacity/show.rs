//! Shows the capacity for people.

use std::io::{self, Write};

use super::Capacity;
use crate::capacity::{Outlook, Supply};
use crate::commands::decisions::local_time;
use crate::commands::screen::{Screen, Tone};
use crate::commands::table::{Table, resource};
use crate::decide::{Amount, Resource};

impl Capacity {
    pub(super) fn show(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        let peaks = [Amount::Cores(self.newcomer.cores), Amount::Mib(self.newcomer.memory_mib)];
        let title = format!("More containers like {}: {} and {} at the peak", self.like, peaks[0], peaks[1]);
        writeln!(out, "{}", screen.paint(Tone::Strong, &screen.wrap(&title, 0, 6)))?;
        let answer = match (self.fit.count, self.fit.first) {
            (Some(count), Some(first)) => {
                format!("Room for {count} more; {} runs out first.", resource(first))
            }
            _ => "The node's resources are not known.".to_owned(),
        };
        writeln!(out, "{}\n", screen.paint(Tone::Strong, &answer))?;
        let headings = ["", "NODE", "RESERVE", "OTHERS", "EXPECTED", "LEFT", "FITS"];
        let mut table = Table::headed(&headings).right_aligned(&[1, 2, 3, 4, 5, 6]);
        for (kind, supply) in [(Resource::Memory, self.fit.memory), (Resource::Cpu, self.fit.cpu)] {
            match supply {
                Some(supply) => table.row(cells(kind, &supply)),
                None => table.row(vec![resource(kind), "not known".to_owned()]),
            }
        }
        table.write(out)?;
        writeln!(out, "\n{}", screen.paint(Tone::Strong, "Trend"))?;
        for (kind, outlook) in [(Resource::Memory, &self.memory_outlook), (Resource::Cpu, &self.cpu_outlook)]
        {
            let line = format!("{:<6}  {}", resource(kind), words(kind, outlook));
            writeln!(out, "  {}", screen.wrap(&line, 2, 10))?;
        }
        for note in &self.notes {
            writeln!(out, "{}", screen.wrap(&format!("Note: {note}."), 0, 6))?;
        }
        Ok(())
    }
}

fn cells(kind: Resource, supply: &Supply) -> Vec<String> {
    let of = |value: f64| Amount::of(kind, value).to_string();
    let Supply { total, reserve, others, expected, free, fits } = supply;
    vec![resource(kind), of(*total), of(*reserve), of(*others), of(*expected), of(*free), fits.to_string()]
}

fn words(kind: Resource, outlook: &Outlook) -> String {
    match outlook {
        Outlook::Unknown { days, needed_days } => {
            format!("not known: there are peaks of {days} whole days, and it takes {needed_days}")
        }
        Outlook::Steady { days } => format!("the daily peaks of the last {days} days do not rise"),
        Outlook::Rising { days, per_day, full_at } => {
            let per_day = Amount::of(kind, *per_day);
            let end = match full_at {
                Some(at) => {
                    format!("nothing is left on {}", local_time(*at).split(' ').next().unwrap_or_default())
                }
                None => "that lasts for years".to_owned(),
            };
            format!("the daily peaks of the last {days} days rise by {per_day} a day; if that goes on, {end}")
        }
    }
}
