use proptest::prelude::*;

use super::*;

const MIB: f64 = 1024.0 * 1024.0;

fn limits(memory_mib: f64, swap_mib: f64) -> Bounds {
    Bounds {
        high: Some((memory_mib * 1016.0 / 1024.0).floor() * MIB),
        max: Some(memory_mib * MIB),
        swap: Some(swap_mib * MIB),
        node_swap_free: 4096.0 * MIB,
    }
}

fn anon(mib: f64) -> Holding {
    Holding { anon: mib * MIB, processes: 4.0, tasks: 1.0, ..Holding::default() }
}

/// A minute of ticks; returns who was killed, if anyone.
fn minute(memory: &mut Memory, holding: &Holding, bounds: &Bounds) -> Killed {
    (0..300)
        .map(|_| memory.tick(holding, bounds, 0.2).killed)
        .fold(Killed::Nobody, |worst, killed| if killed == Killed::Nobody { worst } else { killed })
}

#[test]
fn memory_within_its_limit_causes_nothing() {
    let mut memory = Memory::of_init();
    assert_eq!(minute(&mut memory, &anon(100.0), &limits(256.0, 256.0)), Killed::Nobody);
    assert!((memory.anon - INIT_BYTES - 100.0 * MIB).abs() < 1.0);
    assert_eq!((memory.events.high, memory.events.max, memory.events.swap_out), (0.0, 0.0, 0.0));
    assert_eq!(memory.pressure.some.total_usec(), 0.0);
}

#[test]
fn cache_that_was_read_once_goes_first_and_hurts_nobody() {
    let mut memory = Memory::of_init();
    let reader = Holding { read_once: 20.0 * MIB, ..anon(100.0) };
    minute(&mut memory, &reader, &limits(256.0, 256.0));
    assert!(120.0 * MIB < memory.inactive_file, "the cache fills what is free");
    assert!(0.0 < memory.events.high && memory.events.swap_out == 0.0 && memory.events.refault_file == 0.0);
    assert_eq!(memory.pressure.some.total_usec(), 0.0);
}

#[test]
fn cache_in_use_that_does_not_fit_is_refaulted_and_stalls() {
    let mut memory = Memory::of_init();
    let reader = Holding { hot_file: 200.0 * MIB, ..anon(100.0) };
    minute(&mut memory, &reader, &limits(256.0, 0.0));
    assert!(0.0 < memory.events.refault_file);
    assert!(0.0 < memory.pressure.some.total_usec());
    assert_eq!(memory.events.oom_kill, 0.0);
}

#[test]
fn a_limit_below_the_use_swaps_where_swap_is_allowed() {
    // As in the recording: 100 MiB of tmpfs, and the limit lowered to 64 MiB with 256 MiB of swap.
    let mut memory = Memory::of_init();
    let tmpfs = Holding { shmem: 100.0 * MIB, processes: 2.0, tasks: 1.0, ..Holding::default() };
    minute(&mut memory, &tmpfs, &limits(256.0, 256.0));
    assert_eq!(minute(&mut memory, &tmpfs, &limits(64.0, 256.0)), Killed::Nobody);
    assert!(memory.current() <= 64.0 * MIB);
    assert!(30.0 * MIB < memory.swapped() && 0.0 < memory.events.swap_out);
    assert_eq!(memory.events.oom_kill, 0.0);
}

#[test]
fn a_limit_below_the_use_kills_where_there_is_no_swap() {
    // As in the recording: a process with 300 MiB, and the limit lowered to 128 MiB. The process is killed, the
    // container survives.
    let mut memory = Memory::of_init();
    minute(&mut memory, &anon(300.0), &limits(512.0, 0.0));
    assert_eq!(memory.tick(&anon(300.0), &limits(128.0, 0.0), 0.2).killed, Killed::Workload);
    assert_eq!((memory.events.oom, memory.events.oom_kill), (1.0, 1.0));
    assert!(memory.current() <= 128.0 * MIB);
}

#[test]
fn tmpfs_that_does_not_fit_takes_init_and_the_container() {
    let mut memory = Memory::of_init();
    let tmpfs = Holding { shmem: 100.0 * MIB, processes: 2.0, tasks: 1.0, ..Holding::default() };
    minute(&mut memory, &tmpfs, &limits(256.0, 0.0));
    assert_eq!(memory.tick(&tmpfs, &limits(64.0, 0.0), 0.2).killed, Killed::Init);
    assert_eq!(memory.events.oom_kill, 2.0);
}

#[test]
fn beyond_high_a_workload_grows_slowly_and_stalls() {
    let mut memory = Memory::of_init();
    let wide = Bounds { max: Some(400.0 * MIB), ..limits(256.0, 0.0) };
    assert_eq!(minute(&mut memory, &anon(300.0), &wide), Killed::Nobody);
    let high = wide.high.unwrap();
    assert!(high < memory.current() && memory.current() < high + 10.0 * MIB, "{}", memory.current() / MIB);
    assert!(30e6 < memory.pressure.some.total_usec(), "{}", memory.pressure.some.total_usec());
}

#[test]
fn memory_in_use_that_lies_in_swap_thrashes() {
    let mut memory = Memory::of_init();
    minute(&mut memory, &anon(400.0), &limits(256.0, 512.0));
    let before = memory.events.swap_in;
    minute(&mut memory, &anon(400.0), &limits(256.0, 512.0));
    assert!(1000.0 < memory.events.swap_in - before);
    assert!(0.0 < memory.pressure.some.total_usec());
}

#[test]
fn what_the_workload_gives_back_is_free() {
    let mut memory = Memory::of_init();
    minute(&mut memory, &anon(400.0), &limits(256.0, 512.0));
    minute(&mut memory, &anon(50.0), &limits(256.0, 512.0));
    assert!((memory.anon + memory.swapped_anon - INIT_BYTES - 50.0 * MIB).abs() < 1.0);
}

proptest! {
    /// Whatever is wanted and allowed, usage stays within the limit, swap within its own, and counters only rise.
    #[test]
    fn limits_hold_and_counters_rise(
        steps in proptest::collection::vec(
            (0.0f64..900.0, 0.0f64..300.0, 0.0f64..300.0, 0.0f64..200.0, 16.0f64..1024.0, 0.0f64..512.0), 1..30),
        seconds in 0.05f64..60.0,
        with_high in any::<bool>(),
    ) {
        let mut memory = Memory::of_init();
        for (anon_mib, shmem, hot, once, max, swap) in steps {
            let holding = Holding {
                shmem: shmem * MIB, hot_file: hot * MIB, read_once: once * MIB, written: once * MIB / 2.0, ..anon(anon_mib)
            };
            let mut bounds = limits(max, swap);
            bounds.high = bounds.high.filter(|_| with_high);
            let before = memory;
            let outcome = memory.tick(&holding, &bounds, seconds);
            prop_assert!(memory.current() <= max * MIB + 1.0, "{} over {}", memory.current() / MIB, max);
            // Lowering the limit takes nothing back from swap, but nothing may be added above it.
            prop_assert!(memory.swapped() <= (swap * MIB).max(before.swapped()) + 1.0);
            for amount in [memory.anon, memory.shmem, memory.active_file, memory.inactive_file, memory.dirty,
                           memory.kernel, memory.swapped_anon, memory.swapped_shmem] {
                prop_assert!(0.0 <= amount && amount.is_finite());
            }
            prop_assert!(memory.dirty <= memory.active_file + memory.inactive_file + 1.0);
            prop_assert!((0.0..=1.0).contains(&outcome.stalled_share));
            prop_assert!(0.0 <= outcome.disk_read && 0.0 <= outcome.disk_written);
            let (old, new) = (before.events, memory.events);
            for (old, new) in [(old.high, new.high), (old.max, new.max), (old.oom, new.oom), (old.oom_kill, new.oom_kill),
                               (old.refault_file, new.refault_file), (old.swap_in, new.swap_in),
                               (old.swap_out, new.swap_out), (old.faults, new.faults), (old.swap_max, new.swap_max)] {
                prop_assert!(old <= new);
            }
            prop_assert_eq!(outcome.killed == Killed::Nobody, old.oom_kill == new.oom_kill);
            prop_assert!(before.pressure.some.total_usec() <= memory.pressure.some.total_usec());
        }
    }
}
