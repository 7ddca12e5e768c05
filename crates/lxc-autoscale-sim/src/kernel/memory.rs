//! Memory: what is held, what is reclaimed when a limit is reached, and who is killed when nothing is left to
//! reclaim.
//!
//! Reclaim takes clean cache that was read once, then cache in use (which the workload reads back later, as a
//! refault), and then moves anonymous and shared memory to swap. `memory.high` stops there: above it a container may
//! still grow, but each task sleeps after every batch of pages, so it grows very slowly. `memory.max` is a hard
//! limit: the OOM killer kills the workload and, if the rest (tmpfs, init) is still too large, init and with it the
//! container. This is the order recorded on a real node.

use super::psi::{Pressure, Stall};

/// Size of a page.
pub const PAGE_BYTES: f64 = 4096.0;
/// Pages charged at once; every batch that reaches a limit is one `high` or `max` event (MEMCG_CHARGE_BATCH).
const BATCH_BYTES: f64 = 64.0 * PAGE_BYTES;
/// How long a task sleeps for a batch above `memory.high`, in seconds; the longest time of the kernel.
const HIGH_SLEEP_SECONDS: f64 = 2.0;
/// Memory of init and its few helpers.
pub const INIT_BYTES: f64 = 2.0 * 1024.0 * 1024.0;
/// Kernel memory of a container with only init: slab, per-CPU counters.
const KERNEL_BASE_BYTES: f64 = 1.5 * 1024.0 * 1024.0;
/// Kernel memory of one more process: the stack and the like.
const KERNEL_PER_PROCESS_BYTES: f64 = 24.0 * 1024.0;
/// Page tables, as a share of the mapped memory: 8 bytes per page.
const PAGE_TABLE_SHARE: f64 = 8.0 / PAGE_BYTES;
/// Share of its memory that a workload does not touch for hours, and that can be in swap without harm.
const COLD_SHARE: f64 = 0.3;
/// The rest is touched about once in this time.
const TOUCH_SECONDS: f64 = 5.0;
/// Read throughput of the swap device and of the disk, in bytes per second.
pub const DEVICE_BYTES_PER_SECOND: f64 = 250.0 * 1024.0 * 1024.0;
/// Written pages are on the disk after about this time (the kernel's flusher wakes every 5 s).
const WRITEBACK_SECONDS: f64 = 5.0;

/// The memory of one container: amounts in bytes, then cumulative counters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Anonymous memory, including init's.
    pub anon: f64,
    /// Shared memory and tmpfs.
    pub shmem: f64,
    /// Page cache in use.
    pub active_file: f64,
    /// Page cache that was used once.
    pub inactive_file: f64,
    /// The part of the cache that is not on disk yet.
    pub dirty: f64,
    /// Kernel memory charged to the container.
    pub kernel: f64,
    /// Anonymous memory in swap.
    pub swapped_anon: f64,
    /// Shared memory in swap.
    pub swapped_shmem: f64,
    /// The most that was ever charged (`memory.peak`).
    pub peak: f64,
    /// Cache that was in use when it was dropped, and that will be read back.
    evicted: f64,
    /// Cumulative counters.
    pub events: Events,
    /// `memory.pressure`.
    pub pressure: Pressure,
}

/// Cumulative counters of `memory.events`, `memory.swap.events` and `memory.stat`; the latter in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Events {
    /// Batches that met `memory.high`.
    pub high: f64,
    /// Batches that met `memory.max`.
    pub max: f64,
    /// Times reclaim at `memory.max` was insufficient.
    pub oom: f64,
    /// Processes killed because of it.
    pub oom_kill: f64,
    /// Batches that met `memory.swap.max`.
    pub swap_max: f64,
    /// Batches for which there was no swap.
    pub swap_fail: f64,
    /// Cache read again after it was dropped.
    pub refault_file: f64,
    /// Pages read back from swap.
    pub swap_in: f64,
    /// Pages pushed to swap.
    pub swap_out: f64,
    /// Page faults.
    pub faults: f64,
    /// The part of them that waited for a device.
    pub major_faults: f64,
    /// Pages scanned by reclaim.
    pub scanned: f64,
    /// Pages taken by reclaim.
    pub stolen: f64,
}

/// The limits on a container's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// `memory.high`.
    pub high: Option<f64>,
    /// `memory.max`.
    pub max: Option<f64>,
    /// `memory.swap.max`.
    pub swap: Option<f64>,
    /// Free swap of the node.
    pub node_swap_free: f64,
}

/// What the workload holds and reads in a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Holding {
    /// Anonymous memory, in bytes, without init's.
    pub anon: f64,
    /// Shared memory and tmpfs, in bytes.
    pub shmem: f64,
    /// File pages read again and again, in bytes.
    pub hot_file: f64,
    /// Files read once, in bytes.
    pub read_once: f64,
    /// Files written, in bytes.
    pub written: f64,
    /// Number of processes in addition to init.
    pub processes: f64,
    /// Number of tasks that run at the same time.
    pub tasks: f64,
}

/// Who was killed in a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Killed {
    /// Nobody.
    #[default]
    Nobody,
    /// The workload; init survives.
    Workload,
    /// Init, and the container with it.
    Init,
}

/// The result of a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Share of the tick for which each task waited for memory.
    pub stalled_share: f64,
    /// Bytes read from the disk, including refaults.
    pub disk_read: f64,
    /// Bytes written to the disk.
    pub disk_written: f64,
    /// Who was killed by the OOM killer.
    pub killed: Killed,
}

impl Memory {
    /// The memory of a container that has just started.
    pub fn of_init() -> Self {
        Self { anon: INIT_BYTES, kernel: KERNEL_BASE_BYTES, ..Self::default() }
    }

    /// `memory.current`.
    pub fn current(&self) -> f64 {
        self.anon + self.shmem + self.active_file + self.inactive_file + self.kernel
    }

    /// `memory.swap.current`.
    pub fn swapped(&self) -> f64 {
        self.swapped_anon + self.swapped_shmem
    }

    /// All memory except clean page cache, which can be dropped at once.
    pub fn working_set(&self) -> f64 {
        self.current() - (self.active_file + self.inactive_file - self.dirty).max(0.0)
    }

    /// One tick.
    pub fn tick(&mut self, holding: &Holding, bounds: &Bounds, seconds: f64) -> Outcome {
        let mut outcome = Outcome::default();
        let grown_from = self.current();
        self.kernel =
            KERNEL_BASE_BYTES + KERNEL_PER_PROCESS_BYTES * holding.processes + PAGE_TABLE_SHARE * self.anon;
        self.hold(holding, bounds, seconds);
        let swapped_in = self.touch_swapped(seconds);
        let refaulted = self.read_files(holding, seconds, &mut outcome);
        self.write_back(holding, seconds, &mut outcome);

        let swapped_out_before = self.events.swap_out;
        let slept = self.obey_high(bounds, grown_from, holding, seconds);
        outcome.killed = self.obey_max(bounds, holding);
        let swapped_out = (self.events.swap_out - swapped_out_before) * PAGE_BYTES;

        let moved = swapped_in + refaulted + swapped_out;
        outcome.stalled_share = (moved / DEVICE_BYTES_PER_SECOND / seconds + slept).clamp(0.0, 1.0);
        self.pressure.advance(seconds, Stall::of_tasks(outcome.stalled_share, holding.tasks));
        self.peak = self.peak.max(self.current());
        outcome
    }

    /// Frees what the workload gave back, and allocates what else it wants, no faster than `memory.high` allows.
    fn hold(&mut self, holding: &Holding, bounds: &Bounds, seconds: f64) {
        let room = match bounds.high {
            None => f64::INFINITY,
            Some(high) => {
                let sleeping = BATCH_BYTES * holding.tasks.max(1.0) * seconds / HIGH_SLEEP_SECONDS;
                let reclaimable = self.active_file + self.inactive_file + self.swap_room(bounds);
                (high - self.current() + reclaimable).max(0.0) + sleeping
            }
        };
        let anon_taken = resize(&mut self.anon, &mut self.swapped_anon, holding.anon + INIT_BYTES, room);
        let shmem_taken = resize(&mut self.shmem, &mut self.swapped_shmem, holding.shmem, room - anon_taken);
        self.events.faults += (anon_taken + shmem_taken) / PAGE_BYTES;
    }

    /// Reads back swapped pages that are used; returns the bytes.
    fn touch_swapped(&mut self, seconds: f64) -> f64 {
        let cold = COLD_SHARE * (self.anon + self.shmem + self.swapped());
        let hot_swapped = (self.swapped() - cold).max(0.0);
        let touched = hot_swapped * (1.0 - (-seconds / TOUCH_SECONDS).exp());
        let read = touched.min(DEVICE_BYTES_PER_SECOND * seconds);
        if read <= 0.0 {
            return 0.0;
        }
        let share = read / self.swapped();
        self.anon += self.swapped_anon * share;
        self.swapped_anon -= self.swapped_anon * share;
        self.shmem += self.swapped_shmem * share;
        self.swapped_shmem -= self.swapped_shmem * share;
        self.events.swap_in += read / PAGE_BYTES;
        self.events.faults += read / PAGE_BYTES;
        self.events.major_faults += read / PAGE_BYTES;
        read
    }

    /// Fills the cache with what is read; returns the bytes of refaults.
    fn read_files(&mut self, holding: &Holding, seconds: f64, outcome: &mut Outcome) -> f64 {
        let missing = (holding.hot_file - self.active_file).max(0.0);
        let surplus = (self.active_file - holding.hot_file).max(0.0);
        self.active_file -= surplus;
        self.inactive_file += surplus;
        self.evicted = self.evicted.min(missing);
        let touched = missing * (1.0 - (-seconds / TOUCH_SECONDS).exp());
        let read = touched.min(DEVICE_BYTES_PER_SECOND * seconds);
        let refaulted = read.min(self.evicted);
        self.evicted -= refaulted;
        self.active_file += read;
        self.inactive_file += holding.read_once;
        outcome.disk_read += read + holding.read_once;
        self.events.refault_file += refaulted / PAGE_BYTES;
        self.events.faults += read / PAGE_BYTES;
        self.events.major_faults += refaulted / PAGE_BYTES;
        refaulted
    }

    /// Writes to the cache first, and to the disk soon after.
    fn write_back(&mut self, holding: &Holding, seconds: f64, outcome: &mut Outcome) {
        self.inactive_file += holding.written;
        self.dirty += holding.written;
        let flushed = self.dirty * (1.0 - (-seconds / WRITEBACK_SECONDS).exp());
        self.dirty -= flushed;
        outcome.disk_written += flushed;
    }

    /// Reclaims down to `memory.high`; returns the share of the tick for which tasks slept because that was not
    /// enough.
    fn obey_high(&mut self, bounds: &Bounds, grown_from: f64, holding: &Holding, seconds: f64) -> f64 {
        let Some(high) = bounds.high else { return 0.0 };
        let excess = self.current() - high;
        if excess <= 0.0 {
            return 0.0;
        }
        self.events.high += (excess / BATCH_BYTES).ceil();
        self.reclaim(high, bounds);
        let beyond = self.current() - high;
        let grown = (self.current() - grown_from).max(0.0);
        if 0.0 < beyond && 0.0 < grown {
            let batches = grown.min(beyond) / BATCH_BYTES / holding.tasks.max(1.0);
            (batches * HIGH_SLEEP_SECONDS / seconds).min(1.0)
        } else {
            0.0
        }
    }

    /// Reclaims down to `memory.max`, and kills if nothing else helps.
    fn obey_max(&mut self, bounds: &Bounds, holding: &Holding) -> Killed {
        let Some(max) = bounds.max else { return Killed::Nobody };
        let excess = self.current() - max;
        if self.fits(max) {
            return Killed::Nobody;
        }
        self.events.max += (excess / BATCH_BYTES).ceil();
        self.reclaim(max, bounds);
        if self.fits(max) {
            return Killed::Nobody;
        }
        self.events.oom += 1.0;
        if 0.0 < holding.processes {
            self.events.oom_kill += 1.0;
            self.kill_workload();
            self.reclaim(max, bounds);
            if self.fits(max) {
                return Killed::Workload;
            }
        }
        self.events.oom_kill += 1.0;
        self.anon = 0.0;
        self.shmem = 0.0;
        self.kernel = 0.0;
        self.active_file = 0.0;
        self.inactive_file = 0.0;
        self.dirty = 0.0;
        self.swapped_anon = 0.0;
        self.swapped_shmem = 0.0;
        Killed::Init
    }

    /// Whether a limit is kept, apart from rounding errors.
    fn fits(&self, limit: f64) -> bool {
        self.current() < limit + 1.0
    }

    /// Kills the workload: its anonymous memory is freed, but what it left in tmpfs stays.
    pub fn kill_workload(&mut self) {
        self.anon = self.anon.min(INIT_BYTES);
        self.swapped_anon = 0.0;
        self.kernel = KERNEL_BASE_BYTES;
    }

    /// Reduces `current` to `target` as far as possible without killing; returns the bytes freed.
    pub fn reclaim(&mut self, target: f64, bounds: &Bounds) -> f64 {
        let before = self.current();
        let once = take(&mut self.inactive_file, before - target);
        let used = take(&mut self.active_file, before - once - target);
        self.evicted += used;
        self.dirty = self.dirty.min(self.inactive_file + self.active_file);

        let wanted = (before - once - used - target).max(0.0);
        let swappable = (self.anon - INIT_BYTES).max(0.0) + self.shmem;
        let out = wanted.min(swappable).min(self.swap_room(bounds));
        if 0.0 < out {
            let share = out / swappable;
            let anon = (self.anon - INIT_BYTES).max(0.0) * share;
            let shmem = self.shmem * share;
            self.anon -= anon;
            self.swapped_anon += anon;
            self.shmem -= shmem;
            self.swapped_shmem += shmem;
            self.events.swap_out += out / PAGE_BYTES;
        }
        let unserved = wanted.min(swappable) - out;
        if 1.0 < unserved && bounds.swap != Some(0.0) {
            self.events.swap_max += (unserved / BATCH_BYTES).ceil();
            self.events.swap_fail += (unserved / BATCH_BYTES).ceil();
        }
        let freed = once + used + out;
        self.events.scanned += freed / PAGE_BYTES;
        self.events.stolen += freed / PAGE_BYTES;
        freed
    }

    fn swap_room(&self, bounds: &Bounds) -> f64 {
        let own = bounds.swap.map_or(f64::INFINITY, |max| max - self.swapped());
        own.min(bounds.node_swap_free).max(0.0)
    }
}

/// Changes what is held, resident and swapped together, to `wanted`; grows by at most `room`. Returns the growth.
fn resize(resident: &mut f64, swapped: &mut f64, wanted: f64, room: f64) -> f64 {
    let held = *resident + *swapped;
    if held <= wanted {
        let grown = (wanted - held).min(room.max(0.0));
        *resident += grown;
        return grown;
    }
    let keep = wanted / held;
    *resident *= keep;
    *swapped *= keep;
    0.0
}

/// Takes up to `amount` from `pool`; returns what was taken.
fn take(pool: &mut f64, amount: f64) -> f64 {
    let taken = amount.clamp(0.0, *pool);
    *pool -= taken;
    taken
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
