//! A plan: what would be changed now, in a form that can be kept, looked at and carried out.
//!
//! It is good for a short time and for exactly the circumstances it was made in. [`Plan::check`] and
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

/// The version of the form; another one is refused.
const VERSION: u32 = 1;
/// Digits of a plan's number: enough that no two plans of a node share one.
const ID_DIGITS: usize = 12;

/// What would be changed, and what it was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of the form.
    pub version: u32,
    /// Its number: it follows from all that can be carried out, so that an altered plan is noticed.
    pub id: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Until when it may be carried out.
    pub expires_at: Timestamp,
    /// The node it was made for.
    pub node: Node,
    /// The configuration it was made with.
    pub configuration: Configuration,
    /// What would be changed, shrinks first: what they free may be what a growth needs.
    pub changes: Vec<PlannedChange>,
    /// How many sizes of containers would be left as they are.
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

/// A configuration file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Where it is.
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
    /// What the daemon does about it by itself.
    pub mode: Mode,
    /// Key of the rules in force, under which the ledger keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The change.
    #[serde(flatten)]
    pub decision: Decision,
    /// Its reason in words and numbers.
    pub why: String,
}

impl Configuration {
    /// The file as it is now.
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

    /// The number that follows from what can be carried out, for whom and until when.
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

    /// How many of its changes have this action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.decision.action == action).count()
    }

    /// The sum of what would be added, in the unit of the resource; negative where more is given back.
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
