//! What has changed since a plan was made.

use jiff::Timestamp;

use super::{Configuration, Node, Plan, PlannedChange, VERSION};
use crate::decide::{Action, Decision};
use crate::pipeline::Proposal;
use crate::proposals::{Uncovered, covers};

/// Why a plan, or one of its changes, is not carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It has another format version.
    #[error("the plan has version {found}, and this program knows version {VERSION}; make a new one")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It was altered.
    #[error("the plan was altered: its number is `{id}`, and its content has `{number}`")]
    Altered {
        /// The id it carries.
        id: String,
        /// The id computed from its content.
        number: String,
    },
    /// It is too old.
    #[error("the plan expired {seconds} s ago; make a new one")]
    Expired {
        /// When it expired.
        expires_at: Timestamp,
        /// How long ago.
        seconds: u64,
    },
    /// It was made later than now.
    #[error("the plan was made at a time {seconds} s in the future; was the clock set back?")]
    FromTheFuture {
        /// When it was made.
        made_at: Timestamp,
        /// How far in the future.
        seconds: u64,
    },
    /// It was made for another node.
    #[error("the plan was made for another node: {then}, and this is {now}")]
    Node {
        /// The node it was made for.
        then: Node,
        /// The present node.
        now: Node,
    },
    /// The configuration has changed.
    #[error(
        "the configuration has changed: the plan was made with `{}` (SHA-256 {}…), now it is `{}` ({}…); make a new plan",
        then.file.display(), short(&then.sha256), now.file.display(), short(&now.sha256)
    )]
    Configuration {
        /// The configuration it was made with.
        then: Configuration,
        /// The present configuration.
        now: Configuration,
    },
    /// The container is not measured any more.
    #[error("it is not measured any more")]
    Gone,
    /// The id belongs to a container of another name.
    #[error("it was called `{then}` when the plan was made and is called `{now}` now")]
    Renamed {
        /// Its name then.
        then: String,
        /// Its name now.
        now: String,
    },
    /// Other rules are in force for it.
    #[error("other rules are in force for it than when the plan was made (`policy show` tells which)")]
    Policy,
    /// The present decision does not go as far.
    #[error("{0}")]
    Decision(Uncovered),
    /// The daemon is changing it, or has changed it since.
    #[error("the daemon is changing it, or has changed it since the plan was checked")]
    UnderWay,
    /// Its present size could not be read.
    #[error("what it has now cannot be read: {0}")]
    Unread(String),
}

/// The circumstances against which a plan is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Now {
    /// The time.
    pub at: Timestamp,
    /// The node.
    pub node: Node,
    /// The configuration.
    pub configuration: Configuration,
}

/// A plan dated more than this in the future was made by a different clock.
const CLOCK_SLACK_SECONDS: i64 = 5;

impl Plan {
    /// Whether it may be carried out at all.
    ///
    /// # Errors
    /// [`Refusal`]: what differs.
    pub fn check(&self, now: &Now) -> Result<(), Refusal> {
        if self.version != VERSION {
            return Err(Refusal::Version { found: self.version });
        }
        let number = self.number();
        if self.id != number {
            return Err(Refusal::Altered { id: self.id.clone(), number });
        }
        let ahead = self.made_at.duration_since(now.at).as_secs();
        if CLOCK_SLACK_SECONDS < ahead {
            return Err(Refusal::FromTheFuture { made_at: self.made_at, seconds: ahead.unsigned_abs() });
        }
        if self.expires_at <= now.at {
            let seconds = now.at.duration_since(self.expires_at).as_secs().unsigned_abs();
            return Err(Refusal::Expired { expires_at: self.expires_at, seconds });
        }
        if self.node != now.node {
            return Err(Refusal::Node { then: self.node.clone(), now: now.node.clone() });
        }
        if self.configuration.sha256 != now.configuration.sha256 {
            let (then, now) = (self.configuration.clone(), now.configuration.clone());
            return Err(Refusal::Configuration { then, now });
        }
        Ok(())
    }
}

impl PlannedChange {
    /// Whether a new decision about the same container under the same rules, with all guards, allows the change.
    ///
    /// # Errors
    /// [`Refusal`]: what differs.
    pub fn check(&self, proposal: &Proposal) -> Result<(), Refusal> {
        if self.name != proposal.name {
            let shown = |name: &Option<String>| name.clone().unwrap_or_default();
            return Err(Refusal::Renamed { then: shown(&self.name), now: shown(&proposal.name) });
        }
        if self.policy != proposal.inputs.policy {
            return Err(Refusal::Policy);
        }
        covers(proposal.decisions.about(self.decision.resource), &self.decision).map_err(Refusal::Decision)
    }

    /// The decision as it is carried out.
    pub fn ordered(&self) -> Decision {
        Decision { apply: self.decision.action != Action::Keep, ..self.decision.clone() }
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |it| it.to_string());
        let name = self.name.as_deref().unwrap_or("a node without a name");
        let cpus = known(self.cpus.map(u64::from));
        write!(f, "{name} ({cpus} CPUs, {} MiB)", known(self.memory_total_mib))
    }
}

fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}
