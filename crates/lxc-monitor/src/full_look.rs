//! The last full look at a container, reused while it has not run.
//!
//! At a cadence of a second most containers have done nothing since the last look. One with exactly the same CPU time,
//! charged memory and memory events has run no instruction: anything that only its own processes change is unchanged.
//! Such a container gets a quiet look: these three, its pressure (a stalled process waits without running), its network
//! traffic and whether it is running are read; the rest is from the last full look.
//!
//! Values that *others* may change meanwhile are as old as that look: limits, the root filesystem, delayed I/O of the
//! kernel (writeback), the parts of memory if the sum stays the same, processes moved in from outside that have not run
//! yet. So there is a bound, `collection.full_look_seconds`, and a change of Proxmox's configuration ends it at once.

use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::MemoryEvents;

use crate::sample::{CgroupSample, CpuTime, FilesystemUse, Reading};

/// A container's stored configuration.
type Configuration = Reading<Option<Arc<ContainerConfig>>>;

/// A full look.
#[derive(Clone, Debug)]
pub struct FullLook {
    since_boot: Duration,
    cgroup: CgroupSample,
    configuration: Configuration,
    filesystem: Option<FilesystemUse>,
}

/// What shows whether a container has run: counters that change whenever a process of it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signs<'a> {
    /// CPU time used so far.
    pub(crate) cpu: &'a Reading<CpuTime>,
    /// Charged memory, in bytes.
    pub(crate) memory: Option<u64>,
    /// How often its memory limit was hit.
    pub(crate) limit_hits: Option<u64>,
}

impl FullLook {
    /// Stores a full look made at `since_boot`.
    pub fn new(since_boot: Duration, cgroup: CgroupSample, configuration: Configuration) -> Self {
        Self { since_boot, cgroup, configuration, filesystem: None }
    }

    /// Whether it can still be reused: there is one full look in every period of length `every`, which begins at a
    /// different second for each container, and one at once when its configuration has changed.
    pub fn holds(
        &self,
        vmid: Vmid,
        since_boot: Duration,
        every: Duration,
        configuration: &Configuration,
    ) -> bool {
        let stretch = |at: Duration| {
            (at + Duration::from_secs(vmid.get().into())).as_millis().checked_div(every.as_millis())
        };
        let is_same_configuration = match (&self.configuration, configuration) {
            (Ok(Some(before)), Ok(Some(now))) => Arc::ptr_eq(before, now) || before == now,
            (before, now) => before == now,
        };
        stretch(self.since_boot).is_some_and(|own| stretch(since_boot) == Some(own)) && is_same_configuration
    }

    /// The values of the control groups.
    pub(crate) fn cgroup(&self) -> &CgroupSample {
        &self.cgroup
    }

    /// The root filesystem, if it could be read.
    pub fn filesystem(&self) -> Option<FilesystemUse> {
        self.filesystem
    }

    /// Stores the root filesystem, which is read later than the rest.
    pub fn set_filesystem(&mut self, filesystem: FilesystemUse) {
        self.filesystem = Some(filesystem);
    }
}

impl Signs<'_> {
    /// Whether nothing has run since `last`; unknown counts as changed.
    pub(crate) fn show_quiet_since(&self, last: &CgroupSample) -> bool {
        let (Ok(cpu), Ok(last_cpu), Ok(last_memory)) = (self.cpu, &last.cpu, &last.memory) else {
            return false;
        };
        let last_hits = last.memory_events.as_ref().ok().map(|events: &MemoryEvents| events.max);
        cpu.usage_usec == last_cpu.usage_usec
            && self.memory == Some(last_memory.current)
            && self.limit_hits.is_some()
            && self.limit_hits == last_hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{MemoryUse, Missing, Moment};

    fn sample(usage_usec: u64, current: u64, max: u64) -> CgroupSample {
        let none = || Missing::because("not read");
        let at = Moment { wall: jiff::Timestamp::UNIX_EPOCH, since_boot: Duration::from_secs(100) };
        CgroupSample {
            cpu: Ok(CpuTime { usage_usec, at, read_took: Duration::ZERO }),
            throttling: Err(none()),
            quota_cores: Ok(None),
            cpuset_cpus: Ok(None),
            memory: Ok(MemoryUse { current, ..MemoryUse::default() }),
            memory_limit: Ok(None),
            swap: Err(none()),
            swap_limit: Err(none()),
            memory_events: Ok(MemoryEvents { max, ..MemoryEvents::default() }),
            memory_swap_events: Ok(None),
            paging: Err(none()),
            pids: Ok(1),
            pids_limit: Ok(None),
            pids_events: Ok(None),
            io: Err(none()),
        }
    }

    #[test]
    fn any_of_the_three_shows_that_it_ran_and_what_is_unknown_does_too() {
        let last = sample(1000, 4096, 0);
        let unknown = Err(Missing::because("gone"));
        let (ran, went_back) = (sample(1001, 0, 0), sample(999, 0, 0));
        let cases = [
            (&last.cpu, Some(4096), Some(0), true),
            (&ran.cpu, Some(4096), Some(0), false),
            (&went_back.cpu, Some(4096), Some(0), false),
            (&last.cpu, Some(8192), Some(0), false),
            (&last.cpu, Some(4096), Some(1), false),
            (&unknown, Some(4096), Some(0), false),
            (&last.cpu, None, Some(0), false),
            (&last.cpu, Some(4096), None, false),
        ];
        for (row, (cpu, memory, limit_hits, want)) in cases.into_iter().enumerate() {
            assert_eq!(Signs { cpu, memory, limit_hits }.show_quiet_since(&last), want, "row {row}");
        }
        let blind = CgroupSample { memory_events: Err(Missing::because("gone")), ..sample(1000, 4096, 0) };
        let signs = Signs { cpu: &last.cpu, memory: Some(4096), limit_hits: None };
        assert!(!signs.show_quiet_since(&blind));
    }

    #[test]
    fn a_full_look_stands_for_less_than_its_time_and_not_over_a_change_of_the_configuration() {
        let seconds = Duration::from_secs;
        let configuration = |text: &str| Ok(Some(Arc::new(ContainerConfig::parse(text).0)));
        let stored = configuration("memory: 512\n");
        let look = |at| FullLook::new(at, sample(0, 0, 0), stored.clone());
        for id in 100..120 {
            let vmid = Vmid::try_from(id).unwrap();
            let first = seconds(1000);
            let age =
                (0..100).find(|age| !look(first).holds(vmid, first + seconds(*age), seconds(10), &stored));
            assert_eq!(age, Some(10 - u64::from(id % 10)), "containers take turns");
        }
        let vmid = Vmid::try_from(100).unwrap();
        let holds = |every, configuration: &Configuration| {
            look(seconds(1000)).holds(vmid, seconds(1001), every, configuration)
        };
        assert!(holds(seconds(10), &configuration("memory: 512\n")), "the same, read again");
        assert!(!holds(seconds(10), &configuration("memory: 1024\n")));
        assert!(!holds(seconds(10), &Err(Missing::because("not read"))));
        assert!(!holds(Duration::ZERO, &stored), "0 switches it off");
    }
}
