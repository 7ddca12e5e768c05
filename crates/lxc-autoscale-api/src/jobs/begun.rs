//! How far the beginning of a change is written down, while the change is being prepared.
//!
//! Before the first call there are two records in two files: the audit log's and the journal's. They take some time, in which the
//! change looks at the node already; whatever would change anything waits.

use lxc_autoscale_core::Vmid;
use tokio::sync::watch;

/// What is known of a change as soon as it has its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    /// Its number.
    pub(crate) number: i64,
    /// How many changes of their sizes its containers have had within the last hour. They are free for this change: there
    /// are no more of them until it has ended.
    pub(crate) recent: Vec<(Vmid, u32)>,
    /// They were counted no further than this.
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

/// Whoever waits for the beginning to be written down; copies wait for the same one.
#[derive(Clone, Debug)]
pub(crate) struct Beginning(watch::Receiver<Stage>);

/// Whoever writes it down; without it nobody waits any more.
#[derive(Debug)]
pub(crate) struct Writing(watch::Sender<Stage>);

impl Beginning {
    /// One that is not written down yet.
    pub(crate) fn new() -> (Writing, Self) {
        let (writing, beginning) = watch::channel(Stage::Writing);
        (Writing(writing), Self(beginning))
    }

    /// What the change has when it has its row; nothing when it gets none.
    pub(crate) async fn numbered(&self) -> Option<Numbered> {
        self.reached(|stage| !matches!(stage, Stage::Writing)).await
    }

    /// The same when all of its beginning is written down; nothing when it cannot be.
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
    /// It has its row.
    pub(crate) fn has_row(&self, numbered: Numbered) {
        self.0.send_replace(Stage::Numbered(numbered));
    }

    /// The audit log has it, too.
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
            // Who asks later is told the same.
            assert_eq!((beginning.numbered().await, beginning.begun().await), want);
        }
    }
}
