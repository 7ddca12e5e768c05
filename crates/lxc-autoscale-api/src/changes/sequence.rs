//! Several changes that belong together: a boost of cores and memory, an undo of all sizes.
//!
//! A client that leaves before the first of them has begun gets none, as with a single change; once it has, all are done,
//! whatever becomes of the client, and the server does not end in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::Changes;
use crate::actions::ActionError;

tokio::task_local! {
    static SEQUENCE: Sequence;
}

/// A sequence that is under way; copies are the same one.
#[derive(Clone, Debug)]
pub(super) struct Sequence(Arc<Course>);

#[derive(Debug)]
struct Course {
    is_begun: AtomicBool,
    /// Nobody listens at its other end when the client has left.
    client: oneshot::Sender<()>,
}

impl Sequence {
    /// The sequence that the running task belongs to.
    pub(super) fn current() -> Option<Self> {
        SEQUENCE.try_with(Self::clone).ok()
    }

    /// Begins one of its changes; false when nothing has begun yet and the client has left.
    pub(super) fn begins(&self) -> bool {
        let goes_on = self.0.is_begun.load(Ordering::Relaxed) || !self.0.client.is_closed();
        if goes_on {
            self.0.is_begun.store(true, Ordering::Relaxed);
        }
        goes_on
    }
}

impl Changes {
    /// Does several changes as one: `work` goes on when its client leaves after the first of them has begun.
    ///
    /// # Errors
    /// [`ActionError::Crashed`] when `work` panics.
    pub async fn together<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ActionError> {
        // Held until the client has its answer or is gone.
        let (client, _here) = oneshot::channel();
        let sequence = Sequence(Arc::new(Course { is_begun: AtomicBool::new(false), client }));
        let course = Arc::clone(&self.sequences);
        let done = tokio::spawn(SEQUENCE.scope(sequence, async move {
            let _course = course.read_owned().await;
            work.await
        }));
        done.await.map_err(|_| ActionError::Crashed)
    }
}
