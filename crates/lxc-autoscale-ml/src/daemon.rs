//! The daemon: one cycle per interval, whatever happens to its file, its disk and the API.

mod reading;

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::config::{self, ConfigError};
use lxc_autoscale_core::service::{
    Heartbeat, StopAsked, Wake, notify_alive, notify_ready, notify_reloading, notify_status, notify_stopping,
};

use self::reading::Reading;
use crate::checkpoint::{self, CheckpointError};
use crate::config::Config;
use crate::config_file::ConfigFile;
use crate::detect::Detector;
use crate::execute::{Carried, Executor, StartError, is_due};
use crate::exporter::{Exporter, Instruments, Newest};
use crate::figures::counted;
use crate::guard::tell;
use crate::ledger::{LedgerError, Outcome, StateLock};
use crate::pipeline::{Learnt, Pipeline, Proposal};
use crate::trouble::Trouble;

/// How long a running call may continue after the daemon was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// How often the candidates are saved: they have many rows, and ten minutes of scores are soon made up for.
const KEEP_SHADOWS_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals cannot be received.
    #[error("cannot install the signal handlers")]
    Signals(#[source] io::Error),
}

impl From<LedgerError> for RunError {
    fn from(error: LedgerError) -> Self {
        Self::Start(error.into())
    }
}

/// The state of the daemon across cycles.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    pipeline: Pipeline,
    executor: Executor,
    metrics_trouble: Trouble,
    /// The columns learnt from, as last logged.
    features_told: String,
    /// When the candidates were last saved.
    shadows_kept: Option<Timestamp>,
    checkpoint_trouble: Trouble,
    /// When the last checkpoint was due; before that, when the first cycle was.
    checkpointed: Option<Timestamp>,
    instruments: Arc<Instruments>,
    newest: Newest,
}

/// What happened in a cycle.
#[derive(Debug, Default)]
pub struct CycleReport {
    /// The decisions, by container.
    pub proposals: Vec<Proposal>,
    /// The outcome of those that were to be carried out.
    pub carried: Vec<Carried>,
    /// What is wrong with the metrics file, the ledger or the API.
    pub troubles: Vec<String>,
}

impl Daemon {
    /// Opens the ledger; does not read any metrics yet.
    ///
    /// # Errors
    /// [`StartError`] when the state directory cannot be written.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_counting(config, Arc::default())
    }

    /// Like [`Daemon::start`], but continues the counters of the previous daemon.
    ///
    /// # Errors
    /// Like [`Daemon::start`].
    pub fn start_counting(config: Config, instruments: Arc<Instruments>) -> Result<Self, StartError> {
        let mut pipeline = Pipeline::new(&config)?;
        let mut executor = Executor::start(&config)?.counting(Arc::clone(&instruments));
        pipeline.restore_guards(executor.guards()?, executor.changes());
        pipeline.know_first_sizes(executor.first_sizes()?);
        pipeline.shadows().restore(executor.shadows()?);
        restore(&mut pipeline, &config.state.checkpoint());
        executor.settle_interrupted(&mut pipeline)?;
        let metrics_trouble = Trouble::none("the metrics file");
        Ok(Self {
            pipeline,
            executor,
            metrics_trouble,
            features_told: String::new(),
            shadows_kept: None,
            checkpoint_trouble: Trouble::none("the checkpoint"),
            checkpointed: None,
            newest: Newest { interval: config.interval(), ..Newest::default() },
            instruments,
            config,
        })
    }

    /// Runs one cycle at `now`. When asked to stop, it ends after the running change; it decides nothing if not
    /// everything was read by then.
    pub async fn cycle(&mut self, now: Timestamp, stop: &StopAsked) -> CycleReport {
        let mut report = CycleReport::default();
        let begun = Instant::now();
        self.executor.begin_cycle(now);
        self.take_in_applied(now);
        let is_fresh = self.load(now, stop);
        if stop.is_asked() {
            if self.pipeline.is_whole() {
                // The guards' observations belong to the checkpoint that is written now.
                self.executor.keep_guards(self.pipeline.guards().lasting_states());
            }
            return report;
        }
        if is_fresh {
            self.newest.judged = self.learn();
            self.ask_of_boosts(now).await;
            self.pipeline.judge(now);
            self.tell(now);
            self.tell_shifts(now);
            tracing::info!("Processing containers for scaling decisions...");
            let approvals = self.executor.approvals(now);
            report.proposals = self.pipeline.propose(self.executor.changes(), &approvals, now);
            self.executor.note_quiet(&report.proposals, now);
            self.executor.ask_people(&report.proposals, now);
            let started = Instant::now();
            for index in self.executor.order(&report.proposals) {
                let proposal = &report.proposals[index];
                // If the API takes minutes, the input of the last decisions has become too old.
                if stop.is_asked() || self.config.metrics.max_age() < started.elapsed() {
                    break;
                }
                let carried = self.executor.carry_out(proposal, now).await;
                self.note_set(&carried, now, begun.elapsed());
                if !carried.is_empty() {
                    // After a crash, a shrink that was not saved would be one without a guard.
                    self.executor.keep_guards(self.pipeline.guards().lasting_states());
                }
                report.carried.extend(carried);
            }
        }
        self.executor.keep_guards(self.pipeline.guards().lasting_states());
        self.pipeline.decide_shadows(now);
        let due = self.shadows_kept.is_none_or(|last| KEEP_SHADOWS_EVERY <= now.duration_since(last).abs());
        if due {
            self.shadows_kept = Some(now);
            self.keep_shadows();
        }
        self.checkpoint_if_due(now);
        self.count(&report, begun.elapsed());
        let troubles =
            [self.metrics_trouble.current(), self.checkpoint_trouble.current(), self.executor.trouble()];
        report.troubles = troubles.into_iter().flatten().map(str::to_owned).collect();
        report
    }

    /// Counts a cycle, its duration and its decisions.
    fn count(&mut self, report: &CycleReport, took: Duration) {
        for Carried { decision, outcome, .. } in &report.carried {
            self.instruments.decided(decision, outcome);
        }
        for proposal in &report.proposals {
            for decision in proposal.decisions.both().into_iter().filter(|decision| !is_due(decision)) {
                let mode = proposal.in_force.policy.mode(decision.resource);
                self.instruments.decided(decision, &Outcome::unasked(decision, mode));
            }
        }
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let leaking =
            self.pipeline.guards().lasting_states().filter(|(_, kept)| kept.leak().is_some()).count();
        let own = [("metrics_file", &self.metrics_trouble), ("checkpoint", &self.checkpoint_trouble)];
        let own = own.map(|(name, trouble)| (name, trouble.current().is_some()));
        self.newest = Newest {
            ended: Timestamp::now(),
            containers: number(report.proposals.len()),
            leaking: number(leaking),
            measured: self.pipeline.history().newest(),
            troubles: own.into_iter().chain(self.executor.troubles()).collect(),
            ..self.newest
        };
        self.instruments.cycle_ended(took, self.newest.clone());
    }

    /// Saves everything that a restart would lose.
    pub fn keep_all(&mut self) {
        self.keep_shadows();
        self.checkpoint();
        self.executor.write_counts(Timestamp::now());
    }

    /// Saves the scores of the candidates, so that they survive a restart.
    pub fn keep_shadows(&mut self) {
        let kept = self.pipeline.shadows().kept();
        self.executor.keep_shadows(&kept);
    }

    /// Reads new records; `false` if there is no basis for a decision.
    fn load(&mut self, now: Timestamp, stop: &StopAsked) -> bool {
        let file = self.config.metrics.file.display();
        let loaded = match self.pipeline.load(&Reading::new(&self.config.metrics.file, stop)) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.metrics_trouble.is(ErrorChain(&error).to_string());
                return false;
            }
        };
        notify_alive();
        if loaded.stopped {
            return false;
        }
        tracing::info!("Data loaded successfully from {file}.");
        tracing::debug!(snapshots = loaded.snapshots, unreadable = loaded.unreadable, "new records");
        let max_age_seconds = self.config.metrics.max_age_seconds;
        let is_fresh = |seconds: i64| seconds.unsigned_abs() <= max_age_seconds;
        match self.pipeline.age(now).map(|age| age.as_secs()) {
            None => {
                self.metrics_trouble
                    .is(format!("`{file}` holds no measurement yet; is lxc_monitor running?"));
            }
            Some(seconds) if seconds < 0 && !is_fresh(seconds) => {
                self.metrics_trouble.is(format!(
                    "the newest measurement in `{file}` lies more than {max_age_seconds} s in the future; was \
                     the clock set back?"
                ));
            }
            Some(seconds) if !is_fresh(seconds) => {
                // Giving the age would make it a new message in every cycle.
                self.metrics_trouble.is(format!(
                    "the newest measurement in `{file}` is more than {max_age_seconds} s old; is lxc_monitor running?"
                ));
            }
            Some(_) => self.metrics_trouble.is_over(),
        }
        self.pipeline.age(now).is_some()
    }

    /// Trains the detectors; returns how many containers have enough data to be judged.
    fn learn(&mut self) -> u64 {
        let mut judged = 0;
        // Spelled as in the product's first description.
        let detector = match self.config.model.detector {
            Detector::IsolationForest => "IsolationForest".to_owned(),
            other => format!("{other:?}"),
        };
        match self.pipeline.learn() {
            Ok(Learnt { judged: 0, .. }) => {
                tracing::info!(
                    "No container has enough history at its present interval for the {detector} yet."
                );
            }
            Ok(learnt) => {
                judged = u64::try_from(learnt.judged).unwrap_or(u64::MAX);
                tracing::info!("Data preprocessed successfully.");
                tracing::info!("Feature engineering, spike detection, and trend detection completed.");
                let names: Vec<String> = learnt.features.iter().map(|name| format!("'{name}'")).collect();
                let features = names.join(", ");
                // The columns stay the same for months, so they are logged only when they change.
                if self.features_told != features {
                    tracing::info!("Features used for training: [{features}]");
                    self.features_told = features;
                }
                tracing::info!("{detector} model training completed.");
            }
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "the {detector} cannot be trained");
            }
        }
        notify_alive();
        judged
    }

    /// Queues the guards' findings for notification; if that fails, they are still in the log.
    fn tell(&mut self, now: Timestamp) {
        for new in self.pipeline.new_leaks() {
            let notification = tell::of_leak(&new, now);
            tracing::warn!("{}", notification.text);
            let Some(queue) = self.config.notifications.queue() else { continue };
            if let Err(error) = queue.put(&notification) {
                tracing::error!("cannot queue the notification about the leak: {}", ErrorChain(&error));
            }
        }
    }

    /// Reports level shifts; people are notified of those that look stuck.
    fn tell_shifts(&mut self, now: Timestamp) {
        for (id, shifted) in self.pipeline.new_shifts(now) {
            tracing::info!(container = %id, "{}", shifted.text());
            let name = self.pipeline.history().container(id).and_then(|container| container.name.as_deref());
            let Some(notification) = shifted.notification(id, name, now) else { continue };
            let Some(queue) = self.config.notifications.queue() else { continue };
            if let Err(error) = queue.put(&notification) {
                tracing::error!(
                    "cannot queue the notification about a container that looks stuck: {}",
                    ErrorChain(&error)
                );
            }
        }
    }

    /// Takes over what somebody applied since the last cycle, before the records that show it are read.
    fn take_in_applied(&mut self, now: Timestamp) {
        let taken = self.executor.applied(now);
        for applied in &taken {
            let times = (applied.begun, applied.done);
            self.pipeline.note_change(applied.id, &applied.decision, times, applied.after);
        }
        if !taken.is_empty() {
            // In this order: taking something over twice after a crash does no harm.
            self.executor.keep_guards(self.pipeline.guards().lasting_states());
            self.executor.note_taken_in(&taken);
        }
    }

    /// Asks the API which boosts are active, and whether a size that somebody else changed was a boost. If it cannot be
    /// asked, the change counts as manual, and the boosts known last stay active until they end.
    async fn ask_of_boosts(&mut self, now: Timestamp) {
        let Some(boosts) = self.executor.boosts().await else { return };
        self.pipeline.take_boosts(&boosts, now);
        for id in self.pipeline.guards().unexplained() {
            let Some(page) = self.executor.api_ledger(id).await else { break };
            self.pipeline.explain(id, &page, now);
        }
    }

    /// Tells the pipeline what was changed in a cycle that began at `now` and took `elapsed`.
    fn note_set(&mut self, carried: &[Carried], now: Timestamp, elapsed: Duration) {
        let done = SignedDuration::try_from(elapsed).ok().and_then(|elapsed| now.checked_add(elapsed).ok());
        let times = (now, done.unwrap_or(now));
        for carried in carried {
            let after = match carried.outcome {
                Outcome::Done { after, .. } => after,
                Outcome::Unknown { .. } => None,
                _ => continue,
            };
            self.pipeline.note_change(carried.id, &carried.decision, times, after);
        }
    }

    /// Writes the checkpoint if it is due at `now`.
    fn checkpoint_if_due(&mut self, now: Timestamp) {
        let every = SignedDuration::from_secs(self.config.state.checkpoint_seconds.cast_signed());
        let is_due = self.checkpointed.is_none_or(|last| every <= now.duration_since(last).abs());
        if is_due && self.pipeline.history().newest().is_some() {
            self.checkpoint();
            self.checkpointed = Some(now);
        }
    }

    /// Writes the checkpoint; if the state is not consistent, the previous one stays.
    pub fn checkpoint(&mut self) {
        if !self.pipeline.is_whole() {
            return;
        }
        match self.pipeline.write_checkpoint(&self.config.state.checkpoint()) {
            Ok(()) => {
                self.newest.checkpointed = Some(Timestamp::now());
                self.checkpoint_trouble.is_over();
            }
            Err(error) => {
                self.checkpoint_trouble.is(ErrorChain(&error).to_string());
            }
        }
    }

    /// The one line `systemctl status` shows.
    fn status(report: &CycleReport) -> String {
        if let Some(trouble) = report.troubles.first() {
            return format!("waiting: {trouble}");
        }
        let done =
            report.carried.iter().filter(|carried| matches!(carried.outcome, Outcome::Done { .. })).count();
        format!(
            "{}, {} in the last cycle",
            counted(report.proposals.len(), "container", "containers"),
            counted(done, "change", "changes")
        )
    }
}

/// Restores the checkpoint. An unusable one is put aside, and its content is learnt anew.
fn restore(pipeline: &mut Pipeline, path: &Path) {
    match pipeline.restore(path) {
        Ok(true) => tracing::info!("restored the checkpoint `{}`", path.display()),
        Ok(false) => {}
        Err(error @ (CheckpointError::Configuration { .. } | CheckpointError::Read { .. })) => {
            tracing::warn!("{}; learning from scratch", ErrorChain(&error));
        }
        Err(error) => match checkpoint::set_aside(path) {
            Ok(aside) => {
                tracing::warn!(
                    "{}; it is now `{}`, learning from scratch",
                    ErrorChain(&error),
                    aside.display()
                );
            }
            Err(failed) => {
                tracing::warn!(
                    "{}; it cannot be renamed ({failed}), learning from scratch",
                    ErrorChain(&error)
                );
            }
        },
    }
}

/// Runs until told to stop.
///
/// One thread does one thing after the other, and there is nothing that it could do while it waits for the disk: what is
/// written decides what is asked for next. The exporter has a thread of its own, a signal is noticed at once
/// ([`StopAsked`]), and a disk that hangs for longer than the watchdog waits is what the watchdog is for.
///
/// # Errors
/// [`RunError`] when the state directory cannot be used, or another daemon uses it. Nothing that happens later ends it.
pub async fn run(mut file: ConfigFile, config: Config) -> Result<(), RunError> {
    let mut heartbeat = Heartbeat::start(config.interval()).map_err(RunError::Signals)?;
    let mut lock = StateLock::take(&config.state.directory)?;
    let instruments = Arc::default();
    let exporter = Exporter::start(&config.exporter, Arc::clone(&instruments));
    let mut daemon = Daemon::start_counting(config, instruments)?;
    file.begin();
    notify_ready();
    loop {
        let mut wake = heartbeat.next().await;
        if wake == Wake::Cycle {
            if let Some(text) = file.news(SystemTime::now()) {
                take_over(text, &mut file, &mut daemon, &mut lock, &mut heartbeat);
            }
            file.confirm(SystemTime::now());
            wake = cycle_alive(&mut daemon, &file, &mut heartbeat).await;
        }
        match wake {
            Wake::Cycle => {}
            Wake::Reload => match config::read(file.path()) {
                Ok(text) => take_over(text, &mut file, &mut daemon, &mut lock, &mut heartbeat),
                Err(error) => file.refuse(None, ErrorChain(&error).to_string()),
            },
            Wake::Stop => break,
        }
        exporter.reconfigure(&daemon.config.exporter);
    }
    notify_stopping();
    file.forget();
    daemon.keep_all();
    tracing::info!("stopping");
    Ok(())
}

/// Runs one cycle while serving the watchdog and the signals; returns what the signals asked for.
async fn cycle_alive(daemon: &mut Daemon, file: &ConfigFile, heartbeat: &mut Heartbeat) -> Wake {
    let seconds = daemon.config.interval_seconds;
    let stop = heartbeat.stop_asked().clone();
    let mut asked = Wake::Cycle;
    let mut cycle = pin!(daemon.cycle(Timestamp::now(), &stop));
    let report = loop {
        tokio::select! {
            biased;
            report = &mut cycle => break report,
            wake = heartbeat.next() => match wake {
                Wake::Cycle => {}
                Wake::Reload => asked = Wake::Reload,
                Wake::Stop => {
                    stop.ask();
                    asked = Wake::Stop;
                    // A call cut off here is pending in the ledger.
                    match tokio::time::timeout(STOP_GRACE, &mut cycle).await {
                        Ok(report) => break report,
                        Err(_) => return Wake::Stop,
                    }
                }
            },
        }
    };
    if stop.is_asked() {
        return Wake::Stop;
    }
    let mut status = Daemon::status(&report);
    if let Some(why) = file.refused() {
        status = format!("{status}; the configuration file is not used: {why}");
    }
    notify_status(&status);
    if asked == Wake::Cycle {
        tracing::info!("Sleeping for {seconds} seconds before the next run.");
    }
    asked
}

/// Applies the present configuration file, or keeps the configuration in force and says why.
fn take_over(
    text: String,
    file: &mut ConfigFile,
    daemon: &mut Daemon,
    lock: &mut StateLock,
    heartbeat: &mut Heartbeat,
) {
    notify_reloading();
    daemon.keep_all();
    match reload(file.path(), &text, daemon, lock) {
        Ok(reloaded) => {
            file.take(text, &reloaded.config);
            // Cycles stay on schedule unless the interval itself changed.
            if reloaded.config.interval() != daemon.config.interval() {
                heartbeat.set_period(reloaded.config.interval());
            }
            *daemon = reloaded;
            tracing::info!("configuration reloaded from `{}`", file.path().display());
        }
        // The file is wrong and stays so until its content changes.
        Err(ReloadError::Configuration(error)) => file.refuse(Some(text), ErrorChain(&error).to_string()),
        // The file is right but cannot be applied now; that may pass.
        Err(error) => file.refuse(None, ErrorChain(&error).to_string()),
    }
    notify_ready();
}

/// Why the daemon does not apply the file.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// The file is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The state directory that it names cannot be used.
    #[error(transparent)]
    State(#[from] LedgerError),
    /// A daemon cannot be started with it.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A daemon with the present content of the file. If learning is affected, it learns from the whole file and the
/// history again, which takes seconds and lets every key take effect.
fn reload(path: &Path, text: &str, running: &Daemon, lock: &mut StateLock) -> Result<Daemon, ReloadError> {
    let config: Config = config::check(path, text)?;
    if config.logging != running.config.logging {
        tracing::warn!("`[logging]` has changed; it takes effect at the next start");
    }
    let moves = config.state.directory != running.config.state.directory;
    let new_lock = if moves { Some(StateLock::take(&config.state.directory)?) } else { None };
    let daemon = Daemon::start_counting(config, Arc::clone(&running.instruments))?;
    if let Some(new_lock) = new_lock {
        *lock = new_lock;
    }
    Ok(daemon)
}
