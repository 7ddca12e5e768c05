//! The node's CPU time, recorded continuously so that it is known for any interval that the monitor chooses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::machine::{Machine, cpu_ticks};

/// One record: microseconds since 1970, busy ticks, all ticks.
type Note = (f64, f64, f64);

/// Records `/proc/stat`.
pub(crate) struct NodeCpu {
    stop: Arc<AtomicBool>,
    notes: Arc<Mutex<Vec<Note>>>,
    thread: Option<JoinHandle<()>>,
}

impl NodeCpu {
    pub(crate) fn watch() -> Self {
        let (stop, notes) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (until, taken) = (Arc::clone(&stop), Arc::clone(&notes));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                let (busy, all) = cpu_ticks();
                taken.lock().unwrap().push((since.as_secs_f64() * 1e6, busy, all));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { stop, notes, thread: Some(thread) }
    }

    /// Cores used between two points in time, in microseconds since 1970.
    pub(crate) fn cores_used(&self, from_usec: f64, to_usec: f64) -> f64 {
        let ((busy0, all0), (busy1, all1)) = (self.ticks_at(from_usec), self.ticks_at(to_usec));
        f64::from(Machine::look().cpus) * (busy1 - busy0) / (all1 - all0)
    }

    fn ticks_at(&self, at_usec: f64) -> (f64, f64) {
        let notes = self.notes.lock().unwrap();
        let after = notes.partition_point(|(noted, ..)| *noted < at_usec);
        let ((t0, busy0, all0), (t1, busy1, all1)) = (notes[after - 1], notes[after]);
        let part = (at_usec - t0) / (t1 - t0);
        (busy0 + part * (busy1 - busy0), all0 + part * (all1 - all0))
    }
}

impl Drop for NodeCpu {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
