//! Parses the output of `pct` and the node's files.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::api::{SnapshotInfo, SnapshotState};
use lxc_autoscale_core::container_config::ContainerConfig;
use percent_encoding::percent_decode_str;

use crate::backend::identity::hardware_addresses;
use crate::backend::snapstate;
use crate::backend::volumes::volumes;
use crate::backend::{ContainerIdentity, Stored, digest};

/// What precedes each name in `pct listsnapshot`.
const BRANCH: &str = "`-> ";
/// Shown for a snapshot without a description.
const NO_DESCRIPTION: &str = "no-description";
/// Name of the entry for the present state.
const CURRENT: &str = "current";

/// Parses the tree that `pct listsnapshot` prints; `Err` is the line that cannot be parsed.
///
/// Each level is indented further than the one above (by one, two or four blanks, depending on the version), so the
/// parents follow from the indentation alone. Times are local to `zone`.
pub(super) fn snapshot_list(text: &str, zone: &TimeZone) -> Result<Vec<SnapshotInfo>, String> {
    let mut snapshots: Vec<SnapshotInfo> = Vec::new();
    // The ancestors of the next line, with their indentation.
    let mut ancestors: Vec<(usize, String)> = Vec::new();
    let mut current_parent = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let unreadable = || line.chars().take(120).collect::<String>();
        let indent = line.len() - line.trim_start_matches(' ').len();
        let entry = line[indent..].strip_prefix(BRANCH).ok_or_else(unreadable)?;
        let (name, rest) = entry.split_once(' ').unwrap_or((entry, ""));
        while ancestors.last().is_some_and(|(above, _)| indent <= *above) {
            ancestors.pop();
        }
        let parent = ancestors.last().map(|(_, name)| name.clone());
        if name == CURRENT {
            current_parent = parent;
            continue;
        }
        ancestors.push((indent, name.to_owned()));
        let (created, description) = time_and_description(rest.trim(), zone);
        snapshots.push(SnapshotInfo {
            name: name.to_owned(),
            created,
            description,
            parent,
            current: false,
            state: SnapshotState::Complete,
        });
    }
    if let Some(name) = current_parent
        && let Some(snapshot) = snapshots.iter_mut().find(|snapshot| snapshot.name == name)
    {
        snapshot.current = true;
    }
    Ok(snapshots)
}

fn time_and_description(rest: &str, zone: &TimeZone) -> (Option<RecordTime>, Option<String>) {
    let split = rest.split_at_checked("2026-11-23 18:40:23".len());
    let timed = split.and_then(|(time, text)| Some((time.parse::<DateTime>().ok()?, text)));
    let (created, text) = match timed {
        Some((civil, text)) => {
            let instant = zone.to_ambiguous_timestamp(civil).compatible().ok();
            (instant.map(|instant| RecordTime::new(instant, zone)), text.trim())
        }
        None => (None, rest),
    };
    let described = !text.is_empty() && text != NO_DESCRIPTION;
    (created, described.then(|| text.to_owned()))
}

/// Parses the output of `pct status`: whether the container is running. Unrelated lines are common while one stops.
pub(super) fn status(text: &str) -> Option<bool> {
    text.lines().find_map(|line| match line.trim() {
        "status: running" => Some(true),
        "status: stopped" => Some(false),
        _ => None,
    })
}

/// Parses `/etc/pve/lxc/<id>.conf`; also returns the lines that cannot be parsed.
pub(super) fn stored(bytes: &[u8]) -> (Stored, Vec<String>) {
    let text = &*String::from_utf8_lossy(bytes);
    let (config, unreadable) = ContainerConfig::parse(text);
    let current_section = text.lines().take_while(|line| !line.starts_with('['));
    let parent = current_section.filter_map(|line| line.strip_prefix("parent:")).last();
    let states = snapshot_states(text);
    let snapshots = text.lines().filter_map(section_name).filter(|name| !name.contains(':'));
    let notes = notes(text);
    let volumes = volumes(text);
    let identity = ContainerIdentity::new(&config, &volumes, hardware_addresses(text));
    let stored = Stored {
        config,
        parent: parent.map(|name| name.trim().to_owned()),
        snapshots: snapshots.map(str::to_owned).collect(),
        incomplete: states.into_iter().filter(|(_, state)| *state != SnapshotState::Complete).collect(),
        volumes,
        digest: digest(bytes),
        home: String::new(),
        identity,
        notes,
    };
    (stored, unreadable.iter().map(ToString::to_string).collect())
}

/// The notes of a container: the comment lines of its current section, percent-encoded by Proxmox.
fn notes(text: &str) -> Option<String> {
    let current_section = text.lines().take_while(|line| !line.starts_with('['));
    let lines: Vec<String> = current_section.filter_map(|line| line.strip_prefix('#')).map(decoded).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Percent-decodes a text; what is no escape is kept.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Adds to a list of snapshots, which does not show it, whether each is complete. One that the configuration does not
/// contain any more was removed after it was listed.
pub(super) fn with_states(mut list: Vec<SnapshotInfo>, config: &[u8]) -> Vec<SnapshotInfo> {
    let states = snapshot_states(&String::from_utf8_lossy(config));
    list.retain_mut(|snapshot| match states.get(&snapshot.name) {
        Some(state) => {
            snapshot.state = *state;
            true
        }
        None => false,
    });
    list
}

/// The states of all snapshots in a configuration.
fn snapshot_states(text: &str) -> BTreeMap<String, SnapshotState> {
    let mut states = BTreeMap::new();
    let mut section = None;
    for line in text.lines() {
        if let Some(name) = section_name(line) {
            section = Some(name).filter(|name| !name.contains(':'));
            if let Some(name) = section {
                states.insert(name.to_owned(), SnapshotState::Complete);
            }
        } else if let (Some(name), Some(snapstate)) = (section, line.strip_prefix("snapstate:")) {
            states.insert(name.to_owned(), snapstate::state(Some(snapstate.trim())));
        }
    }
    states
}

/// Parses the settings in the section of a snapshot; `None` if there is none of that name.
pub(super) fn settings_in(bytes: &[u8], snapshot: &str) -> Option<ContainerConfig> {
    let text = &*String::from_utf8_lossy(bytes);
    let mut lines = text.lines().skip_while(|line| section_name(line) != Some(snapshot));
    lines.next()?;
    let section: Vec<&str> = lines.take_while(|line| section_name(line).is_none()).collect();
    Some(ContainerConfig::parse(&section.join("\n")).0)
}

fn section_name(line: &str) -> Option<&str> {
    line.trim_end().strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Recorded: two snapshots and the present state descend from the same snapshot.
    const TREE: &str = "\
`-> forclone                    2026-11-23 18:40:23     no-description
 `-> before_scale               2026-11-23 18:42:35     two words, and more
  `-> bad-name                  2026-11-23 18:42:51     no-description
  `-> cold1                     2026-11-23 18:45:59     no-description
   `-> cold2                    2026-11-23 18:46:04     no-description
  `-> current                                           You are here!
";

    fn summary(text: &str) -> Vec<(String, Option<String>, bool)> {
        let list = snapshot_list(text, &TimeZone::UTC).unwrap();
        list.into_iter().map(|snapshot| (snapshot.name, snapshot.parent, snapshot.current)).collect()
    }

    fn tree() -> Vec<(String, Option<String>, bool)> {
        let row =
            |name: &str, parent: Option<&str>, current| (name.to_owned(), parent.map(str::to_owned), current);
        vec![
            row("forclone", None, false),
            row("before_scale", Some("forclone"), true),
            row("bad-name", Some("before_scale"), false),
            row("cold1", Some("before_scale"), false),
            row("cold2", Some("cold1"), false),
        ]
    }

    #[test]
    fn a_tree_of_snapshots_is_read() {
        assert_eq!(summary(TREE), tree());
        let list = snapshot_list(TREE, &TimeZone::UTC).unwrap();
        assert_eq!(list[1].created.unwrap().to_string(), "2026-11-23T18:42:35+00:00");
        assert_eq!(list[1].description.as_deref(), Some("two words, and more"));
        assert_eq!(list[0].description, None);
    }

    /// Proxmox VE 6.3 to 7.1 indent by two blanks, 6.0 to 6.2 by four.
    #[test]
    fn older_indentation_is_read() {
        for step in ["  ", "    "] {
            let mut wider = String::new();
            for line in TREE.lines() {
                let level = line.len() - line.trim_start().len();
                wider += &step.repeat(level);
                wider += line.trim_start();
                wider.push('\n');
            }
            assert_eq!(summary(&wider), tree(), "{wider}");
        }
    }

    #[test]
    fn a_container_without_snapshots_has_none() {
        assert_eq!(summary("`-> current                                             You are here!\n"), []);
        assert_eq!(summary(""), []);
    }

    #[test]
    fn a_long_name_without_time_is_read() {
        let name = "a".repeat(40);
        let list = snapshot_list(&format!("`-> {name}                         x\n"), &TimeZone::UTC).unwrap();
        assert_eq!(
            (list[0].name.as_str(), list[0].created, list[0].description.as_deref()),
            (name.as_str(), None, Some("x"))
        );
    }

    #[test]
    fn what_is_no_tree_is_an_error() {
        assert_eq!(snapshot_list("garbage\n", &TimeZone::UTC), Err("garbage".to_owned()));
    }

    #[test]
    fn the_status_is_found_among_noise() {
        assert_eq!(status("status: running\n"), Some(true));
        assert_eq!(status("unable to get PID\nstatus: stopped\n"), Some(false));
        assert_eq!(status("status: confused\n"), None);
    }

    #[test]
    fn parent_and_snapshots_come_from_their_places() {
        let text = "cores: 1\nparent: two\n\n[pve:pending]\nmemory: 9\n\n[one]\nparent: zero\n\n[two]\nparent: one\n";
        let (stored, unreadable) = stored(text.as_bytes());
        assert_eq!(unreadable, [""; 0]);
        assert_eq!(stored.parent.as_deref(), Some("two"));
        assert_eq!(stored.snapshots, ["one", "two"]);
    }

    #[test]
    fn notes_are_the_comments_of_the_current_section() {
        let read = |text: &str| stored(text.as_bytes()).0.notes;
        assert_eq!(read("memory: 9\n\n[one]\n#of the snapshot\n"), None);
        let text = "#web tier%3A blue, 100%25 %+1 %zz %C3%A9\n#second%\nmemory: 9\n[one]\n#of the snapshot\n";
        assert_eq!(read(text).as_deref(), Some("web tier: blue, 100% %+1 %zz é\nsecond%"));
    }

    /// What Proxmox leaves if it is interrupted; `pct listsnapshot` shows nothing of it.
    #[test]
    fn incomplete_snapshots_are_known_by_their_sections() {
        let text = "snapstate: prepare\n\n[one]\n#snapstate: delete\nmemory: 9\n\n[two]\nsnapstate: prepare\n\n\
                    [three]\nsnapstate: delete\n\n[pve:pending]\nsnapstate: prepare\n";
        let (stored, _) = stored(text.as_bytes());
        let state = |name: &str| stored.snapshot(name);
        assert_eq!(state("one"), Some(SnapshotState::Complete));
        assert_eq!(state("two"), Some(SnapshotState::HalfMade));
        assert_eq!(state("three"), Some(SnapshotState::HalfRemoved));
        assert_eq!((state("pve:pending"), stored.incomplete.len()), (None, 2));
        let tree = "`-> one    2026-11-23 18:40:23     no-description\n\
                    `-> two    2026-11-23 18:42:35     no-description\n\
                    `-> gone   2026-11-23 18:42:51     no-description\n";
        let list = with_states(snapshot_list(tree, &TimeZone::UTC).unwrap(), text.as_bytes());
        let rows: Vec<_> = list.iter().map(|found| (found.name.as_str(), found.state)).collect();
        assert_eq!(rows, [("one", SnapshotState::Complete), ("two", SnapshotState::HalfMade)]);
    }

    #[test]
    fn the_settings_in_a_snapshot_come_from_its_section_alone() {
        let text = b"cores: 1\nmemory: 64\n\n[one]\n#cores: 9\ncores: 2\nmemory: 128\n\n[two]\nmemory: 256\n";
        let sizes = |name| settings_in(text, name).map(|found| (found.cores, found.memory_mb.get()));
        assert_eq!((sizes("one"), sizes("two")), (Some((Some(2), 128)), Some((None, 256))));
        assert_eq!(sizes("three"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(\\PC{0,80}\n){0,8}") {
            let _ = snapshot_list(&text, &TimeZone::UTC);
            let _ = (status(&text), stored(text.as_bytes()));
        }
    }
}
