//! Tasks that are at work, and stopping them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::access::Access;
use super::wrap::Failure;
use crate::pve::storage::Interrupt;

/// The tasks that are at work; copies are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks(Arc<Mutex<HashMap<String, Interrupt>>>);

impl Tasks {
    /// A task has begun, and this stops it.
    pub(super) fn begin(&self, upid: &str, interrupt: Interrupt) {
        self.table().insert(upid.to_owned(), interrupt);
    }

    /// The task that this stops has ended.
    pub(super) fn end(&self, interrupt: &Interrupt) {
        self.table().retain(|_, task| !task.is(interrupt));
    }

    /// Stops a task: whoever began it may, and who may change the node. One that has ended is no error.
    ///
    /// # Errors
    /// [`Failure`] for others.
    pub(super) fn stop(&self, upid: &str, node: &str, access: &Access, who: &str) -> Result<Value, Failure> {
        let place = format!("/nodes/{node}");
        if upid.split(':').nth(7) != Some(who) && !access.privileges(who, &place).contains("Sys.Modify") {
            return Err(Failure::permission(&place, "Sys.Modify"));
        }
        if let Some(interrupt) = self.table().get(upid) {
            interrupt.send();
        }
        Ok(Value::Null)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Interrupt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
