//! What becomes of the proposal about one resource of one container in a cycle. Pure.

use jiff::Timestamp;

use super::{Record, State, covers};
use crate::config::ProposalsConfig;
use crate::decide::{Action, Decision, Mode, Reason};
use crate::history::names_differ;

/// A new size that differs from the proposed one by less than this share of what the container has is no news.
const NEWS_SHARE: f64 = 0.1;
/// Circumstances have changed since a rejection when what it should have has moved by this share of what it has.
const OTHER_CIRCUMSTANCES_SHARE: f64 = 0.2;

/// What is known about one resource of one container.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The proposal that waits.
    pub waiting: Option<&'a Record>,
    /// The one that was rejected last.
    pub rejected: Option<&'a Record>,
    /// What the container is called now.
    pub name: Option<&'a str>,
    /// What was decided now.
    pub decision: &'a Decision,
    /// The mode in force.
    pub mode: Mode,
    /// The time.
    pub now: Timestamp,
    /// How long what holds.
    pub config: &'a ProposalsConfig,
}

/// What is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Leave,
    /// An accepted one waits, for this reason.
    Hold(String),
    /// Make one.
    Open,
    /// End the one that waits, for this reason.
    Close(State, String),
    /// End the one that waits, for this reason, and make another.
    Replace(String),
}

/// What is to be done now.
pub fn next(case: &Case<'_>) -> Step {
    let (decision, mode) = (case.decision, case.mode);
    let Some(waiting) = case.waiting else {
        let wanted = mode == Mode::Approve && decision.action != Action::Keep && !decision.apply;
        return if wanted && !is_rejected(case) { Step::Open } else { Step::Leave };
    };
    if let (true, Some(then), Some(now)) =
        (names_differ(waiting.name.as_deref(), case.name), &waiting.name, case.name)
    {
        return Step::Close(
            State::Withdrawn,
            format!("it was called `{then}` then and is called `{now}` now"),
        );
    }
    let accepted = waiting.state == State::Accepted;
    if waiting.expires_at <= case.now {
        let why = waiting.note.clone().filter(|_| accepted);
        return Step::Close(State::Expired, why.unwrap_or_else(|| "nobody answered".to_owned()));
    }
    if mode != Mode::Approve {
        return Step::Close(State::Withdrawn, format!("the mode is `{}` now", mode.word()));
    }
    if decision.apply {
        return if accepted && decision.to == waiting.decision.to {
            Step::Leave
        } else {
            Step::Close(State::Withdrawn, format!("not asked about: {}", decision.reason))
        };
    }
    if decision.action == Action::Keep {
        return match &decision.reason {
            reason if !is_passing(reason) => Step::Close(State::Withdrawn, reason.to_string()),
            reason if accepted => Step::Hold(reason.to_string()),
            _ => Step::Leave,
        };
    }
    match covers(decision, &waiting.decision) {
        Ok(()) if accepted || !moved(decision, &waiting.decision, NEWS_SHARE) => Step::Leave,
        Ok(()) => Step::Replace(format!("decided now: {decision}")),
        Err(differs) => Step::Replace(differs.to_string()),
    }
}

/// Whether the same was rejected and nothing has changed since.
fn is_rejected(case: &Case<'_>) -> bool {
    let (Some(rejected), decision) = (case.rejected, case.decision) else { return false };
    let Some(answer) = &rejected.answer else { return false };
    if names_differ(rejected.name.as_deref(), case.name) {
        return false;
    }
    let before = &rejected.decision;
    // The absolute value, so that a clock that was set back does not hold it for ever.
    let holds = case.now.duration_since(answer.at).abs() < case.config.rejection_holds();
    let same_size = decision.from == before.from;
    let ran_out = matches!(decision.reason, Reason::RanOutOfMemory { .. })
        && !matches!(before.reason, Reason::RanOutOfMemory { .. });
    let same_way = decision.action == before.action;
    holds && same_way && same_size && !ran_out && !moved(decision, before, OTHER_CIRCUMSTANCES_SHARE)
}

/// Whether two targets differ by more than this share of the present size.
fn moved(now: &Decision, before: &Decision, share: f64) -> bool {
    match (now.to, before.to, now.from) {
        (Some(now), Some(before), Some(from)) => share * from < (now - before).abs(),
        _ => true,
    }
}

/// Whether what keeps a container as it is passes by itself.
fn is_passing(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Locked { .. }
            | Reason::AllocationUnknown
            | Reason::NoObservation
            | Reason::Stale { .. }
            | Reason::UseUnknown
            | Reason::NodeUnknown
            | Reason::CoolDownUp { .. }
            | Reason::CoolDownDown { .. }
            | Reason::NotMeasuredSince
            | Reason::Anomalous { .. }
            | Reason::JustCutOff
            | Reason::UnderPressure { .. }
            | Reason::Disturbed { .. }
            | Reason::Watched { .. }
    )
}
