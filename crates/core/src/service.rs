//! The life of a daemon under systemd: ready, alive, reloading, stopping (sd_notify(3), systemd.service(5)).
//!
//! Without systemd (no `NOTIFY_SOCKET`), the notifications have no effect and everything else works the same.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::progress::Progress;

/// How often a daemon that is shutting down tells systemd so.
const ENDING_EVERY: Duration = Duration::from_secs(10);
/// By how much each such message extends the time limit, in µs.
const ENDING_USEC: u32 = 60_000_000;

/// What a signal asks the daemon to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: finish what has begun, then exit.
    Stop,
}

/// The signals a daemon listens to.
#[derive(Debug)]
pub struct Signals {
    hangup: UnixSignal,
    terminate: UnixSignal,
    interrupt: UnixSignal,
}

impl Signals {
    /// Installs handlers for SIGHUP, SIGTERM and SIGINT; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.hangup.recv() => Request::Reload,
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
        }
    }
}

/// Whether the daemon was told to stop, for work that runs so long without waiting that signals would not be received
/// meanwhile. The default never asks to stop.
#[derive(Clone, Debug, Default)]
pub struct StopAsked(Arc<AtomicBool>);

impl StopAsked {
    /// Also receives SIGTERM and SIGINT directly, in addition to [`Signals`].
    fn install() -> io::Result<Self> {
        let asked = Self::default();
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&asked.0))?;
        }
        Ok(asked)
    }

    /// Asks to stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether stopping was asked for.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a daemon that works in cycles wakes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The next cycle is due.
    Cycle,
    /// Read the configuration again.
    Reload,
    /// Finish and exit.
    Stop,
}

/// The heartbeat of a daemon that works in cycles: due cycles, signals, and the watchdog while it waits.
///
/// A cycle that overruns delays the next one; missed cycles are not made up for.
#[derive(Debug)]
pub struct Heartbeat {
    signals: Signals,
    stop: StopAsked,
    cycles: Interval,
    watchdog: Option<Interval>,
}

impl Heartbeat {
    /// Starts with a first cycle that is due at once.
    ///
    /// # Errors
    /// If the signal handlers cannot be installed.
    pub fn start(period: Duration) -> io::Result<Self> {
        Ok(Self {
            signals: Signals::install()?,
            stop: StopAsked::install()?,
            cycles: every(period, Instant::now()),
            watchdog: watchdog(),
        })
    }

    /// Whether a signal has asked the daemon to stop; [`Heartbeat::next`] reports that only while it is awaited.
    pub fn stop_asked(&self) -> &StopAsked {
        &self.stop
    }

    /// Changes the period; the next cycle is due one new period from now.
    pub fn set_period(&mut self, period: Duration) {
        self.cycles = every(period, Instant::now() + period);
    }

    /// Waits for the next reason to wake up, and meanwhile tells the watchdog that the daemon is alive.
    pub async fn next(&mut self) -> Wake {
        loop {
            let watchdog_due = async {
                match &mut self.watchdog {
                    Some(interval) => interval.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                request = self.signals.next() => {
                    return match request {
                        Request::Reload => Wake::Reload,
                        Request::Stop => Wake::Stop,
                    };
                }
                _ = watchdog_due => notify(&[NotifyState::Watchdog]),
                _ = self.cycles.tick() => return Wake::Cycle,
            }
        }
    }
}

/// Runs `work` to its end, and meanwhile tells the watchdog that the daemon is alive.
///
/// For work that has time limits of its own but may still take longer than the watchdog waits.
pub async fn alive_during<F: Future>(work: F) -> F::Output {
    match watchdog() {
        Some(watchdog) => driven(work, watchdog, notify_alive).await,
        None => work.await,
    }
}

/// Runs the last work of a daemon that was told to stop to its end, however long that takes: systemd waits for as
/// long as it hears from the daemon. `TimeoutStopSec=` of the unit applies once it no longer does.
pub async fn ending_with<F: Future>(work: F) -> F::Output {
    let period = watchdog_period().map_or(ENDING_EVERY, |period| period.min(ENDING_EVERY));
    let still_ending = || notify(&[NotifyState::Watchdog, NotifyState::ExtendTimeoutUsec(ENDING_USEC)]);
    driven(work, every(period, Instant::now()), still_ending).await
}

/// Runs `work` to its end, and meanwhile calls `tell` at each interval.
async fn driven<F: Future>(work: F, mut interval: Interval, tell: impl Fn()) -> F::Output {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            output = &mut work => return output,
            _ = interval.tick() => tell(),
        }
    }
}

fn every(period: Duration, first: Instant) -> Interval {
    let mut interval = tokio::time::interval_at(first, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The interval at which the watchdog must be told that the daemon is alive; `None` if it is not enabled.
///
/// It is half of the allowed time, as sd_watchdog_enabled(3) advises.
pub fn watchdog() -> Option<Interval> {
    watchdog_period().map(|period| every(period, Instant::now()))
}

fn watchdog_period() -> Option<Duration> {
    let half = sd_notify::watchdog_enabled()? / 2;
    (!half.is_zero()).then_some(half)
}

/// Tells systemd's watchdog that the daemon is alive.
pub fn notify_alive() {
    notify(&[NotifyState::Watchdog]);
}

/// Tells systemd's watchdog during work that the daemon is alive, at most once a second.
#[derive(Debug, Default)]
pub struct Alive {
    told: Cell<Option<Instant>>,
}

impl Progress for Alive {
    fn at(&self, _done: u64, _total: u64) {
        self.goes_on();
    }

    fn goes_on(&self) {
        if self.told.get().is_none_or(|told| Duration::from_secs(1) <= told.elapsed()) {
            self.told.set(Some(Instant::now()));
            notify_alive();
        }
    }
}

/// Tells systemd that the service is up.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd that the configuration is being read again; [`notify_ready`] ends it.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot read the monotonic clock for the reload notification"),
    }
}

/// Tells systemd that the service is stopping.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Sets the text that `systemctl status` shows.
pub fn notify_status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn the_first_cycle_is_due_at_once_and_later_ones_after_the_period() {
        runtime().block_on(async {
            let mut heartbeat = Heartbeat::start(Duration::from_millis(20)).unwrap();
            let begun = Instant::now();
            assert_eq!(heartbeat.next().await, Wake::Cycle);
            assert_eq!(heartbeat.next().await, Wake::Cycle);
            assert!(Duration::from_millis(20) <= begun.elapsed());
        });
    }
}
