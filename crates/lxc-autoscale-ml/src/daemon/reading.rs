//! Reports progress while the daemon reads new records: a first start may learn from days of records and weeks of
//! history, which takes too long to stay silent.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use lxc_autoscale_core::progress::Progress;
use lxc_autoscale_core::service::{Alive, StopAsked, notify_status};

/// Interval of progress reports to the log and `systemctl status`; a shorter cycle reports nothing.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Reports the progress of reading to systemd's watchdog, the log and `systemctl status`, and stops it on request.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    file: &'a Path,
    stop: &'a StopAsked,
    alive: Alive,
    told: Cell<Instant>,
    /// Bytes read, and their total.
    read: Cell<Option<(u64, u64)>>,
}

impl<'a> Reading<'a> {
    /// For this metrics file, until `stop` stops it.
    pub(super) fn new(file: &'a Path, stop: &'a StopAsked) -> Self {
        Self { file, stop, alive: Alive::default(), told: Cell::new(Instant::now()), read: Cell::new(None) }
    }

    fn tell(&self) {
        let file = self.file.display();
        let text = match self.read.get() {
            Some((done, total)) => {
                format!("learning from `{file}`: {} % of {} MiB", done * 100 / total.max(1), total >> 20)
            }
            None => "learning from the monitor's history, before the first record".to_owned(),
        };
        tracing::info!("{text}");
        notify_status(&text);
    }
}

impl Progress for Reading<'_> {
    fn at(&self, done: u64, total: u64) {
        self.read.set(Some((done, total)));
        self.goes_on();
    }

    fn goes_on(&self) {
        self.alive.goes_on();
        if TELL_EVERY <= self.told.get().elapsed() {
            self.told.set(Instant::now());
            self.tell();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }
}
