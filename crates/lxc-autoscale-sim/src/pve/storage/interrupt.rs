//! Long work that can be stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::pve::error::PctError;

/// How often a worker checks whether it must stop.
const LOOK: Duration = Duration::from_millis(10);

/// Stops a worker, as a signal does with Proxmox's workers; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Stops the worker at the next point where that is possible.
    pub fn send(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether both are the same one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes this long.
    ///
    /// # Errors
    /// Proxmox's text if the worker is stopped meanwhile.
    pub(super) fn work_for(&self, time: Duration) -> Result<(), PctError> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if self.0.load(Ordering::SeqCst) {
                return Err(PctError::died("received interrupt"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
