//! Containers with a call that is still running although nobody waits for its answer any more: the call took too long,
//! its answer was lost, or the server that made it was killed. No other change begins on them until that call has ended
//! and is settled; requests are refused at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use lxc_autoscale_core::Vmid;

use super::locked;
use crate::backend::BackendError;

/// For each container, the number of the change and the running call.
type Calls = Mutex<HashMap<Vmid, (i64, String)>>;

/// The containers that wait for such a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Overdue(Arc<Calls>);

/// Its containers wait for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Mark {
    number: i64,
    calls: Arc<Calls>,
}

impl Overdue {
    /// Makes containers wait for a call of this change.
    pub(super) fn mark(&self, vmids: &[Vmid], number: i64, command: &str) -> Mark {
        let marked = vmids.iter().map(|vmid| (*vmid, (number, command.to_owned())));
        locked(&self.0).extend(marked);
        Mark { number, calls: Arc::clone(&self.0) }
    }

    /// As [`Overdue::mark`]; `None` if they wait for a call of this change already.
    pub(super) fn mark_new(&self, vmids: &[Vmid], number: i64, command: &str) -> Option<Mark> {
        let is_marked = locked(&self.0).values().any(|(marked, _)| *marked == number);
        (!is_marked).then(|| self.mark(vmids, number, command))
    }

    /// Refuses a change of a container that waits for such a call.
    ///
    /// # Errors
    /// [`BackendError::StillRunning`].
    pub(super) fn refuse(&self, vmids: &[Vmid]) -> Result<(), BackendError> {
        let calls = locked(&self.0);
        match vmids.iter().find_map(|vmid| Some((*vmid, calls.get(vmid)?.1.clone()))) {
            Some((vmid, command)) => Err(BackendError::StillRunning { vmid, command }),
            None => Ok(()),
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        locked(&self.calls).retain(|_, (number, _)| *number != self.number);
    }
}
