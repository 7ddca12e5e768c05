//! Changes that wait for approval (mode `approve`). Pure; the ledger stores them, the daemon processes them in every
//! cycle, and `lxc-autoscale-ml proposals` lists, accepts and rejects them.
//!
//! There is at most one waiting proposal per container and resource. It stands for the size it names, so it stays
//! unchanged while present decisions go at least as far, and is replaced when they differ. Once accepted, the daemon
//! carries it out, **exactly as it says**, in the first cycle in which the decision, made anew with all its guards,
//! goes as far; until then it waits, and may expire.

mod approvals;
mod rules;

use std::fmt;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use serde::Serialize;

pub use approvals::{Approvals, Uncovered, covers};
pub use rules::{Case, Step, next};

use crate::decide::Decision;

/// The state of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for approval.
    Open,
    /// Accepted; waits to be carried out.
    Accepted,
    /// Rejected by somebody.
    Rejected,
    /// It was not accepted in time, or the guards did not allow it in time.
    Expired,
    /// A newer one replaced it.
    Superseded,
    /// It is not needed any more.
    Withdrawn,
    /// Carried out.
    Done,
    /// It may or may not have been carried out.
    Unknown,
}

impl State {
    const ALL: [Self; 8] = [
        Self::Open,
        Self::Accepted,
        Self::Rejected,
        Self::Expired,
        Self::Superseded,
        Self::Withdrawn,
        Self::Done,
        Self::Unknown,
    ];

    /// The word for it, under which it is also stored.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Withdrawn => "withdrawn",
            Self::Done => "done",
            Self::Unknown => "unknown",
        }
    }

    /// The state of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether it is still waiting.
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Open | Self::Accepted)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A proposal as the ledger stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number, by which people name it.
    pub number: i64,
    /// The container.
    pub id: Vmid,
    /// The container's name when it was made.
    pub name: Option<String>,
    /// What is proposed, and why.
    pub decision: Decision,
    /// Its state.
    pub state: State,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Who accepted or rejected it, when, and what they said.
    pub answer: Option<Answer>,
    /// When it ended, and why; what an accepted one waits for.
    pub note: Option<String>,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// The entry of the ledger that carried it out.
    pub entry: Option<i64>,
}

/// Somebody's answer to a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// When.
    pub at: Timestamp,
    /// The user name and id.
    pub who: String,
    /// Their reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests;
