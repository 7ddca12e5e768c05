//! Who watches the calls of a change: each is written down before it is waited for, and some can be cancelled.
//!
//! What watches belongs to the task that carries the change out, not to a method of the back end, so that an action
//! cannot forget to hand it on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::BackendError;

/// A call that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// As one would type it: `pct clone 104 105 …`, or method and path.
    pub command: String,
    /// The task of Proxmox that does it, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upid: Option<String>,
}

/// How a call stands that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is at work.
    Running,
    /// It is not.
    Ended,
    /// Nobody can tell.
    Unknown,
}

/// What a watcher returns.
pub type Noted<'a> = Pin<Box<dyn Future<Output = Result<(), BackendError>> + Send + 'a>>;

/// Whoever writes calls down.
pub trait Watcher: fmt::Debug + Send + Sync {
    /// A call is about to be made, or has got its task.
    fn note(&self, call: Call) -> Noted<'_>;
}

/// A wish that may come: to give up.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// A wish and the means to make it.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether it was made.
    pub fn is_wanted(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is made; for ever, when it cannot be any more.
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

/// Runs a change, its calls watched.
pub async fn watched<F: Future>(watcher: Arc<dyn Watcher>, change: F) -> F::Output {
    WATCHER.scope(watcher, change).await
}

/// Runs a call that may be given up half way.
pub async fn cancellable<F: Future>(cancel: Cancel, call: F) -> F::Output {
    CANCEL.scope(cancel, call).await
}

/// Writes a call down, if anybody watches.
pub(super) async fn note(call: Call) -> Result<(), BackendError> {
    match WATCHER.try_with(Arc::clone) {
        Ok(watcher) => watcher.note(call).await,
        Err(_) => Ok(()),
    }
}

/// Waits until the call that is being made is to be given up; for ever, when it cannot be.
pub(super) async fn cancelled() {
    match CANCEL.try_with(Cancel::clone) {
        Ok(mut cancel) => cancel.wanted().await,
        Err(_) => std::future::pending().await,
    }
}
