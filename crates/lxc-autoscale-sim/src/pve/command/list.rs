//! `pct list` and `pct listsnapshot`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Call;
use crate::node::NodeSettings;
use crate::pve::config::GuestConfig;
use crate::pve::error::PctError;

/// Prints all containers; if there are none, prints nothing, not even the heading.
pub(super) fn list(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let running = call.machine.engine.running()?;
    let mut lines = Vec::new();
    for id in call.machine.store.list()? {
        // It was destroyed since the directory was read.
        let Ok(loaded) = call.machine.load(id, call.terminal) else { continue };
        let current = loaded.config.current;
        let name = current.get("hostname").map_or_else(|| format!("CT{id}"), str::to_owned);
        let status = if running.contains(id) { "running" } else { "stopped" };
        let lock = current.get("lock").unwrap_or_default();
        lines.push(format!("{:<10} {status:<10} {lock:<12} {name:<20}", id.get()));
    }
    if !lines.is_empty() {
        writeln!(call.terminal.out, "{:<10} {:<10} {:<12} {:<20}", "VMID", "Status", "Lock", "Name")?;
    }
    for line in lines {
        writeln!(call.terminal.out, "{line}")?;
    }
    Ok(0)
}

/// Prints the snapshots as a tree, with the present state as a leaf.
pub(super) fn listsnapshot(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let config = call.machine.load(id, call.terminal)?.config;
    let text = snapshot_tree(&config, &TimeZone::system(), indent(&call.machine.settings));
    call.terminal.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// How many blanks each level of the tree is indented further: one since 7.2, two since 6.3, four before that.
fn indent(settings: &NodeSettings) -> usize {
    if settings.is_before((6, 3)) {
        4
    } else if settings.is_before((7, 2)) {
        2
    } else {
        1
    }
}

/// One line of the tree.
struct Entry<'a> {
    name: &'a str,
    parent: Option<&'a str>,
    time: Option<i64>,
    description: &'a str,
}

fn snapshot_tree(config: &GuestConfig, zone: &TimeZone, indent: usize) -> String {
    let mut entries: Vec<Entry<'_>> = config
        .snapshots
        .iter()
        .map(|(name, snapshot)| Entry {
            name,
            parent: snapshot.get("parent"),
            time: snapshot.get("snaptime").and_then(|time| time.parse().ok()),
            description: snapshot
                .description
                .as_deref()
                .and_then(|text| text.lines().next())
                .unwrap_or("no-description"),
        })
        .collect();
    entries.push(Entry {
        name: "current",
        parent: config.current.get("parent"),
        time: None,
        description: "You are here!",
    });
    // The present state has no time, and comes last.
    entries.sort_by_key(|entry| (entry.time.is_none(), entry.time));
    let is_known = |name: &str| config.snapshots.contains_key(name);
    let mut children: BTreeMap<Option<&str>, Vec<&Entry<'_>>> = BTreeMap::new();
    for entry in &entries {
        children.entry(entry.parent.filter(|parent| is_known(parent))).or_default().push(entry);
    }
    let mut lines = Vec::new();
    let mut open: Vec<(usize, &Entry<'_>)> = Vec::new();
    let roots = children.remove(&None).unwrap_or_default();
    open.extend(roots.into_iter().rev().map(|entry| (0, entry)));
    while let Some((depth, entry)) = open.pop() {
        let prefix = format!("{}`->", " ".repeat(depth * indent));
        let width = 30usize.saturating_sub(prefix.len());
        let time = entry.time.and_then(|time| Timestamp::from_second(time).ok());
        let time = time.map(|time| zone.to_datetime(time).strftime("%F %H:%M:%S").to_string());
        let (name, time, description) = (entry.name, time.unwrap_or_default(), entry.description);
        lines.push(format!("{prefix} {name:<width$} {time:<23} {description}\n"));
        // Removed, so that a cycle of parents in a damaged file ends.
        let below = children.remove(&Some(entry.name)).unwrap_or_default();
        open.extend(below.into_iter().rev().map(|entry| (depth + 1, entry)));
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_as_recorded() {
        let text = "\
parent: before_scale

[bad-name]
parent: before_scale
snaptime: 1795459371

[before_scale]
parent: forclone
snaptime: 1795459355

[cold1]
#first line
#second line
parent: before_scale
snaptime: 1795459559

[forclone]
snaptime: 1795459223
";
        let want = "\
`-> forclone                    2026-11-23 18:40:23     no-description
 `-> before_scale               2026-11-23 18:42:35     no-description
  `-> bad-name                  2026-11-23 18:42:51     no-description
  `-> cold1                     2026-11-23 18:45:59     first line
  `-> current                                           You are here!
";
        let (config, _) = GuestConfig::parse(text);
        assert_eq!(snapshot_tree(&config, &TimeZone::UTC, 1), want);
        let older = snapshot_tree(&config, &TimeZone::UTC, 2);
        assert!(older.contains("\n    `-> bad-name                2026"), "{older}");
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let (config, _) = GuestConfig::parse("parent: aa\n\n[aa]\nparent: bb\n\n[bb]\nparent: aa\n");
        assert_eq!(snapshot_tree(&config, &TimeZone::UTC, 1), "");
    }
}
