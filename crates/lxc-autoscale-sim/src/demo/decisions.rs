//! What `lxc-autoscale-ml` decided, asked of its own command `decisions --json`.
//!
//! The one place that knows how the demo learns of decisions.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lxc_autoscale_core::Vmid;
use serde::Deserialize;

/// One decision as the ledger tells it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Decision {
    /// Its number in the ledger; later ones are higher.
    pub number: i64,
    /// The container.
    pub id: Vmid,
    /// What was decided.
    pub decision: Decided,
    /// Why, in words and numbers.
    pub reason: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Decided {
    /// `cpu` or `memory`.
    pub resource: String,
    /// `grow`, `shrink` or `keep`.
    pub action: String,
    /// What the container had, in cores or MiB.
    pub from: Option<f64>,
    /// What it is to have.
    pub to: Option<f64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Outcome {
    /// `done`, `failed`, `nothing` …
    pub kind: String,
}

impl Decision {
    /// Whether it is to change something.
    pub fn is_change(&self) -> bool {
        self.decision.action != "keep"
    }

    /// One line for the table: `cpu 1 → 3 done: …`.
    pub fn line(&self) -> String {
        let number = |value: Option<f64>| {
            value.map_or("?".to_owned(), |value| {
                format!("{:.2}", value).trim_end_matches('0').trim_end_matches('.').to_owned()
            })
        };
        let Decided { resource, from, to, .. } = &self.decision;
        if self.is_change() {
            format!("{resource} {} → {} {}: {}", number(*from), number(*to), self.outcome.kind, self.reason)
        } else {
            format!("{resource} stays: {}", self.reason)
        }
    }
}

/// What is known of the decisions about one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Decisions that were to change something.
    pub changes: u64,
    /// The latest of those, else the latest of all.
    pub latest: Option<Decision>,
}

/// The command that tells them.
#[derive(Clone, Debug)]
pub struct DecisionSource {
    program: PathBuf,
    directory: PathBuf,
    config: PathBuf,
}

impl DecisionSource {
    /// `program` is run in `directory` and told `config`, relative to it.
    ///
    /// Relative, so that nobody takes it for the daemon, whose command line names the whole path.
    pub fn new(program: &Path, directory: &Path, config: &Path) -> Self {
        let relative = config.strip_prefix(directory).unwrap_or(config);
        Self { program: program.to_owned(), directory: directory.to_owned(), config: relative.to_owned() }
    }

    /// Asks for all decisions, and sums them up by container.
    ///
    /// # Errors
    /// When the command cannot be run or says nothing that can be read; a daemon that has not begun yet is no error.
    pub fn ask(&self) -> io::Result<BTreeMap<Vmid, Known>> {
        let done = Command::new(&self.program)
            .args(["decisions", "--json", "--config"])
            .arg(&self.config)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        Ok(sum_up(parse(&done.stdout)?))
    }
}

/// Reads a JSON array of decisions, or one decision a line.
fn parse(output: &[u8]) -> io::Result<Vec<Decision>> {
    let mut decisions = Vec::new();
    for value in serde_json::Deserializer::from_slice(output).into_iter::<serde_json::Value>() {
        match value? {
            serde_json::Value::Array(all) => {
                for one in all {
                    decisions.push(serde_json::from_value(one)?);
                }
            }
            one => decisions.push(serde_json::from_value(one)?),
        }
    }
    Ok(decisions)
}

fn sum_up(mut decisions: Vec<Decision>) -> BTreeMap<Vmid, Known> {
    decisions.sort_by_key(|decision| decision.number);
    let mut known: BTreeMap<Vmid, Known> = BTreeMap::new();
    for decision in decisions {
        let known = known.entry(decision.id).or_default();
        known.changes += u64::from(decision.is_change());
        let keeps_older = known.latest.as_ref().is_some_and(Decision::is_change) && !decision.is_change();
        if !keeps_older {
            known.latest = Some(decision);
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: i64, resource: &str, action: &str, from: f64, to: Option<f64>) -> String {
        serde_json::json!({
            "number": number, "at": "2026-11-23T17:20:00Z", "id": 104,
            "decision": {"resource": resource, "action": action, "from": from, "to": to, "apply": true,
                         "reason": {"kind": "starved"}, "confidence_percent": 87.4},
            "reason": "it used all it has", "inputs": {}, "outcome": {"kind": "done", "before": 1, "after": 3}
        })
        .to_string()
    }

    #[test]
    fn a_change_is_shown_rather_than_a_later_keep() {
        let text = format!(
            "[{},{},{}]",
            entry(3, "cpu", "keep", 3.0, None),
            entry(1, "cpu", "keep", 1.0, None),
            entry(2, "cpu", "grow", 1.0, Some(3.0))
        );
        let known = sum_up(parse(text.as_bytes()).unwrap());
        let known = &known[&Vmid::try_from(104).unwrap()];
        assert_eq!(known.changes, 1);
        assert_eq!(known.latest.as_ref().unwrap().line(), "cpu 1 → 3 done: it used all it has");
    }

    #[test]
    fn lines_are_read_as_well_and_nonsense_is_an_error() {
        let text = format!(
            "{}\n{}\n",
            entry(1, "memory", "shrink", 2048.0, Some(1536.0)),
            entry(2, "cpu", "keep", 1.0, None)
        );
        assert_eq!(parse(text.as_bytes()).unwrap().len(), 2);
        assert_eq!(parse(b"").unwrap(), []);
        assert!(parse(b"no decisions yet").is_err());
    }
}
