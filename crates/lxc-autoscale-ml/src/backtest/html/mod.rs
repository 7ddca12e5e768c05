//! The back-test as one self-contained page: figures on top, then charts of each container.
//!
//! All external text is escaped. The size of the page is bounded: long series are drawn as the minimum and maximum of
//! each pixel, of many decisions in one pixel the largest is marked, and only [`MOST_CHARTED`] containers get charts;
//! the others are in the table.

mod chart;
mod escape;
mod markers;
mod section;

use std::fmt::Write;

use self::escape::escape;
use super::recording::Recording;
use super::report::{HEADINGS, Report, Row, amount, percent};
use super::run::Outcome;
use super::score::ratio;
use crate::figures::{counted, signed};

/// Most containers with charts; those that cost most.
pub const MOST_CHARTED: usize = 100;

/// The column of names, which is omitted when no container has one.
const NAME: usize = 1;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page.
pub fn page(report: &Report, recordings: &[Recording], outcomes: &[Outcome]) -> String {
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let title = format!("Back-test of {}", escape(&report.title.source));
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    head(&mut page, report);
    table(&mut page, report);
    legend(&mut page);
    let charted = charted(report);
    if charted.len() < outcomes.len() {
        let _ = writeln!(
            page,
            "<p class=\"note\">Charts of the {} containers that cost most; the others are in the table.</p>",
            charted.len()
        );
    }
    for index in charted {
        if let (Some(row), Some(recording), Some(outcome)) =
            (report.containers.get(index), recordings.get(index), outcomes.get(index))
        {
            section::section(&mut page, row, recording, outcome, report.title.warm_up_days);
        }
    }
    let _ = write!(
        page,
        "</main>\n<div id=\"tip\" role=\"status\" hidden></div>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    );
    page
}

/// Indices of the containers with charts, in order.
fn charted(report: &Report) -> Vec<usize> {
    let mut places: Vec<usize> = (0..report.containers.len()).collect();
    let cost = |place: &usize| report.containers.get(*place).map_or(0.0, |row| row.cost.total());
    places.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
    places.truncate(MOST_CHARTED);
    places.sort_unstable();
    places
}

fn head(page: &mut String, report: &Report) {
    let title = &report.title;
    let _ = writeln!(
        page,
        "<p class=\"about\">{}, {} to {}, {} container-days. Policy: {}; {}; the first {} days of each, at \
         most a third, are not judged.</p>",
        counted(report.containers.len(), "container", "containers"),
        title.from,
        title.to,
        amount(title.container_days),
        escape(&title.policy),
        title.cpu,
        title.warm_up_days
    );
    if let Some(why) = &title.too_short {
        let _ = writeln!(page, "<p class=\"about\">{}</p>", escape(why));
    }
    let total = &report.total;
    let (cpu, memory) = (&total.sums.cpu, &total.sums.memory);
    let less = |after: f64, before: f64| {
        ratio(after - before, before)
            .map_or_else(String::new, |change| format!("{} %", signed(100.0 * change, 0)))
    };
    let share =
        |value: Option<f64>, digits| value.map_or_else(|| "–".to_owned(), |value| percent(value, digits));
    let month = ratio(memory.shortages as f64 * 720.0, total.sums.hours);
    let figures = [
        ("Cost saved", share(total.saved(), 0), "of what was provisioned".to_owned()),
        (
            "Core-hours",
            amount(cpu.allocated),
            format!("{} of {}", less(cpu.allocated, cpu.provisioned), amount(cpu.provisioned)),
        ),
        (
            "GiB-hours",
            amount(memory.allocated),
            format!("{} of {}", less(memory.allocated, memory.provisioned), amount(memory.provisioned)),
        ),
        (
            "CPU work that waited",
            share(ratio(cpu.unserved, cpu.needed), 2),
            format!("{} core-hours", amount(cpu.unserved)),
        ),
        (
            "Memory ran short",
            format!("{}×", memory.shortages),
            month.map_or_else(String::new, |month| format!("{month:.1} per container and month")),
        ),
        (
            "Against the ideal",
            total.j.map_or_else(|| "–".to_owned(), |j| format!("{j:.2}")),
            total
                .j_provisioned
                .map_or_else(String::new, |j| format!("as provisioned {j:.2}; 1 is perfect hindsight")),
        ),
    ];
    page.push_str("<dl class=\"figures\">\n");
    for (name, value, note) in figures {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd><dd class=\"note\">{note}</dd></div>");
    }
    page.push_str("</dl>\n");
}

fn table(page: &mut String, report: &Report) {
    let is_named = report.containers.iter().any(|row| row.name.is_some());
    page.push_str("<div class=\"wide\"><table>\n<thead>\n<tr>");
    for (group, span) in [
        ("", 1 + u8::from(is_named)),
        ("core-hours", 4),
        ("GiB-hours", 3),
        ("memory", 1),
        ("", 1),
        ("cost", 2),
    ] {
        let _ = write!(page, "<th colspan=\"{span}\" scope=\"colgroup\">{group}</th>");
    }
    page.push_str("</tr>\n<tr>");
    for (column, (group, name)) in HEADINGS.into_iter().enumerate() {
        if column == NAME && !is_named {
            continue;
        }
        let name = match (group, name) {
            ("RESIZES", _) => "resizes a day".to_owned(),
            (_, "CT" | "J") => name.to_owned(),
            _ => name.to_lowercase(),
        };
        let class = if column == NAME { " class=\"name\"" } else { "" };
        let _ = write!(page, "<th scope=\"col\"{class}>{name}</th>");
    }
    page.push_str("</tr>\n</thead>\n<tbody>\n");
    line(page, &report.total, "total", is_named);
    for row in &report.containers {
        line(page, row, "", is_named);
    }
    page.push_str("</tbody>\n</table></div>\n");
}

fn line(page: &mut String, row: &Row, class: &str, is_named: bool) {
    let _ = write!(page, "<tr class=\"{class}\">");
    for (column, cell) in row.cells().iter().enumerate() {
        let cell = escape(cell);
        // Writing to a string cannot fail.
        let _ = match (column, row.id) {
            (0, Some(id)) => write!(page, "<th scope=\"row\"><a href=\"#ct{id}\">{cell}</a></th>"),
            (NAME, _) if !is_named => continue,
            (NAME, _) => write!(page, "<td class=\"name\">{cell}</td>"),
            (0, None) => write!(page, "<th scope=\"row\">{cell}</th>"),
            _ => write!(page, "<td>{cell}</td>"),
        };
    }
    page.push_str("</tr>\n");
}

fn legend(page: &mut String) {
    page.push_str("<p class=\"legend\">");
    for (class, text) in [
        ("use", "wanted (least to most of each pixel)"),
        ("size", "allocated"),
        ("before", "provisioned"),
        ("band", "forecast (CPU 80–98 %, memory 50–99 %)"),
        ("grow", "grows"),
        ("shrink", "shrinks"),
        ("short", "demand above the limit"),
        ("warm", "not judged"),
    ] {
        let _ = write!(page, "<span><i class=\"{class}\"></i>{text}</span>");
    }
    page.push_str("</p>\n");
}

#[cfg(test)]
mod tests;
