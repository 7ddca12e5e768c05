//! `pids.events`: how often the process limit kept a container from starting another process.
//!
//! Since Linux 6.11 version 2 counts at the group whose limit was hit and at its ancestors, which the file
//! `pids.events.local` indicates. Before that, and in version 1 until today, only the group of the forking process
//! counts; the container's own group then says 0 whatever happens inside, so the groups below it are summed up, but
//! only if the container has a limit.

use std::ops::ControlFlow;
use std::path::Path;

use lxc_autoscale_core::snapshot::PidsEvents;

use super::{parse, tree};
use crate::kept_files::{KeptFiles, Place};
use crate::sample::Reading;

/// Reads the events of version 2.
pub(super) fn events_v2(
    files: &KeptFiles,
    place: &(impl Place + ?Sized),
    limit: &Reading<Option<u64>>,
) -> Reading<Option<PidsEvents>> {
    if files.parsed(place, "pids.events.local", |_| Ok(())).is_ok() {
        return Ok(Some(files.parsed(place, "pids.events", parse::pids_events)?));
    }
    events_of_members(files, &place.directory(), limit)
}

/// Sums up the events of the groups if the container has a limit; `None` if they are not counted.
pub(super) fn events_of_members(
    files: &KeptFiles,
    group: &Path,
    limit: &Reading<Option<u64>>,
) -> Reading<Option<PidsEvents>> {
    if limit.as_ref().map_err(Clone::clone)?.is_none() {
        return Ok(None);
    }
    let mut sum: Option<PidsEvents> = None;
    let mut is_complete = true;
    tree::walk(files, group, |inner| {
        match files.parsed(inner, "pids.events", parse::pids_events) {
            Ok(PidsEvents { max }) => {
                sum = Some(PidsEvents { max: sum.map_or(0, |sum| sum.max).saturating_add(max) });
                ControlFlow::Continue(())
            }
            // The kernel does not count.
            Err(_) if inner == group => ControlFlow::Break(()),
            Err(_) => {
                is_complete = false;
                ControlFlow::Continue(())
            }
        }
    });
    if !is_complete {
        files.forget_inner();
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::kept_files::HandleBudget;

    /// A container's group and one inside it, each with the content of its `pids.events`.
    #[track_caller]
    fn check(outer: &str, inner: &str, local: bool, limit: Option<u64>, want: Option<u64>) {
        let directory = tempfile::tempdir().unwrap();
        let group = directory.path();
        std::fs::create_dir(group.join("ns")).unwrap();
        std::fs::write(group.join("pids.events"), outer).unwrap();
        std::fs::write(group.join("ns/pids.events"), inner).unwrap();
        if local {
            std::fs::write(group.join("pids.events.local"), "max 0\n").unwrap();
        }
        let files = KeptFiles::for_one_look();
        assert_eq!(events_v2(&files, group, &Ok(limit)), Ok(want.map(|max| PidsEvents { max })));
    }

    /// A group of version 1 on the machine's own kernel; removed when dropped, with its children.
    struct RealGroup(PathBuf);

    impl RealGroup {
        fn make() -> Option<Self> {
            let path =
                Path::new("/sys/fs/cgroup/pids").join(format!("lxc-monitor-test-{}", std::process::id()));
            std::fs::create_dir(&path).ok().map(|()| Self(path))
        }

        /// Creates a group in it in which a fork is refused.
        fn with_refusal(&self, name: &str) {
            let inner = self.0.join(name);
            std::fs::create_dir(&inner).unwrap();
            std::fs::write(inner.join("pids.max"), "1").unwrap();
            let mut shell = Command::new("sh");
            shell.args(["-c", "echo $$ > \"$0/cgroup.procs\"; true | true"]).arg(&inner);
            assert!(!shell.stderr(Stdio::null()).status().unwrap().success());
        }
    }

    impl Drop for RealGroup {
        fn drop(&mut self) {
            for inner in tree::group_names(&self.0) {
                let _ = std::fs::remove_dir(self.0.join(inner));
            }
            let _ = std::fs::remove_dir(&self.0);
        }
    }

    /// systemd removes the group of a service and creates another one: the directory has the same number of links.
    #[test]
    fn the_group_that_came_for_another_counts_from_the_next_look_on() {
        let Some(group) = RealGroup::make() else {
            println!("skipped: no group can be made in /sys/fs/cgroup/pids");
            return;
        };
        std::fs::create_dir(group.0.join("ended.service")).unwrap();
        let mut files = KeptFiles::new(&HandleBudget::of(100));
        let mut look = || {
            let events = events_of_members(&files, &group.0, &Ok(Some(100)));
            files.end_of_look();
            events.unwrap().map(|events| events.max)
        };
        assert_eq!(look(), Some(0));
        std::fs::remove_dir(group.0.join("ended.service")).unwrap();
        group.with_refusal("begun.service");
        look();
        let events = std::fs::read_to_string(group.0.join("begun.service/pids.events")).unwrap();
        assert!(events.starts_with("max ") && events != "max 0\n", "{events}");
        assert_eq!(look(), events.trim_start_matches("max ").trim().parse().ok());
    }

    #[test]
    fn a_kernel_that_counts_at_the_limit_is_believed() {
        check("max 7\n", "max 7\n", true, Some(100), Some(7));
        check("max 0\n", "max 0\n", true, None, Some(0));
    }

    #[test]
    fn an_older_one_is_summed_up_where_there_is_a_limit_and_never_called_zero() {
        check("max 0\n", "max 7\n", false, Some(100), Some(7));
        check("max 0\n", "max 7\n", false, None, None);
    }
}
