//! The size of the ledger: `cargo xtask bench ledger`.
//!
//! Two weeks of 24 synthetic containers, eight copies of each (192 in all), with a record and a decision every minute,
//! carried out as by the daemon. The pipeline and the ledger are the daemon's own, and the ledger is a file.

#[path = "../shared/generate.rs"]
mod generate;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::{
    ContainerRecord, ContainerRecords, Limits, MemoryEvents, NodeRecord, Pressure, PressureLine, Snapshot,
    Summary,
};
use lxc_autoscale_core::{ErrorChain, Mebibytes, RecordTime, Vmid};
use lxc_autoscale_ml::backtest::recording::{Recording, Sample};
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::decide::{Action, Decision, Resource};
use lxc_autoscale_ml::ledger::{Ledger, Outcome, Quiet};
use lxc_autoscale_ml::pipeline::{Changes, Pipeline, Proposal};
use lxc_autoscale_ml::proposals::Approvals;
use serde::Serialize;

/// Containers of each kind.
const COPIES: u32 = 8;
const MINUTE: i64 = 60;
const STEP_MINUTES: usize = 5;
/// The figures are extrapolated to this many containers.
const CONTAINERS: f64 = 200.0;
const DAYS: f64 = 90.0;

#[derive(Parser)]
struct Args {
    /// Days of the two weeks that are replayed.
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u8).range(1..=14))]
    days: u8,
    /// Write the figures to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The measurements.
#[derive(Serialize)]
struct Figures {
    containers: u32,
    days: f64,
    /// Decisions made.
    decisions: u64,
    /// Entries written.
    entries: u64,
    entries_per_container_day: f64,
    /// Size of the file, including its indexes.
    bytes_per_entry: f64,
    /// For 200 containers in 90 days.
    entries_expected: f64,
    mib_expected: f64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bench_ledger: {}", ErrorChain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("decisions.sqlite");
    let traces = generate::traces(24, 14);
    let decisions = fill(&path, &traces, usize::from(args.days))?;
    let figures = measure(&path, traces.len(), f64::from(args.days), decisions)?;
    let mut text = String::new();
    writeln!(text, "| | |\n| --- | --- |")?;
    writeln!(text, "| containers, days | {}, {} |", figures.containers, figures.days)?;
    writeln!(text, "| decisions made | {} |", figures.decisions)?;
    writeln!(text, "| entries written | {} |", figures.entries)?;
    writeln!(text, "| entries a container and day | {:.1} |", figures.entries_per_container_day)?;
    writeln!(text, "| bytes an entry, indexes included | {:.0} |", figures.bytes_per_entry)?;
    writeln!(text, "| entries of 200 containers in 90 days | {:.0} |", figures.entries_expected)?;
    writeln!(text, "| their size | {:.0} MiB |", figures.mib_expected)?;
    io::stdout().lock().write_all(text.as_bytes())?;
    if let Some(json) = &args.json {
        std::fs::write(json, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

/// Decides and writes like the daemon, minute by minute; returns the number of decisions.
fn fill(path: &Path, traces: &[Recording], days: usize) -> Result<u64, Box<dyn Error>> {
    let mut config = Config::default();
    config.metrics.history = PathBuf::new();
    let mut pipeline = Pipeline::new(&config)?;
    let (mut ledger, _) = Ledger::open(path)?;
    let mut sizes: Vec<(u32, u64)> = traces.iter().map(provisioned).collect();
    let mut changes = Changes::new();
    let mut decisions = 0;
    for minute in 0..days * 24 * 60 {
        let at = traces[0].samples[0].at + MINUTE * i64::try_from(minute)?;
        let now = Timestamp::from_second(at)?;
        pipeline.take(snapshot(traces, &sizes, minute, now)?);
        pipeline.judge(now);
        let proposals = pipeline.propose(&changes, &Approvals::default(), now);
        decisions += 2 * u64::try_from(proposals.len())? * u64::from(COPIES);
        note(&mut ledger, &proposals, now)?;
        for (proposal, size) in proposals.iter().zip(&mut sizes) {
            for decision in proposal.decisions.both().into_iter().filter(|it| it.apply) {
                carry_out(&mut ledger, proposal, decision, now)?;
                changes.entry(proposal.id).or_default().note(decision, now);
                resize(size, decision);
                let done = now + SignedDuration::from_secs(1);
                pipeline.note_change(proposal.id, decision, (now, done), decision.to);
            }
        }
        if minute % 60 == 0 {
            ledger.keep_guards(pipeline.guards().lasting_states())?;
        }
    }
    ledger.write_stretches(Timestamp::from_second(traces[0].samples[0].at)?)?;
    Ok(decisions)
}

fn copies(id: Vmid) -> impl Iterator<Item = Vmid> {
    (0..COPIES).filter_map(move |copy| Vmid::try_from(id.get() + 1000 * copy).ok())
}

fn note(ledger: &mut Ledger, proposals: &[Proposal], now: Timestamp) -> Result<(), Box<dyn Error>> {
    let rules = proposals.iter().filter_map(|it| Some((it.inputs.policy.as_deref()?, it.in_force.as_ref())));
    ledger.keep_policies(rules)?;
    let quiet = proposals.iter().flat_map(|proposal| {
        let quiet = proposal.decisions.both().into_iter().filter(|it| !it.apply || it.action == Action::Keep);
        quiet.flat_map(move |decision| {
            let mode = proposal.in_force.policy.mode(decision.resource);
            copies(proposal.id).map(move |id| Quiet { id, decision, inputs: &proposal.inputs, mode })
        })
    });
    Ok(ledger.note(now, quiet)?)
}

fn carry_out(
    ledger: &mut Ledger,
    proposal: &Proposal,
    decision: &Decision,
    now: Timestamp,
) -> Result<(), Box<dyn Error>> {
    for id in copies(proposal.id) {
        let number = ledger.begin(now, id, decision, &proposal.inputs)?;
        ledger.settle(number, &Outcome::Done { before: decision.from, after: decision.to })?;
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of containers")]
fn resize(size: &mut (u32, u64), decision: &Decision) {
    match (decision.resource, decision.to) {
        (Resource::Cpu, Some(to)) => size.0 = to as u32,
        (Resource::Memory, Some(to)) => size.1 = to as u64,
        (_, None) => {}
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of containers")]
fn provisioned(trace: &Recording) -> (u32, u64) {
    (trace.provisioned.cores as u32, trace.provisioned.memory_mib as u64)
}

/// The node as the monitor records it at a minute, with the slight noise that five-minute means lack.
fn snapshot(
    traces: &[Recording],
    sizes: &[(u32, u64)],
    minute: usize,
    now: Timestamp,
) -> Result<Snapshot, Box<dyn Error>> {
    let time = RecordTime::utc(now);
    let mut containers = ContainerRecords::new();
    for (trace, size) in traces.iter().zip(sizes) {
        let sample = trace.samples.get(minute / STEP_MINUTES).ok_or("the trace has ended")?;
        let id = Vmid::try_from(u32::try_from(trace.id)?)?;
        containers.insert(id, record(sample, *size, minute, time));
    }
    let summary = Summary {
        collection_start_time: time,
        collection_end_time: time,
        total_containers: u64::try_from(containers.len())?,
        total_duration_seconds: 0.01,
        monitor_cpu_percent: None,
        monitor_memory_usage_mb: None,
        schema_version: Some(1),
        stopped_containers: Vec::new(),
        node: Some(NodeRecord {
            name: "bench".to_owned(),
            cpus: Some(64),
            memory_total_mb: Some(262_144.0),
            memory_available_mb: Some(131_072.0),
            ..NodeRecord::default()
        }),
    };
    Ok(Snapshot { summary, containers })
}

fn record(
    sample: &Sample,
    (cores, memory_mib): (u32, u64),
    minute: usize,
    time: RecordTime,
) -> ContainerRecord {
    let unrest = 1.0 - 0.03 * (minute as f64 * 0.7).sin().abs();
    let wanted_cores = sample.cpu_cores.unwrap_or(0.0) * unrest;
    let cores_used = wanted_cores.min(f64::from(cores));
    let wanted_mib = sample.memory_mib.unwrap_or(0.0) * unrest;
    let line = |avg10: f64| PressureLine { avg10, avg60: avg10, avg300: avg10, total_usec: 0 };
    let short = if memory_mib as f64 * 0.98 < wanted_mib { 8.0 } else { 0.0 };
    let mut record = ContainerRecord {
        cpu_usage_percent: Some(100.0 * cores_used / f64::from(cores)),
        memory_usage_mb: Some(wanted_mib.min(memory_mib as f64 * 0.99)),
        process_count: Some(20),
        uptime_seconds: Some(1e6 + 60.0 * minute as f64),
        cpu_cores_used: Some(cores_used),
        cpu_throttled_share: Some(if f64::from(cores) < wanted_cores { 0.3 } else { 0.0 }),
        limits: Some(Limits {
            cores: Some(f64::from(cores)),
            memory_mb: Some(memory_mib as f64),
            ..Limits::default()
        }),
        memory_events: Some(MemoryEvents { oom: Some(0), oom_kill: Some(0), ..MemoryEvents::default() }),
        configuration: Some(
            ContainerConfig {
                cores: Some(cores),
                memory_mb: Mebibytes::new(memory_mib),
                ..ContainerConfig::parse("hostname: bench\n").0
            }
            .into(),
        ),
        ..ContainerRecord::empty(time)
    };
    record.pressure.memory = Some(Pressure { some: line(short), full: Some(line(short / 2.0)) });
    record
}

fn measure(path: &Path, kinds: usize, days: f64, decisions: u64) -> Result<Figures, Box<dyn Error>> {
    let ledger = Ledger::open_read_only(path)?.ok_or("there is no ledger")?;
    let entries = ledger.count()?;
    drop(ledger);
    // Reopened, so that the write-ahead log is merged into the file.
    drop(Ledger::open(path)?);
    let bytes = std::fs::metadata(path)?.len();
    let containers = u32::try_from(kinds)? * COPIES;
    let container_days = f64::from(containers) * days;
    let per_day = entries as f64 / container_days;
    let bytes_per_entry = bytes as f64 / entries.max(1) as f64;
    let entries_expected = per_day * CONTAINERS * DAYS;
    let mib_expected = entries_expected * bytes_per_entry / f64::from(1 << 20);
    Ok(Figures {
        containers,
        days,
        decisions,
        entries,
        entries_per_container_day: per_day,
        bytes_per_entry,
        entries_expected,
        mib_expected,
    })
}
