//! What a container's processes want in one tick.

/// What a container's processes would use if nothing stood in their way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// CPU, in cores.
    pub cores: f64,
    /// Anonymous memory the workload holds, in bytes.
    pub anon_bytes: f64,
    /// Shared memory and tmpfs it holds, in bytes.
    pub shmem_bytes: f64,
    /// File pages it reads again and again, in bytes; what the page cache must hold to spare it the disk.
    pub hot_file_bytes: f64,
    /// Files it reads once, in bytes per second.
    pub read_bytes_per_second: f64,
    /// What it writes to files, in bytes per second.
    pub write_bytes_per_second: f64,
    /// What it receives from the network, in bytes per second.
    pub rx_bytes_per_second: f64,
    /// What it sends to the network, in bytes per second.
    pub tx_bytes_per_second: f64,
    /// Processes besides init.
    pub processes: u32,
}
