//! Runs the demo from beginning to end.

use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::service::Signals;
use lxc_autoscale_core::snapshot::Snapshot;

use super::binaries::{BinaryError, DAEMONS, Origin, find_or_build};
use super::configs;
use super::decisions::DecisionLog;
use super::paths::DemoPaths;
use super::report::Report;
use super::stage::{Stage, StageError};
use super::supervisor::{Daemon, SuperviseError};
use super::table::{View, draw};
use super::watch::{Allocation, Watch};
use crate::node::{EngineKind, NodeError, NodeLayout};

/// How often daemons and containers are checked.
const LOOK: Duration = Duration::from_millis(500);
/// How often the table is redrawn on a terminal.
const REDRAW: Duration = Duration::from_secs(1);
/// How often it is printed to anything else.
const REPRINT: Duration = Duration::from_secs(10);
/// How often decisions are read.
///
/// Only the newest decisions are available, so this is more often than they are made.
const ASK: Duration = Duration::from_millis(1500);
/// The default number of real containers.
const REAL_CONTAINERS: u32 = 3;
/// How long a daemon that was just restarted has at the end to prove that it works.
const PROOF: Duration = Duration::from_secs(10);

/// The options of a demo.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Simulated or real containers.
    pub engine: EngineKind,
    /// Number of containers; `None` for the engine's default.
    pub n_containers: Option<u32>,
    /// Duration, counted from the start of the daemons; `None` to run until interrupted.
    pub duration: Option<Duration>,
    /// Where to write the report, if anywhere.
    pub report: Option<PathBuf>,
    /// The API's port; `None` for any free one.
    pub api_port: Option<u16>,
    /// Directory for all files; `None` for a temporary one.
    pub directory: Option<PathBuf>,
    /// Policies for the ml daemon.
    pub policies: Option<PathBuf>,
    /// Seed of everything random.
    pub seed: u64,
    /// How much faster than real time the simulated workloads run.
    pub speed: f64,
}

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The daemons' programs are missing.
    #[error("the daemons' programs are missing")]
    Binaries(#[from] BinaryError),
    /// A file cannot be written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The policies cannot be read.
    #[error("cannot read the policies `{}`", path.display())]
    Policies {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The node could not be created.
    #[error("the demo has no node to run on")]
    Stage(#[from] StageError),
    /// A daemon cannot be started.
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    /// There is no port for the API.
    #[error("no port for the API: cannot listen on {address}")]
    Port {
        /// The address that was tried.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The runtime, the signals or standard output do not work.
    #[error("cannot wait for signals or write to standard output")]
    Io(#[from] io::Error),
}

/// Runs the demo; returns whether all three daemons were healthy.
///
/// # Errors
/// [`DemoError`] if it cannot start, or its node fails; then everything it started has ended.
pub fn run(options: &DemoOptions) -> Result<bool, DemoError> {
    let programs = find_or_build(&Origin::of_this_process()?)?;
    let paths = DemoPaths::prepare(options.directory.as_deref())?;
    let outcome = play(options, &programs, &paths);
    let cleaned = paths.clean_up();
    let healthy = outcome?;
    cleaned?;
    Ok(healthy)
}

fn play(options: &DemoOptions, programs: &[PathBuf; 3], paths: &DemoPaths) -> Result<bool, DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on, Ctrl-C ends the demo in an orderly way, whatever it is doing.
    let mut signals = runtime.block_on(async { Signals::install() })?;
    let api = api_address(options.api_port)?;
    if let Some(path) = &options.report {
        // It is better to fail now than when there is something to report.
        Report::prepare(path)?;
    }
    let policies = match &options.policies {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| DemoError::Policies { path: path.clone(), source })?,
    };
    say(&format!("making the node and {} hours of its past …", super::stage::PAST.as_hours()))?;
    let stage = match options.engine {
        EngineKind::Simulated => Stage::simulated(paths, options.n_containers, options.seed, options.speed)?,
        EngineKind::Lxc => Stage::real(paths, options.n_containers.unwrap_or(REAL_CONTAINERS))?,
    };
    let files = configs::write(paths, &stage.roots, api, programs, &policies)?;
    stage.repeat_present(paths, &programs[0], &files.monitor)?;
    introduce(options, paths, api)?;
    let log = paths.log();
    let configs = [&files.monitor, &files.api, &files.ml];
    let mut daemons = Vec::new();
    for ((name, program), config) in DAEMONS.into_iter().zip(programs).zip(configs) {
        daemons.push(Daemon::start(name, program, config, &log)?);
    }
    let decisions = DecisionLog::new(&programs[2], paths.root(), &files.ml);
    let mut demo = Demo::new(paths, stage.cpus, decisions, daemons, api);
    demo.look(&stage);
    runtime.block_on(demo.watch(options.duration, &stage, &mut signals))?;
    let healthy = demo.end(options, &stage)?;
    stage.take_down()?;
    Ok(healthy)
}

/// The requested port, or any free one.
fn api_address(port: Option<u16>) -> Result<SocketAddr, DemoError> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(0)));
    let listener = TcpListener::bind(wanted).and_then(|listener| listener.local_addr());
    listener.map_err(|source| DemoError::Port { address: wanted, source })
}

fn introduce(options: &DemoOptions, paths: &DemoPaths, api: SocketAddr) -> io::Result<()> {
    let at = |name: &str| paths.root().join(name).display().to_string();
    say(&format!("everything is in {}", paths.root().display()))?;
    say(&format!("  node        {}   (pct: {})", at("node"), at("bin/pct")))?;
    say(&format!("  metrics     {}", paths.metrics().display()))?;
    say(&format!("  logs        {}", at("log")))?;
    say(&format!("  API         http://{api}   (curl http://{api}/resource/vm/status?vm_id=104)"))?;
    let clock = match options.engine {
        EngineKind::Simulated => format!(
            "workloads run at {} times the speed of the clock; counters and time stamps are on the clock",
            options.speed
        ),
        EngineKind::Lxc => "real containers on this machine's kernel".to_owned(),
    };
    say(&clock)?;
    say("Ctrl-C ends it\n")
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// The running demo.
struct Demo {
    layout: NodeLayout,
    metrics: PathBuf,
    cpus: u32,
    decisions: DecisionLog,
    daemons: Vec<Daemon>,
    api: SocketAddr,
    begun: Instant,
    watch: Watch,
    events: Vec<String>,
}

impl Demo {
    fn new(
        paths: &DemoPaths,
        cpus: u32,
        decisions: DecisionLog,
        daemons: Vec<Daemon>,
        api: SocketAddr,
    ) -> Self {
        Self {
            layout: paths.node(),
            metrics: paths.metrics(),
            cpus,
            decisions,
            daemons,
            api,
            begun: Instant::now(),
            watch: Watch::default(),
            events: Vec::new(),
        }
    }

    /// Watches and shows the node until the time is over, a signal arrives, or the node fails.
    async fn watch(
        &mut self,
        duration: Option<Duration>,
        stage: &Stage,
        signals: &mut Signals,
    ) -> Result<(), DemoError> {
        let is_terminal = io::stdout().is_terminal();
        let mut looks = tokio::time::interval(LOOK);
        let (mut shown, mut asked) = (None::<Instant>, None::<Instant>);
        let is_due = |last: Option<Instant>, every: Duration| last.is_none_or(|last| every <= last.elapsed());
        loop {
            tokio::select! {
                biased;
                _ = signals.next() => return Ok(()),
                _ = looks.tick() => {}
            }
            if stage.has_ended() || duration.is_some_and(|duration| duration <= self.begun.elapsed()) {
                return Ok(());
            }
            self.poll_daemons()?;
            self.look(stage);
            if is_due(asked, ASK) {
                self.ask();
                asked = Some(Instant::now());
            }
            if is_due(shown, if is_terminal { REDRAW } else { REPRINT }) {
                self.show(is_terminal)?;
                shown = Some(Instant::now());
            }
        }
    }

    fn poll_daemons(&mut self) -> Result<(), DemoError> {
        for daemon in &mut self.daemons {
            if let Some(event) = daemon.poll(Instant::now())? {
                self.events.push(format!("{} s: {event}", self.begun.elapsed().as_secs()));
                // Only the newest ones are shown; a daemon that keeps ending must not fill the memory.
                self.events.drain(..self.events.len().saturating_sub(5));
            }
        }
        Ok(())
    }

    /// Reads every container's allocation and counters.
    fn look(&mut self, stage: &Stage) {
        let configs = std::fs::read_dir(self.layout.configs()).into_iter().flatten().flatten();
        for entry in configs {
            let Some(id) = entry.file_name().to_str().and_then(Vmid::from_config_file_name) else { continue };
            // Proxmox replaces the file as a whole, so it is complete or, if the container was destroyed, gone.
            let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
            let (config, _) = ContainerConfig::parse(&text);
            self.watch.look(id, Allocation::of(&config, self.cpus), stage.counters.read(id));
        }
    }

    /// Reads the decisions; without an answer, the old ones stay.
    fn ask(&mut self) {
        // Only the table needs it, and the next answer makes up for a failure.
        let _ = self.decisions.ask();
    }

    fn newest(&self) -> Option<Snapshot> {
        MetricsReader::read_newest(&self.metrics).ok().flatten()
    }

    fn show(&self, is_terminal: bool) -> io::Result<()> {
        let snapshot = self.newest();
        let daemons: Vec<_> =
            self.daemons.iter().map(|daemon| (daemon.name(), daemon.is_running())).collect();
        let view = View {
            snapshot: snapshot.as_ref(),
            decisions: self.decisions.known(),
            seconds: self.begun.elapsed().as_secs(),
            daemons: &daemons,
            resizes: (self.watch.resizes_up, self.watch.resizes_down),
            oom_kills: self.watch.oom_kills(),
        };
        let width = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        let table = draw(&view, width.filter(|columns| is_terminal && 0 < *columns));
        let mut out = io::stdout().lock();
        if is_terminal {
            // Cursor home and clear screen, so that the table is redrawn in place.
            write!(out, "\x1b[H\x1b[2J")?;
        }
        writeln!(out, "{table}{}", self.events.join("\n"))?;
        out.flush()
    }

    /// Makes the report, stops the daemons in order, and writes the report.
    fn end(&mut self, options: &DemoOptions, stage: &Stage) -> Result<bool, DemoError> {
        let works = self.prove_work();
        self.look(stage);
        self.ask();
        let seconds = self.begun.elapsed().as_secs_f64();
        // In the reverse of the starting order, so that no daemon loses another that it depends on.
        for daemon in self.daemons.iter_mut().rev() {
            daemon.ask_to_stop();
            daemon.wait_stopped();
        }
        let failures: Vec<&String> = self.daemons.iter().flat_map(Daemon::failures).collect();
        let healthy = works && failures.is_empty();
        let report = Report::new(&self.watch, self.decisions.known(), healthy, seconds);
        say(&format!(
            "\nafter {seconds:.0} s: {} resizes up, {} down, {} OOM kills; daemons {}",
            report.resizes_up,
            report.resizes_down,
            report.oom_kills,
            if healthy { "healthy" } else { "not healthy" }
        ))?;
        for container in &report.containers {
            if container.first != container.last {
                say(&format!(
                    "  {}: {} → {} cores, {} → {} MiB",
                    container.id,
                    container.first.cores,
                    container.last.cores,
                    container.first.memory_mib,
                    container.last.memory_mib
                ))?;
            }
        }
        for failure in failures {
            say(&format!("  {failure}"))?;
        }
        for daemon in self.daemons.iter().filter(|daemon| !daemon.failures().is_empty()) {
            let said = std::fs::read_to_string(daemon.errors()).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            for line in &lines[lines.len().saturating_sub(5)..] {
                say(&format!("  {}: {line}", daemon.name()))?;
            }
        }
        // After the summary, so that this is shown even if the disk is full.
        if let Some(path) = &options.report {
            report.write(path)?;
        }
        Ok(healthy)
    }

    /// Whether every daemon works now: all are running, the API is listening, and measurements are current.
    fn prove_work(&mut self) -> bool {
        let deadline = Instant::now() + PROOF;
        loop {
            let all_run = self.poll_daemons().is_ok() && self.daemons.iter().all(Daemon::is_running);
            let listens = TcpStream::connect_timeout(&self.api, Duration::from_secs(1)).is_ok();
            let oldest = Timestamp::now().as_second() - i64::from(configs::MONITOR_INTERVAL_SECONDS) * 5;
            let is_fresh = self.newest().is_some_and(|snapshot| {
                oldest <= snapshot.summary.collection_start_time.instant().as_second()
            });
            if all_run && listens && is_fresh {
                return true;
            }
            if deadline < Instant::now() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
