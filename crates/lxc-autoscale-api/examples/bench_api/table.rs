//! The figures as a table and as JSON.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Options;
use crate::load::{Measured, quantile};
use crate::overhead::Overhead;

/// The most that may be added to a bare call, at the 99th percentile.
const TARGET: Duration = Duration::from_millis(2);

/// One kind of request.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) ours: Measured,
    pub(crate) original: Option<Measured>,
}

/// The figures as Markdown.
pub(crate) fn markdown(rows: &[Row], overhead: &Overhead, options: &Options) -> String {
    let mut text = format!(
        "{} connections at once, kept, each with one request at a time; {} s for each kind.\n\n\
         | request | server | requests a second | p50 | p99 |\n| --- | --- | ---: | ---: | ---: |\n",
        options.connections, options.seconds
    );
    for row in rows {
        line(&mut text, row.what, "lxc-autoscale-api", &row.ours);
        if let Some(original) = &row.original {
            line(&mut text, row.what, "the Python original", original);
        }
    }
    if options.original.is_none() {
        text += "\nThe Python original was not measured: `--original` says where it listens.\n";
    }
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n{} changes of cores each way, by turns; those through the API were {} calls of `pct set`.\n\n\
         | | p50 | p90 | p99 |\n| --- | ---: | ---: | ---: |\n",
        overhead.bare.len(),
        overhead.calls
    );
    for (name, latencies) in
        [("bare `pct set`", &overhead.bare), ("`POST /scale/cores`", &overhead.through_api)]
    {
        let [half, many, most] = [0.5, 0.9, 0.99].map(|share| millis(quantile(latencies, share)));
        let _ = writeln!(text, "| {name} | {half} | {many} | {most} |");
    }
    let [half, many, most] = [0.5, 0.9, 0.99].map(|share| millis(quantile(&overhead.disk, share)));
    let disk = format!("| of which the disk alone takes | {half} | {many} | {most} |\n");
    let verdict = if overhead.at(0.99) <= TARGET { "met" } else { "missed" };
    let _ = writeln!(
        text,
        "| **added** | {} | {} | {} (at most {}: {verdict}) |",
        millis(overhead.at(0.5)),
        millis(overhead.at(0.9)),
        millis(overhead.at(0.99)),
        millis(TARGET)
    );
    text + &disk
}

fn line(text: &mut String, what: &str, server: &str, measured: &Measured) {
    let [half, most] = [0.5, 0.99].map(|share| millis(quantile(&measured.latencies, share)));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "| `{what}` | {server} | {:.0} | {half} | {most} |", measured.per_second);
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// The figures as JSON.
pub(crate) fn json(rows: &[Row], overhead: &Overhead, options: &Options) -> Value {
    let seconds = |latencies: &[Duration], share: f64| quantile(latencies, share).as_secs_f64();
    let figures = |measured: &Measured| {
        json!({
            "requests_per_second": measured.per_second,
            "requests": measured.latencies.len(),
            "p50_seconds": seconds(&measured.latencies, 0.5),
            "p99_seconds": seconds(&measured.latencies, 0.99),
        })
    };
    let requests: Vec<Value> = rows
        .iter()
        .map(|row| json!({"request": row.what, "ours": figures(&row.ours), "original": row.original.as_ref().map(figures)}))
        .collect();
    json!({
        "connections": options.connections,
        "seconds": options.seconds,
        "requests": requests,
        "changes": overhead.bare.len(),
        "pct_calls_of_api": overhead.calls,
        "bare_pct": {"p50_seconds": seconds(&overhead.bare, 0.5), "p99_seconds": seconds(&overhead.bare, 0.99)},
        "through_api": {
            "p50_seconds": seconds(&overhead.through_api, 0.5),
            "p99_seconds": seconds(&overhead.through_api, 0.99),
        },
        "disk_alone": {"p50_seconds": seconds(&overhead.disk, 0.5), "p99_seconds": seconds(&overhead.disk, 0.99)},
        "added_p50_seconds": overhead.at(0.5).as_secs_f64(),
        "added_p90_seconds": overhead.at(0.9).as_secs_f64(),
        "added_p99_seconds": overhead.at(0.99).as_secs_f64(),
        "target_p99_seconds": TARGET.as_secs_f64(),
    })
}
