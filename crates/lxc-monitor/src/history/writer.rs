//! The thread that writes the history, and the queue to it.
//!
//! The daemon queues the measurements of a cycle and continues; it does not wait when the queue is full. What the
//! history misses (the queue was full, the disk was, another process had locked the database, the daemon was killed) is
//! read from the metrics file as soon as it can be written again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lxc_autoscale_core::metrics_file::trust::Believed;
use lxc_autoscale_core::metrics_file::{self, ReadError};
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_autoscale_core::{ErrorChain, local_zone};

use super::config::HistoryConfig;
use super::import::original::LocalTimes;
use super::readings::{Cycle, Rates};
use super::record;
use super::store::{Replaced, SampledCycle, Store, StoreError};
use crate::clock;
use crate::outage::{News, Outage};

/// Most cycles in the queue.
const QUEUE: usize = 8;
/// Cycles at shorter intervals are written together.
const BATCH: Duration = Duration::from_secs(2);
/// Least time between attempts after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How long the end of the daemon waits for the last cycles; any remaining ones will be read from the metrics file.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Cycles written together while reading the metrics file.
const REPLAY_BATCH: usize = 16;

/// The history as the daemon sees it.
#[derive(Debug)]
pub struct History {
    config: HistoryConfig,
    metrics_file: PathBuf,
    interval: Duration,
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    sender: SyncSender<Cycle>,
    /// Set when a cycle did not fit into the queue.
    missed: Arc<AtomicBool>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl History {
    /// Starts the thread, if enabled; opening and errors are handled there.
    pub fn start(config: &HistoryConfig, metrics_file: PathBuf, interval: Duration) -> Self {
        let mut history = Self { config: config.clone(), metrics_file, interval, writer: None };
        history.begin();
        history
    }

    /// Queues a snapshot; never waits.
    pub fn record(&mut self, snapshot: &Snapshot) {
        let Some(writer) = &self.writer else { return };
        match writer.sender.try_send(Cycle::from(snapshot)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => writer.missed.store(true, Ordering::Relaxed),
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("the history's thread has ended; it is started again");
                self.writer = None;
                self.begin();
            }
        }
    }

    /// Applies new settings.
    pub fn reconfigure(&mut self, config: &HistoryConfig, metrics_file: PathBuf, interval: Duration) {
        if (config, &metrics_file, interval) == (&self.config, &self.metrics_file, self.interval) {
            return;
        }
        self.stop();
        *self = Self::start(config, metrics_file, interval);
    }

    /// Writes the queued cycles and ends; gives up after a few seconds.
    pub fn stop(&mut self) {
        let Some(Writer { sender, ended, thread, .. }) = self.writer.take() else { return };
        drop(sender);
        match ended.recv_timeout(STOP_LIMIT) {
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("the history is not written to its end; the rest comes from the metrics file");
            }
            _ => drop(thread.join()),
        }
    }

    fn begin(&mut self) {
        if !self.config.enabled {
            return;
        }
        let (sender, cycles) = mpsc::sync_channel(QUEUE);
        let (ending, ended) = mpsc::channel();
        let missed = Arc::new(AtomicBool::new(false));
        let work = Work {
            config: self.config.clone(),
            metrics_file: self.metrics_file.clone(),
            batch: if self.interval < BATCH { BATCH } else { Duration::ZERO },
            missed: Arc::clone(&missed),
            store: None,
            rates: Rates::default(),
            seen: VecDeque::new(),
            pending: Vec::new(),
            pending_since: Instant::now(),
            is_behind: true,
            read_all: false,
            tried: None,
            now_ms: i64::MIN,
            compacting: true,
            outage: Outage::default(),
        };
        let spawned = std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            // Dropped when the thread ends, for whatever reason.
            let _ending = ending;
            work.run(&cycles);
        });
        match spawned {
            Ok(thread) => self.writer = Some(Writer { sender, missed, ended, thread }),
            Err(error) => tracing::error!("the history is not written: cannot start its thread: {error}"),
        }
    }
}

/// The state of the thread.
struct Work {
    config: HistoryConfig,
    metrics_file: PathBuf,
    batch: Duration,
    missed: Arc<AtomicBool>,
    store: Option<Store>,
    rates: Rates,
    /// The last cycles, so that one from the file and from the queue counts once.
    seen: VecDeque<i64>,
    pending: Vec<SampledCycle>,
    pending_since: Instant,
    /// Whether the metrics file has data that the store lacks.
    is_behind: bool,
    /// Whether to read all of the metrics file, because the store lost its content.
    read_all: bool,
    tried: Option<Instant>,
    now_ms: i64,
    compacting: bool,
    outage: Outage,
}

/// Why catching up ended early.
#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    #[error(transparent)]
    MetricsFile(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Work {
    fn run(mut self, cycles: &Receiver<Cycle>) {
        self.attempt(Self::catch_up);
        loop {
            match cycles.recv_timeout(self.patience()) {
                Ok(cycle) => self.take(&cycle),
                Err(RecvTimeoutError::Timeout) => self.use_the_time(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if !self.is_behind {
            self.attempt(|work| Ok(work.flush()?));
        }
    }

    /// How long to wait for the next cycle.
    fn patience(&self) -> Duration {
        if self.compacting && !self.is_behind {
            Duration::ZERO
        } else if self.pending.is_empty() {
            RETRY
        } else {
            self.batch.saturating_sub(self.pending_since.elapsed())
        }
    }

    fn take(&mut self, cycle: &Cycle) {
        if self.missed.swap(false, Ordering::Relaxed) {
            self.is_behind = true;
        }
        self.now_ms = cycle.at_ms;
        if self.is_behind {
            // The metrics file has this one, too.
            self.catch_up_if_due();
            return;
        }
        self.compacting = true;
        self.attempt(|work| {
            work.sample(cycle)?;
            if work.batch <= work.pending_since.elapsed() { Ok(work.flush()?) } else { Ok(()) }
        });
    }

    fn use_the_time(&mut self) {
        if self.is_behind {
            self.catch_up_if_due();
        } else if !self.pending.is_empty() && self.batch <= self.pending_since.elapsed() {
            self.attempt(|work| Ok(work.flush()?));
        } else if self.compacting {
            self.attempt(|work| Ok(work.compact()?));
        }
    }

    fn catch_up_if_due(&mut self) {
        if self.tried.is_none_or(|tried| RETRY <= tried.elapsed()) {
            self.attempt(Self::catch_up);
        }
    }

    /// Runs an operation on the store; a failure is logged once, and missing data is read later.
    fn attempt(&mut self, what: impl FnOnce(&mut Self) -> Result<(), CatchUpError>) {
        self.tried = Some(Instant::now());
        let result = what(self);
        let trouble = result.as_ref().err().map(|error| ErrorChain(error).to_string());
        if let Err(error) = result {
            self.pending.clear();
            self.is_behind = true;
            self.after(&error);
        }
        let news = self.outage.update(trouble.as_deref(), clock::now().since_boot);
        let trouble = trouble.unwrap_or_default();
        match news {
            News::Begun => {
                tracing::error!(
                    "{trouble}; measuring goes on, and the history will be completed from the metrics file"
                );
            }
            News::Back => tracing::error!(
                "{trouble}; this comes and goes, and is said to be over when the history was written for a minute"
            ),
            News::Ended => tracing::info!("the history `{}` is written again", self.config.file.display()),
            News::None => {}
        }
    }

    fn after(&mut self, error: &CatchUpError) {
        let CatchUpError::Store(error) = error else { return };
        if let StoreError::Gone { .. } = error {
            if let Some(store) = self.store.take() {
                store.leave();
            }
            // A new one is made at once.
            self.tried = None;
            return;
        }
        if !error.is_corrupt() {
            // Enforcing the bounds may free space; other errors show at the next attempt.
            if let Some(store) = &mut self.store {
                let _ = store.enforce_bounds();
            }
            return;
        }
        let Some(store) = self.store.take() else { return };
        match store.begin_again() {
            Ok((store, aside)) => {
                self.store = Some(store);
                self.begun_anew(&aside);
            }
            // The next attempt opens it and reports the error.
            Err(error) => tracing::error!("{}", ErrorChain(&error)),
        }
    }

    fn begun_anew(&mut self, aside: &std::path::Path) {
        self.read_all = true;
        self.tried = None;
        tracing::error!(
            "the history was broken; a new one was made from what could be read of it; the old one is `{}`",
            aside.display()
        );
    }

    /// Opens the store and copies what it lacks from the metrics file.
    fn catch_up(&mut self) -> Result<(), CatchUpError> {
        if self.store.is_none() {
            let (store, aside) = Store::open(&self.config)?;
            self.store = Some(store);
            if let Some(aside) = aside {
                self.begun_anew(&aside);
            }
        }
        if let Some(store) = &mut self.store {
            store.it_is(Timestamp::now().as_millisecond())?;
        }
        let after_ms = match &self.store {
            Some(store) if !self.read_all => store.newest_ms()?,
            _ => None,
        };
        self.missed.store(false, Ordering::Relaxed);
        self.pending.clear();
        // What was not written is read again, also what has been seen.
        self.seen.clear();
        self.rates = Rates::default();
        let path = self.metrics_file.clone();
        // Content written by others is not our measurement.
        let believed = Believed::own();
        let mut times = LocalTimes::new(local_zone());
        let mut n_of_the_original = 0_u64;
        let replayed =
            metrics_file::each_since(&path, &believed, after_ms, |text| -> Result<(), CatchUpError> {
                // The owner of the file reports what cannot be parsed.
                let Some(record) = record::read(text, &mut times) else { return Ok(()) };
                n_of_the_original += u64::from(record.is_of_the_original);
                let cycle = record.cycle;
                self.now_ms = cycle.at_ms;
                if Some(cycle.at_ms) == after_ms {
                    self.rates.samples(&cycle);
                    self.remember(cycle.at_ms);
                    return Ok(());
                }
                self.sample(&cycle)?;
                if REPLAY_BATCH <= self.pending.len() {
                    self.flush()?;
                    self.compacting = true;
                    // Samples take ten times the space of roll-ups.
                    while self.compacting {
                        self.compact()?;
                    }
                }
                Ok(())
            });
        match replayed {
            // There are no measurements yet, or the file has an error that its writer reports.
            Err(CatchUpError::MetricsFile(_)) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        self.flush()?;
        if 0 < n_of_the_original {
            tracing::info!(
                "the history has taken what is true of {n_of_the_original} snapshots of the Python original"
            );
        }
        (self.is_behind, self.read_all, self.compacting) = (false, false, true);
        Ok(())
    }

    /// Computes the samples of a cycle, to be written with the next ones.
    fn sample(&mut self, cycle: &Cycle) -> Result<(), StoreError> {
        if self.seen.contains(&cycle.at_ms) {
            return Ok(());
        }
        self.remember(cycle.at_ms);
        if self.pending.is_empty() {
            self.pending_since = Instant::now();
        }
        if let Some(store) = &mut self.store {
            for Replaced { series, former, name } in store.name(cycle.at_ms, cycle.seen(&self.rates))? {
                tracing::info!(container = %series, "the id belonged to `{former}`; the history of `{name}` begins now");
            }
        }
        self.pending.push(SampledCycle { at_ms: cycle.at_ms, samples: self.rates.samples(cycle) });
        Ok(())
    }

    fn remember(&mut self, at_ms: i64) {
        self.seen.push_back(at_ms);
        if 4 * QUEUE < self.seen.len() {
            self.seen.pop_front();
        }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if let (Some(store), false) = (&mut self.store, self.pending.is_empty()) {
            store.append(&self.pending)?;
        }
        self.pending.clear();
        Ok(())
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let step = store.compact_step(self.now_ms)?;
        self.compacting = step.more;
        if 0 < step.damaged {
            tracing::warn!("{} damaged blocks of the history are lost", step.damaged);
        }
        Ok(())
    }
}
