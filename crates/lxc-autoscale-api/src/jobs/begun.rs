//! How much of the start of a change is recorded, while the change is being prepared.
//!
//! The start has two records in two files, `api.sqlite` and the audit log. Writing them takes some time, in which the
//! change already reads the node. Anything that changes something waits for them.

use lxc_autoscale_core::Vmid;
use tokio::sync::watch;

/// What is known of a change as soon as it has its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    /// Its number.
    pub(crate) number: i64,
    /// How many size changes each of its containers had within the last hour. This change has the containers to
    /// itself, so the counts hold until it has ended.
    pub(crate) recent: Vec<(Vmid, u32)>,
    /// Counting stopped at this number.
    pub(crate) counted_to: u32,
}

#[derive(Clone, Debug)]
enum Stage {
    Writing,
    /// The row survives the end of this process.
    Numbered(Numbered),
    /// The audit log has its record.
    Begun(Numbered),
}

/// Waits for the start to be recorded; clones wait for the same one.
#[derive(Clone, Debug)]
pub(crate) struct Beginning(watch::Receiver<Stage>);

/// Reports the progress of recording; once it is dropped, nobody waits any longer.
#[derive(Debug)]
pub(crate) struct Writing(watch::Sender<Stage>);

impl Beginning {
    /// A start that is not recorded yet.
    pub(crate) fn new() -> (Writing, Self) {
        let (writing, beginning) = watch::channel(Stage::Writing);
        (Writing(writing), Self(beginning))
    }

    /// What the change has once it has its row; `None` if it gets none.
    pub(crate) async fn numbered(&self) -> Option<Numbered> {
        self.reached(|stage| !matches!(stage, Stage::Writing)).await
    }

    /// As [`Beginning::numbered`], once the whole start is recorded; `None` if it cannot be.
    pub(crate) async fn begun(&self) -> Option<Numbered> {
        self.reached(|stage| matches!(stage, Stage::Begun(_))).await
    }

    async fn reached(&self, is_far_enough: impl FnMut(&Stage) -> bool) -> Option<Numbered> {
        let mut stages = self.0.clone();
        match &*stages.wait_for(is_far_enough).await.ok()? {
            Stage::Writing => None,
            Stage::Numbered(numbered) | Stage::Begun(numbered) => Some(numbered.clone()),
        }
    }
}

impl Writing {
    /// Reports that the row is written.
    pub(crate) fn has_row(&self, numbered: Numbered) {
        self.0.send_replace(Stage::Numbered(numbered));
    }

    /// Reports that the audit log has its record, too.
    pub(crate) fn audited(self) {
        self.0.send_if_modified(|stage| match stage {
            Stage::Numbered(numbered) => {
                *stage = Stage::Begun(numbered.clone());
                true
            }
            Stage::Writing | Stage::Begun(_) => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered() -> Numbered {
        Numbered { number: 7, recent: vec![(Vmid::try_from(104).unwrap(), 2)], counted_to: 120 }
    }

    #[tokio::test]
    async fn whoever_waits_is_told_how_far_it_came() {
        for (has_row, is_audited) in [(false, false), (true, false), (true, true)] {
            let (writing, beginning) = Beginning::new();
            let told = tokio::spawn({
                let beginning = beginning.clone();
                async move { (beginning.numbered().await, beginning.begun().await) }
            });
            tokio::task::yield_now().await;
            if has_row {
                writing.has_row(numbered());
            }
            if is_audited {
                writing.audited();
            } else {
                drop(writing);
            }
            let want = (has_row.then(numbered), is_audited.then(numbered));
            assert_eq!(told.await.unwrap(), want);
            // Later callers get the same results.
            assert_eq!((beginning.numbered().await, beginning.begun().await), want);
        }
    }
}
