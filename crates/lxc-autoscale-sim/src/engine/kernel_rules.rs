//! The kernel's answer to a write of a limit, for the files of a simulated node.
//!
//! Kernel sources: `tg_set_cfs_bandwidth` (a quota is at least one millisecond) and `mem_cgroup_resize_max` (v1
//! refuses a limit that it cannot reclaim down to, and keeps the memory limit below memory-and-swap). cgroup v2
//! accepts any memory limit and reclaims, swaps or kills afterwards, which the simulated kernel does.

use std::path::Path;

use rustix::io::Errno;

use super::usage::{keyed, number};

/// The shortest quota, in microseconds.
const MIN_QUOTA_USEC: u64 = 1000;
/// Limits are whole pages.
const PAGE: u64 = 4096;

/// Checks a write, and returns the content of the file afterwards.
pub(super) fn accept(path: &Path, value: &str) -> Result<String, Errno> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "cpu.max" => accept_cpu_max(path, value),
        "cpu.cfs_quota_us" if value == "-1" => Ok(value.to_owned()),
        "cpu.cfs_quota_us" => {
            parse(value).filter(|&quota| MIN_QUOTA_USEC <= quota).map(as_text).ok_or(Errno::INVAL)
        }
        "cpu.shares" => parse(value).map(|shares| as_text(shares.clamp(2, 262_144))).ok_or(Errno::INVAL),
        "cpu.weight" => {
            parse(value).filter(|weight| (1..=10_000).contains(weight)).map(as_text).ok_or(Errno::RANGE)
        }
        "memory.max" | "memory.high" | "memory.swap.max" if value == "max" => Ok(value.to_owned()),
        "memory.max" | "memory.high" | "memory.swap.max" => {
            parse(value).map(|bytes| as_text(bytes / PAGE * PAGE)).ok_or(Errno::INVAL)
        }
        "memory.limit_in_bytes" => accept_memory_v1(path, value),
        "memory.memsw.limit_in_bytes" => accept_memory_and_swap_v1(path, value),
        _ => Ok(value.to_owned()),
    }
}

/// `max` or a quota, with or without a period; an omitted part stays the same.
fn accept_cpu_max(path: &Path, value: &str) -> Result<String, Errno> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let old_period = old.split_ascii_whitespace().nth(1).unwrap_or("100000").to_owned();
    let mut words = value.split_ascii_whitespace();
    let quota = words.next().ok_or(Errno::INVAL)?;
    let period = words.next().unwrap_or(&old_period);
    let is_quota = quota == "max" || parse(quota).is_some_and(|quota| MIN_QUOTA_USEC <= quota);
    if is_quota { Ok(format!("{quota} {period}")) } else { Err(Errno::INVAL) }
}

fn accept_memory_v1(path: &Path, value: &str) -> Result<String, Errno> {
    let limit = parse(value).ok_or(Errno::INVAL)? / PAGE * PAGE;
    let group = path.parent().ok_or(Errno::INVAL)?;
    if number(&group.join("memory.memsw.limit_in_bytes")).is_ok_and(|sum| sum < limit) {
        return Err(Errno::INVAL);
    }
    if limit < smallest_reachable(group)? {
        return Err(Errno::BUSY);
    }
    Ok(as_text(limit))
}

fn accept_memory_and_swap_v1(path: &Path, value: &str) -> Result<String, Errno> {
    let sum = parse(value).ok_or(Errno::INVAL)? / PAGE * PAGE;
    let group = path.parent().ok_or(Errno::INVAL)?;
    let limit = number(&group.join("memory.limit_in_bytes")).map_err(|_| Errno::NOENT)?;
    if sum < limit {
        return Err(Errno::INVAL);
    }
    Ok(as_text(sum))
}

/// How far reclaim can reduce memory: clean cache is dropped, and the free swap is filled.
fn smallest_reachable(group: &Path) -> Result<u64, Errno> {
    let read = |name: &str| number(&group.join(name)).map_err(|_| Errno::NOENT);
    let stat = |key: &str| keyed(&group.join("memory.stat"), key).unwrap_or(0);
    let used = read("memory.usage_in_bytes")?;
    let cache = stat("total_cache").saturating_sub(stat("total_shmem"));
    let room = match (read("memory.memsw.limit_in_bytes"), read("memory.limit_in_bytes")) {
        (Ok(sum), Ok(limit)) => sum.saturating_sub(limit).saturating_sub(stat("total_swap")),
        _ => 0,
    };
    Ok(used.saturating_sub(cache).saturating_sub(room))
}

fn parse(value: &str) -> Option<u64> {
    value.trim().parse().ok()
}

fn as_text(value: u64) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], name: &str, value: &str, want: Result<&str, Errno>) {
        let group = tempfile::tempdir().unwrap();
        for (file, text) in files {
            fs::write(group.path().join(file), text).unwrap();
        }
        assert_eq!(accept(&group.path().join(name), value), want.map(str::to_owned), "{name} <- {value}");
    }

    #[test]
    fn a_quota_is_at_least_a_millisecond() {
        let files = [("cpu.max", "max 100000\n")];
        check(&files, "cpu.max", "1000 100000", Ok("1000 100000"));
        check(&files, "cpu.max", "0 100000", Err(Errno::INVAL));
        check(&files, "cpu.max", "999 100000", Err(Errno::INVAL));
        check(&[("cpu.max", "50000 200000\n")], "cpu.max", "max", Ok("max 200000"));
        check(&[], "cpu.cfs_quota_us", "0", Err(Errno::INVAL));
        check(&[], "cpu.cfs_quota_us", "-1", Ok("-1"));
    }

    #[test]
    fn v1_refuses_what_it_cannot_reclaim() {
        let files = [
            ("memory.limit_in_bytes", "268435456\n"),
            ("memory.memsw.limit_in_bytes", "268435456\n"),
            ("memory.usage_in_bytes", "134217728\n"),
            ("memory.stat", "total_cache 67108864\ntotal_shmem 33554432\ntotal_swap 0\n"),
        ];
        check(&files, "memory.limit_in_bytes", "100663296", Ok("100663296"));
        check(&files, "memory.limit_in_bytes", "100659200", Err(Errno::BUSY));
        check(&files, "memory.limit_in_bytes", "536870912", Err(Errno::INVAL));
        check(&files, "memory.memsw.limit_in_bytes", "134217728", Err(Errno::INVAL));
    }

    #[test]
    fn v2_takes_any_memory_limit_in_whole_pages() {
        check(&[], "memory.max", "16777217", Ok("16777216"));
        check(&[], "memory.max", "max", Ok("max"));
        check(&[], "memory.max", "-1", Err(Errno::INVAL));
    }
}
