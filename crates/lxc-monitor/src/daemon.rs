//! `lxc-monitor run`: a cycle per interval, until it is told to end.
//!
//! A cycle is done on a thread apart, with everything in it that waits for a disk (flags, alerts, the metrics file, the history), so that
//! a disk that hangs holds up the next cycle and neither scrapes nor the watchdog: ending the monitor would not free the disk, and what
//! is not written yet would be lost.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lxc_autoscale_core::metrics_file::trust::Believed;
use lxc_autoscale_core::metrics_file::{MetricsReader, WriteError};
use lxc_autoscale_core::service::{self, Heartbeat, Wake};
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_autoscale_core::telemetry::LogFile;
use lxc_autoscale_core::{ErrorChain, config};

use crate::alerts::Alerts;
use crate::anomaly::AnomalyWatch;
use crate::claims::{ClaimError, Claims};
use crate::collector::Collector;
use crate::config::MonitorConfig;
use crate::exporter::Exporter;
use crate::exporter::page::{Cycle, Identities};
use crate::history::History;
use crate::output::Output;
use crate::usage;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Signals cannot be received.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    /// The exchange file belongs to another monitor.
    #[error(transparent)]
    Output(#[from] WriteError),
    /// What it keeps belongs to another monitor.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// The running daemon.
#[derive(Debug)]
struct Daemon {
    config_path: PathBuf,
    config: MonitorConfig,
    work: Arc<Mutex<Work>>,
}

/// What a cycle works with.
#[derive(Debug)]
struct Work {
    collector: Collector,
    sinks: Sinks,
}

/// What completes a snapshot, keeps it and serves it.
#[derive(Debug)]
struct Sinks {
    claims: Claims,
    output: Output,
    anomalies: AnomalyWatch,
    alerts: Alerts,
    history: History,
    exporter: Exporter,
}

/// Measures until SIGTERM or SIGINT; SIGHUP reads the configuration again.
///
/// # Errors
/// [`DaemonError`] when it cannot start; nothing that happens later ends it.
pub async fn run(config_path: &Path, config: MonitorConfig, log: LogFile) -> Result<(), DaemonError> {
    let (sinks, mut collector) = (Sinks::open(&config, log)?, Collector::new(&config));
    if let Some(newest) = newest_record(&config) {
        collector.go_on_from(&newest);
    }
    let mut daemon = Daemon {
        config_path: config_path.to_owned(),
        work: Arc::new(Mutex::new(Work { collector, sinks })),
        config,
    };
    let mut heartbeat = Heartbeat::start(daemon.config.interval()).map_err(DaemonError::Signals)?;
    tracing::info!(
        "lxc-monitor {} measures every {} s and writes `{}`",
        env!("CARGO_PKG_VERSION"),
        daemon.config.interval_seconds,
        daemon.config.output.file.display()
    );
    service::notify_ready();
    loop {
        match heartbeat.next().await {
            Wake::Cycle => daemon.cycle().await,
            Wake::Reload => daemon.reload(&mut heartbeat).await,
            Wake::Stop => break,
        }
    }
    service::notify_stopping();
    daemon.apart(|work| work.sinks.finish()).await;
    tracing::info!("lxc-monitor ends");
    Ok(())
}

/// The newest record of the monitor before; those of the original count other things.
fn newest_record(config: &MonitorConfig) -> Option<Snapshot> {
    match MetricsReader::read_newest_by(&config.output.file, &Believed::own()) {
        Ok(newest) => newest.filter(|newest| newest.summary.schema_version.is_some()),
        Err(error) => {
            tracing::warn!("{}; the totals of I/O and traffic begin anew", ErrorChain(&error));
            None
        }
    }
}

impl Daemon {
    async fn cycle(&mut self) {
        let interval = self.config.interval();
        self.apart(move |work| {
            let snapshot = work.collector.cycle();
            let stopped = work.collector.configurations_of(&snapshot.summary.stopped_containers).collect();
            work.sinks.take(snapshot, stopped, interval);
        })
        .await;
    }

    /// Does something that may wait for a disk, and goes on with everything else meanwhile. A cycle in which many reads hang takes
    /// many times their limit, but it ends.
    async fn apart<T: Send + 'static>(&self, what: impl FnOnce(&mut Work) -> T + Send + 'static) -> T {
        let work = Arc::clone(&self.work);
        let what = move || what(&mut work.lock().unwrap_or_else(PoisonError::into_inner));
        match service::alive_during(tokio::task::spawn_blocking(what)).await {
            Ok(done) => done,
            // As if it had been done here: systemd starts a new monitor.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Takes over the configuration as it stands in the file now; one that is wrong, or wants what another monitor writes,
    /// changes nothing.
    async fn reload(&mut self, heartbeat: &mut Heartbeat) {
        service::notify_reloading();
        match config::load::<MonitorConfig>(&self.config_path) {
            Ok(config) => self.take_over(config, heartbeat).await,
            Err(error) => tracing::error!("{}; the settings stay as they were", ErrorChain(&error)),
        }
        service::notify_ready();
    }

    async fn take_over(&mut self, config: MonitorConfig, heartbeat: &mut Heartbeat) {
        let new = config.clone();
        let taken = self.apart(move |work| {
            work.sinks.claims.add(&new)?;
            work.collector.reconfigure(&new);
            work.sinks.reconfigure(&new);
            work.sinks.claims.keep_only(&new);
            Ok::<(), ClaimError>(())
        });
        if let Err(error) = taken.await {
            tracing::error!("{}; the settings stay as they were", ErrorChain(&error));
            return;
        }
        if config.logging != self.config.logging {
            tracing::warn!("changes of [logging] take effect at the next start");
        }
        if config.interval() != self.config.interval() {
            heartbeat.set_period(config.interval());
        }
        self.config = config;
        tracing::info!("read the configuration `{}` again", self.config_path.display());
    }
}

impl Sinks {
    fn open(config: &MonitorConfig, log: LogFile) -> Result<Self, DaemonError> {
        // First the locks, that of the exchange file among them: all of it belongs to one monitor.
        let output = Output::open(&config.output)?;
        let mut claims = Claims::default();
        claims.add(config)?;
        Ok(Self {
            claims,
            output,
            anomalies: AnomalyWatch::open(&config.anomaly),
            alerts: Alerts::open(config),
            history: History::start(&config.history, config.output.file.clone(), config.interval()),
            exporter: Exporter::start(&config.exporter, config.interval(), log),
        })
    }

    /// Takes what a cycle measured; the log tells of it when all is done.
    fn take(&mut self, mut snapshot: Snapshot, stopped: Identities, interval: Duration) {
        self.anomalies.annotate(&mut snapshot);
        self.alerts.apply(&mut snapshot);
        let measured = describe(&snapshot);
        let snapshot = Arc::new(snapshot);
        let written = self.output.append(&snapshot);
        self.history.record(&snapshot);
        let is_written = written.is_ok();
        let kept = written.as_ref().ok().and_then(Option::clone);
        self.exporter.publish(Cycle { snapshot, stopped, kept, is_written, interval });
        match written {
            Ok(_) => {
                tracing::info!("{measured}");
                service::notify_status(&measured);
            }
            Err(error) => {
                tracing::info!("{measured}, not written");
                service::notify_status(&format!("{measured}, not written: {}", ErrorChain(&error)));
            }
        }
    }

    fn reconfigure(&mut self, config: &MonitorConfig) {
        self.anomalies.reconfigure(&config.anomaly);
        self.alerts.reconfigure(config);
        self.output.reconfigure(&config.output);
        self.history.reconfigure(&config.history, config.output.file.clone(), config.interval());
        self.exporter.reconfigure(&config.exporter);
    }

    fn finish(&mut self) {
        self.anomalies.finish();
        self.history.stop();
    }
}

/// A snapshot in one line.
fn describe(snapshot: &Snapshot) -> String {
    let summary = &snapshot.summary;
    let milliseconds = summary.total_duration_seconds * 1000.0;
    let missing = |field| summary.node.as_ref().and_then(|node| node.missing.reason(field));
    if let Some(reason) = missing("containers") {
        return format!("measured nothing in {milliseconds:.1} ms: {reason}");
    }
    let plural = if summary.total_containers == 1 { "" } else { "s" };
    let stopped = match missing("stopped_containers") {
        Some(_) => "unknown which are".to_owned(),
        None => summary.stopped_containers.len().to_string(),
    };
    let incomplete =
        snapshot.containers.values().filter(|record| !usage::absent_required(record).is_empty()).count();
    let incomplete = if incomplete == 0 { String::new() } else { format!(", {incomplete} incomplete") };
    let cores = summary.node.as_ref().and_then(|node| node.cpu_cores_used);
    let node = cores.map(|cores| format!(", node uses {cores:.2} cores")).unwrap_or_default();
    format!(
        "measured {} running container{plural} in {milliseconds:.1} ms, {stopped} stopped{incomplete}{node}",
        summary.total_containers
    )
}
