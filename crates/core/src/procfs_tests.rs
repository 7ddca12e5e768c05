//! For each file: what is parsed from it, and that anything else is rejected without a panic.

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

#[test]
fn cpu_time_success() {
    let text = "cpu  78050 1 61882 388011 473 2 4655 100 50 0\ncpu0 1 0 0 0 0 0 0 0 0 0\n\
        cpu1 1 0 0 0 0 0 0 0 0 0\nintr 1\nctxt 2\nbtime 3\n";
    let busy_ticks = 78_050 + 1 + 61_882 + 2 + 4_655;
    let want = NodeCpuTime {
        busy_ticks,
        iowait_ticks: 473,
        steal_ticks: 100,
        total_ticks: busy_ticks + 388_011 + 473 + 100,
        cpus: 2,
    };
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
    failure(load_averages, &["", "1.0 2.0\n", "a b c\n", "NaN 1 1\n", "1 -1 1\n"]);
    failure(uptime_seconds, &["", "soon\n", "-1 2\n", "inf 1\n"]);
}

#[test]
fn pressure_success() {
    let line = |total_usec| PressureLine { avg10: 0.5, avg60: 0.03, avg300: 0.06, total_usec };
    let text = "some avg10=0.50 avg60=0.03 avg300=0.06 total=4253314\n\
        full avg10=0.50 avg60=0.03 avg300=0.06 total=417732\n";
    success(pressure, text, Pressure { some: line(4_253_314), full: Some(line(417_732)) });
    // `full` of the CPU exists since Linux 5.13.
    let old = "some avg10=0.50 avg60=0.03 avg300=0.06 total=1\n";
    success(pressure, old, Pressure { some: line(1), full: None });
}

#[test]
fn pressure_failure() {
    failure(
        pressure,
        &[
            "",
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            "some avg10=0.00 avg60=0.00 total=0\n",
            "some avg10=NaN avg60=0.00 avg300=0.00 total=0\n",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=-1\n",
        ],
    );
}

proptest! {
    #[test]
    fn any_text_is_survived(text in prop_oneof![
        "\\PC{0,200}",
        "((cpu |cpu0|MemTotal:|@/var/lib/lxc/|some|full|avg10=|total=|kB|[0-9]{1,22}|:|\t)[ \n]?){0,40}",
    ]) {
        let _ = (cpu_time(&text), meminfo(&text), load_averages(&text), uptime_seconds(&text));
        let _ = (pressure(&text), command_sockets(&text, "/var/lib/lxc"));
    }
}

proptest! {
    /// The kernel's own form is read in a single pass, and gives what any reader of words makes of it; so does what nearly has it.
    #[test]
    fn pressure_as_the_kernel_writes_it_is_what_its_words_say(
        text in "(some avg10=[0-9]{1,3}[.][0-9]{2} avg60=[0-9]{1,3}[.][0-9]{2} avg300=[0-9]{1,3}[.][0-9]{2} total=[+0-9][0-9]{0,18}\n{0,2}|full avg10=0[.][0-9]{2,3} avg60=0[.]00 avg300=0[.]00 total=[0-9]{1,20}\n|full ){0,3}"
    ) {
        if let Some(pressure) = pressure_as_written(&text) {
            prop_assert_eq!(pressure_by_words(&text), Ok(pressure));
        }
    }
}

#[test]
fn the_kernels_own_form_of_pressure_is_recognised() {
    let line = "avg10=0.50 avg60=12.03 avg300=100.00 total=4253314\n";
    assert!(pressure_as_written(&format!("some {line}full {line}")).is_some());
    assert!(pressure_as_written(&format!("some {line}")).is_some());
    for other in [
        format!("some {line}more {line}"),
        format!("some  {line}"),
        format!("some {line}\n"),
        "some avg10=0.50".to_owned(),
    ] {
        assert_eq!(pressure_as_written(&other), None, "{other}");
    }
}

#[test]
fn hundredths_are_what_a_parser_makes_of_them() {
    for number in (0..30_000).chain((0..u64::from(u32::MAX)).step_by(7_777_777)).chain([99_999_999_999]) {
        let text = format!("{}.{:02}", number / 100, number % 100);
        let parsed: f64 = text.parse().unwrap();
        assert_eq!(hundredths(&text).map(f64::to_bits), Some(parsed.to_bits()), "{text}");
    }
    for other in [
        "",
        "1",
        "1.",
        ".12",
        "1.2",
        "1.234",
        "-1.00",
        "1e3.00",
        "+1.00",
        "1 2.00",
        "nan",
        "1.a0",
        "9999999999.00",
    ] {
        assert_eq!(hundredths(other), None, "{other}");
    }
}
