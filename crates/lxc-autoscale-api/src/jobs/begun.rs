//! The beginning of a change: its row in `api.sqlite` and its first record in the audit log, written down when they are first needed.
//!
//! That is with its first call, so that row and call are one commit and one wait for the disk; earlier for what changes
//! something without a call; and at its end when there was neither. Until then a change only looks, and leaves nothing that
//! would have to be settled after a crash.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Before;
use crate::actions::ActionError;
use crate::backend::watch::Call;
use crate::store::{Store, StoreError};

/// A call that is about to be made, or that has got its task.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The call.
    pub(crate) call: Call,
    /// What the node had before, where it is not written down yet.
    pub(crate) before: Option<Before>,
}

/// What came of writing a beginning down.
#[derive(Debug)]
pub(crate) struct Written {
    /// The number of the change; nothing where it has no row.
    pub(crate) number: Option<i64>,
    /// Why the change must not be begun.
    pub(crate) refused: Option<ActionError>,
}

/// A change whose beginning is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Its number.
    pub(crate) number: i64,
    /// Whether the step that came along was written with it.
    pub(crate) has_step: bool,
}

type Write = Box<dyn FnOnce(Option<&Step>) -> Written + Send>;

/// The beginning of one change; copies are the same one.
#[derive(Clone)]
pub(crate) struct Beginning {
    store: Store,
    state: Arc<Mutex<State>>,
}

struct State {
    write: Option<Write>,
    written: Option<Written>,
}

impl Beginning {
    /// One that `write` writes down in `store`, with the first step if that has come.
    pub(crate) fn new(store: Store, write: impl FnOnce(Option<&Step>) -> Written + Send + 'static) -> Self {
        let state = State { write: Some(Box::new(write)), written: None };
        Self { store, state: Arc::new(Mutex::new(state)) }
    }

    /// Returns when the beginning is written down, and with it `step`, where nothing was before.
    ///
    /// # Errors
    /// [`StoreError::NotBegun`] when the change must not be begun; [`Beginning::end`] has the cause.
    pub(crate) async fn begun(&self, step: Option<Step>) -> Result<Begun, StoreError> {
        let beginning = self.clone();
        // It goes on when nobody waits for it any more.
        let begun = tokio::task::spawn_blocking(move || {
            let mut state = beginning.locked();
            let write = state.write.take();
            let has_step = write.is_some() && step.is_some();
            if let Some(write) = write {
                // What a defect cuts off must not be begun.
                state.written = Some(Written { number: None, refused: Some(ActionError::Crashed) });
                state.written = Some(write(step.as_ref()));
            }
            match &state.written {
                Some(Written { number: Some(number), refused: None }) => {
                    Ok(Begun { number: *number, has_step })
                }
                _ => Err(StoreError::NotBegun),
            }
        });
        begun.await.unwrap_or_else(|_| Err(self.store.crashed()))
    }

    /// What came of it; it is written down now if nothing else has asked for it.
    pub(crate) async fn end(&self) -> Written {
        let is_written = self.locked().written.is_some();
        let begun = if is_written { Ok(()) } else { self.begun(None).await.map(drop) };
        let mut state = self.locked();
        state.written.take().unwrap_or_else(|| Written { number: None, refused: begun.err().map(Into::into) })
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // What a panic leaves half done refuses the change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beginning").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn beginning(written: fn() -> Written) -> (Beginning, Arc<AtomicU32>) {
        let (store, times) = (Store::new(std::path::Path::new("/nonexistent")), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&times);
        let write = move |_: Option<&Step>| {
            counted.fetch_add(1, Ordering::SeqCst);
            written()
        };
        (Beginning::new(store, write), times)
    }

    fn step() -> Step {
        Step { call: Call { command: "pct set 104 -cores 4".to_owned(), upid: None }, before: None }
    }

    #[tokio::test]
    async fn it_is_written_once_with_the_first_step() {
        let (beginning, times) = beginning(|| Written { number: Some(7), refused: None });
        let same = beginning.clone();
        assert_eq!(beginning.begun(Some(step())).await.unwrap(), Begun { number: 7, has_step: true });
        assert_eq!(same.begun(Some(step())).await.unwrap(), Begun { number: 7, has_step: false });
        assert_eq!(same.begun(None).await.unwrap(), Begun { number: 7, has_step: false });
        let written = beginning.end().await;
        assert!(matches!(written, Written { number: Some(7), refused: None }), "{written:?}");
        assert_eq!(times.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn it_is_written_at_the_end_when_nothing_has_asked_for_it() {
        let (beginning, times) = beginning(|| Written { number: Some(7), refused: None });
        let written = beginning.end().await;
        assert!(matches!(written, Written { number: Some(7), refused: None }), "{written:?}");
        assert_eq!(times.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_is_not_begun() {
        let (refused, times) =
            beginning(|| Written { number: Some(7), refused: Some(ActionError::ShuttingDown) });
        for _ in 0..2 {
            assert!(matches!(refused.begun(None).await, Err(StoreError::NotBegun)));
        }
        assert_eq!(times.load(Ordering::SeqCst), 1);
        let written = refused.end().await;
        assert!(
            matches!(written, Written { number: Some(7), refused: Some(ActionError::ShuttingDown) }),
            "{written:?}"
        );
        let (broken, _) = beginning(|| panic!("a defect"));
        assert!(matches!(broken.begun(None).await, Err(StoreError::Crashed { .. })));
        assert!(matches!(broken.begun(None).await, Err(StoreError::NotBegun)));
        let written = broken.end().await;
        assert!(
            matches!(written, Written { number: None, refused: Some(ActionError::Crashed) }),
            "{written:?}"
        );
    }
}
