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
        "((NSpid:|\\) |size|read_bytes|[0-9]{1,22}|:|\t)[ \n]?){0,40}",
    ]) {
        let _ = (network_devices(&text), start_ticks(&text), process_io(&text), arc_size(&text));
        let _ = is_container_init(&text);
    }
}
