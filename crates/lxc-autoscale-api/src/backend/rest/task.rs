//! Tasks of Proxmox: work that continues after the call was answered.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The name of a task, `UPID:<node>:<pid>:<pstart>:<starttime>:<type>:<id>:<user>:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upid {
    text: String,
    node: String,
    kind: String,
    user: String,
    /// When it started, in seconds by the clock of its node.
    start: u64,
}

impl Upid {
    /// Parses one; `None` if it is malformed, or contains something that must not be in a path.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [prefix, node, pid, pstart, start, kind, id, user, rest] = parts.as_slice() else { return None };
        let is_hex =
            |part: &str| (1..=16).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_word =
            |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@!+".contains(&byte));
        let valid = *prefix == "UPID"
            && rest.is_empty()
            && [pid, pstart, start].into_iter().all(|part| is_hex(part))
            && [node, kind, id, user].into_iter().all(|part| is_word(part))
            && !node.is_empty();
        if !valid {
            return None;
        }
        let start = u64::from_str_radix(start, 16).ok()?;
        let [node, kind, user] = [node, kind, user].map(|part| (*part).to_owned());
        Some(Self { text: text.to_owned(), node, kind, user, start })
    }

    /// When it started, in seconds by the clock of its node.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Whether `user` started this task with a call such as `POST /nodes/pve/lxc/104/snapshot`.
    pub(super) fn is_of(&self, user: &str, command: &str) -> bool {
        self.user == user && kinds(command).contains(&self.kind.as_str())
    }

    /// The node it runs on.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Whether it only sends a request to the cluster's high availability manager, which acts later.
    pub(super) fn is_request_to_ha(&self) -> bool {
        matches!(self.kind.as_str(), "hastart" | "hastop")
    }
}

impl<'de> Deserialize<'de> for Upid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not the name of a task")))
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The types of task that a call may start.
fn kinds(command: &str) -> &'static [&'static str] {
    let Some((method, path)) = command.split_once(' ') else { return &[] };
    let parts: Vec<&str> = path.split('/').collect();
    match (method, parts.get(5..).unwrap_or_default()) {
        ("DELETE", []) => &["vzdestroy"],
        ("PUT", ["resize"]) => &["resize"],
        ("POST", ["clone"]) => &["vzclone"],
        ("POST", ["snapshot"]) => &["vzsnapshot"],
        ("POST", ["snapshot", _, "rollback"]) => &["vzrollback"],
        ("DELETE", ["snapshot", _]) => &["vzdelsnapshot"],
        ("POST", ["status", "start"]) => &["vzstart", "hastart"],
        ("POST", ["status", "stop"]) => &["vzstop", "hastop"],
        ("POST", ["status", "shutdown"]) => &["vzshutdown", "hastop"],
        ("POST", ["status", "reboot"]) => &["vzreboot"],
        _ => &[],
    }
}

/// An entry of `/nodes/{node}/tasks`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ListedTask {
    upid: String,
    /// Set once it has ended; Proxmox lists ended tasks among the active ones for a while.
    endtime: Option<serde_json::Value>,
}

impl ListedTask {
    /// Its name, if it is running.
    pub(super) fn at_work(&self) -> Option<Upid> {
        if self.endtime.is_some() { None } else { Upid::parse(&self.upid) }
    }
}

/// A line of a task's output.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct PrintedLine {
    pub(super) t: String,
}

/// The status of a task, as Proxmox reports it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct TaskStatus {
    status: String,
    exitstatus: Option<String>,
}

/// The progress of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is running.
    Running,
    /// It is done, with warnings if there is a text.
    Done(Option<String>),
    /// It failed with this message.
    Failed(String),
}

impl TaskStatus {
    /// The progress that the status stands for.
    pub(super) fn progress(self) -> Progress {
        match (self.status.as_str(), self.exitstatus) {
            ("running", _) => Progress::Running,
            (_, Some(text)) if text == "OK" => Progress::Done(None),
            // Proxmox counts this as a success, and it is one: the work was done.
            (_, Some(text)) if text.starts_with("WARNINGS: ") => Progress::Done(Some(text)),
            (_, Some(text)) => Progress::Failed(text),
            (_, None) => Progress::Failed("it ended without a status".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_names_are_read() {
        let upid =
            Upid::parse("UPID:pve1:0000079D:00020F88:6B048BB9:vzsnapshot:100:root@pam!scaler:").unwrap();
        assert_eq!((upid.node(), upid.is_request_to_ha()), ("pve1", false));
        assert!(
            Upid::parse("UPID:pve1:0000079D:00020F88:6B048BB9:hastart:100:root@pam:")
                .unwrap()
                .is_request_to_ha()
        );
        for bad in
            ["", "UPID:a:1:1:1:t:1:u", "UPID:a/b:1:1:1:t:1:u:", "UPID::1:1:1:t:1:u:", "UPID:a:x:1:1:t:1:u:"]
        {
            assert_eq!(Upid::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_task_is_known_by_the_call_that_began_it() {
        let upid = |kind: &str| {
            Upid::parse(&format!("UPID:pve1:0000079D:00020F88:6B048BB9:{kind}:104:a@pve!b:")).unwrap()
        };
        for (command, kind) in [
            ("POST /nodes/pve1/lxc/104/snapshot", "vzsnapshot"),
            ("DELETE /nodes/pve1/lxc/104/snapshot/mine", "vzdelsnapshot"),
            ("POST /nodes/pve1/lxc/104/snapshot/mine/rollback", "vzrollback"),
            ("POST /nodes/pve1/lxc/104/clone", "vzclone"),
            ("PUT /nodes/pve1/lxc/104/resize", "resize"),
            ("DELETE /nodes/pve1/lxc/104", "vzdestroy"),
            ("POST /nodes/pve1/lxc/104/status/start", "hastart"),
        ] {
            assert!(upid(kind).is_of("a@pve!b", command), "{command}");
            assert!(!upid(kind).is_of("a@pve!c", command), "{command}: of another token");
            assert!(!upid("vzdump").is_of("a@pve!b", command), "{command}");
        }
        assert!(!upid("vzsnapshot").is_of("a@pve!b", "PUT /nodes/pve1/lxc/104/config"));
        assert!(!upid("vzsnapshot").is_of("a@pve!b", "pct"));
    }

    #[test]
    fn the_end_of_a_task_is_understood() {
        let progress = |status: &str, exit: Option<&str>| {
            TaskStatus { status: status.to_owned(), exitstatus: exit.map(str::to_owned) }.progress()
        };
        assert_eq!(progress("running", None), Progress::Running);
        assert_eq!(progress("stopped", Some("OK")), Progress::Done(None));
        assert_eq!(progress("stopped", Some("WARNINGS: 1")), Progress::Done(Some("WARNINGS: 1".to_owned())));
        let failed = "snapshot feature is not available";
        assert_eq!(progress("stopped", Some(failed)), Progress::Failed(failed.to_owned()));
        assert!(matches!(progress("stopped", None), Progress::Failed(_)));
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_leaves_its_place_in_a_path(text in "UPID:[ -~]{0,60}:") {
            if let Some(upid) = Upid::parse(&text) {
                prop_assert!(!upid.to_string().contains(['/', '?', '#', '%', ' ']));
            }
        }
    }
}
