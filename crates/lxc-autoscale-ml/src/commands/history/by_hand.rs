//! The sizes that somebody else set, and who that was, as far as the API knows.

use std::io::Write;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{LedgerEntry, SizeOf};
use serde::Serialize;

use super::super::decisions::local_time;
use super::super::screen::{Screen, Tone};
use super::super::table::{amount, resource};
use crate::act::{ApiClient, CallError, ClientError};
use crate::config::Config;
use crate::decide::Resource;
use crate::guard::manual::Manual;
use crate::history::LONGEST_STEP;
use crate::ledger::Entry;

/// The API records a change at most this long before a measurement shows it: a longer step is a gap.
const TOLD_BEFORE: SignedDuration = LONGEST_STEP;
/// It records one that it only noticed at most this long afterwards.
const TOLD_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// The caller of what the API only noticed.
const OUTSIDE: &str = "outside";

/// Why the API does not tell who it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// It cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It was asked in vain.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A size that somebody else set, by hand or through the API, as the daemon noticed it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ByHand {
    /// When it was first measured.
    pub(super) at: Timestamp,
    resource: Resource,
    /// In cores or MiB.
    from: f64,
    to: f64,
    /// Who set it through the API, such as `uid:0`, or `outside`; absent if the API does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// Why, as the API recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl ByHand {
    /// Takes over who set it from what the API told, newest first.
    fn know(&mut self, told: &[LedgerEntry]) {
        if let Some(entry) = told.iter().find(|entry| self.is_told_by(entry)) {
            (self.by, self.why) = (Some(entry.caller.clone()), Some(entry.why.clone()));
        }
    }

    /// Whether an entry of the API's ledger tells of this change.
    fn is_told_by(&self, entry: &LedgerEntry) -> bool {
        // Of a CPU the guards know the smaller one of two settings, so its time has to do.
        let is_its = match self.resource {
            Resource::Cpu => matches!(entry.resource, SizeOf::Cores | SizeOf::Cpulimit),
            Resource::Memory => {
                entry.resource == SizeOf::Memory
                    && entry.after.is_some_and(|after| (after - self.to).abs() < 0.5)
            }
        };
        is_its
            && entry.decision().is_none()
            && (self.at - TOLD_BEFORE..=self.at + TOLD_AFTER).contains(&entry.at)
    }

    pub(super) fn show(&self, screen: Screen, out: &mut impl Write) -> std::io::Result<()> {
        let ByHand { at, resource: of, from, to, by, why } = self;
        let (from, to) = (amount(*of, Some(*from)), amount(*of, Some(*to)));
        let who = match (by.as_deref(), why) {
            (Some(OUTSIDE), _) => "somebody, past the API".to_owned(),
            (Some(by), Some(why)) => format!("{by} through the API ({why})"),
            _ => "somebody else".to_owned(),
        };
        let head = format!("{}  {:<6}  {from} → {to}  set by {who}", local_time(*at), resource(*of));
        writeln!(out, "{}", screen.paint(Tone::Strong, &head))
    }
}

/// Asks the API who set these sizes, if there are any.
///
/// # Errors
/// [`AskError`] when it does not tell; they are then left as they are.
pub(super) async fn ask_who(config: &Config, id: Vmid, sizes: &mut [ByHand]) -> Result<(), AskError> {
    if sizes.is_empty() {
        return Ok(());
    }
    let client = ApiClient::new(&config.api.url, config.api.patience())?;
    let told = client.ledger(id).await?.entries;
    for size in sizes {
        size.know(&told);
    }
    Ok(())
}

/// The sizes that somebody else set since then, as the guards remembered them at the decisions; each once.
pub(super) fn of(entries: &[Entry], since: Timestamp) -> Vec<ByHand> {
    let mut all: Vec<ByHand> = Vec::new();
    for entry in entries {
        let (resource, guard) = (entry.decision.resource, &entry.inputs.guard);
        let resource_guard = match resource {
            Resource::Cpu => &guard.cpu,
            Resource::Memory => &guard.memory,
        };
        let Some(Manual { at, from, size }) = resource_guard.manual.filter(|manual| since <= manual.at)
        else {
            continue;
        };
        let set = ByHand { at, resource, from, to: size, by: None, why: None };
        if !all.contains(&set) {
            all.push(set);
        }
    }
    all.sort_by_key(|set| set.at);
    all
}
