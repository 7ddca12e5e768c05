//! The commands `history` and `import`: arguments in, text out.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::CommandOutput;
use lxc_autoscale_core::progress::Bar;

use super::HistoryConfig;
use super::import::{self, ImportError, Report};
use super::show::{self, HistoryArgs, ShowError};
use crate::printable::printable;

/// What `lxc-monitor import` takes.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// A metrics file, ours or one of the Python original; importing it again changes nothing.
    pub file: PathBuf,
    /// Time zone of the local times in a file of the original, such as Europe/Rome [default: this machine's].
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryCommandError {
    /// The history cannot be shown.
    #[error(transparent)]
    Show(#[from] ShowError),
    /// The import ended early.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Standard output.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
}

/// `lxc-monitor history`.
///
/// # Errors
/// [`HistoryCommandError`].
pub fn show(config: &HistoryConfig, args: &HistoryArgs) -> Result<(), HistoryCommandError> {
    let shown = show::run(config, args, Timestamp::now(), &TimeZone::system())?;
    if let Some(warning) = shown.warning {
        // When standard error is closed, nothing can be reported.
        let _ = writeln!(io::stderr(), "lxc-monitor: {}", printable(&warning));
    }
    // JSON escapes by itself, and CSV is for programs.
    print(&if args.json || args.csv { shown.text.into() } else { printable(&shown.text) })
}

/// `lxc-monitor import`.
///
/// # Errors
/// [`HistoryCommandError`].
pub fn import(config: &HistoryConfig, args: &ImportArgs) -> Result<(), HistoryCommandError> {
    let zone = match &args.time_zone {
        Some(name) => TimeZone::get(name).map_err(|_| ImportError::TimeZone { name: name.clone() })?,
        None => TimeZone::system(),
    };
    let bar = Bar::of_bytes(format!("importing {}", args.file.display()));
    let report = import::run(config, &args.file, zone, Timestamp::now(), &bar)?;
    drop(bar);
    print(&if args.json { json(&report) } else { table(&report) })
}

fn json(report: &Report) -> String {
    let time = |at_ms| Timestamp::from_millisecond(at_ms).ok().map(|instant| instant.to_string());
    let value = serde_json::json!({
        "snapshots": report.snapshots,
        "of_the_original": report.of_the_original,
        "unusable_fields": report.unusable_fields,
        "damaged": report.damaged,
        "damaged_at_bytes": report.damaged_at,
        "from": report.range_ms.and_then(|range| time(range.0)),
        "to": report.range_ms.and_then(|range| time(range.1)),
        "new_roll_ups": report.roll_ups,
        "new_frames": report.new_frames,
    });
    format!("{value:#}\n")
}

fn table(report: &Report) -> String {
    let zone = TimeZone::system();
    let time = |at_ms| {
        Timestamp::from_millisecond(at_ms)
            .map_or_else(|_| "?".to_owned(), |at| zone.to_datetime(at).strftime("%Y-%m-%d %H:%M").to_string())
    };
    let mut text = match report.range_ms {
        Some((from, to)) => format!("{} snapshots, {} to {}\n", report.snapshots, time(from), time(to)),
        None => String::new(),
    };
    if 0 < report.of_the_original {
        let _ = write!(
            text,
            "{} of them by the Python original: network, swap, root filesystem and memory_without_cache are taken;\n\
             its CPU percent (since boot), process count, disk sectors and swap size do not mean what they say and are left out\n",
            report.of_the_original
        );
    }
    if 0 < report.unusable_fields {
        let _ = writeln!(
            text,
            "{} fields are no sane values and count as unknown; the rest of their records is taken",
            report.unusable_fields
        );
    }
    if 0 < report.damaged {
        let places: Vec<_> = report.damaged_at.iter().map(u64::to_string).collect();
        let more = if report.damaged_at.len() as u64 == report.damaged { "" } else { ", …" };
        let _ =
            writeln!(text, "{} damaged records skipped, at byte {}{more}", report.damaged, places.join(", "));
    }
    if report.roll_ups == 0 && report.new_frames == 0 {
        text += "nothing new: the history has it all\n";
    } else if report.new_frames == 0 {
        let _ = writeln!(text, "{} new roll-ups", report.roll_ups);
    } else {
        let _ = writeln!(
            text,
            "{} new roll-ups, and new samples of hours that are not over yet",
            report.roll_ups
        );
    }
    text
}

fn print(text: &str) -> Result<(), HistoryCommandError> {
    let mut out = CommandOutput::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(HistoryCommandError::Stdout)
}
