//! The cost of a scrape: time and memory of writing the exposition of N containers with every field.
//!
//! `cargo run --release -p lxc-monitor --example bench_exposition [N]`

#![allow(clippy::expect_used, reason = "a benchmark that cannot set up its case must fail")]

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::exposition::Format;
use lxc_autoscale_core::snapshot::{ContainerRecords, Snapshot};
use lxc_monitor::exporter::page::{Cycle, Exposition, Identities, Page};

const FULL: &str = include_str!("../src/exporter/testdata/full.json");
/// Scrapes to average.
const ROUNDS: u32 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let n_containers: u32 = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse())?;
    let full: Snapshot = serde_json::from_str(FULL)?;
    let record = full.containers.values().next().expect("the file has containers").clone();
    let empty_kib = resident_kib()?;
    let containers: ContainerRecords = (100..100 + n_containers)
        .map(|id| Vmid::try_from(id).map(|vmid| (vmid, record.clone())))
        .collect::<Result<_, _>>()?;
    let snapshot = Arc::new(Snapshot { containers, summary: full.summary });
    let held_kib = resident_kib()?;

    let interval = Duration::from_mins(1);
    let cycle = Cycle { snapshot, stopped: Identities::default(), kept: None, is_written: true, interval };
    let page = Page::empty(Timestamp::now(), interval).after(cycle, interval);
    let begun = Instant::now();
    let (mut bytes, mut samples, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..ROUNDS {
        let exposition = Exposition::begin(&page, Format::OpenMetrics, interval, Duration::ZERO);
        let mut piece_begun = Instant::now();
        for piece in exposition {
            slowest = slowest.max(piece_begun.elapsed());
            bytes += piece.len();
            samples += piece.lines().filter(|line| !line.starts_with('#')).count();
            piece_begun = Instant::now();
        }
    }
    let spent = begun.elapsed();
    let rendered_kib = resident_kib()?;
    writeln!(
        std::io::stdout().lock(),
        "{n_containers} containers: {:.0} µs per container, {:.2} ms per scrape, longest piece {:.0} µs; \
         {} samples, {:.2} MB; the snapshot holds {} KiB, writing added {} KiB",
        spent.as_secs_f64() * 1e6 / f64::from(ROUNDS * n_containers),
        spent.as_secs_f64() * 1e3 / f64::from(ROUNDS),
        slowest.as_secs_f64() * 1e6,
        samples / ROUNDS as usize,
        bytes as f64 / f64::from(ROUNDS) / 1e6,
        held_kib - empty_kib,
        rendered_kib - held_kib,
    )?;
    Ok(())
}

fn resident_kib() -> Result<i64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
