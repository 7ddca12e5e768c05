//! Watches the calls of a change: each is recorded before it is awaited, and some can be cancelled.
//!
//! The watcher belongs to the task that carries out the change, not to a method of the back end, so that an action
//! cannot forget to pass it on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::BackendError;

/// How long a container is looked at again if nobody can tell whether its call has ended, or if something that may pass
/// is in the way.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A call that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The call as one would type it: `pct clone 104 105 …`, or method and path.
    pub command: String,
    /// The task of Proxmox that carries it out, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upid: Option<String>,
}

/// The state of a call that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is still running.
    Running,
    /// It is not running any more.
    Ended,
    /// It cannot be determined.
    Unknown,
}

/// What a watcher returns.
pub type Noted<'a> = Pin<Box<dyn Future<Output = Result<(), BackendError>> + Send + 'a>>;

/// Records calls.
pub trait Watcher: fmt::Debug + Send + Sync {
    /// Records a call that is about to be made, or whose task is now known.
    fn note(&self, call: Call) -> Noted<'_>;
}

/// A signal to cancel, which may come.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// A new signal, with the sender that gives it.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether the signal was given.
    pub fn is_wanted(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the signal; for ever, if it can no longer come.
    pub async fn wanted(&mut self) {
        if self.0.wait_for(|wanted| *wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

tokio::task_local! {
    static WATCHER: Arc<dyn Watcher>;
    static CANCEL: Cancel;
}

/// Runs a change whose calls `watcher` records.
pub async fn watched<F: Future>(watcher: Arc<dyn Watcher>, change: F) -> F::Output {
    WATCHER.scope(watcher, change).await
}

/// Runs a call that may be cancelled half way.
pub async fn cancellable<F: Future>(cancel: Cancel, call: F) -> F::Output {
    CANCEL.scope(cancel, call).await
}

/// Records a call, if there is a watcher.
pub(super) async fn note(call: Call) -> Result<(), BackendError> {
    match WATCHER.try_with(Arc::clone) {
        Ok(watcher) => watcher.note(call).await,
        Err(_) => Ok(()),
    }
}

/// Waits until the current call is to be cancelled; for ever, if it cannot be.
pub(super) async fn cancelled() {
    match CANCEL.try_with(Cancel::clone) {
        Ok(mut cancel) => cancel.wanted().await,
        Err(_) => std::future::pending().await,
    }
}
