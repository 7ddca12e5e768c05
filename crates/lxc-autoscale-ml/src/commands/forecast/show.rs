//! The forecast for people: a line for each hour, or for several that are the same.

use std::io::{self, Write};

use super::super::table::{Table, resource};
use super::{Forecast, HOUR_STEPS, instant};
use crate::decide::{Amount, Resource};
use crate::forecast::outlook::{Ahead, LEAST_KNOWN, Outlook};
use crate::recommend::series::STEP_SECONDS;

/// Hours in a row of which the same is expected, as it is shown.
#[derive(Debug, PartialEq)]
struct Rows {
    from: i64,
    until: i64,
    /// The median, and what 80 and 95 % are within.
    shown: [String; 3],
}

/// The busiest five minutes of each hour; hours in a row that would look the same are one row.
fn rows(kind: Resource, outlook: &Outlook) -> Vec<Rows> {
    let mut rows: Vec<Rows> = Vec::new();
    for hour in outlook.steps.chunks(HOUR_STEPS) {
        let (Some(first), Some(last)) = (hour.first(), hour.last()) else { continue };
        let Some(busiest) = hour.iter().max_by(|a, b| a.median().total_cmp(&b.median())) else { continue };
        let of = |place: usize| Amount::of(kind, busiest.band[place].value);
        let shown = [
            of(Ahead::MEDIAN).to_string(),
            format!("{} to {}", of(1), of(3)),
            format!("{} to {}", of(0), of(4)),
        ];
        let until = last.at + STEP_SECONDS;
        match rows.last_mut() {
            Some(row) if row.shown == shown => row.until = until,
            _ => rows.push(Rows { from: first.at, until, shown }),
        }
    }
    rows
}

impl Forecast {
    pub(super) fn show(&self, out: &mut impl Write) -> io::Result<()> {
        let name = self.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let zone = self.time_zone.as_deref().unwrap_or("the node's time zone");
        writeln!(
            out,
            "Container {}{name}: the highest five minutes expected in each coming hour, {zone}",
            self.id
        )?;
        for (kind, outlook) in [(Resource::Cpu, &self.cpu), (Resource::Memory, &self.memory)] {
            writeln!(out)?;
            if let Some(outlook) = outlook {
                self.show_outlook(kind, outlook, out)?;
            } else {
                let hours = LEAST_KNOWN.div_ceil(HOUR_STEPS);
                writeln!(out, "{}: not known well enough; it takes {hours} hours", resource(kind))?;
            }
        }
        Ok(())
    }

    fn show_outlook(&self, kind: Resource, outlook: &Outlook, out: &mut impl Write) -> io::Result<()> {
        let hours = outlook.known_steps / HOUR_STEPS;
        writeln!(out, "{}, from {hours} hours that were measured", resource(kind))?;
        match outlook.day_method {
            Some(day) => writeln!(out, "  the coming hour: {}; then: {day}", outlook.hour_method)?,
            None => writeln!(out, "  {}", outlook.hour_method)?,
        }
        let strengths = [("day", outlook.day_strength), ("week", outlook.week_strength)];
        for (season, strength) in strengths {
            if let Some(strength) = strength {
                writeln!(out, "  the time of {season} explains {:.0} % of its variation", 100.0 * strength)?;
            }
        }
        let mut table = Table::headed(&["  FROM", "UNTIL", "EXPECTED", "80 % WITHIN", "95 % WITHIN"]);
        for Rows { from, until, shown } in rows(kind, outlook) {
            let local =
                |at| instant(at).to_zoned_datetime(self.zone.clone()).strftime("%a %H:%M").to_string();
            let [expected, most, nearly_all] = shown;
            table.row(vec![format!("  {}", local(from)), local(until), expected, most, nearly_all]);
        }
        table.write(out)?;
        if outlook.steps.len() < self.steps_asked {
            writeln!(out, "  ends here: its past is too short to test a longer forecast")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::outlook::{LEVELS, Method, Quantile};

    fn outlook(medians: impl IntoIterator<Item = f64>) -> Outlook {
        let steps = (0..).zip(medians).map(|(step, median)| Ahead {
            at: step * STEP_SECONDS,
            band: LEVELS.map(|level| Quantile { level, value: median + 100.0 * (level - 0.5) }),
        });
        Outlook {
            steps: steps.collect(),
            hour_method: Method::Last,
            day_method: None,
            day_strength: None,
            week_strength: None,
            known_steps: 288,
        }
    }

    #[test]
    fn hours_that_are_the_same_are_one_row() {
        let shown = |medians: Vec<f64>| -> Vec<(i64, i64, String)> {
            let rows = rows(Resource::Memory, &outlook(medians)).into_iter();
            rows.map(|row| (row.from / 3600, row.until / 3600, row.shown[0].clone())).collect()
        };
        let hours = |medians: &[f64]| medians.iter().flat_map(|median| vec![*median; HOUR_STEPS]).collect();
        assert_eq!(shown(hours(&[300.2; 24])), [(0, 24, "300 MiB".to_owned())]);
        // What is shown is rounded, and what looks the same is the same.
        let want = [(0, 2, "300 MiB"), (2, 3, "900 MiB"), (3, 4, "300 MiB")];
        let want = want.map(|(from, until, median)| (from, until, median.to_owned()));
        assert_eq!(shown(hours(&[300.2, 300.3, 900.2, 300.2])), want);
        assert_eq!(shown(vec![300.2; 6]).len(), 1, "half an hour");
    }
}
