//! The block I/O of a container as counters that grow by what it did, and by nothing else.
//!
//! A sum over devices and datasets changes when one of them comes or goes, or is counted in another way than before: it
//! would jump by everything that was ever done there, or fall, which a reader takes for a new counter. So what is added
//! here are the increases of each. A block device that is new counts in full, because the kernel counts from zero for
//! each container; a dataset that is new adds nothing yet, because it may have been used by others before. The datasets of
//! the first look count in full. After a restart of the monitor, its first look is compared with the newest record of the
//! one before, so that a restart changes no total.

use std::sync::Arc;

use lxc_autoscale_core::snapshot::{ContainerRecord, DeviceIo, IoStats};
use lxc_autoscale_core::table::Table;

use super::{SECTOR_BYTES, increase};
use crate::sample::{BlockIo, CountedAs, IoCounts, IoPart, IoPlace, Reading};

/// The counters of one run of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct IoCounter {
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    /// The parts as they were last, and what they have added so far.
    Parts {
        parts: Arc<[IoPart]>,
        /// What the monitor before had counted.
        before: IoStats,
        disks: DeviceIo,
        loops: DeviceIo,
        datasets: DeviceIo,
    },
    Processes {
        /// What was done so far, by whatever was counted.
        total: IoStats,
        /// What the processes count.
        last: IoStats,
    },
    /// What the newest record of the monitor before has, by the names of devices and datasets.
    Recorded { total: IoStats, devices: Table<DeviceIo> },
    /// What was counted before is not known.
    Lost,
}

const NOTHING: IoStats = IoStats { reads: 0, writes: 0, read_ops: Some(0), write_ops: Some(0) };

impl IoCounter {
    /// From the newest record of the monitor before.
    pub(super) fn of_record(record: &ContainerRecord) -> Self {
        let devices = record.io_devices.clone();
        match record.io_stats {
            Some(total) => Self { state: State::Recorded { total, devices } },
            None => Self::LOST,
        }
    }

    /// Where it is not known what was counted before.
    pub(super) const LOST: Self = Self { state: State::Lost };

    /// The state from a record, with its names at the places of this look. `None` where it is no such state, or the record
    /// does not tell what made up its total.
    ///
    /// A device that it does not name had done nothing for the container. A dataset that it does not name adds nothing, as
    /// when one is attached.
    pub(super) fn placed(&self, io: &BlockIo, name: impl Fn((u32, u32)) -> String) -> Option<Self> {
        let (State::Recorded { total, devices }, IoCounts::Parts(parts)) = (&self.state, &io.counts) else {
            return None;
        };
        if devices.is_empty() && (total.reads, total.writes) != (0, 0) {
            return None;
        }
        let nothing = DeviceIo::default();
        let last = |part: &IoPart| match &part.place {
            IoPlace::Device(number) => devices.get(&name(*number)),
            // Datasets are called by paths, and all of them add to the same sum.
            IoPlace::Dataset(_) if part.io == nothing => Some(&nothing),
            IoPlace::Dataset(_) => {
                let own = |(name, now): &(&str, &DeviceIo)| name.contains('/') && **now == part.io;
                io.devices.entries().find(own).and_then(|(name, _)| devices.get(name))
            }
        };
        let parts = parts.iter().filter_map(|part| Some(IoPart { io: *last(part)?, ..part.clone() }));
        let (parts, before) = (parts.collect(), *total);
        Some(Self {
            state: State::Parts { parts, before, disks: nothing, loops: nothing, datasets: nothing },
        })
    }

    /// At the first look at a run. The datasets that it has then count with what they did before, so that the total is the
    /// same after a restart of the monitor.
    pub fn begin(counts: &IoCounts) -> Self {
        let mut counter = Self::of_parts(counts);
        if let (State::Parts { datasets, .. }, IoCounts::Parts(parts)) = (&mut counter.state, counts) {
            for part in parts.iter().filter(|part| part.counted == CountedAs::Dataset) {
                add(datasets, part.io);
            }
        }
        counter
    }

    /// From nothing, with what block devices count since the run began.
    fn of_parts(counts: &IoCounts) -> Self {
        Self { state: going_on(Arc::default(), NOTHING) }.after(counts).0
    }

    /// At a later look; what has been counted up to then, and whether it is all.
    ///
    /// Where it is not, a reader must not see the difference to the last look: it is not what the container did.
    pub fn after(&self, counts: &IoCounts) -> (Self, Reading<()>) {
        let (parts, before) = match (counts, &self.state) {
            (_, State::Lost) | (IoCounts::Parts(_), State::Recorded { .. }) => {
                return (
                    Self::begin(counts),
                    Err("what was counted before the monitor started is not known".into()),
                );
            }
            (IoCounts::Processes(now), before) => {
                let (total, is_whole) = match before {
                    State::Processes { total, last } => sum_of(*total, *last, *now),
                    _ if self.is_empty() => sum_of(self.total(), self.total(), *now),
                    _ => {
                        let why = "its block devices are no longer counted, and its processes are instead";
                        (self.total(), Err(why.into()))
                    }
                };
                return (Self { state: State::Processes { total, last: *now } }, is_whole);
            }
            // What the devices count is a part of what the processes did, or of what others did for them.
            (IoCounts::Parts(parts), State::Processes { total, .. }) => {
                let why = "its processes are no longer counted, and its block devices are instead";
                return (Self { state: going_on(Arc::clone(parts), *total) }, Err(why.into()));
            }
            (IoCounts::Parts(parts), State::Parts { parts: before, .. }) if Arc::ptr_eq(parts, before) => {
                return (self.clone(), Ok(()));
            }
            (IoCounts::Parts(parts), State::Parts { parts: before, .. }) => (parts, before),
        };
        let State::Parts { before: counted_before, mut disks, mut loops, mut datasets, .. } =
            self.state.clone()
        else {
            return (self.clone(), Ok(()));
        };
        let mut is_whole = Ok(());
        for part in parts.iter() {
            let sum = match part.counted {
                CountedAs::Disk => &mut disks,
                CountedAs::Loop => &mut loops,
                CountedAs::Dataset => &mut datasets,
                CountedAs::Nothing => continue,
            };
            let last = before.iter().find(|last| last.place == part.place);
            match (last, &part.place) {
                (Some(last), _) => match grown(last.io, part.io) {
                    Ok(more) => add(sum, more),
                    Err(missing) => is_whole = Err(missing),
                },
                (None, IoPlace::Device(_)) => add(sum, part.io),
                (None, IoPlace::Dataset(_)) => {}
            }
        }
        let (parts, before) = (Arc::clone(parts), counted_before);
        (Self { state: State::Parts { parts, before, disks, loops, datasets } }, is_whole)
    }

    /// Whether processes were counted.
    pub fn is_of_processes(&self) -> bool {
        matches!(self.state, State::Processes { .. })
    }

    /// What the container did so far, each byte once.
    pub fn total(&self) -> IoStats {
        let (before, disks, loops, datasets) = match &self.state {
            State::Recorded { total, .. } => return *total,
            // Where processes do not count operations, nobody knows how many there are.
            State::Processes { total, last } => {
                return IoStats {
                    read_ops: last.read_ops.and(total.read_ops),
                    write_ops: last.write_ops.and(total.write_ops),
                    ..*total
                };
            }
            State::Lost => return NOTHING,
            State::Parts { before, disks, loops, datasets, .. } => (before, disks, loops, datasets),
        };
        let sectors = |bytes: u64| bytes / SECTOR_BYTES;
        let more = IoStats {
            reads: sectors(disks.rbytes.max(loops.rbytes).saturating_add(datasets.rbytes)),
            writes: sectors(disks.wbytes.max(loops.wbytes).saturating_add(datasets.wbytes)),
            read_ops: Some(disks.rios.max(loops.rios).saturating_add(datasets.rios)),
            write_ops: Some(disks.wios.max(loops.wios).saturating_add(datasets.wios)),
        };
        let sum = |before: Option<u64>, more: Option<u64>| Some(before?.saturating_add(more?));
        IoStats {
            reads: before.reads.saturating_add(more.reads),
            writes: before.writes.saturating_add(more.writes),
            read_ops: sum(before.read_ops, more.read_ops),
            write_ops: sum(before.write_ops, more.write_ops),
        }
    }

    fn is_empty(&self) -> bool {
        match &self.state {
            State::Parts { parts, .. } => parts.is_empty(),
            State::Recorded { devices, .. } => devices.is_empty(),
            State::Processes { .. } | State::Lost => false,
        }
    }
}

/// Goes on from a total, with what the parts do from now on. Operations that were not counted so far are from now on.
fn going_on(parts: Arc<[IoPart]>, total: IoStats) -> State {
    let ops = |ops: Option<u64>| Some(ops.unwrap_or(0));
    let before = IoStats { read_ops: ops(total.read_ops), write_ops: ops(total.write_ops), ..total };
    let nothing = DeviceIo::default();
    State::Parts { parts, before, disks: nothing, loops: nothing, datasets: nothing }
}

/// The total with what the processes did since the last look; as it was where one of them went away with its count.
fn sum_of(total: IoStats, last: IoStats, now: IoStats) -> (IoStats, Reading<()>) {
    let grown = |total: u64, last, now| increase(last, now).map(|more| total.saturating_add(more));
    let grown_ops = |total: Option<u64>, last: Option<u64>, now: Option<u64>| match (last, now) {
        (Some(last), Some(now)) => grown(total.unwrap_or(0), last, now).map(Some),
        (None, Some(now)) => Ok(Some(total.unwrap_or(now))),
        (_, None) => Ok(total),
    };
    let sum = || -> Reading<IoStats> {
        Ok(IoStats {
            reads: grown(total.reads, last.reads, now.reads)?,
            writes: grown(total.writes, last.writes, now.writes)?,
            read_ops: grown_ops(total.read_ops, last.read_ops, now.read_ops)?,
            write_ops: grown_ops(total.write_ops, last.write_ops, now.write_ops)?,
        })
    };
    match sum() {
        Ok(sum) => (sum, Ok(())),
        Err(missing) => (total, Err(missing)),
    }
}

/// What was done since the last look.
fn grown(last: DeviceIo, now: DeviceIo) -> Reading<DeviceIo> {
    Ok(DeviceIo {
        rbytes: increase(last.rbytes, now.rbytes)?,
        wbytes: increase(last.wbytes, now.wbytes)?,
        rios: increase(last.rios, now.rios)?,
        wios: increase(last.wios, now.wios)?,
    })
}

fn add(sum: &mut DeviceIo, more: DeviceIo) {
    sum.rbytes = sum.rbytes.saturating_add(more.rbytes);
    sum.wbytes = sum.wbytes.saturating_add(more.wbytes);
    sum.rios = sum.rios.saturating_add(more.rios);
    sum.wios = sum.wios.saturating_add(more.wios);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn part(place: IoPlace, counted: CountedAs, sectors: u64) -> IoPart {
        let bytes = SECTOR_BYTES * sectors;
        IoPart { place, counted, io: DeviceIo { rbytes: bytes, wbytes: 2 * bytes, rios: sectors, wios: 1 } }
    }

    fn disk(minor: u32, sectors: u64) -> IoPart {
        part(IoPlace::Device((8, minor)), CountedAs::Disk, sectors)
    }

    fn layer(minor: u32, sectors: u64) -> IoPart {
        part(IoPlace::Device((8, minor)), CountedAs::Nothing, sectors)
    }

    fn loop_device(sectors: u64) -> IoPart {
        part(IoPlace::Device((7, 0)), CountedAs::Loop, sectors)
    }

    fn dataset(file: &str, sectors: u64) -> IoPart {
        part(IoPlace::Dataset(Path::new(file).into()), CountedAs::Dataset, sectors)
    }

    /// The sectors read up to each look; `None` where not all of them are known.
    #[track_caller]
    fn check(looks: &[Vec<IoPart>], want: &[Option<u64>]) {
        let mut counter: Option<IoCounter> = None;
        let mut found = Vec::new();
        for parts in looks {
            let counts = IoCounts::Parts(parts.as_slice().into());
            let (next, is_whole) = match &counter {
                Some(counter) => counter.after(&counts),
                None => (IoCounter::begin(&counts), Ok(())),
            };
            assert_eq!(next.total().writes, 2 * next.total().reads);
            found.push(is_whole.ok().map(|()| next.total().reads));
            counter = Some(next);
        }
        assert_eq!(found, want, "{looks:?}");
    }

    #[test]
    fn a_volume_that_is_attached_or_detached_is_no_io() {
        let own = |sectors| dataset("own", sectors);
        check(
            &[
                vec![own(1000)],
                vec![own(1010)],
                vec![own(1020), dataset("new", 1 << 40)],
                vec![own(1030), dataset("new", (1 << 40) + 5)],
                vec![own(1040)],
            ],
            &[Some(1000), Some(1010), Some(1020), Some(1035), Some(1045)],
        );
    }

    #[test]
    fn a_block_device_counts_from_zero_and_what_it_did_stays() {
        check(
            &[vec![disk(0, 100)], vec![disk(0, 110), disk(1, 7)], vec![disk(0, 120)]],
            &[Some(100), Some(117), Some(127)],
        );
        // It is found to stand on another one, and no longer.
        check(
            &[
                vec![disk(0, 100), disk(1, 100)],
                vec![disk(0, 110), layer(1, 110)],
                vec![disk(0, 120), disk(1, 120)],
            ],
            &[Some(200), Some(210), Some(230)],
        );
    }

    #[test]
    fn a_counter_that_went_back_leaves_the_time_unknown() {
        check(
            &[
                vec![disk(0, 100), disk(1, 50)],
                vec![disk(0, 110), disk(1, 1)],
                vec![disk(0, 120), disk(1, 3)],
            ],
            &[Some(150), None, Some(172)],
        );
        check(&[vec![disk(0, 100), layer(1, 50)], vec![disk(0, 110), layer(1, 1)]], &[Some(100), Some(110)]);
    }

    #[test]
    fn of_disks_and_loop_devices_the_larger_sum_counts() {
        check(
            &[
                vec![loop_device(10)],
                vec![loop_device(20), disk(0, 5)],
                vec![loop_device(20), disk(0, 30), dataset("own", 9)],
            ],
            &[Some(10), Some(20), Some(30)],
        );
    }

    /// The sectors read up to each look, and the operations; `None` where not all of them are known.
    #[track_caller]
    fn check_kinds(looks: &[IoCounts], want: &[(Option<u64>, Option<u64>)]) {
        let mut counter = IoCounter::begin(&looks[0]);
        let mut found = vec![(Some(counter.total().reads), counter.total().read_ops)];
        for counts in &looks[1..] {
            let (next, is_whole) = counter.after(counts);
            assert!(counter.total().reads <= next.total().reads, "{looks:?}");
            let total = is_whole.ok().map(|()| next.total());
            found.push((total.map(|total| total.reads), total.and_then(|total| total.read_ops)));
            counter = next;
        }
        assert_eq!(found, want, "{looks:?}");
    }

    #[test]
    fn a_total_never_falls_whatever_is_counted() {
        let processes =
            |reads| IoCounts::Processes(IoStats { reads, writes: 0, read_ops: None, write_ops: None });
        let disks = |sectors| IoCounts::Parts([disk(0, sectors)].into());
        // Throttle counters begin to count beside what went through the page cache.
        check_kinds(
            &[processes(204_800), disks(128), disks(130), disks(130)],
            &[(Some(204_800), None), (None, None), (Some(204_802), Some(2)), (Some(204_802), Some(2))],
        );
        // A process ended, and its count with it.
        check_kinds(
            &[processes(50), processes(20), processes(25)],
            &[(Some(50), None), (None, None), (Some(55), None)],
        );
        // And back again.
        check_kinds(
            &[disks(100), processes(1000), processes(1001), disks(100), disks(101)],
            &[(Some(100), Some(100)), (None, None), (Some(101), None), (None, None), (Some(102), Some(101))],
        );
        // Nothing had been done that the kernel counted.
        let none = || IoCounts::Parts([].into());
        check_kinds(
            &[none(), processes(7), processes(9)],
            &[(Some(0), Some(0)), (Some(7), None), (Some(9), None)],
        );
    }
}
