//! Turns the messages with which Proxmox refuses something into typed errors. `pct` prints them on stderr, the REST
//! API sends them in its message.
//!
//! Exit codes and HTTP statuses only tell success from failure (early errors of `pct` exit with a left-over errno,
//! and a locked container is a 500), so the messages decide. They are those of Proxmox VE 6 to 9. An unknown message
//! becomes [`BackendError::Failed`] with its text.

use lxc_autoscale_core::Vmid;

use crate::backend::{BackendError, Existing, Obstacle};

/// Printed by a resize that grew the volume but not the file system on it; the resize still succeeds.
pub(in crate::backend) const FILE_SYSTEM_NOT_GROWN: &str = "Failed to update the container's filesystem";
/// Longest message of `pct` that is passed on, in characters.
const MAX_DETAIL_CHARS: usize = 400;

/// The typed error for a failure of `command` on `vmid`, by what it printed on stderr.
pub(in crate::backend) fn classify(vmid: Vmid, command: &str, status: &str, stderr: &str) -> BackendError {
    known(vmid, stderr).unwrap_or_else(|| BackendError::Failed {
        command: command.to_owned(),
        status: status.to_owned(),
        detail: shorten(stderr),
    })
}

/// The typed error for a known message.
pub(in crate::backend) fn known(vmid: Vmid, stderr: &str) -> Option<BackendError> {
    let says = |text: &str| stderr.contains(text);
    let line_with = |text: &str| shorten(stderr.lines().find(|line| line.contains(text)).unwrap_or(stderr));
    let wrong_state =
        |text: &str, state| Some(BackendError::WrongState { vmid, detail: line_with(text), state });

    if let Some(lock) = between(stderr, "CT is locked (", ")") {
        return Some(BackendError::Locked { vmid, lock: lock.to_owned() });
    }
    if says("can't lock file") && says("got timeout") {
        return Some(BackendError::Busy { vmid });
    }
    if let Some(path) = between(stderr, "Configuration file '", "' does not exist") {
        // A clone names its source here, whichever container it was asked about.
        let vmid = path.rsplit('/').next().and_then(Vmid::from_config_file_name).unwrap_or(vmid);
        return Some(BackendError::NoSuchContainer { vmid });
    }
    if let Some(name) = between(stderr, "snapshot name '", "' already used") {
        return Some(BackendError::Exists {
            what: format!("snapshot `{name}` of container {vmid}"),
            kind: Existing::Snapshot,
        });
    }
    if let Some(name) = between(stderr, "snapshot '", "' does not exist") {
        return Some(BackendError::NoSuchSnapshot { vmid, name: name.to_owned() });
    }
    if says("already exists on node") || says("config file already exists") {
        let what = line_with("already exists");
        let what = what.split(" already exists").next().unwrap_or("the guest").replace("CT ", "container ");
        return Some(BackendError::Exists { what, kind: Existing::Guest });
    }
    for text in ["snapshot feature is not available", "unable to clone mountpoint", "Linked clone feature"] {
        if says(text) {
            return Some(BackendError::Unsupported { vmid, detail: line_with(text) });
        }
    }
    for (text, state) in [
        ("is not most recent snapshot", Obstacle::NewerSnapshot),
        ("rollback to incomplete snapshot", Obstacle::IncompleteSnapshot),
        ("protection mode enabled", Obstacle::Protected),
        ("if it's a template", Obstacle::Template),
        ("detected modified configuration", Obstacle::Modified),
        ("unable to shrink disk size", Obstacle::DiskSize),
        ("disk is already at specified size", Obstacle::DiskSize),
        ("container did not stop", Obstacle::DidNotStop),
        ("container is running", Obstacle::Running),
        ("already running", Obstacle::Running),
        ("clone of a running container", Obstacle::Running),
        ("clones on a running container", Obstacle::Running),
        ("not running", Obstacle::Stopped),
    ] {
        if says(text) {
            return wrong_state(text, state);
        }
    }
    if says("unable to hotplug") {
        return Some(BackendError::NotApplicable { vmid, detail: line_with("unable to hotplug") });
    }
    for text in ["ipcc_send_rec", "no quorum", "please run as root", "Unable to load access control list"] {
        if says(text) {
            return Some(BackendError::NodeNotReady { detail: line_with(text) });
        }
    }
    None
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// One line of bounded length without control characters.
pub(in crate::backend) fn shorten(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let clean = words.chars().filter(|c| !c.is_control());
    let short: String = clean.take(MAX_DETAIL_CHARS).collect();
    if short.is_empty() { "it printed nothing".to_owned() } else { short }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vmid(id: u32) -> Vmid {
        Vmid::try_from(id).unwrap()
    }

    #[track_caller]
    fn check(stderr: &str, want: &str) {
        let got = format!("{:?}", classify(vmid(100), "pct set 100", "exit status: 255", stderr));
        assert!(got.starts_with(want), "{stderr:?}: {got}");
    }

    /// Recorded from the real program, Proxmox VE 8.4 unless another version is named.
    #[test]
    fn recorded_texts_are_understood() {
        check("CT is locked (backup)\n", "Locked { vmid: Vmid(100), lock: \"backup\"");
        check("CT is locked (snapshot-delete)\n", "Locked { vmid: Vmid(100), lock: \"snapshot-delete\"");
        check(
            "trying to acquire lock...\ncan't lock file '/run/lock/lxc/pve-config-100.lock' - got timeout\n",
            "Busy",
        );
        check(
            "Configuration file 'nodes/pve1/lxc/999.conf' does not exist\n",
            "NoSuchContainer { vmid: Vmid(999)",
        );
        check(
            "snapshot name 'second' already used\n",
            "Exists { what: \"snapshot `second` of container 100\"",
        );
        check("snapshot 'nosuch' does not exist\n", "NoSuchSnapshot { vmid: Vmid(100), name: \"nosuch\"");
        check("CT 101 already exists on node 'pve1'\n", "Exists { what: \"container 101\", kind: Guest");
        check("VM 101 already exists on node 'pve'\n", "Exists { what: \"VM 101\", kind: Guest");
        check("snapshot feature is not available\n", "Unsupported");
        check("unable to shrink disk size\n", "WrongState { vmid: Vmid(100), detail: \"unable to shrink");
        check(
            "CT 100 already running\n",
            "WrongState { vmid: Vmid(100), detail: \"CT 100 already running\", state: Running",
        );
        check(
            "CT 100 not running\n",
            "WrongState { vmid: Vmid(100), detail: \"CT 100 not running\", state: Stopped",
        );
        check(
            "container did not stop\n",
            "WrongState { vmid: Vmid(100), detail: \"container did not stop\", state: DidNotStop",
        );
        check("you can't start a CT if it's a template\n", "WrongState");
        check("Cannot do full clones on a running container without snapshots\n", "WrongState");
        check("Full clone of a running container is only possible from a snapshot\n", "WrongState");
        check("can't remove CT 100 - protection mode enabled\n", "WrongState");
        check("unable to destroy CT 100 - container is running\n", "WrongState");
        check("detected modified configuration - file changed by other user? Try again.\n", "WrongState");
        check(
            "400 Parameter verification failed.\nmemory: unable to hotplug memory: closing file \
             '/sys/fs/cgroup/memory/lxc/100/memory.limit_in_bytes' failed - Device or resource busy\n\npct set \
             <vmid> [OPTIONS]\n",
            "NotApplicable { vmid: Vmid(100), detail: \"memory: unable to hotplug memory: closing file",
        );
        check("ipcc_send_rec[1] failed: Connection refused\n", "NodeNotReady");
        check("cluster not ready - no quorum?\n", "NodeNotReady");
        check(
            "unable to rollback to incomplete snapshot (snapstate = prepare)\n",
            "WrongState { vmid: Vmid(100), detail: \"unable to rollback to incomplete snapshot (snapstate = prepare)\", \
             state: IncompleteSnapshot",
        );
        check("can't rollback, 'x' is not most recent snapshot on 'store:vol'\n", "WrongState");
        check(
            "400 Parameter verification failed.\ncores: value must have a maximum value of 8192\n",
            "Failed { command: \"pct set 100\", status: \"exit status: 255\", detail: \"400 Parameter",
        );
        check(
            "",
            "Failed { command: \"pct set 100\", status: \"exit status: 255\", detail: \"it printed nothing\"",
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_bounded(stderr in "\\PC{0,900}") {
            let error = classify(vmid(100), "pct", "1", &stderr);
            prop_assert!(error.to_string().chars().count() < 1100);
        }
    }
}
