//! Snapshots that Proxmox has not finished taking or removing.
//!
//! The section of such a snapshot has `snapstate: prepare` or `delete`. While Proxmox works on it, the container is
//! locked as well; after a crash, lock and section remain until somebody removes them.

use std::collections::BTreeMap;

use lxc_autoscale_core::api::SnapshotState;

/// The state that Proxmox's `snapstate` stands for; a complete snapshot has none.
pub(in crate::backend) fn state(snapstate: Option<&str>) -> SnapshotState {
    match snapstate {
        None => SnapshotState::Complete,
        Some("delete") => SnapshotState::HalfRemoved,
        // `prepare`. Proxmox has no other word, and one that it may get some day would not mean a complete snapshot.
        Some(_) => SnapshotState::HalfMade,
    }
}

/// How many snapshots a snapshot descends from, given the parent of each.
pub(crate) fn depth(parents: &BTreeMap<&str, Option<&str>>, name: &str) -> usize {
    let parent = |of: &&str| parents.get(of).copied().flatten().filter(|parent| parents.contains_key(parent));
    // At most the length of the list, in case it contains cycles.
    std::iter::successors(parent(&name), |of| parent(of)).take(parents.len()).count()
}

/// What an incomplete snapshot lacks, in words; `None` for a complete one.
pub fn lacks(state: SnapshotState) -> Option<&'static str> {
    match state {
        SnapshotState::Complete => None,
        SnapshotState::HalfMade => Some("Proxmox has not finished taking it"),
        SnapshotState::HalfRemoved => Some("Proxmox has not finished removing it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_in_a_circle_end_and_one_that_is_gone_counts_for_nothing() {
        let circle = BTreeMap::from([("one", Some("two")), ("two", Some("one"))]);
        assert_eq!(depth(&circle, "one"), 2);
        let line = BTreeMap::from([("one", Some("gone")), ("two", Some("one")), ("three", Some("two"))]);
        assert_eq!(["one", "two", "three", "gone"].map(|name| depth(&line, name)), [0, 1, 2, 0]);
    }
}
