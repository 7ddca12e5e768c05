//! One container, with its resources together.

use super::cpu::{Cpu, Want};
use super::demand::Demand;
use super::io::{BlockIo, Network};
use super::limits::Limits;
use super::memory::{Bounds, Holding, Killed, Memory};

/// All kernel counters of one container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Container {
    /// CPU.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Block I/O.
    pub io: BlockIo,
    /// Network.
    pub network: Network,
    /// Processes, init included.
    pub processes: u32,
    /// Times a fork was refused (`pids.events: max`).
    pub forks_refused: u64,
    /// Seconds since init started.
    pub age_seconds: f64,
    /// The CPU it wants in this tick, kept between the two halves of the tick.
    want: Want,
    demand_cores: f64,
}

impl Default for Container {
    fn default() -> Self {
        Self {
            cpu: Cpu::default(),
            memory: Memory::of_init(),
            io: BlockIo::default(),
            network: Network::default(),
            processes: 1,
            forks_refused: 0,
            age_seconds: 0.0,
            want: Want { total: 0.0, allowed: 0.0, weight: 1.0 },
            demand_cores: 0.0,
        }
    }
}

impl Container {
    /// First half of a tick: memory, disk and network. Returns the CPU that is wanted, and who was killed.
    ///
    /// Tasks that wait for memory want no CPU meanwhile.
    pub fn begin_tick(
        &mut self,
        demand: &Demand,
        limits: &Limits,
        node_cpus: f64,
        node_swap_free: f64,
        seconds: f64,
    ) -> (Want, Killed) {
        self.age_seconds += seconds;
        self.count_processes(demand, limits);
        let holding = Holding {
            anon: demand.anon_bytes,
            shmem: demand.shmem_bytes,
            hot_file: demand.hot_file_bytes,
            read_once: demand.read_bytes_per_second * seconds,
            written: demand.write_bytes_per_second * seconds,
            processes: f64::from(self.processes - 1),
            tasks: demand.cores.ceil().max(1.0),
        };
        let bounds = Bounds {
            high: limits.memory_high_bytes,
            max: limits.memory_max_bytes,
            swap: limits.swap_max_bytes,
            node_swap_free,
        };
        let outcome = self.memory.tick(&holding, &bounds, seconds);
        self.io.account(outcome.disk_read, outcome.disk_written, holding.tasks, seconds);
        self.network.account(demand.rx_bytes_per_second * seconds, demand.tx_bytes_per_second * seconds);
        if outcome.killed != Killed::Nobody {
            self.processes = 1;
        }
        if self.processes == 1 {
            // Work is dropped together with the processes that were to do it.
            self.cpu.drop_backlog();
        }
        self.demand_cores = match outcome.killed {
            Killed::Nobody => demand.cores * (1.0 - outcome.stalled_share),
            Killed::Workload | Killed::Init => 0.0,
        };
        self.want = self.cpu.want(self.demand_cores, limits, node_cpus, seconds);
        (self.want, outcome.killed)
    }

    /// Second half of a tick: counts the CPU time that was served.
    pub fn end_tick(&mut self, served: f64, limits: &Limits, node_cpus: f64, seconds: f64) {
        self.cpu.account(self.demand_cores, self.want, served, limits, node_cpus, seconds);
    }

    fn count_processes(&mut self, demand: &Demand, limits: &Limits) {
        let wanted = demand.processes.saturating_add(1);
        let allowed = limits.pids_max.unwrap_or(u32::MAX).max(1);
        if allowed < wanted && self.processes < wanted {
            self.forks_refused += 1;
        }
        self.processes = wanted.min(allowed);
    }
}
