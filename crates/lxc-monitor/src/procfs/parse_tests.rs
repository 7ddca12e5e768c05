//! Per file of `/proc`: what is read from it, and that anything else is refused and survived.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

#[track_caller]
fn success<T: Debug + PartialEq>(parse: impl Fn(&str) -> Result<T, Unexpected>, text: &str, want: T) {
    assert_eq!(parse(text), Ok(want), "{text:?}");
}

#[track_caller]
fn failure<T: Debug>(parse: impl Fn(&str) -> Result<T, Unexpected>, texts: &[&str]) {
    for text in texts {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn only_command_sockets_of_containers_count() {
    let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 19806 @/var/lib/lxc/101/command\n\
        0000000000000000: 00000003 00000000 00000000 0001 03 19807 @/var/lib/lxc/102/command.tmp\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 19808 @/var/lib/lxc/web/command\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 19809 /var/lib/lxc/103/command\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 19810 @/tmp/x/104/command\n\
        0000000000000000: 00000003 00000000 00000000 0001 03 19811\n";
    let ids = |lxc: &str| command_sockets(text, lxc).into_iter().map(Vmid::get).collect::<Vec<_>>();
    assert_eq!(ids("/var/lib/lxc"), [101]);
    assert_eq!(ids("/var/lib/lxc/"), [101]);
    assert_eq!(ids("/tmp/x"), [104]);
}

const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
veth100i0:     602       7    0    0    0     0          0         0     1152      12    0    0    0     0       0          0
";

#[test]
fn network_devices_success() {
    let devices = network_devices(NET_DEV).unwrap();
    assert_eq!(devices["veth100i0"], NetworkUsage { rx_bytes: 602, tx_bytes: 1152 });
    assert_eq!(devices.len(), 2);
}

#[test]
fn network_devices_failure() {
    failure(
        network_devices,
        &["a\nb\nno counters\n", "a\nb\n lo: 1 2 3\n", "a\nb\n lo: x 0 0 0 0 0 0 0 1\n"],
    );
}

#[test]
fn cpu_time_success() {
    let text = "cpu  78050 1 61882 388011 473 2 4655 100 50 0\ncpu0 1 0 0 0 0 0 0 0 0 0\n\
        cpu1 1 0 0 0 0 0 0 0 0 0\nintr 1\nctxt 2\nbtime 3\n";
    let busy_ticks = 78_050 + 1 + 61_882 + 2 + 4_655;
    let want = NodeCpuTime { busy_ticks, total_ticks: busy_ticks + 388_011 + 473 + 100, cpus: 2 };
    success(cpu_time, text, want);
}

#[test]
fn cpu_time_failure() {
    failure(
        cpu_time,
        &["", "cpu  1 2 3\ncpu0 1 2 3\n", "cpu  1 2 3 4 5 6 7 8\n", "cpu  1 2 x 4 5 6 7 8\ncpu0 1\n"],
    );
}

#[test]
fn meminfo_success() {
    let text = "MemTotal:        4020504 kB\nMemFree: 1 kB\nMemAvailable:    3561004 kB\n\
        SwapTotal:       1048572 kB\nSwapFree:         1048000 kB\n";
    let want = NodeMemory {
        total: 4_020_504 << 10,
        available: 3_561_004 << 10,
        swap_total: 1_048_572 << 10,
        swap_used: 572 << 10,
    };
    success(meminfo, text, want);
}

#[test]
fn meminfo_failure() {
    failure(
        meminfo,
        &["", "MemTotal: 1 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"],
    );
}

#[test]
fn load_and_uptime_success() {
    success(load_averages, "1.21 1.22 1.07 1/134 3467\n", [1.21, 1.22, 1.07]);
    success(uptime_seconds, "1443.85 5000.00\n", 1443.85);
}

#[test]
fn load_and_uptime_failure() {
    failure(load_averages, &["", "1.0 2.0\n", "a b c\n", "NaN 1 1\n"]);
    failure(uptime_seconds, &["", "soon\n", "-1 2\n", "inf 1\n"]);
}

#[test]
fn start_ticks_success() {
    let text = "14474 (a ) (b) S 1 14474 14474 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 51234 4526080 12 1\n";
    success(start_ticks, text, 51_234);
}

#[test]
fn start_ticks_failure() {
    failure(start_ticks, &["", "1 (init) S 1\n", "no parentheses 1 2 3\n"]);
}

#[test]
fn only_the_init_of_an_outer_container_is_one() {
    let status = |ids: &str| format!("Name:\tinit\nNSpid:\t{ids}\nVmRSS:\t4 kB\n");
    assert!(is_container_init(&status("14474\t1")));
    for other in ["14474", "14478\t4", "14500\t90\t1", "1", ""] {
        assert!(!is_container_init(&status(other)), "{other:?}");
    }
    assert!(!is_container_init("Name:\tinit\n"));
}

#[test]
fn process_io_success() {
    let text = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 9\n";
    success(process_io, text, (4096, 8192));
}

#[test]
fn process_io_failure() {
    failure(process_io, &["", "read_bytes: 1\n", "read_bytes: x\nwrite_bytes: 1\n"]);
}

#[test]
fn arc_size_success() {
    success(
        arc_size,
        "13 1 0x01 96 26112\nname type data\nhits 4 1\nc_max 4 9\nsize 4 1073741824\n",
        1 << 30,
    );
}

#[test]
fn arc_size_failure() {
    failure(arc_size, &["", "size 4\n", "c_max 4 9\n"]);
}

proptest! {
    #[test]
    fn any_text_is_survived(text in prop_oneof![
        "\\PC{0,200}",
        "((cpu |cpu0|MemTotal:|NSpid:|@/var/lib/lxc/|\\) |kB|[0-9]{1,22}|:|\t)[ \n]?){0,40}",
    ]) {
        let _ = (network_devices(&text), cpu_time(&text), meminfo(&text), load_averages(&text));
        let _ = (uptime_seconds(&text), start_ticks(&text), process_io(&text), arc_size(&text));
        let _ = (is_container_init(&text), command_sockets(&text, "/var/lib/lxc"));
    }
}
