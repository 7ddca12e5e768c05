//! Running tasks, and stopping them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::access::Access;
use super::wrap::Failure;
use crate::pve::storage::Interrupt;

/// The running tasks; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks(Arc<Mutex<HashMap<String, Interrupt>>>);

impl Tasks {
    /// Records that a task has begun, which `interrupt` stops.
    pub(super) fn begin(&self, upid: &str, interrupt: Interrupt) {
        self.table().insert(upid.to_owned(), interrupt);
    }

    /// Records that the task with this interrupt has ended.
    pub(super) fn end(&self, interrupt: &Interrupt) {
        self.table().retain(|_, task| !task.is(interrupt));
    }

    /// Stops a task; its owner may do that, and anyone who may change the node. It is no error if it has ended.
    ///
    /// # Errors
    /// [`Failure`] for other callers.
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
