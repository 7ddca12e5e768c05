//! Block and network traffic, with their counters.

use super::memory::DEVICE_BYTES_PER_SECOND;
use super::psi::{Pressure, Stall};

/// Size of one read or write request after merging in the block layer.
const REQUEST_BYTES: f64 = 64.0 * 1024.0;
/// Bytes of one network packet.
const PACKET_BYTES: f64 = 1000.0;
/// Share of the time of a write that a process waits for; the rest is written back asynchronously.
const SYNC_WRITE_SHARE: f64 = 0.2;

/// Cumulative block I/O of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockIo {
    /// Bytes read.
    pub read_bytes: f64,
    /// Bytes written.
    pub written_bytes: f64,
    /// Read requests.
    pub read_ops: f64,
    /// Write requests.
    pub write_ops: f64,
    /// `io.pressure`.
    pub pressure: Pressure,
}

impl BlockIo {
    /// Counts the traffic of a tick.
    pub fn account(&mut self, read_bytes: f64, written_bytes: f64, tasks: f64, seconds: f64) {
        self.read_bytes += read_bytes;
        self.written_bytes += written_bytes;
        self.read_ops += read_bytes / REQUEST_BYTES;
        self.write_ops += written_bytes / REQUEST_BYTES;
        let busy = (read_bytes + SYNC_WRITE_SHARE * written_bytes) / DEVICE_BYTES_PER_SECOND / seconds;
        self.pressure.advance(seconds, Stall::of_tasks(busy, tasks));
    }
}

/// Cumulative network traffic, with the directions as the container sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Network {
    /// Bytes received.
    pub rx_bytes: f64,
    /// Bytes sent.
    pub tx_bytes: f64,
}

impl Network {
    /// Counts the traffic of a tick.
    pub fn account(&mut self, rx_bytes: f64, tx_bytes: f64) {
        self.rx_bytes += rx_bytes.max(0.0);
        self.tx_bytes += tx_bytes.max(0.0);
    }

    /// Packets received and sent.
    pub fn packets(&self) -> (f64, f64) {
        (self.rx_bytes / PACKET_BYTES, self.tx_bytes / PACKET_BYTES)
    }
}
