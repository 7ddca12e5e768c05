//! A cycle of the daemon for two hundred containers: cold, after a day, after a restart.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::metrics_file::{Bounds, MetricsWriter};

use crate::node::{CONTAINERS, Node, STEP};
use crate::process::{Daemon, Memory, Program};

/// Cycles measured, each with a new snapshot.
const CYCLES: u32 = 6;
/// Snapshots of a day: as many as the daemon's tables hold.
const DAY: u32 = 1440;
/// The size at which the monitor drops the older half of the metrics file.
const SHIPPED_BYTES: u64 = 64 << 20;
/// Bounds that a day does not reach.
const UNBOUNDED: Bounds = Bounds { max_bytes: 8 << 30, max_age: Duration::from_hours(720) };

/// The measurements.
#[derive(serde::Serialize)]
pub(crate) struct Figures {
    /// Snapshots of the metrics file at its shipped bounds.
    pub(crate) snapshots: u32,
    /// The first cycle on the files of a node with shipped settings.
    pub(crate) cold: Phase,
    /// The first cycle on a metrics file of a whole day, which fills the tables.
    pub(crate) day: Phase,
    /// A cycle with one new snapshot and full tables, in the daemon that read the day.
    pub(crate) steady: Phase,
    /// The first cycle after a restart, from the checkpoint.
    pub(crate) restart: Phase,
    /// A cycle with one new snapshot after that restart.
    pub(crate) steady_after_restart: Phase,
}

/// One measurement.
#[derive(Clone, Copy, serde::Serialize)]
pub(crate) struct Phase {
    /// CPU time per cycle, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Memory at the end.
    pub(crate) memory_mib: Memory,
}

/// The files of a node, and the daemon's configuration.
struct Stage {
    directory: PathBuf,
    configuration: PathBuf,
    node: Node,
    writer: MetricsWriter,
    /// Number of initial snapshots.
    snapshots: u32,
}

impl Stage {
    /// With at most `minutes` and `bytes` of snapshots, which end about now, and the history before them.
    fn set_up(directory: &Path, history: &Path, minutes: u32, bytes: u64) -> Result<Self, Box<dyn Error>> {
        std::fs::create_dir_all(directory)?;
        let metrics = directory.join("lxc_metrics.json");
        let text = format!(
            "interval_seconds = 2\n[metrics]\nfile = '{}'\nhistory = '{}'\nmax_age_seconds = 3600\n\
             [scaling]\nmode = 'recommend'\n[state]\ndirectory = '{}'\n\
             [notifications]\ndirectory = ''\n[logging]\nfile = ''\n",
            metrics.display(),
            history.display(),
            directory.join("state").display(),
        );
        let configuration = directory.join("lxc_autoscale_ml.toml");
        std::fs::write(&configuration, text)?;
        let one = serde_json::to_vec(&Node::new(Timestamp::now()).next()?)?.len() as u64;
        let minutes = minutes.min(u32::try_from(bytes / one)?);
        let begin = Timestamp::now().checked_sub(SignedDuration::try_from(minutes * STEP)?)?;
        let mut node = Node::new(begin);
        // In one go: appending keeps copies for slow readers, which would be gigabytes here.
        let mut file = BufWriter::new(File::create(&metrics)?);
        file.write_all(b"[")?;
        for minute in 0..minutes {
            file.write_all(if minute == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut file, &node.next()?)?;
        }
        file.write_all(b"\n]\n")?;
        file.into_inner()?.sync_all()?;
        let writer = MetricsWriter::open(metrics, UNBOUNDED)?.0;
        Ok(Self { directory: directory.to_owned(), configuration, node, writer, snapshots: minutes })
    }

    fn minute(&mut self) -> Result<(), Box<dyn Error>> {
        Ok(self.writer.append(&self.node.next()?)?)
    }

    /// Starts the daemon and measures its first cycle.
    fn first_cycle(&self, program: &Program<'_>) -> Result<(Daemon, Phase), Box<dyn Error>> {
        let mut daemon = Daemon::start(program, &self.configuration)?;
        daemon.end_of_cycle()?;
        let phase = Phase { cpu_seconds: daemon.cpu_seconds()?, memory_mib: daemon.memory()? };
        Ok((daemon, phase))
    }

    /// The mean of the next cycles, each with a new snapshot.
    fn cycles(&mut self, daemon: &mut Daemon) -> Result<Phase, Box<dyn Error>> {
        // Not counting the rest of the start.
        daemon.end_of_cycle()?;
        let before = daemon.cpu_seconds()?;
        for _ in 0..CYCLES {
            self.minute()?;
            daemon.end_of_cycle()?;
        }
        let cpu_seconds = (daemon.cpu_seconds()? - before) / f64::from(CYCLES);
        Ok(Phase { cpu_seconds, memory_mib: daemon.memory()? })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It may be gigabytes; the directory around it is removed in any case.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Measures the daemon `program` on the monitor's `history`, with files in `directory`.
pub(crate) fn measure(
    program: &Program<'_>,
    history: &Path,
    directory: &Path,
) -> Result<Figures, Box<dyn Error>> {
    let shipped = Stage::set_up(&directory.join("shipped"), history, DAY, SHIPPED_BYTES)?;
    let snapshots = shipped.snapshots;
    let (daemon, cold) = shipped.first_cycle(program)?;
    daemon.stop()?;
    drop(shipped);

    let mut whole = Stage::set_up(&directory.join("day"), history, DAY, UNBOUNDED.max_bytes)?;
    let (mut daemon, day) = whole.first_cycle(program)?;
    let steady = whole.cycles(&mut daemon)?;
    daemon.stop()?;
    let (mut daemon, restart) = whole.first_cycle(program)?;
    let steady_after_restart = whole.cycles(&mut daemon)?;
    daemon.stop()?;
    Ok(Figures { snapshots, cold, day, steady, restart, steady_after_restart })
}

/// The figures as a table.
pub(crate) fn markdown(figures: &Figures) -> String {
    let mut text = format!(
        "| {CONTAINERS} containers | CPU | resident at most | resident at the end | of it not the program |\n\
         | --- | ---: | ---: | ---: | ---: |\n"
    );
    let shipped =
        format!("first start: {} snapshots in the metrics file, 30 days of history", figures.snapshots);
    for (what, phase) in [
        (shipped.as_str(), figures.cold),
        ("first start with a day in the metrics file", figures.day),
        ("**a cycle after that day**", figures.steady),
        ("start from the checkpoint", figures.restart),
        ("**a cycle after that start**", figures.steady_after_restart),
    ] {
        let Phase { cpu_seconds, memory_mib: Memory { peak, resident, anonymous } } = phase;
        let _ = writeln!(
            text,
            "| {what} | {cpu_seconds:.2} s | {peak:.1} MiB | {resident:.1} MiB | {anonymous:.1} MiB |"
        );
    }
    text
}
