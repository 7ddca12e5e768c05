//! Several changes that belong together, such as a boost of cores and memory, or an undo of all sizes.
//!
//! If the client leaves before the first change has begun, none is made, as with a single change. Once the first has
//! begun, all are made even if the client leaves, and the server does not exit in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::{ChangeError, Changes};

tokio::task_local! {
    static SEQUENCE: Sequence;
}

/// A sequence that is under way; clones refer to the same one.
#[derive(Clone, Debug)]
pub(super) struct Sequence(Arc<Course>);

#[derive(Debug)]
struct Course {
    is_begun: AtomicBool,
    /// Closed once the client has left.
    client: oneshot::Sender<()>,
}

impl Sequence {
    /// The sequence that the running task belongs to.
    pub(super) fn current() -> Option<Self> {
        SEQUENCE.try_with(Self::clone).ok()
    }

    /// Begins one of its changes; false if none has begun yet and the client has left.
    pub(super) fn begins(&self) -> bool {
        let goes_on = self.0.is_begun.load(Ordering::Relaxed) || !self.0.client.is_closed();
        if goes_on {
            self.0.is_begun.store(true, Ordering::Relaxed);
        }
        goes_on
    }
}

impl Changes {
    /// Runs several changes as one: `work` continues if its client leaves after the first of them has begun.
    ///
    /// # Errors
    /// [`ChangeError::Crashed`] if `work` panics.
    pub async fn together<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ChangeError> {
        // Held until the client has its answer or has left.
        let (client, _here) = oneshot::channel();
        let sequence = Sequence(Arc::new(Course { is_begun: AtomicBool::new(false), client }));
        let course = Arc::clone(&self.sequences);
        let done = tokio::spawn(SEQUENCE.scope(sequence, async move {
            let _course = course.read_owned().await;
            work.await
        }));
        done.await.map_err(|_| ChangeError::Crashed)
    }
}
