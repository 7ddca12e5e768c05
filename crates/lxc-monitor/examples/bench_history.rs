//! Size, speed and cost of the history: 30 days of 200 containers at one sample a minute.
//!
//! Run it with `cargo xtask bench history [--json FILE]`. The workload is synthetic: day and night, noise of a fifth,
//! bursts of traffic, occasional events; limits and sizes are constant. With `--make FILE` such a history, up to now,
//! is created there for another benchmark, and nothing is measured.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lxc_autoscale_core::history_store::bucket::Codes;
use lxc_autoscale_core::history_store::{HistoryReader, Metric, Series, Tier};
use lxc_monitor::history::HistoryConfig;
use lxc_monitor::history::store::{SampledCycle, Store};
use rustix::time::{ClockId, clock_gettime};

const DAYS: i64 = 30;
const CONTAINERS: u32 = 200;
const START_MS: i64 = 1_763_856_000_000;
const MINUTE_MS: i64 = 60_000;

fn main() -> Result<(), Box<dyn Error>> {
    let json = match Wanted::from_arguments()? {
        Wanted::Figures { json } => json,
        Wanted::History(path) => {
            fill(&path, Timestamp::now().as_millisecond() - DAYS * 1440 * MINUTE_MS)?;
            return Ok(());
        }
    };
    let directory = PathBuf::from(format!("/var/tmp/bench_history.{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let result = measure(&directory.join("metrics.sqlite"));
    std::fs::remove_dir_all(&directory)?;
    let figures = result?;
    println!(
        "{DAYS} days of {CONTAINERS} containers and the node, one sample a minute, {} metrics",
        Metric::ALL.len()
    );
    println!("  size on disk                      {:>8.1} MB (target 200)", figures.bytes as f64 / 1e6);
    println!(
        "  a week of one container, one metric (5m)  {:>6.2} ms (target 20)",
        milliseconds(figures.week)
    );
    println!("  a week of one container, all metrics (5m) {:>6.2} ms", milliseconds(figures.week_all));
    println!(
        "  CPU per container-sample          {:>8.2} µs (writing, roll-ups, retention)",
        figures.write_micros
    );
    println!("  longest single step               {:>8.2} ms", milliseconds(figures.longest));
    println!("  resident memory at the most       {:>8.1} MiB (of this program)", figures.peak_mib);
    if let Some(path) = json {
        let value = serde_json::json!({
            "bytes": figures.bytes,
            "week_one_metric_seconds": figures.week.as_secs_f64(),
            "week_all_metrics_seconds": figures.week_all.as_secs_f64(),
            "cpu_seconds_per_container_sample": figures.write_micros / 1e6,
            "longest_step_seconds": figures.longest.as_secs_f64(),
            "peak_rss_mib": figures.peak_mib,
        });
        std::fs::write(path, format!("{value:#}\n"))?;
    }
    Ok(())
}

struct Figures {
    bytes: u64,
    week: Duration,
    week_all: Duration,
    write_micros: f64,
    longest: Duration,
    peak_mib: f64,
}

/// Fills a new history from `start_ms` on; returns the CPU time and the longest single step.
fn fill(path: &Path, start_ms: i64) -> Result<(Duration, Duration), Box<dyn Error>> {
    let config = HistoryConfig { file: path.to_owned(), ..HistoryConfig::default() };
    let (mut store, _) = Store::open(&config)?;
    let mut noise = Noise(42);
    let (mut cpu, mut longest) = (Duration::ZERO, Duration::ZERO);
    for minute in 0..DAYS * 1440 {
        let at_ms = start_ms + minute * MINUTE_MS;
        let samples = (0..=CONTAINERS).map(|n| (series(n), sample(n, minute, &mut noise))).collect();
        let cycle = [SampledCycle { at_ms, samples }];
        let (begun, cpu_begun) = (Instant::now(), own_cpu());
        store.append(&cycle)?;
        longest = longest.max(begun.elapsed());
        loop {
            let step = Instant::now();
            let more = store.compact_step(at_ms)?.more;
            longest = longest.max(step.elapsed());
            if !more {
                break;
            }
        }
        cpu += own_cpu().saturating_sub(cpu_begun);
    }
    Ok((cpu, longest))
}

fn measure(path: &Path) -> Result<Figures, Box<dyn Error>> {
    let minutes = DAYS * 1440;
    let (cpu, longest) = fill(path, START_MS)?;
    let end_ms = START_MS + minutes * MINUTE_MS;
    let reader = HistoryReader::open(path)?.ok_or("no history")?;
    let week_ms = 7 * 86_400_000;
    let one = best_of(9, || {
        reader
            .read(series(7), Metric::Memory, Tier::FiveMinutes.between(end_ms - week_ms, end_ms))
            .map(|found| found.points.len())
    })?;
    let all = best_of(9, || {
        let found =
            reader.read_many(series(7), Metric::ALL, Tier::FiveMinutes.between(end_ms - week_ms, end_ms))?;
        Ok(found.0.get(&Metric::Cpu).map_or(0, Vec::len))
    })?;
    let sizes = ["", "-wal"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(name).map_or(0, |metadata| metadata.len())
    });
    let samples = f64::from(CONTAINERS + 1) * minutes as f64;
    Ok(Figures {
        bytes: sizes.iter().sum(),
        week: one,
        week_all: all,
        write_micros: cpu.as_secs_f64() * 1e6 / samples,
        longest,
        peak_mib: peak_mib()?,
    })
}

/// The median of several runs, each of which must find the whole week.
fn best_of(
    n: usize,
    read: impl Fn() -> Result<usize, lxc_autoscale_core::history_store::HistoryError>,
) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..n {
        let begun = Instant::now();
        let found = read()?;
        times.push(begun.elapsed());
        if found != 2016 {
            return Err(format!("a week has 2016 buckets of five minutes, found {found}").into());
        }
    }
    times.sort_unstable();
    Ok(times[n / 2])
}

fn series(n: u32) -> Series {
    if n == 0 { Series::NODE } else { Series::from_raw(99 + n) }
}

/// A container with a daily pattern; one in five is idle, one in ten writes a lot.
fn sample(n: u32, minute: i64, noise: &mut Noise) -> Codes {
    let day = (minute % 1440) as f64 / 1440.0;
    let wave = 0.6 + 0.4 * (std::f64::consts::TAU * (day - 0.3)).sin();
    let is_idle = n.is_multiple_of(5);
    let busy = if is_idle { 0.01 } else { wave * (0.2 + f64::from(n % 7) * 0.3) };
    let cpu = busy * noise.around(0.2);
    let memory = 256.0 * f64::from(1 + n % 8);
    let burst = if noise.one_in(20) { 50.0 } else { 1.0 };
    let rate =
        |base: f64, noise: &mut Noise| if is_idle { 0.0 } else { base * burst * wave * noise.around(0.3) };
    let mut codes = Codes::NONE;
    let mut set = |metric, value| codes.set(metric, Some(value));
    set(Metric::Cpu, cpu);
    set(Metric::CpuShare, (25.0 * cpu).min(100.0));
    set(Metric::Throttled, if noise.one_in(30) { 10.0 * noise.unit() } else { 0.0 });
    set(Metric::Memory, memory * (0.5 + 0.1 * wave) * noise.around(0.01));
    set(Metric::MemoryWithoutCache, memory * (0.4 + 0.1 * wave) * noise.around(0.01));
    set(Metric::CoresLimit, 4.0);
    set(Metric::MemoryLimit, memory);
    set(Metric::Swap, if n.is_multiple_of(9) { 12.5 } else { 0.0 });
    set(Metric::SwapLimit, 512.0);
    set(Metric::PressureCpuSome, rate(0.5, noise).min(100.0));
    set(Metric::PressureCpuFull, 0.0);
    set(Metric::PressureMemorySome, 0.0);
    set(Metric::PressureMemoryFull, 0.0);
    set(Metric::PressureIoSome, if noise.one_in(4) { rate(0.2, noise).min(100.0) } else { 0.0 });
    set(Metric::PressureIoFull, if noise.one_in(4) { rate(0.1, noise).min(100.0) } else { 0.0 });
    set(Metric::IoRead, if noise.one_in(3) { rate(20_000.0, noise) } else { 0.0 });
    set(Metric::IoWrite, rate(50_000.0, noise));
    set(Metric::IoReadOps, if noise.one_in(3) { rate(2.0, noise) } else { 0.0 });
    set(Metric::IoWriteOps, rate(6.0, noise));
    set(Metric::NetRx, rate(30_000.0, noise));
    set(Metric::NetTx, rate(90_000.0, noise));
    set(Metric::Processes, (20.0 + f64::from(n % 13) * 5.0 * noise.around(0.1)).round());
    set(Metric::RootfsUsed, 2000.0 + f64::from(n) + minute as f64 / 500.0);
    set(Metric::RootfsTotal, 8192.0);
    set(Metric::OomKills, 0.0);
    set(Metric::Ooms, 0.0);
    set(Metric::MemoryMaxEvents, if noise.one_in(500) { 3.0 } else { 0.0 });
    set(Metric::MemoryHighEvents, 0.0);
    set(Metric::RefaultFile, if noise.one_in(5) { rate(3.0, noise) } else { 0.0 });
    set(Metric::RefaultAnon, 0.0);
    set(Metric::MajorFaults, if noise.one_in(5) { rate(0.5, noise) } else { 0.0 });
    codes
}

/// Reproducible noise (Knuth's MMIX generator).
struct Noise(u64);

impl Noise {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A factor around one, within `spread`.
    fn around(&mut self, spread: f64) -> f64 {
        1.0 + spread * (self.unit() + self.unit() + self.unit() - 1.5)
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.unit() * f64::from(n) < 1.0
    }
}

fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The requested operation.
enum Wanted {
    Figures { json: Option<PathBuf> },
    History(PathBuf),
}

impl Wanted {
    fn from_arguments() -> Result<Self, String> {
        let mut arguments = std::env::args().skip(1);
        match (arguments.next().as_deref(), arguments.next()) {
            (None, _) => Ok(Self::Figures { json: None }),
            (Some("--json"), Some(path)) => Ok(Self::Figures { json: Some(path.into()) }),
            (Some("--make"), Some(path)) => Ok(Self::History(path.into())),
            _ => Err("usage: bench_history [--json FILE | --make FILE]".to_owned()),
        }
    }
}
