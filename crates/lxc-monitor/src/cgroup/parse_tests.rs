//! Per kernel file: what is read from it, and that anything else is refused without a panic.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

/// Compares the result of a parser with the expected one.
#[track_caller]
fn success<T: Debug + PartialEq>(parse: impl Fn(&str) -> Result<T, Unexpected>, text: &str, want: T) {
    assert_eq!(parse(text), Ok(want), "{text:?}");
}

/// Every text must be refused with a message that names what was expected.
#[track_caller]
fn failure<T: Debug>(parse: impl Fn(&str) -> Result<T, Unexpected>, texts: &[&str]) {
    for text in texts {
        let error = parse(text).expect_err(text);
        assert!(error.to_string().starts_with("expected "), "{error}");
    }
}

#[test]
fn number_success() {
    success(number, "34095104\n", 34_095_104);
    success(number, "0", 0);
}

#[test]
fn number_failure() {
    failure(number, &["", "max\n", "-1\n", "1.5\n", "18446744073709551616\n"]);
}

#[test]
fn limit_success() {
    success(limit, "536870912\n", Some(536_870_912));
    success(limit, "max\n", None);
    success(limit_v1, "536870912\n", Some(536_870_912));
    success(limit_v1, "9223372036854771712\n", None);
    success(limit_v1, "18446744073709551615\n", None);
}

#[test]
fn limit_failure() {
    failure(limit, &["", "none\n", "-1\n"]);
    failure(limit_v1, &["", "max\n", "-1\n"]);
}

const CPU_STAT_V2: &str = "usage_usec 35292297\nuser_usec 16329788\nsystem_usec 18962509\n\
    nr_periods 120\nnr_throttled 7\nthrottled_usec 900\nnr_bursts 0\nburst_usec 0\n";

#[test]
fn cpu_stat_success() {
    success(|text| cpu_stat_v2(text).0, CPU_STAT_V2, 35_292_297);
    let want = Throttling { nr_periods: 120, nr_throttled: 7, throttled_usec: 900 };
    success(throttling, CPU_STAT_V2, want);
    success(throttling, "nr_periods 120\nnr_throttled 7\nthrottled_time 900999\n", want);
}

#[test]
fn cpu_stat_failure() {
    failure(|text| cpu_stat_v2(text).0, &["", "usage_usec\n", "usage_usec many\n", "user_usec 1\n"]);
    failure(
        throttling,
        &["", "usage_usec 1\nuser_usec 1\nsystem_usec 0\n", "nr_periods 1\nnr_throttled 1\n"],
    );
}

#[test]
fn cpu_max_success() {
    success(cpu_max, "150000 100000\n", Some(1.5));
    success(cpu_max, "max 100000\n", None);
    success(cfs_quota, "200000\n", Some(200_000));
    success(cfs_quota, "-1\n", None);
}

#[test]
fn cpu_max_failure() {
    failure(cpu_max, &["", "max\n", "100000\n", "100000 0\n", "-1 100000\n", "1 x\n"]);
    failure(cfs_quota, &["", "-2\n", "max\n"]);
}

#[test]
fn cpu_list_success() {
    success(cpu_list, "0-3,8\n", 5);
    success(cpu_list, "7\n", 1);
    success(cpu_list, "0-65535\n", 65_536);
}

#[test]
fn cpu_ids_are_those_of_the_list() {
    success(cpu_ids, "0-3,8\n", vec![0, 1, 2, 3, 8]);
    failure(cpu_ids, &["", "3-0\n", "0-70000\n"]);
}

#[test]
fn cpu_list_failure() {
    failure(cpu_list, &["", "\n", "3-0\n", "a\n", "0-\n", "0-65536\n", "0-40000,0-40000\n"]);
    failure(cpu_list, &["0-4294967294\n", "0-4294967295\n", "0-4294967294,0-4294967294\n"]);
}

#[test]
fn memory_stat_success() {
    let v2 = "anon 7274496\nfile 23625728\nkernel 3194880\nshmem 49152\nfile_dirty 4096\nfile_writeback 0\n\
        inactive_file 9641984\nactive_file 13934592\nworkingset_refault_anon 3\nworkingset_refault_file 5\n\
        pgmajfault 183\npswpin 11\npswpout 12\n";
    let memory = MemoryUse {
        current: 0,
        anon: 7_274_496,
        file: 23_625_728,
        shmem: 49_152,
        inactive_file: 9_641_984,
        active_file: 13_934_592,
        dirty: 4096,
        writeback: 0,
    };
    let paging = Paging {
        refault_file: Some(5),
        refault_anon: Some(3),
        swap_in: Some(11),
        swap_out: Some(12),
        major_faults: Some(183),
    };
    success(memory_stat_v2, v2, (memory, paging));

    let v1 = "cache 0\nrss 0\ntotal_cache 23625728\ntotal_rss 7274496\ntotal_shmem 49152\ntotal_dirty 4096\n\
        total_writeback 0\ntotal_inactive_file 9641984\ntotal_active_file 13934592\ntotal_pgpgin 99\n\
        total_workingset_refault_anon 3\ntotal_workingset_refault_file 5\ntotal_pgmajfault 183\n\
        total_swap 8192\n";
    success(|text| memory_stat_v1(text).0, v1, (memory, Paging { swap_in: None, swap_out: None, ..paging }));
    assert_eq!(memory_stat_v1(v1).1, Some(8192));
    assert_eq!(memory_stat_v1("total_cache 1\n").1, None);
}

#[test]
fn memory_stat_failure() {
    failure(memory_stat_v2, &["", "anon 1\nfile 1\n", "anon x\nfile 1\ninactive_file 1\nactive_file 1\n"]);
    failure(|text| memory_stat_v1(text).0, &["", "cache 1\nrss 1\ninactive_file 1\nactive_file 1\n"]);
}

#[test]
fn memory_events_success() {
    let before_5_17 = "low 6\nhigh 1\nmax 2\noom 3\noom_kill 4\n";
    let want = MemoryEvents {
        low: Some(6),
        high: Some(1),
        max: 2,
        oom: Some(3),
        oom_kill: Some(4),
        oom_group_kill: None,
    };
    success(memory_events, before_5_17, want);
    let text = format!("{before_5_17}oom_group_kill 5\nsock_throttled 0\n");
    success(memory_events, &text, MemoryEvents { oom_group_kill: Some(5), ..want });
    assert_eq!(oom_kill_v1("oom_kill_disable 0\nunder_oom 0\noom_kill 6\n"), Some(6));
    assert_eq!(oom_kill_v1("oom_kill_disable 0\nunder_oom 0\n"), None);
}

#[test]
fn memory_events_failure() {
    failure(memory_events, &["", "low 0\nhigh 0\n", "max many\n"]);
}

#[test]
fn memory_swap_events_success() {
    let want = MemorySwapEvents { high: Some(1), max: 2, fail: 3 };
    success(memory_swap_events, "high 1\nmax 2\nfail 3\n", want);
    success(memory_swap_events, "max 2\nfail 3\n", MemorySwapEvents { high: None, ..want });
}

#[test]
fn memory_swap_events_failure() {
    failure(memory_swap_events, &["", "max 2\n", "max 2\nfail x\n"]);
}

#[test]
fn pids_events_success() {
    success(pids_events, "max 7\n", PidsEvents { max: 7 });
}

#[test]
fn pids_events_failure() {
    failure(pids_events, &["", "max\n", "max x\n", "7\n"]);
}

fn device(rbytes: u64, wbytes: u64, rios: u64, wios: u64) -> DeviceIo {
    DeviceIo { rbytes, wbytes, rios, wios }
}

#[test]
fn io_stat_success() {
    let text = "253:4 rbytes=0 wbytes=0 rios=0 wios=1 dbytes=0 dios=0\n253:3 \n7:7 \n\
        254:16 rbytes=22863872 wbytes=962560 rios=1036 wios=53 dbytes=0 dios=0\n";
    let want = IoByDevice::from([
        ((253, 4), device(0, 0, 0, 1)),
        ((254, 16), device(22_863_872, 962_560, 1036, 53)),
    ]);
    success(io_stat, text, want);
    // As kernels before 5.13 write devices without counters.
    success(
        io_stat,
        "7:7 7:6 8:0 rbytes=5 wbytes=6 rios=1 wios=2\n",
        IoByDevice::from([((8, 0), device(5, 6, 1, 2))]),
    );
    success(io_stat, "", IoByDevice::new());
}

#[test]
fn io_stat_failure() {
    failure(io_stat, &["rbytes=1\n", "8:0 rbytes=many\n", "8:0 rbytes\n", "sda rbytes=1\n"]);
}

#[test]
fn blkio_success() {
    let bytes = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Async 2\n8:0 Discard 0\n8:0 Total 12288\nTotal 12288\n";
    let operations = "8:0 Read 1\n8:0 Write 2\nTotal 3\n";
    let both = |text: &str| blkio(text, operations);
    success(both, bytes, IoByDevice::from([((8, 0), device(4096, 8192, 1, 2))]));
    assert_eq!(blkio("Total 0\n", "Total 0\n"), Ok(IoByDevice::new()));
}

#[test]
fn blkio_failure() {
    failure(|text| blkio(text, ""), &["sda Read 1\n", "8:0 Read many\n"]);
    failure(|text| blkio("", text), &["8:0 Write -1\n"]);
}

#[test]
fn processes_success() {
    success(processes, "14474\n14478\n", vec![14474, 14478]);
    success(processes, "", vec![]);
    success(populated, "populated 1\nfrozen 0\n", true);
    success(populated, "populated 0\nfrozen 0\n", false);
}

#[test]
fn processes_failure() {
    failure(processes, &["init\n", "-1\n"]);
    failure(populated, &["", "frozen 0\n"]);
}

proptest! {
    /// Half of the texts consist of words the parsers look for.
    #[test]
    fn any_text_is_survived(text in prop_oneof![
        "\\PC{0,200}",
        "((usage_usec|max|some|total_rss|8:0|rbytes=|Read|Write|[0-9]{1,22}|-|,|avg10=[0-9.]{0,9})[ \n]?){0,40}",
    ]) {
        let _ = (number(&text), limit(&text), limit_v1(&text), cpu_stat_v2(&text), throttling(&text));
        let _ = (cpu_max(&text), cfs_quota(&text), memory_stat_v2(&text), memory_stat_v1(&text));
        let _ = (memory_swap_events(&text), pids_events(&text));
        let _ = (memory_events(&text), io_stat(&text), blkio(&text, &text), populated(&text), processes(&text));
        if let (Ok(cpus), Ok(ids)) = (cpu_list(&text), cpu_ids(&text)) {
            prop_assert_eq!(cpus as usize, ids.len());
        }
        if let Ok(cpus) = cpu_list(&text) {
            prop_assert!(0 < cpus);
        }
        if let Ok(pressure) = pressure(&text) {
            prop_assert!(pressure.some.avg10.is_finite());
        }
    }

    #[test]
    fn a_cpu_list_counts_every_cpu_once(ranges in prop::collection::vec((0u32..4, 0u32..8), 1..6)) {
        let mut next = 0;
        let mut text = Vec::new();
        let mut want = 0;
        for (gap, length) in ranges {
            let first = next + gap;
            text.push(if length == 0 { first.to_string() } else { format!("{first}-{}", first + length) });
            next = first + length + 1;
            want += length + 1;
        }
        prop_assert_eq!(cpu_list(&text.join(",")), Ok(want));
    }
}
