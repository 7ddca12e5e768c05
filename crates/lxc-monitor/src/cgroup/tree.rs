//! Walks a container's groups. The container creates groups inside `ns` freely, so every walk is bounded.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parse;
use crate::kept_files::KeptFiles;
use crate::kernel_file::ReadError;

/// More groups than any sensible container has; systemd creates some dozens.
const MAX_GROUPS: usize = 4096;

/// Names of the groups directly below `directory`; none when it cannot be read.
pub fn group_names(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    // The listing has the type; only a link (`cpu` to `cpu,cpuacct`) must be followed.
    let is_group = |entry: &std::fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir() || (kind.is_symlink() && entry.path().is_dir()))
    };
    let mut names: Vec<_> =
        entries.flatten().filter(is_group).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Visits `group` and the groups below it, outer ones first.
pub(super) fn walk(files: &KeptFiles, group: &Path, mut visit: impl FnMut(&Path) -> ControlFlow<()>) {
    if visit(group).is_break() {
        return;
    }
    let mut visited = 1;
    let inner = |group: &Path| {
        let list = files.inner_directories(group, inner_groups);
        (list.len(), list)
    };
    // Lists of inner groups, each with how many of them are left to visit.
    let mut waiting = vec![inner(group)];
    while let Some((left, list)) = waiting.last_mut() {
        let Some(next) = left.checked_sub(1) else {
            waiting.pop();
            continue;
        };
        *left = next;
        let list = Arc::clone(list);
        visited += 1;
        if MAX_GROUPS < visited || visit(&list[next]).is_break() {
            return;
        }
        waiting.push(inner(&list[next]));
    }
}

/// The groups directly in one, with the next to visit at the end.
fn inner_groups(group: &Path) -> Vec<PathBuf> {
    // `init.scope`, where systemd's init is, should come first.
    let mut names = group_names(group);
    names.sort_by_key(|name| name == "init.scope" || name == "ns");
    names.into_iter().map(|name| group.join(name)).collect()
}

/// Returns the first process of a group, or of one below it, for which `wanted` holds.
///
/// # Errors
/// When the processes of the outermost group cannot be read.
pub fn find_process(
    files: &KeptFiles,
    group: &Path,
    mut wanted: impl FnMut(u32) -> bool,
) -> Result<Option<u32>, ReadError> {
    let mut found = None;
    // The reason, if nothing at all can be read; an inner group may vanish at any time.
    let mut trouble = None;
    walk(files, group, |inner| {
        match processes_of(files, inner) {
            Ok(processes) => found = processes.into_iter().find(|pid| wanted(*pid)),
            Err(error) if inner == group => trouble = Some(error),
            Err(_) => files.forget_inner(),
        }
        if found.is_some() || trouble.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    trouble.map_or(Ok(found), Err)
}

/// Whether a group, or one below it, has processes; `None` if that cannot be read.
pub fn is_populated(files: &KeptFiles, group: &Path) -> Option<bool> {
    match files.parsed(group, "cgroup.events", parse::populated) {
        Ok(populated) => Some(populated),
        // Version 1 has no such file.
        Err(error) if error.is_gone() => {
            find_process(files, group, |_| true).ok().map(|found| found.is_some())
        }
        Err(_) => None,
    }
}

fn processes_of(files: &KeptFiles, group: &Path) -> Result<Vec<u32>, ReadError> {
    files.parsed_list(group, "cgroup.procs", parse::processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_process_is_found_in_an_inner_group() {
        let files = KeptFiles::for_one_look();
        let directory = tempfile::tempdir().unwrap();
        let group = directory.path();
        write(&group.join("cgroup.procs"), "");
        write(&group.join("ns/cgroup.procs"), "");
        write(&group.join("ns/init.scope/cgroup.procs"), "71\n");
        write(&group.join("ns/system.slice/cgroup.procs"), "80\n81\n");
        assert_eq!(find_process(&files, group, |pid| pid == 81).unwrap(), Some(81));
        assert_eq!(find_process(&files, group, |_| true).unwrap(), Some(71), "init.scope is looked at first");
        assert_eq!(find_process(&files, group, |_| false).unwrap(), None);
        assert_eq!(is_populated(&files, group), Some(true));
    }

    #[test]
    fn an_empty_group_is_not_populated_and_an_unreadable_one_is_unknown() {
        let files = KeptFiles::for_one_look();
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(is_populated(&files, directory.path()), None);
        write(&directory.path().join("cgroup.procs"), "");
        write(&directory.path().join("ns/cgroup.procs"), "");
        assert_eq!(is_populated(&files, directory.path()), Some(false));
        write(&directory.path().join("cgroup.events"), "populated 1\nfrozen 0\n");
        assert_eq!(is_populated(&files, directory.path()), Some(true));
    }

    #[test]
    fn a_walk_through_more_groups_than_are_sensible_ends() {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..MAX_GROUPS + 10 {
            std::fs::create_dir(directory.path().join(n.to_string())).unwrap();
        }
        let mut visited = 0;
        walk(&KeptFiles::for_one_look(), directory.path(), |_| {
            visited += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(visited, MAX_GROUPS);
    }
}
