//! The layout of the node's CPUs, from sysfs: which share a core or a memory node, which are fast.
//!
//! It changes only when CPUs go on or off line, so only the list of online CPUs is read each time.
//!
//! Two kinds of CPUs are distinguished by the first of these that the kernel provides: the CPU lists of Intel's two
//! performance counters (`/sys/devices/cpu_core/cpus` and `cpu_atom/cpus`, only on hybrid machines), the scheduler's
//! capacities (`cpu_capacity`), the highest frequencies (`cpuinfo_max_freq`). By the latter two a CPU is efficient when
//! it has less than 80 % of the strongest one: favoured cores differ by a few percent from their neighbours, efficient
//! ones by a quarter and more.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lxc_autoscale_core::snapshot::CpuTopology;

use crate::cgroup::group_names;
use crate::cgroup::parse::{cpu_ids, number};
use crate::kept_files::KeptFiles;
use crate::kernel_file::{read_parsed, read_text};
use crate::sample::{Missing, Reading};

/// Share of the strongest CPU's capacity below which a CPU counts as efficient, in percent.
const EFFICIENT_BELOW_PERCENT: u64 = 80;

/// Reads the layout; `previous` is reused while the same CPUs are online.
///
/// # Errors
/// Why it is unknown.
pub fn read(
    files: &KeptFiles,
    sys: &Path,
    previous: Option<&Arc<CpuTopology>>,
) -> Reading<Option<Arc<CpuTopology>>> {
    let online = match files.parsed(sys, "devices/system/cpu/online", |text| Ok(text.to_owned())) {
        Err(error) if error.is_gone() => return Ok(None),
        other => other?,
    };
    let online = online.trim();
    if let Some(previous) = previous.filter(|previous| previous.online == online) {
        return Ok(Some(Arc::clone(previous)));
    }
    let cpus = cpu_ids(online).map_err(|error| Missing::because(error.to_string()))?;
    let (cores, smt_siblings) = cores(sys, &cpus);
    let kinds = two_kinds(sys, &cpus);
    Ok(Some(Arc::new(CpuTopology {
        online: online.to_owned(),
        cores,
        smt_siblings,
        performance_cpus: kinds.as_ref().map(|kinds| kinds.performance.clone()),
        efficient_cpus: kinds.map(|kinds| kinds.efficient),
        numa_nodes: numa_nodes(sys),
    })))
}

/// Number of physical cores, and the CPUs of those that have several.
fn cores(sys: &Path, cpus: &[u32]) -> (Option<u32>, Vec<String>) {
    let mut by_first: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for cpu in cpus {
        let list = sys.join(format!("devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
        let siblings = read_parsed(&list, cpu_ids).unwrap_or_default();
        let Some(first) = siblings.first() else { return (None, Vec::new()) };
        by_first.insert(*first, siblings);
    }
    let several = by_first.values().filter(|siblings| 1 < siblings.len());
    let several = several.map(|siblings| cpu_list_text(siblings)).collect();
    (u32::try_from(by_first.len()).ok(), several)
}

struct TwoKinds {
    performance: String,
    efficient: String,
}

fn two_kinds(sys: &Path, cpus: &[u32]) -> Option<TwoKinds> {
    let list = |counter: &str| {
        let text = read_text(&sys.join(format!("devices/{counter}/cpus"))).ok()?;
        let text = text.trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    if let (Some(performance), Some(efficient)) = (list("cpu_core"), list("cpu_atom")) {
        return Some(TwoKinds { performance, efficient });
    }
    ["cpu_capacity", "cpufreq/cpuinfo_max_freq"].iter().find_map(|file| {
        let strength =
            |cpu: &u32| read_parsed(&sys.join(format!("devices/system/cpu/cpu{cpu}/{file}")), number).ok();
        let strengths: Vec<u64> = cpus.iter().map(strength).collect::<Option<_>>()?;
        split(cpus, &strengths)
    })
}

/// Splits the CPUs by their strength; `None` if all are alike.
fn split(cpus: &[u32], strengths: &[u64]) -> Option<TwoKinds> {
    let strongest = u128::from(*strengths.iter().max()?);
    let is_efficient =
        |strength: u64| u128::from(strength) * 100 < strongest * u128::from(EFFICIENT_BELOW_PERCENT);
    let (efficient, performance): (Vec<_>, Vec<_>) =
        cpus.iter().zip(strengths).partition(|(_, strength)| is_efficient(**strength));
    let text = |part: &[(&u32, &u64)]| cpu_list_text(&part.iter().map(|(cpu, _)| **cpu).collect::<Vec<_>>());
    (!efficient.is_empty()).then(|| TwoKinds { performance: text(&performance), efficient: text(&efficient) })
}

fn numa_nodes(sys: &Path) -> BTreeMap<u32, String> {
    let directory = sys.join("devices/system/node");
    let node = |name: String| {
        let number = name.strip_prefix("node")?.parse().ok()?;
        Some((number, read_text(&directory.join(&name).join("cpulist")).ok()?.trim().to_owned()))
    };
    group_names(&directory).into_iter().filter_map(node).collect()
}

/// Writes ids in ascending order as the kernel does: `0-3,8`.
fn cpu_list_text(cpus: &[u32]) -> String {
    let ranges = cpus.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let range = |range: &[u32]| match range {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    };
    ranges.map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares a layout with the expected one; `files` are below `/sys/devices`.
    #[track_caller]
    fn check(files: &[(&str, &str)], want: &CpuTopology) {
        let sys = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = sys.path().join("devices").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        }
        assert_eq!(read(&KeptFiles::for_one_look(), sys.path(), None).unwrap().as_deref(), Some(want));
    }

    #[test]
    fn an_intel_hybrid_has_two_kinds_and_siblings_only_on_the_fast_ones() {
        check(
            &[
                ("system/cpu/online", "0-5"),
                ("system/cpu/cpu0/topology/thread_siblings_list", "0-1"),
                ("system/cpu/cpu1/topology/thread_siblings_list", "0-1"),
                ("system/cpu/cpu2/topology/thread_siblings_list", "2,3"),
                ("system/cpu/cpu3/topology/thread_siblings_list", "2,3"),
                ("system/cpu/cpu4/topology/thread_siblings_list", "4"),
                ("system/cpu/cpu5/topology/thread_siblings_list", "5"),
                ("cpu_core/cpus", "0-3"),
                ("cpu_atom/cpus", "4-5"),
                ("system/node/node0/cpulist", "0-5"),
            ],
            &CpuTopology {
                online: "0-5".to_owned(),
                cores: Some(4),
                smt_siblings: vec!["0-1".to_owned(), "2-3".to_owned()],
                performance_cpus: Some("0-3".to_owned()),
                efficient_cpus: Some("4-5".to_owned()),
                numa_nodes: BTreeMap::from([(0, "0-5".to_owned())]),
            },
        );
    }

    #[test]
    fn two_sockets_of_one_kind_have_two_memory_nodes() {
        check(
            &[
                ("system/cpu/online", "0-3"),
                ("system/cpu/cpu0/topology/thread_siblings_list", "0,2"),
                ("system/cpu/cpu1/topology/thread_siblings_list", "1,3"),
                ("system/cpu/cpu2/topology/thread_siblings_list", "0,2"),
                ("system/cpu/cpu3/topology/thread_siblings_list", "1,3"),
                // A favoured core is not another kind.
                ("system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "5300000"),
                ("system/cpu/cpu1/cpufreq/cpuinfo_max_freq", "5100000"),
                ("system/cpu/cpu2/cpufreq/cpuinfo_max_freq", "5300000"),
                ("system/cpu/cpu3/cpufreq/cpuinfo_max_freq", "5100000"),
                ("system/node/node0/cpulist", "0,2"),
                ("system/node/node1/cpulist", "1,3"),
                ("system/node/has_cpu", "0-1"),
            ],
            &CpuTopology {
                online: "0-3".to_owned(),
                cores: Some(2),
                smt_siblings: vec!["0,2".to_owned(), "1,3".to_owned()],
                numa_nodes: BTreeMap::from([(0, "0,2".to_owned()), (1, "1,3".to_owned())]),
                ..CpuTopology::default()
            },
        );
    }

    #[test]
    fn capacities_come_before_frequencies() {
        check(
            &[
                ("system/cpu/online", "0-1"),
                ("system/cpu/cpu0/cpu_capacity", "446"),
                ("system/cpu/cpu1/cpu_capacity", "1024"),
                ("system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "2000000"),
                ("system/cpu/cpu1/cpufreq/cpuinfo_max_freq", "2000000"),
            ],
            &CpuTopology {
                online: "0-1".to_owned(),
                performance_cpus: Some("1".to_owned()),
                efficient_cpus: Some("0".to_owned()),
                ..CpuTopology::default()
            },
        );
    }

    #[test]
    fn it_is_read_again_only_when_a_cpu_went_on_or_off_line() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(
            read(&KeptFiles::for_one_look(), sys.path(), None),
            Ok(None),
            "a kernel that does not tell"
        );
        let online = sys.path().join("devices/system/cpu/online");
        std::fs::create_dir_all(online.parent().unwrap()).unwrap();
        std::fs::write(&online, "0-1\n").unwrap();
        let first = read(&KeptFiles::for_one_look(), sys.path(), None).unwrap().unwrap();
        let again = read(&KeptFiles::for_one_look(), sys.path(), Some(&first)).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        std::fs::write(&online, "0\n").unwrap();
        assert_eq!(read(&KeptFiles::for_one_look(), sys.path(), Some(&first)).unwrap().unwrap().online, "0");
    }
}
