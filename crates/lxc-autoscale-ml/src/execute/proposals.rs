//! The part of a cycle that involves people: accepted proposals and new ones.

use jiff::Timestamp;
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::Executor;
use crate::decide::{Decision, Mode, Resource};
use crate::ledger::{Ledger, LedgerError, NewProposal, Outcome};
use crate::pipeline::Proposal;
use crate::proposals::{Approvals, Case, Record, State, Step, next};

impl Executor {
    /// The accepted proposals that wait to be carried out.
    pub fn approvals(&mut self, now: Timestamp) -> Approvals {
        let mut approvals = Approvals::default();
        self.accepted.clear();
        let Some(ledger) = &self.ledger else { return approvals };
        match ledger.waiting_proposals() {
            Ok(waiting) => {
                let is_good = |it: &Record| it.state == State::Accepted && now < it.expires_at;
                for record in waiting.into_iter().filter(is_good) {
                    approvals.accept(record.id, record.name.clone(), record.decision.clone());
                    self.accepted.insert((record.id, record.decision.resource), record);
                }
            }
            Err(error) => self.lost_ledger(&error),
        }
        approvals
    }

    /// Makes new proposals, and ends those that expired, were carried out or are not needed any more.
    pub fn ask_people(&mut self, proposals: &[Proposal], now: Timestamp) {
        let Some(mut ledger) = self.ledger.take() else { return };
        match self.go_through(&mut ledger, proposals, now) {
            Ok(()) => self.ledger = Some(ledger),
            Err(error) => self.lost_ledger(&error),
        }
    }

    fn go_through(
        &mut self,
        ledger: &mut Ledger,
        proposals: &[Proposal],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let waiting = ledger.waiting_proposals()?;
        let is_asked = |proposal: &Proposal| {
            [Resource::Cpu, Resource::Memory]
                .iter()
                .any(|it| proposal.in_force.policy.mode(*it) == Mode::Approve)
        };
        if waiting.is_empty() && !proposals.iter().any(is_asked) {
            return Ok(());
        }
        let rejected = ledger.rejected_proposals()?;
        let of = |records: &[Record], id: Vmid, resource: Resource| {
            records.iter().find(|it| it.id == id && it.decision.resource == resource).cloned()
        };
        for proposal in proposals {
            for decision in proposal.decisions.both() {
                let (id, resource) = (proposal.id, decision.resource);
                let (waiting, rejected) = (of(&waiting, id, resource), of(&rejected, id, resource));
                let case = Case {
                    waiting: waiting.as_ref(),
                    rejected: rejected.as_ref(),
                    name: proposal.name.as_deref(),
                    decision,
                    mode: proposal.in_force.policy.mode(resource),
                    now,
                    config: &self.asking,
                };
                let step = next(&case);
                self.take_step(ledger, proposal, decision, waiting.as_ref(), step, now)?;
            }
        }
        // Of a container that is not measured any more, only the expiry is known.
        for record in waiting.iter().filter(|record| record.expires_at <= now) {
            if proposals.iter().all(|proposal| proposal.id != record.id) {
                self.held.remove(&record.number);
                let note = "it was not measured any more";
                ledger.close_proposal(record.number, State::Expired, Some(note), None, now)?;
            }
        }
        Ok(())
    }

    fn take_step(
        &mut self,
        ledger: &mut Ledger,
        proposal: &Proposal,
        decision: &Decision,
        waiting: Option<&Record>,
        step: Step,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let new = NewProposal {
            id: proposal.id,
            name: proposal.name.as_deref(),
            decision,
            made_at: now,
            expires_at: now.checked_add(self.asking.expires_after()).unwrap_or(Timestamp::MAX),
        };
        match (step, waiting) {
            (Step::Open, _) => {
                if let Some(number) = ledger.open_proposal(new)? {
                    tracing::info!("Proposal {number} for container {}: {decision}", proposal.id);
                }
            }
            (Step::Hold(why), Some(record)) => {
                let kind = std::mem::discriminant(&decision.reason);
                if self.held.insert(record.number, kind) != Some(kind) {
                    ledger.hold_proposal(record.number, &why)?;
                }
            }
            (Step::Close(state, why), Some(record)) => {
                self.held.remove(&record.number);
                if ledger.close_proposal(record.number, state, Some(&why), None, now)? {
                    tracing::info!(
                        "Proposal {} for container {} is {state}: {why}",
                        record.number,
                        record.id
                    );
                }
            }
            (Step::Replace(why), Some(record)) => {
                self.held.remove(&record.number);
                ledger.close_proposal(record.number, State::Superseded, Some(&why), None, now)?;
                if let Some(number) = ledger.open_proposal(new)? {
                    tracing::info!(
                        "Proposal {number} for container {} replaces {}: {decision}",
                        proposal.id,
                        record.number
                    );
                }
            }
            (Step::Leave, _) | (_, None) => {}
        }
        Ok(())
    }

    /// Ends the proposal that this ledger entry carried out, and records who accepted it.
    pub(super) fn note_answered(
        &mut self,
        now: Timestamp,
        id: Vmid,
        decision: &Decision,
        entry: i64,
        outcome: &Outcome,
    ) {
        let Some(record) = self.accepted.get(&(id, decision.resource)) else { return };
        if record.decision.to != decision.to {
            return;
        }
        let record = record.clone();
        let Some(mut ledger) = self.ledger.take() else { return };
        match write_answered(&mut ledger, &record, entry, outcome, now) {
            Ok(()) => self.ledger = Some(ledger),
            Err(error) => {
                tracing::error!("proposal {} cannot be ended: {}", record.number, ErrorChain(&error));
                self.lost_ledger(&error);
            }
        }
    }
}

fn write_answered(
    ledger: &mut Ledger,
    record: &Record,
    entry: i64,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let who = record.answer.as_ref().map_or("somebody", |answer| answer.who.as_str());
    let (state, note) = match outcome {
        Outcome::Done { .. } | Outcome::Already { .. } => (State::Done, None),
        Outcome::Unknown { error } => (State::Unknown, Some(error.as_str())),
        // It waits for the API and is retried like everything else.
        Outcome::Failed { error } | Outcome::Overtaken { error } => {
            return ledger.hold_proposal(record.number, error);
        }
        Outcome::Nothing | Outcome::Shown | Outcome::Proposed | Outcome::Pending => return Ok(()),
    };
    ledger.note_author(entry, who, &format!("proposal {}", record.number))?;
    ledger.close_proposal(record.number, state, note, Some(entry), now)?;
    Ok(())
}
