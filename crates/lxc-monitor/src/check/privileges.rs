//! Which privileged files the program can read.

use rustix::thread::CapabilitySet;

use super::Probe;
use crate::cgroup::Hierarchy;
use crate::kernel_gaps::CgroupVersion;

const NAME: &str = "privileges";

/// A capability, and what is not measured without it.
struct Need {
    capability: CapabilitySet,
    name: &'static str,
    /// Whether only control groups of version 1 need it.
    only_v1: bool,
    costs: &'static str,
}

/// All of them; the shipped unit gives them to the monitor's user for these reasons.
const NEEDS: [Need; 2] = [
    Need {
        capability: CapabilitySet::SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        only_v1: false,
        costs: "the use of the containers' root filesystems (through /proc/<pid>/root) is not measured",
    },
    Need {
        capability: CapabilitySet::DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        only_v1: true,
        costs: "block I/O that control groups of version 1 do not count (/proc/<pid>/io) is not measured",
    },
];

/// The capabilities that this process lacks.
pub(super) fn probe(hierarchy: Option<&Hierarchy>) -> Probe {
    let is_v1 = hierarchy.is_some_and(|hierarchy| hierarchy.cgroup_version() == CgroupVersion::V1);
    match rustix::thread::capabilities(None) {
        Ok(sets) => of(sets.effective, is_v1, rustix::process::geteuid().is_root()),
        Err(error) => Probe::note(
            NAME,
            format!("which it has cannot be told: {}", std::io::Error::from(error)),
            "look at CapEff in /proc/self/status",
        ),
    }
}

fn of(held: CapabilitySet, is_v1: bool, is_root: bool) -> Probe {
    let needed = || NEEDS.iter().filter(|need| is_v1 || !need.only_v1);
    let lacking: Vec<_> = needed().filter(|need| !held.contains(need.capability)).collect();
    let who = if is_root { "runs as root" } else { "does not run as root" };
    if lacking.is_empty() {
        let names: Vec<_> = needed().map(|need| need.name).collect();
        return Probe::ok(NAME, format!("{who}, with {}", names.join(" and ")));
    }
    let costs: Vec<_> = lacking.iter().map(|need| format!("without {} {}", need.name, need.costs)).collect();
    let names: Vec<_> = lacking.iter().map(|need| need.name).collect();
    Probe::note(
        NAME,
        format!("{who}; {}", costs.join("; ")),
        format!("run it as lxc_monitor.service does, which needs {} here", names.join(" ")),
    )
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn each_capability_that_is_lacking_says_what_it_costs() {
        let (none, both) =
            (CapabilitySet::empty(), CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH);
        let ptrace = CapabilitySet::SYS_PTRACE;
        for (held, is_v1, state, words) in [
            (ptrace, false, State::Ok, &["with CAP_SYS_PTRACE"][..]),
            (both, true, State::Ok, &["with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"]),
            (none, false, State::Note, &["without CAP_SYS_PTRACE", "root filesystems"]),
            (ptrace, true, State::Note, &["without CAP_DAC_READ_SEARCH", "block I/O"]),
            (none, true, State::Note, &["root filesystems", "block I/O"]),
        ] {
            let probe = of(held, is_v1, false);
            assert_eq!(probe.state, state, "{probe:?}");
            for word in words {
                assert!(probe.detail.contains(word), "{word}: {probe:?}");
            }
            assert_eq!(probe.detail.contains("block I/O"), words.contains(&"block I/O"), "{probe:?}");
        }
    }
}
