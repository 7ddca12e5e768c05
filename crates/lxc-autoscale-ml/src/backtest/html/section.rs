//! One container: its figures in a line, and two charts.

use std::fmt::Write;

use jiff::{Timestamp, Unit};

use super::chart::{self, Columns, Frame, HEIGHT, WIDTH};
use super::escape::escape;
use super::markers::{self, Mark};
use crate::backtest::recording::Recording;
use crate::backtest::report::{Row, percent};
use crate::backtest::run::{Change, Forecast, Outcome};
use crate::decide::{Amount, Decision, Resource};

/// The line of an hourly forecast continues if the next one is at most this many columns away.
const BRIDGE: usize = 6;
/// Number of dates below a chart.
const DATES: i64 = 4;

/// What differs between the two charts of a container.
struct Subject<'a> {
    resource: Resource,
    name: &'static str,
    begin: f64,
    provisioned: f64,
    recording: &'a Recording,
    outcome: &'a Outcome,
    warm_up_days: f64,
}

/// Writes the section of a container.
pub(super) fn section(
    page: &mut String,
    row: &Row,
    recording: &Recording,
    outcome: &Outcome,
    warm_up_days: f64,
) {
    let name = row.name.as_deref().map(|name| format!(" {}", escape(name))).unwrap_or_default();
    let saved = row.saved().map_or_else(String::new, |saved| format!("cost saved {}, ", percent(saved, 0)));
    let j = row.j.map_or_else(String::new, |j| format!("J {j:.2}, "));
    let _ = writeln!(
        page,
        "<section id=\"ct{}\">\n<h2>{}{name} <small>{saved}{j}{} changes, memory short {}×</small></h2>",
        outcome.id,
        outcome.id,
        outcome.changes.len(),
        row.sums.memory.shortages
    );
    if let Some(class) = outcome.class {
        let _ = writeln!(page, "<p class=\"note\">Kind of load: {class} ({})</p>", class.meaning());
    }
    let subject = |resource, name, begin, provisioned| Subject {
        resource,
        name,
        begin,
        provisioned,
        recording,
        outcome,
        warm_up_days,
    };
    subject(Resource::Cpu, "CPU, cores", outcome.begin.cores, recording.provisioned.cores).draw(page);
    subject(Resource::Memory, "Memory, MiB", outcome.begin.memory_mib, recording.provisioned.memory_mib)
        .draw(page);
    page.push_str("</section>\n");
}

impl Subject<'_> {
    fn is_cpu(&self) -> bool {
        self.resource == Resource::Cpu
    }

    fn size(&self, change: &Change) -> f64 {
        if self.is_cpu() { change.size.cores } else { change.size.memory_mib }
    }

    fn decision<'c>(&self, change: &'c Change) -> Option<&'c Decision> {
        if self.is_cpu() { change.cpu.as_ref() } else { change.memory.as_ref() }
    }

    fn forecast(&self, forecast: &Forecast) -> Option<(f64, f64)> {
        if self.is_cpu() { forecast.cpu } else { forecast.memory }
    }

    /// The demand, and where it exceeded the size, by column.
    fn columns(&self, frame: &Frame) -> (Columns, Columns) {
        let (mut wanted, mut short) = (Columns::new(), Columns::new());
        let mut size = self.begin;
        let mut changes = self.outcome.changes.iter().peekable();
        for sample in &self.recording.samples {
            while let Some(change) = changes.next_if(|change| change.at < sample.at) {
                size = self.size(change);
            }
            let used = if self.is_cpu() { sample.cpu_cores } else { sample.memory_mib };
            let Some(used) = used else { continue };
            let column = frame.column(sample.at);
            wanted.add(column, used, used);
            if size < used {
                short.add(column, size, used);
            }
        }
        (wanted, short)
    }

    fn draw(&self, page: &mut String) {
        let Some((from, to)) = self.recording.span() else { return };
        let frame = Frame { from, to, top: f64::INFINITY };
        let (wanted, short) = self.columns(&frame);
        let largest = self.outcome.changes.iter().map(|change| self.size(change)).fold(self.begin, f64::max);
        // A provisioned size far above everything else would flatten the rest: it is then mentioned, not drawn.
        let settled = self.outcome.changes.iter().skip(1).map(|change| self.size(change)).fold(0.0, f64::max);
        let seen = wanted.most().max(settled);
        let is_flat = 0.0 < seen && 4.0 * seen < largest;
        let frame = Frame {
            top: chart::round_up(if is_flat { 1.1 * seen } else { largest.max(wanted.most()) }),
            ..frame
        };
        let mut band = Columns::new();
        for forecast in &self.outcome.forecasts {
            if let Some((low, high)) = self.forecast(forecast) {
                band.add(frame.column(forecast.at), low, high);
            }
        }
        let band = band.bridged(BRIDGE);
        let label = format!("{} of container {}: wanted, allocated and forecast", self.name, self.outcome.id);
        let _ = writeln!(page, "<figure><figcaption>{}</figcaption>", self.caption());
        let _ = writeln!(
            page,
            "<svg viewBox=\"-60 -8 {} {}\" role=\"group\" aria-label=\"{}\">",
            WIDTH + 66,
            HEIGHT + 28.0,
            escape(&label)
        );
        self.axes(page, &frame);
        let _ = writeln!(page, "<path class=\"band\" d=\"{}\"/>", band.area(&frame));
        let _ = writeln!(page, "<path class=\"ground\" d=\"{}\"/>", wanted.ground(&frame));
        let _ = writeln!(page, "<path class=\"use\" d=\"{}\"/>", wanted.area(&frame));
        if !is_flat {
            let y = frame.y(self.provisioned);
            let _ = writeln!(page, "<path class=\"before\" d=\"M0 {y:.1}H{WIDTH}\"/>");
        }
        let changes = self.outcome.changes.iter().map(|change| (change.at, self.size(change)));
        let _ = writeln!(page, "<path class=\"size\" d=\"{}\"/>", chart::steps(&frame, self.begin, changes));
        let _ = writeln!(page, "<path class=\"short\" d=\"{}\"/>", short.area(&frame));
        let marks = self
            .outcome
            .changes
            .iter()
            .filter_map(|change| Some(Mark { at: change.at, decision: self.decision(change)? }));
        markers::draw(page, &frame, marks);
        page.push_str("\n</svg></figure>\n");
    }

    fn caption(&self) -> String {
        let amount = |value| Amount::of(self.resource, value);
        let last = self.outcome.changes.last().map_or(self.begin, |change| self.size(change));
        let changes = self.outcome.changes.iter().filter(|change| self.decision(change).is_some()).count();
        format!(
            "<b>{}</b> provisioned {}, at the end {}; {changes} changes",
            self.name,
            amount(self.provisioned),
            amount(last)
        )
    }

    fn axes(&self, page: &mut String, frame: &Frame) {
        let span = frame.to - frame.from;
        #[expect(clippy::cast_possible_truncation, reason = "days of a recording")]
        let warm_up = ((self.warm_up_days * 86_400.0) as i64).min(span / 3);
        if 0 < warm_up {
            let x = frame.x(frame.from + warm_up);
            let _ =
                writeln!(page, "<rect class=\"warm\" x=\"0\" y=\"0\" width=\"{x:.0}\" height=\"{HEIGHT}\"/>");
        }
        for part in [0.0, 0.5, 1.0] {
            let (value, y) = (part * frame.top, HEIGHT - part * HEIGHT);
            let digits = if frame.top < 10.0 && self.is_cpu() { 2 } else { 0 };
            let text = format!("{value:.digits$}");
            let text = if digits == 0 { &text } else { text.trim_end_matches('0').trim_end_matches('.') };
            let _ = writeln!(
                page,
                "<path class=\"grid\" d=\"M0 {y:.0}H{WIDTH}\"/><text x=\"-6\" y=\"{:.0}\" text-anchor=\"end\">{text}</text>",
                y + 4.0
            );
        }
        for index in 0..=DATES {
            let at = frame.from + span * index / DATES;
            let anchor = match index {
                0 => "start",
                DATES => "end",
                _ => "middle",
            };
            let text = date(at, span);
            let x = WIDTH as f64 * index as f64 / DATES as f64;
            let _ = writeln!(
                page,
                "<text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{text}</text>",
                HEIGHT + 16.0
            );
        }
    }
}

/// A date, with the time of day if the chart spans only some days.
fn date(at: i64, span: i64) -> String {
    let Ok(time) = Timestamp::from_second(at) else { return String::new() };
    let time = time.round(Unit::Minute).unwrap_or(time);
    let format = if span < 5 * 86_400 { "%b %-d, %H:%M" } else { "%b %-d" };
    time.strftime(format).to_string()
}
