//! Per file of `/proc`: what is read from it, and that anything else is refused without a panic.

use std::collections::BTreeMap;
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

const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
veth100i0:     602       7    1    2    0     0          0         0     1152      12    3    4    0     0       0          0
";

#[test]
fn network_devices_success() {
    let devices = network_devices(NET_DEV).unwrap();
    let devices: BTreeMap<_, _> = devices.iter().collect();
    let want = InterfaceTraffic {
        rx_bytes: 602,
        rx_packets: 7,
        rx_errors: 1,
        rx_dropped: 2,
        tx_bytes: 1152,
        tx_packets: 12,
        tx_errors: 3,
        tx_dropped: 4,
    };
    assert_eq!(devices["veth100i0"], want);
    assert_eq!(devices.len(), 2);
}

#[test]
fn network_devices_failure() {
    failure(
        network_devices,
        &["a\nb\nno counters\n", "a\nb\n lo: 1 2 3\n", "a\nb\n lo: x 0 0 0 0 0 0 0 1 2 3 4\n"],
    );
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
fn arc_success() {
    success(
        arc,
        "13 1 0x01 96 26112\nname type data\nhits 4 1\nc 4 7\nc_min 4 8\nc_max 4 9\nsize 4 1073741824\n",
        ArcUse { size: 1 << 30, min: 8, max: 9 },
    );
}

#[test]
fn arc_failure() {
    failure(arc, &["", "size 4\n", "c_max 4 9\n", "c_min 4 8\nc_max 4 9\nsize 4 x\n"]);
}

#[test]
fn dataset_success() {
    let text = "28 1 0x01 7 2160 5523398096 127953381091805\nname                            type data\n\
        dataset_name                    7    rpool/data/subvol-104-disk-0\n\
        writes                          4    718760\nnwritten                        4    7745788975\n\
        reads                           4    29614153\nnread                           4    616619157258\n\
        nunlinks                        4    77194\nnunlinked                       4    77189\n";
    let io = DeviceIo { rbytes: 616_619_157_258, wbytes: 7_745_788_975, rios: 29_614_153, wios: 718_760 };
    success(dataset, text, ("rpool/data/subvol-104-disk-0".to_owned(), io));
}

#[test]
fn dataset_failure() {
    failure(
        dataset,
        &[
            "",
            "dataset_name 7 rpool\n",
            "dataset_name 7 rpool\nreads 4 1\nnread 4 x\nwrites 4 1\nnwritten 4 1\n",
        ],
    );
}

#[test]
fn threads_success() {
    success(threads, "1.21 1.22 1.07 1/134 3467\n", 134);
}

#[test]
fn threads_failure() {
    failure(threads, &["", "1.21 1.22 1.07\n", "1.21 1.22 1.07 134 3467\n", "1 2 3 1/x 5\n"]);
}

#[test]
fn vmstat_success() {
    let text = "nr_free_pages 9\nworkingset_refault_anon 1\nworkingset_refault_file 2\npswpin 3\npswpout 4\n\
        pgmajfault 5\noom_kill 6\n";
    let paging = Paging {
        refault_file: Some(2),
        refault_anon: Some(1),
        swap_in: Some(3),
        swap_out: Some(4),
        major_faults: Some(5),
    };
    success(vmstat, text, NodePaging { paging, oom_kill: Some(6) });
    let old = Paging { refault_file: Some(7), major_faults: Some(8), ..Paging::default() };
    success(vmstat, "workingset_refault 7\npgmajfault 8\n", NodePaging { paging: old, oom_kill: None });
}

#[test]
fn vmstat_failure() {
    failure(vmstat, &["", "nr_free_pages 9\n", "pgmajfault\n"]);
}

proptest! {
    #[test]
    fn any_text_is_survived(text in prop_oneof![
        "\\PC{0,200}",
        "((NSpid:|\\) |size|read_bytes|[0-9]{1,22}|:|\t)[ \n]?){0,40}",
    ]) {
        let _ = (network_devices(&text), start_ticks(&text), process_io(&text), arc(&text));
        let _ = (threads(&text), vmstat(&text), dataset(&text));
        let _ = is_container_init(&text);
    }
}
