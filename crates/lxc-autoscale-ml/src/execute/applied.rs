//! Decisions that a person applies beside the daemon, and how the daemon learns of them.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::ContainerStatus;

use super::{Executor, StartError};
use crate::act::CallError;
use crate::config::Config;
use crate::decide::{Decision, Resource};
use crate::ledger::{Applied, Ledger, LedgerError, Outcome};
use crate::pipeline::Proposal;

/// A call by another process that takes longer than the API's deadline and this will not be completed any more.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// Who carries out a decision that is not the daemon's own, and how.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// The user.
    pub who: &'a str,
    /// Such as `plan 3f2a9c81d04b`.
    pub how: &'a str,
}

impl Executor {
    /// Works beside a daemon that has the ledger open; `None` if there is no ledger yet.
    ///
    /// # Errors
    /// [`StartError`] when the ledger cannot be used.
    pub fn beside(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(ledger) = Ledger::open_beside(&config.state.ledger())? else { return Ok(None) };
        Ok(Some(Self::with(config, ledger)?))
    }

    /// The newest entry of the ledger.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    pub fn newest_entry(&self) -> Result<i64, LedgerError> {
        self.ledger.as_ref().map_or(Ok(0), Ledger::newest_number)
    }

    /// Whether a resource is being changed, or was changed by an entry after `entry`.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be read.
    pub fn is_changed_after(&self, id: Vmid, resource: Resource, entry: i64) -> Result<bool, LedgerError> {
        self.ledger.as_ref().map_or(Ok(false), |ledger| ledger.is_changed_after(id, resource, entry))
    }

    /// The present size and usage of a container, by Proxmox.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn status(&self, id: Vmid) -> Result<ContainerStatus, CallError> {
        self.client.container_status(id).await
    }

    /// Carries out one decision in the name of `author`, with its own ledger entry.
    pub async fn carry_out_for(
        &mut self,
        proposal: &Proposal,
        decision: &Decision,
        author: Author<'_>,
        now: Timestamp,
    ) -> Outcome {
        self.keep_grounds(std::slice::from_ref(proposal), now);
        let how = author.how;
        let author = (author.who, author.how);
        let begun =
            |ledger: &mut Ledger| ledger.begin_for(now, proposal.id, decision, &proposal.inputs, author);
        let Some(number) = self.begin(begun) else { return self.not_asked_for() };
        let purpose = format!("{how}, decision {number}");
        let outcome = self.ask(now, proposal, decision, &purpose).await;
        self.in_ledger(|ledger| ledger.settle_beside(number, &outcome, Timestamp::now()));
        outcome
    }

    /// Applied changes that were not taken over yet, which the daemon treats as its own; also settles entries that were
    /// begun and abandoned. To be followed by [`Executor::note_taken_in`] once they are saved.
    pub fn applied(&mut self, now: Timestamp) -> Vec<Applied> {
        let patience = SignedDuration::try_from(self.client.deadline()).unwrap_or(ABANDONED_AFTER);
        let before = now - (patience + ABANDONED_AFTER);
        let mut applied = Vec::new();
        self.in_ledger(|ledger| {
            ledger.settle_abandoned(before, now)?;
            applied = ledger.applied()?;
            Ok(())
        });
        for applied in &applied {
            let changes = self.changes.entry(applied.id).or_default();
            match applied.after {
                Some(_) => changes.note(&applied.decision, applied.begun),
                None => changes.note_unsure(&applied.decision, applied.begun),
            }
            tracing::info!(container = %applied.id, "applied by hand, and taken over: {}", applied.decision);
        }
        applied
    }

    /// Notes that these were taken over.
    pub fn note_taken_in(&mut self, applied: &[Applied]) {
        let entries: Vec<i64> = applied.iter().map(|applied| applied.entry).collect();
        if !entries.is_empty() {
            self.in_ledger(|ledger| ledger.note_taken_in(&entries));
        }
    }

    /// Whether somebody is applying a change to the resource, or has since the cycle began.
    pub(super) fn is_applied_to(&mut self, id: Vmid, resource: Resource) -> bool {
        let mut is_applied = false;
        self.in_ledger(|ledger| {
            is_applied = ledger.is_applied_to(id, resource)?;
            Ok(())
        });
        is_applied
    }

    pub(super) fn in_ledger(&mut self, work: impl FnOnce(&mut Ledger) -> Result<(), LedgerError>) {
        if let Some(ledger) = &mut self.ledger
            && let Err(error) = work(ledger)
        {
            self.lost_ledger(&error);
        }
    }
}
