//! What happens to the proposal about one resource of one container in a cycle. Pure.

use jiff::Timestamp;

use super::{Record, State, covers};
use crate::config::ProposalsConfig;
use crate::decide::{Action, Decision, Mode, Reason};
use crate::history::names_differ;

/// A new size that differs from the proposed one by less than this share of the present size does not replace it.
const NEWS_SHARE: f64 = 0.1;
/// Circumstances have changed since a rejection if the recommended size has moved by this share of the present size.
const OTHER_CIRCUMSTANCES_SHARE: f64 = 0.2;

/// The input for one resource of one container.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The waiting proposal.
    pub waiting: Option<&'a Record>,
    /// The last rejected one.
    pub rejected: Option<&'a Record>,
    /// The container's present name.
    pub name: Option<&'a str>,
    /// The present decision.
    pub decision: &'a Decision,
    /// The mode in force.
    pub mode: Mode,
    /// The time.
    pub now: Timestamp,
    /// The periods of validity.
    pub config: &'a ProposalsConfig,
}

/// What to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Leave,
    /// An accepted one waits, for this reason.
    Hold(String),
    /// Make one.
    Open,
    /// End the waiting one, for this reason.
    Close(State, String),
    /// End the waiting one, for this reason, and make another.
    Replace(String),
}

/// What to do now.
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
            Step::Close(State::Withdrawn, format!("no longer proposed: {}", decision.reason))
        };
    }
    if decision.action == Action::Keep {
        return match &decision.reason {
            reason if !is_passing(reason, waiting.decision.action) => {
                Step::Close(State::Withdrawn, reason.to_string())
            }
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

/// Whether the same was rejected and circumstances have not changed since.
fn is_rejected(case: &Case<'_>) -> bool {
    let (Some(rejected), decision) = (case.rejected, case.decision) else { return false };
    let Some(answer) = &rejected.answer else { return false };
    if names_differ(rejected.name.as_deref(), case.name) {
        return false;
    }
    let before = &rejected.decision;
    // The absolute value, so that it does not hold for ever after the clock was set back.
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

/// Whether the reason for keeping a container unchanged is temporary, so that a proposal of this kind can wait.
fn is_passing(reason: &Reason, proposed: Action) -> bool {
    match reason {
        Reason::Restless { .. } | Reason::Random { .. } => proposed == Action::Shrink,
        Reason::EnoughAllDay { .. } => proposed == Action::Grow,
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
        | Reason::Watched { .. } => true,
        _ => false,
    }
}
