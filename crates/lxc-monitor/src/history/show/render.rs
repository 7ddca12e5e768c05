//! The output formats of a history.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::history_store::{Kind, Metric, Point, SeriesInfo};
use serde_json::json;

use super::{Extract, Format};

/// Width of the sparkline, in columns.
const SPARKLINE: i64 = 72;
/// Rows that fit on a screen.
const ROWS: i64 = 24;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The metrics that can be requested.
pub(super) fn metrics(is_listed: impl Fn(Metric) -> bool, format: Format) -> String {
    let listed = Metric::ALL.iter().copied().filter(|metric| is_listed(*metric));
    let about = |metric: Metric| match metric.kind() {
        Kind::Events => format!("{} since the previous sample", metric.about()),
        _ => metric.about().to_owned(),
    };
    let rows = listed.map(|metric| [metric.name().to_owned(), metric.unit().to_owned(), about(metric)]);
    list(["metric", "unit", "about"], [24, 10], rows, format)
}

/// All series.
pub(super) fn series(known: &[SeriesInfo], format: Format) -> String {
    let rows = known.iter().map(|info| [info.series.to_string(), info.name.clone()]);
    // The heading of the column is narrower than the key that the other formats name in full.
    match format {
        Format::Table => list(["ct", "name"], [10], rows, format),
        Format::Json | Format::Csv => list(["series", "name"], [10], rows, format),
    }
}

/// Rows under a heading; all columns but the last have a width in a table.
fn list<const COLUMNS: usize, const WIDTHS: usize>(
    heading: [&str; COLUMNS],
    widths: [usize; WIDTHS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
    format: Format,
) -> String {
    match format {
        Format::Json => {
            let objects = rows.map(|row| {
                let members = heading.iter().zip(row).map(|(key, value)| ((*key).to_owned(), value.into()));
                serde_json::Value::Object(members.collect())
            });
            format!("{:#}\n", serde_json::Value::Array(objects.collect()))
        }
        Format::Csv => {
            let line = |row: &[String]| {
                let cells: Vec<String> = row.iter().map(|cell| csv_cell(cell)).collect();
                cells.join(",") + "\n"
            };
            line(&heading.map(str::to_owned)) + &rows.map(|row| line(&row)).collect::<String>()
        }
        Format::Table => {
            let line = |row: &[String]| {
                let mut text = String::new();
                for (place, cell) in row.iter().enumerate() {
                    let _ = match widths.get(place) {
                        Some(width) => write!(text, "{cell:<width$}  "),
                        None => write!(text, "{cell}"),
                    };
                }
                text.trim_end().to_owned() + "\n"
            };
            line(&heading.map(str::to_uppercase)) + &rows.map(|row| line(&row)).collect::<String>()
        }
    }
}

/// In quotes if it would not be one cell without them (RFC 4180).
fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// As JSON.
pub(super) fn json(extract: &Extract, zone: &TimeZone) -> String {
    let points = extract.points.iter().map(|point| {
        json!({
            "time": time(point.start_ms, zone),
            "samples": point.samples,
            "min": tidy(point.min),
            "mean": tidy(point.mean),
            "max": tidy(point.max),
            "p95": tidy(point.p95),
        })
    });
    let value = json!({
        "series": extract.series.series.to_string(),
        "name": extract.series.name,
        "metric": extract.metric.name(),
        "unit": extract.metric.unit(),
        "tier": extract.tier.name(),
        "since": time(extract.from_ms, zone),
        "until": time(extract.to_ms, zone),
        "points": points.collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

/// As CSV; the unit is in the heading.
pub(super) fn csv(extract: &Extract, zone: &TimeZone) -> String {
    let unit = extract.metric.unit();
    let mut text = format!("time,samples,min ({unit}),mean ({unit}),max ({unit}),p95 ({unit})\n");
    for point in &extract.points {
        let values = [point.min, point.mean, point.max, point.p95].map(|value| tidy(value).to_string());
        let _ = writeln!(text, "{},{},{}", time(point.start_ms, zone), point.samples, values.join(","));
    }
    text
}

/// For people: a sparkline, a summary, and as many rows as fit on a screen.
pub(super) fn table(extract: &Extract, zone: &TimeZone, all: bool) -> String {
    let Extract { series, metric, tier, from_ms, to_ms, points } = extract;
    let name = if series.name.is_empty() { String::new() } else { format!(" ({})", series.name) };
    let subject = if series.series == lxc_autoscale_core::history_store::Series::NODE {
        format!("node{name}")
    } else {
        format!("container {}{name}", series.series)
    };
    let mut text = format!(
        "{subject}  {} in {}: {}\n{} to {}, roll-ups of {}\n\n",
        metric.name(),
        metric.unit(),
        metric.about(),
        short(*from_ms, zone),
        short(*to_ms, zone),
        tier.name()
    );
    let Some(whole) = Summary::of(points) else {
        text.push_str("nothing was measured in this time\n");
        return text;
    };
    let _ = writeln!(text, "{}", sparkline(points, *from_ms, *to_ms, tier.bucket_ms()));
    let _ = writeln!(
        text,
        "min {}  mean {}  max {}  highest p95 {}  {} samples\n",
        number(whole.min),
        number(whole.mean),
        number(whole.max),
        number(whole.p95),
        whole.samples
    );
    let step_ms = if all { tier.bucket_ms() } else { row_step(to_ms - from_ms, tier.bucket_ms()) };
    let of_row = if step_ms == tier.bucket_ms() { "P95" } else { "TOP P95" };
    let unit = format!("[{}]", metric.unit());
    let _ =
        writeln!(text, "{:<16}  {:>10}  {:>10}  {:>10}  {of_row:>10}  {unit}", "TIME", "MIN", "MEAN", "MAX");
    let offset_ms = offset_ms(*from_ms, zone);
    let row_of = |point: &Point| (point.start_ms + offset_ms).div_euclid(step_ms);
    for row in points.chunk_by(|a, b| row_of(a) == row_of(b)) {
        let Some(summary) = Summary::of(row) else { continue };
        let start_ms = (row_of(&row[0]) * step_ms - offset_ms).max(row[0].start_ms.min(*from_ms));
        let cells = [summary.min, summary.mean, summary.max, summary.p95].map(number);
        let _ = writeln!(
            text,
            "{:<16}  {:>10}  {:>10}  {:>10}  {:>10}",
            short(start_ms, zone),
            cells[0],
            cells[1],
            cells[2],
            cells[3]
        );
    }
    text
}

/// The summary of several roll-ups; of percentiles, the highest.
struct Summary {
    samples: u64,
    min: f64,
    mean: f64,
    max: f64,
    p95: f64,
}

impl Summary {
    fn of(points: &[Point]) -> Option<Self> {
        let first = points.first()?;
        let samples = points.iter().map(|point| u64::from(point.samples)).sum();
        let sum: f64 = points.iter().map(|point| point.mean * f64::from(point.samples)).sum();
        let fold = |value: fn(&Point) -> f64, choose: fn(f64, f64) -> f64| {
            points.iter().map(value).fold(value(first), choose)
        };
        Some(Self {
            samples,
            min: fold(|point| point.min, f64::min),
            mean: sum / samples as f64,
            max: fold(|point| point.max, f64::max),
            p95: fold(|point| point.p95, f64::max),
        })
    }
}

/// The means over time on a scale from zero to the highest; blank without measurements.
fn sparkline(points: &[Point], from_ms: i64, to_ms: i64, bucket_ms: i64) -> String {
    let span_ms = (to_ms - from_ms).max(1);
    let columns = (span_ms / bucket_ms).clamp(1, SPARKLINE);
    let mut sums = vec![(0.0, 0_u32); usize::try_from(columns).unwrap_or(1)];
    for point in points {
        let middle = (point.start_ms + bucket_ms / 2).clamp(from_ms, to_ms - 1);
        let column = usize::try_from((middle - from_ms) * columns / span_ms).unwrap_or(0);
        sums[column].0 += point.mean * f64::from(point.samples);
        sums[column].1 += point.samples;
    }
    let means: Vec<_> =
        sums.into_iter().map(|(sum, samples)| (0 < samples).then(|| sum / f64::from(samples))).collect();
    let top = means.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |mean: f64| if top <= 0.0 { BARS[0] } else { BARS[bar_height(mean / top)] };
    means.into_iter().map(|mean| mean.map_or(' ', bar)).collect::<String>()
}

fn bar_height(share: f64) -> usize {
    let eighths = (1..8_u8).filter(|height| f64::from(*height) < share * 8.0).count();
    eighths.min(7)
}

/// The shortest of the usual steps with at most as many rows as fit.
fn row_step(span_ms: i64, bucket_ms: i64) -> i64 {
    let minute = 60_000;
    let steps = [1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080, 20_160, 40_320];
    let fits = |step: &i64| bucket_ms <= *step && span_ms / step <= ROWS;
    steps.into_iter().map(|minutes| minutes * minute).find(fits).unwrap_or(80_640 * minute)
}

/// The offset of `zone` from UTC, so that rows begin at its full hours and days.
fn offset_ms(at_ms: i64, zone: &TimeZone) -> i64 {
    Timestamp::from_millisecond(at_ms).map_or(0, |at| i64::from(zone.to_offset(at).seconds()) * 1000)
}

fn time(at_ms: i64, zone: &TimeZone) -> String {
    Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| at_ms.to_string(), |instant| RecordTime::new(instant, zone).to_string())
}

/// `2026-11-23 14:05`, in local time.
pub(super) fn short(at_ms: i64, zone: &TimeZone) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(
        |_| at_ms.to_string(),
        |instant| zone.to_datetime(instant).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

/// Without the additional digits of binary fractions.
fn tidy(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Four digits, with a suffix for large numbers.
fn number(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.3}"),
        size if size < 100.0 => format!("{value:.2}"),
        size if size < 10_000.0 => format!("{value:.1}"),
        size if size < 1e6 => format!("{:.1}k", value / 1e3),
        size if size < 1e9 => format!("{:.1}M", value / 1e6),
        _ => format!("{:.1}G", value / 1e9),
    }
}
