//! What a container's processes want in one tick.

/// What a container's processes would use without any limits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// CPU, in cores.
    pub cores: f64,
    /// Anonymous memory of the workload, in bytes.
    pub anon_bytes: f64,
    /// Shared memory and tmpfs of the workload, in bytes.
    pub shmem_bytes: f64,
    /// File pages that it reads again and again, in bytes; without them in the page cache, it must read from the
    /// disk.
    pub hot_file_bytes: f64,
    /// Reading of files that are read only once, in bytes per second.
    pub read_bytes_per_second: f64,
    /// Writing to files, in bytes per second.
    pub write_bytes_per_second: f64,
    /// Network traffic received, in bytes per second.
    pub rx_bytes_per_second: f64,
    /// Network traffic sent, in bytes per second.
    pub tx_bytes_per_second: f64,
    /// Number of processes in addition to init.
    pub processes: u32,
}
