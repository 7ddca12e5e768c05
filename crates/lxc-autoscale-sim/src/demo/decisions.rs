//! The decisions of `lxc-autoscale-ml`, read with its own command `decisions --json`.
//!
//! Only this module knows how the demo gets decisions. The command prints the newest decision about each resource of
//! each container, so it is run more often than decisions are made, and its output is remembered here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lxc_autoscale_core::Vmid;
use serde::Deserialize;

/// The newest decisions about one container, as the command prints them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Newest {
    id: Vmid,
    cpu: Option<Decision>,
    memory: Option<Decision>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Decision {
    /// When it was made, in RFC 3339 and UTC, so that later ones sort higher.
    pub at: String,
    /// `grow`, `shrink` or `keep`.
    pub action: String,
    /// What the container had, in cores or MiB.
    pub from: Option<f64>,
    /// What it is to have, in cores or MiB.
    pub to: Option<f64>,
    /// The reason, in words and numbers.
    pub reason: String,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome of a decision.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Outcome {
    /// `done`, `failed`, `nothing` …
    pub kind: String,
}

impl Decision {
    /// Whether it changes something.
    pub fn is_change(&self) -> bool {
        self.action != "keep"
    }

    /// One line for the table: `cpu 1 → 3 done: …`.
    fn line(&self, resource: &str) -> String {
        if self.is_change() {
            let (from, to) = (number(self.from), number(self.to));
            format!("{resource} {from} → {to} {}: {}", self.outcome.kind, self.reason)
        } else {
            format!("{resource} stays: {}", self.reason)
        }
    }
}

/// Cores and MiB with at most two decimals.
fn number(value: Option<f64>) -> String {
    let text = value.map_or("?".to_owned(), |value| format!("{value:.2}"));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// What is known about the decisions for one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Number of decisions to change something.
    pub changes: u64,
    /// The latest of those, otherwise the latest of all, with its resource.
    latest: Option<(&'static str, Decision)>,
    /// The newest decision seen, by resource.
    newest: BTreeMap<&'static str, Decision>,
}

impl Known {
    /// One line for the table; empty before there is a decision.
    pub fn line(&self) -> String {
        self.latest.as_ref().map(|(resource, decision)| decision.line(resource)).unwrap_or_default()
    }

    fn learn(&mut self, resource: &'static str, decision: Decision) {
        let is_new = self.newest.get(resource).is_none_or(|seen| seen.at < decision.at);
        self.changes += u64::from(is_new && decision.is_change());
        let replaces = self.latest.as_ref().is_none_or(|(_, latest)| {
            (latest.is_change(), latest.at.as_str()) <= (decision.is_change(), decision.at.as_str())
        });
        if replaces {
            self.latest = Some((resource, decision.clone()));
        }
        self.newest.insert(resource, decision);
    }
}

/// Remembers what the command has printed.
#[derive(Clone, Debug)]
pub struct DecisionLog {
    program: PathBuf,
    directory: PathBuf,
    config: PathBuf,
    known: BTreeMap<Vmid, Known>,
}

impl DecisionLog {
    /// A log that runs `program` in `directory`, with `config` relative to it.
    ///
    /// It is relative so that the command is not taken for the daemon, whose command line has the whole path.
    pub fn new(program: &Path, directory: &Path, config: &Path) -> Self {
        let config = config.strip_prefix(directory).unwrap_or(config).to_owned();
        Self { program: program.to_owned(), directory: directory.to_owned(), config, known: BTreeMap::new() }
    }

    /// Runs the command. As long as the daemon has no ledger, there are no decisions.
    ///
    /// # Errors
    /// If the command cannot be run, or its output is not a list of decisions.
    pub fn ask(&mut self) -> io::Result<()> {
        let done = Command::new(&self.program)
            .args(["decisions", "--json", "--config"])
            .arg(&self.config)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        if done.status.success() { self.learn(&done.stdout) } else { Ok(()) }
    }

    /// What is known, by container.
    pub fn known(&self) -> &BTreeMap<Vmid, Known> {
        &self.known
    }

    fn learn(&mut self, output: &[u8]) -> io::Result<()> {
        let containers: Vec<Newest> = serde_json::from_slice(output)?;
        for Newest { id, cpu, memory } in containers {
            let known = self.known.entry(id).or_default();
            for (resource, decision) in [("cpu", cpu), ("memory", memory)] {
                if let Some(decision) = decision {
                    known.learn(resource, decision);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log after these answers about one container, each `(resource, second, action)`.
    fn after(answers: &[(&str, u32, &str)]) -> Known {
        let mut log = DecisionLog::new(Path::new("/bin/false"), Path::new("/"), Path::new("/x.toml"));
        for (resource, second, action) in answers {
            let to = if *action == "keep" { serde_json::Value::Null } else { 3.5.into() };
            let answer = serde_json::json!([{"id": 104, *resource: {
                "at": format!("2026-11-23T17:20:{second:02}.5Z"), "action": action, "from": 1.0, "to": to,
                "confidence_percent": 97.2, "reason": "it used all it has", "outcome": {"kind": "done"}}}]);
            log.learn(answer.to_string().as_bytes()).unwrap();
        }
        log.known()[&Vmid::try_from(104).unwrap()].clone()
    }

    #[test]
    fn a_change_counts_once_however_often_it_is_told() {
        let known = after(&[
            ("cpu", 1, "grow"),
            ("cpu", 1, "grow"),
            ("memory", 1, "shrink"),
            ("cpu", 7, "keep"),
            ("cpu", 9, "grow"),
        ]);
        assert_eq!(known.changes, 3);
    }

    #[test]
    fn a_change_is_shown_rather_than_a_later_keep() {
        let known = after(&[("cpu", 1, "keep"), ("cpu", 2, "grow"), ("memory", 3, "keep")]);
        assert_eq!(known.line(), "cpu 1 → 3.5 done: it used all it has");
        assert_eq!(
            after(&[("cpu", 1, "keep"), ("memory", 2, "keep")]).line(),
            "memory stays: it used all it has"
        );
        assert_eq!(Known::default().line(), "");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [Some(1536.0), Some(0.25), Some(2.5), Some(100.0), None].map(number);
        assert_eq!(shown, ["1536", "0.25", "2.5", "100", "?"]);
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut log = DecisionLog::new(Path::new("/bin/false"), Path::new("/"), Path::new("/x.toml"));
        assert!(log.learn(b"no decisions yet").is_err());
        assert!(log.ask().is_ok(), "a command that fails has no ledger yet");
    }
}
