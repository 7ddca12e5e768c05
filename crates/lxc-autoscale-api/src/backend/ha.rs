//! The cluster's high availability manager. Starting or stopping a container that it manages only sends it a request,
//! and the call ends before anything has happened.

use std::time::Duration;

use lxc_autoscale_core::Vmid;
use tokio::time::{Instant, sleep};

use super::watch::{self, Call};
use super::{BackendError, ContainerHost};

/// Pause between two looks at the container.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until the manager has acted on the request.
///
/// # Errors
/// [`BackendError::TimedOut`] if it has not acted within `limit`; it may still do so.
pub(super) async fn acted(
    host: &dyn ContainerHost,
    vmid: Vmid,
    runs_afterwards: bool,
    limit: Duration,
) -> Result<(), BackendError> {
    let deadline = Instant::now() + limit;
    while host.is_running(vmid).await? != runs_afterwards {
        if deadline <= Instant::now() + PAUSE {
            let verb = if runs_afterwards { "start" } else { "stop" };
            let command = format!("{verb} of container {vmid} by the high availability manager");
            // The call itself has ended; from here on we wait for the manager.
            watch::note(Call { command: command.clone(), upid: None }).await?;
            return Err(BackendError::TimedOut { command, limit, running: true });
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
