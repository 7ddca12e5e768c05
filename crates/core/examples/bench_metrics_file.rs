//! Cost of one append to the exchange file by the length of the file, compared with rewriting the whole array.
//!
//! Run it with `cargo xtask bench metrics-file [--json FILE]`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lxc_autoscale_core::metrics_file::{Bounds, MetricsWriter};
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot, Summary};
use lxc_autoscale_core::{RecordTime, Vmid};

const CONTAINERS: u32 = 20;
const APPENDS: u32 = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let json = json_argument()?;
    let directory = PathBuf::from(format!("/var/tmp/bench_metrics_file.{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let result = measure_all(&directory);
    std::fs::remove_dir_all(&directory)?;
    let rows = result?;

    println!("{:>16} {:>14} {:>16} {:>8}", "records in file", "append µs", "rewrite µs", "ratio");
    for row in &rows {
        let ratio = row.rewrite.as_secs_f64() / row.append.as_secs_f64();
        println!(
            "{:>16} {:>14} {:>16} {ratio:>8.1}",
            row.records,
            row.append.as_micros(),
            row.rewrite.as_micros()
        );
    }
    if let Some(path) = json {
        let figures: Vec<_> = rows.iter().map(Row::as_json).collect();
        std::fs::write(path, serde_json::to_string_pretty(&figures)? + "\n")?;
    }
    Ok(())
}

struct Row {
    records: u32,
    append: Duration,
    rewrite: Duration,
}

impl Row {
    fn as_json(&self) -> serde_json::Value {
        serde_json::json!({
            "records": self.records,
            "append_seconds": self.append.as_secs_f64(),
            "rewrite_seconds": self.rewrite.as_secs_f64(),
        })
    }
}

fn measure_all(directory: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    [10, 100, 1000].into_iter().map(|records| measure(directory, records)).collect()
}

fn measure(directory: &Path, records: u32) -> Result<Row, Box<dyn Error>> {
    let path = directory.join(format!("{records}.json"));
    let bounds = Bounds { max_bytes: 1 << 30, max_age: Duration::from_hours(24 * 365) };
    let (mut writer, _) = MetricsWriter::open(&path, bounds)?;
    let snapshots = (0..i64::from(records + APPENDS)).map(snapshot).collect::<Result<Vec<_>, _>>()?;
    let (past, new) = snapshots.split_at(records as usize);
    for snapshot in past {
        writer.append(snapshot)?;
    }
    let begun = Instant::now();
    for snapshot in new {
        writer.append(snapshot)?;
    }
    let append = begun.elapsed() / APPENDS;
    Ok(Row { records, append, rewrite: rewrite(directory, &snapshots)? })
}

/// Does what the Python original does in every cycle: writes the whole array to a new file, then renames it.
fn rewrite(directory: &Path, snapshots: &[Snapshot]) -> Result<Duration, Box<dyn Error>> {
    let (new, path) = (directory.join("rewritten.new"), directory.join("rewritten.json"));
    let rounds = 5;
    let begun = Instant::now();
    for _ in 0..rounds {
        let file = std::fs::File::create(&new)?;
        serde_json::to_writer_pretty(std::io::BufWriter::new(&file), snapshots)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
    }
    Ok(begun.elapsed() / rounds)
}

fn snapshot(minute: i64) -> Result<Snapshot, Box<dyn Error>> {
    let time = RecordTime::utc(jiff::Timestamp::from_second(1_700_000_000 + 60 * minute)?);
    let mut record = ContainerRecord::empty(time);
    record.cpu_usage_percent = Some(37.5);
    record.memory_usage_mb = Some(512.25);
    record.cpu_usage_usec = Some(987_654_321);
    let containers = (0..CONTAINERS)
        .map(|n| Ok((Vmid::try_from(Vmid::MIN + n)?, record.clone())))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let summary = Summary {
        collection_start_time: time,
        collection_end_time: time,
        total_containers: u64::from(CONTAINERS),
        total_duration_seconds: 0.004,
        monitor_cpu_percent: None,
        monitor_memory_usage_mb: None,
        schema_version: Some(1),
        stopped_containers: Vec::new(),
        node: None,
    };
    Ok(Snapshot { containers, summary })
}

fn json_argument() -> Result<Option<PathBuf>, String> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(None),
        (Some("--json"), Some(path)) => Ok(Some(path.into())),
        _ => Err("usage: bench_metrics_file [--json FILE]".to_owned()),
    }
}
