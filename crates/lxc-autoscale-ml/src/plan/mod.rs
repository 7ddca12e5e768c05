//! A plan: what would be changed now, in a form that can be saved, reviewed and carried out.
//!
//! It is valid for a short time and only under the circumstances in which it was made. [`Plan::check`] and
//! [`PlannedChange::check`] say what differs; they are pure.

mod check;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use check::{Now, Refusal};

use crate::decide::{Action, Decision, Mode, Resource};
use crate::pipeline::Proposal;

/// The format version; others are refused.
const VERSION: u32 = 1;
/// Digits of a plan's id: enough to be unique on a node.
const ID_DIGITS: usize = 12;

/// The changes, and the circumstances in which they were planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The format version.
    pub version: u32,
    /// Its id: derived from everything that can be carried out, so that an altered plan is detected.
    pub id: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Until when it may be carried out.
    pub expires_at: Timestamp,
    /// The node it was made for.
    pub node: Node,
    /// The configuration it was made with.
    pub configuration: Configuration,
    /// The changes, shrinks first: a growth may need what they free.
    pub changes: Vec<PlannedChange>,
    /// Number of sizes that would be left unchanged.
    pub kept: usize,
}

/// A node, as far as a plan depends on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its host name.
    pub name: Option<String>,
    /// CPUs online.
    pub cpus: Option<u32>,
    /// Its memory, in whole MiB.
    pub memory_total_mib: Option<u64>,
}

/// A configuration file and its content at the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Its path.
    pub file: PathBuf,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedChange {
    /// The container.
    pub id: Vmid,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The mode in which the daemon acts on it.
    pub mode: Mode,
    /// Key of the rules in force, under which the ledger stores them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The change.
    #[serde(flatten)]
    pub decision: Decision,
    /// Its reason in words and numbers.
    pub why: String,
    /// The probability that the recommended size, which it leads to or towards, is enough for the coming hour (0–100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended_confidence_percent: Option<f64>,
}

impl Configuration {
    /// The present file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(file: &Path) -> std::io::Result<Self> {
        let bytes = std::fs::read(file)?;
        Ok(Self { file: file.to_owned(), sha256: hexadecimal(&Sha256::digest(bytes)) })
    }
}

impl Plan {
    /// From the decisions about all containers, made at `now` as if all of them were to be carried out.
    pub fn new(
        proposals: &[Proposal],
        node: Node,
        configuration: Configuration,
        now: Timestamp,
        good_for: SignedDuration,
    ) -> Self {
        let (mut changes, mut kept) = (Vec::new(), 0);
        for proposal in proposals {
            for decision in proposal.decisions.both() {
                if decision.action == Action::Keep {
                    kept += 1;
                } else {
                    changes.push(PlannedChange {
                        id: proposal.id,
                        name: proposal.name.clone(),
                        mode: proposal.in_force.policy.mode(decision.resource),
                        policy: proposal.inputs.policy.clone(),
                        decision: decision.clone(),
                        why: decision.reason.to_string(),
                        recommended_confidence_percent: proposal
                            .inputs
                            .recommended_confidence(decision.resource),
                    });
                }
            }
        }
        changes.sort_by_key(|change| change.decision.action != Action::Shrink);
        let expires_at = now.checked_add(good_for).unwrap_or(Timestamp::MAX);
        let id = String::new();
        let plan =
            Self { version: VERSION, id, made_at: now, expires_at, node, configuration, changes, kept };
        Self { id: plan.number(), ..plan }
    }

    /// The id derived from the changes, their containers and the expiry.
    fn number(&self) -> String {
        let Self { version, made_at, expires_at, node, configuration, .. } = self;
        let mut text = format!("{version} {made_at} {expires_at} {node:?} {}", configuration.sha256);
        for PlannedChange { id, name, policy, decision, .. } in &self.changes {
            let Decision { resource, action, from, to, .. } = decision;
            let [from, to] = [from, to].map(|size| size.map(|size| format!("{size:.4}")));
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{id} {name:?} {policy:?} {resource:?} {action:?} {from:?} {to:?}");
        }
        let mut digits = hexadecimal(&Sha256::digest(text));
        digits.truncate(ID_DIGITS);
        digits
    }

    /// The number of changes with this action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.decision.action == action).count()
    }

    /// The sum of the changes, in the unit of the resource; negative if more is taken than given.
    pub fn added(&self, resource: Resource) -> f64 {
        let of_this = self.changes.iter().filter(|change| change.decision.resource == resource);
        of_this.filter_map(|change| Some(change.decision.to? - change.decision.from?)).sum()
    }
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
