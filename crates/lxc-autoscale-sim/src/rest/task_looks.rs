//! Calls that read tasks: the list of a node, the status of a task, its log.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::wrap::Failure;
use crate::pve::Machine;
use crate::pve::task::log_file;

/// Number of ended tasks that a real node still counts as active ones.
const RECENT: usize = 25;
/// Default number of entries in an answer.
const PAGE: usize = 50;

/// A task by its name.
struct Task<'a> {
    upid: &'a str,
    parts: Vec<&'a str>,
}

impl<'a> Task<'a> {
    fn new(upid: &'a str) -> Self {
        Self { upid, parts: upid.split(':').collect() }
    }

    fn part(&self, index: usize) -> &'a str {
        self.parts.get(index).copied().unwrap_or_default()
    }

    fn number(&self, index: usize) -> u64 {
        u64::from_str_radix(self.part(index), 16).unwrap_or(0)
    }

    /// What Proxmox shows of any task, with the token separate from its user.
    fn told(&self) -> Value {
        let (user, token) = match self.part(7).split_once('!') {
            Some((user, token)) => (user, Some(token)),
            None => (self.part(7), None),
        };
        let mut told = json!({
            "upid": self.upid, "node": self.part(1), "pid": self.number(2), "pstart": self.number(3),
            "starttime": self.number(4), "type": self.part(5), "id": self.part(6), "user": user,
        });
        if let Some(token) = token {
            told["tokenid"] = json!(token);
        }
        told
    }

    /// How it ended, according to the last line of its log; `None` while it is running.
    fn ended(&self, log: &str) -> Option<String> {
        let last = log.lines().last().unwrap_or_default();
        match last.strip_prefix("TASK ") {
            Some("OK") => Some("OK".to_owned()),
            Some(rest) if rest.starts_with("WARNINGS: ") => Some(rest.to_owned()),
            Some(rest) => rest.strip_prefix("ERROR: ").map(str::to_owned),
            // Its process is gone, and left no result.
            None if self.number(2) != u64::from(std::process::id()) => Some("unexpected status".to_owned()),
            None => None,
        }
    }
}

fn read_log(machine: &Machine, upid: &str) -> Result<String, Failure> {
    let text = log_file(&machine.layout, upid).and_then(|path| fs::read_to_string(path).ok());
    text.ok_or_else(|| Failure::parameters(BTreeMap::from([("upid".to_owned(), "no such task".to_owned())])))
}

/// `GET /nodes/{node}/tasks`: the newest first; only those of `only`, if given.
///
/// # Errors
/// [`Failure`] for a parameter that Proxmox or this node does not support.
pub(super) fn list(
    machine: &Machine,
    given: &BTreeMap<String, String>,
    only: Option<&str>,
) -> Result<Value, Failure> {
    let known = ["limit", "source", "start", "typefilter", "userfilter", "vmid"];
    if let Some(other) = given.keys().find(|name| !known.contains(&name.as_str())) {
        let text = "property is not defined in schema and the schema does not allow additional properties";
        return Err(Failure::parameters(BTreeMap::from([(other.clone(), text.to_owned())])));
    }
    let number =
        |name: &str, default: usize| given.get(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let is = |name: &str, value: &str| given.get(name).is_none_or(|wanted| wanted == value);
    let source = given.get("source").map_or("archive", String::as_str);
    let mut names = Vec::new();
    for directory in fs::read_dir(machine.layout.tasks()).into_iter().flatten().flatten() {
        for log in fs::read_dir(directory.path()).into_iter().flatten().flatten() {
            names.extend(log.file_name().to_str().map(str::to_owned));
        }
    }
    let mut tasks: Vec<Task<'_>> = names.iter().map(|name| Task::new(name)).collect();
    tasks.sort_by_key(|task| Reverse((task.number(4), task.number(3))));
    let mut found = Vec::new();
    for (age, task) in tasks.iter().enumerate() {
        let fits = only.is_none_or(|who| task.part(7) == who)
            && is("vmid", task.part(6))
            && is("typefilter", task.part(5))
            && is("userfilter", task.part(7));
        let Some(path) = log_file(&machine.layout, task.upid).filter(|_| fits) else { continue };
        let (Ok(log), Ok(metadata)) = (fs::read_to_string(&path), fs::metadata(&path)) else { continue };
        let mut told = task.told();
        if let Some(text) = task.ended(&log) {
            let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            told["endtime"] = json!(since.as_secs());
            told["status"] = json!(text);
            if source == "active" && RECENT <= age {
                continue;
            }
        } else if source == "archive" {
            continue;
        }
        found.push(told);
    }
    let page = found.into_iter().skip(number("start", 0)).take(number("limit", PAGE));
    Ok(page.collect())
}

/// `GET /nodes/{node}/tasks/{upid}/status`.
///
/// # Errors
/// [`Failure`] if there is no such task.
pub(super) fn status(machine: &Machine, upid: &str) -> Result<Value, Failure> {
    let log = read_log(machine, upid)?;
    let task = Task::new(upid);
    let ended = task.ended(&log);
    let mut status = task.told();
    status["status"] = json!(if ended.is_some() { "stopped" } else { "running" });
    if let Some(text) = ended {
        status["exitstatus"] = json!(text);
    }
    Ok(status)
}

/// `GET /nodes/{node}/tasks/{upid}/log`.
///
/// # Errors
/// [`Failure`] if there is no such task.
pub(super) fn log(machine: &Machine, upid: &str) -> Result<Value, Failure> {
    let log = read_log(machine, upid)?;
    let lines: Vec<&str> = if log.is_empty() { vec!["no content"] } else { log.lines().collect() };
    Ok(lines.iter().enumerate().map(|(index, line)| json!({"n": index + 1, "t": line})).collect())
}
