//! The forecast for people: a line for each hour.

use std::io::{self, Write};

use super::super::table::{Table, resource};
use super::{Forecast, HOUR_STEPS, instant};
use crate::decide::{Amount, Resource};
use crate::forecast::outlook::{Ahead, LEAST_KNOWN, Outlook};

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
        let mut table = Table::headed(&["  FROM", "EXPECTED", "80 % WITHIN", "95 % WITHIN"]);
        for hour in outlook.steps.chunks(HOUR_STEPS) {
            let Some(begin) = hour.first() else { continue };
            if let Some(busiest) = hour.iter().max_by(|a, b| a.median().total_cmp(&b.median())) {
                let from = instant(begin.at).to_zoned_datetime(self.zone.clone());
                let of = |place: usize| Amount::of(kind, busiest.band[place].value);
                table.row(vec![
                    format!("  {}", from.strftime("%a %H:%M")),
                    of(Ahead::MEDIAN).to_string(),
                    format!("{} to {}", of(1), of(3)),
                    format!("{} to {}", of(0), of(4)),
                ]);
            }
        }
        table.write(out)?;
        if outlook.steps.len() < self.steps_asked {
            writeln!(out, "  ends here: its past is too short to test a longer forecast")?;
        }
        Ok(())
    }
}
