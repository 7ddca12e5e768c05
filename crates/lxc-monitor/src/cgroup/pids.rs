//! `pids.events`: how often the process limit stopped a container from starting another process.
//!
//! Since Linux 6.11 version 2 counts at the group whose limit was hit and at those above it, and says so by a
//! second file, `pids.events.local`. Before that, and in version 1 to this day, only the group of the process that
//! wanted to fork counts; the container's own group then says 0 whatever happens inside, so the groups below it
//! are summed up, which is done only where the container has a limit to hit.

use std::ops::ControlFlow;
use std::path::Path;

use lxc_autoscale_core::snapshot::PidsEvents;

use super::{parse, tree};
use crate::kept_files::KeptFiles;
use crate::sample::Reading;

/// Reads the events of version 2.
pub(super) fn events_v2(
    files: &KeptFiles,
    group: &Path,
    limit: &Reading<Option<u64>>,
) -> Reading<Option<PidsEvents>> {
    if files.parsed(group, "pids.events.local", |_| Ok(())).is_ok() {
        return Ok(Some(files.parsed(group, "pids.events", parse::pids_events)?));
    }
    events_of_members(files, group, limit)
}

/// Sums the events of the groups up, where the container has a limit; `None` where nothing is counted.
pub(super) fn events_of_members(
    files: &KeptFiles,
    group: &Path,
    limit: &Reading<Option<u64>>,
) -> Reading<Option<PidsEvents>> {
    if limit.as_ref().map_err(Clone::clone)?.is_none() {
        return Ok(None);
    }
    let mut sum: Option<PidsEvents> = None;
    tree::walk(files, group, |group| {
        if let Ok(PidsEvents { max }) = files.parsed(group, "pids.events", parse::pids_events) {
            sum = Some(PidsEvents { max: sum.map_or(0, |sum| sum.max).saturating_add(max) });
        }
        ControlFlow::Continue(())
    });
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container's group and one inside it, each with what its `pids.events` says.
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
