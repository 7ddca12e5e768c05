//! Formats counters as the kernel's files: pure rendering, with one module per file system.
//!
//! The formats are those of Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/ and proc(5), as recorded on a real
//! node. A file is a name and a text. The fields are those of Linux 6.14, the kernel of Proxmox VE 9.

pub mod proc;
pub mod v1;
pub mod v2;

use super::psi::{Pressure, PressureLine};

/// A file: its path below its directory, and its text.
pub type File = (String, String);

/// A counter or an amount as the kernel shows it: a whole number, truncated, never negative.
///
/// Sums of fractions fall short of their whole number by a rounding error, which is added first.
pub fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and cutting the fraction is what is wanted"
    )]
    let cut = |value: f64| value as u64;
    cut(value + 1e-6)
}

/// An amount in bytes, rounded to whole pages, as the kernel charges memory.
fn pages_in_bytes(bytes: f64) -> u64 {
    whole(bytes / super::memory::PAGE_BYTES) * 4096
}

/// A pressure file.
fn pressure(pressure: &Pressure) -> String {
    format!("some {}\nfull {}\n", pressure_line(&pressure.some), pressure_line(&pressure.full))
}

fn pressure_line(line: &PressureLine) -> String {
    let [avg10, avg60, avg300] =
        line.averages_centipercent().map(|average| format!("{}.{:02}", average / 100, average % 100));
    format!("avg10={avg10} avg60={avg60} avg300={avg300} total={}", whole(line.total_usec()))
}

/// `name value` lines.
fn lines<const N: usize>(fields: [(&str, u64); N]) -> String {
    fields.map(|(name, value)| format!("{name} {value}\n")).concat()
}

#[cfg(test)]
pub(super) mod tests {
    use crate::kernel::container::Container;
    use crate::kernel::demand::Demand;
    use crate::kernel::limits::Limits;

    const MIB: f64 = 1024.0 * 1024.0;

    /// A container that has reached every limit; the same in all golden files.
    pub(crate) fn squeezed() -> Container {
        let demand = Demand {
            cores: 2.0,
            anon_bytes: 180.0 * MIB,
            shmem_bytes: 40.0 * MIB,
            hot_file_bytes: 30.0 * MIB,
            read_bytes_per_second: 4.0 * MIB,
            write_bytes_per_second: 2.0 * MIB,
            rx_bytes_per_second: 1000.0,
            tx_bytes_per_second: 2000.0,
            processes: 5,
        };
        let limits = Limits {
            quota_cores: Some(0.5),
            memory_high_bytes: Some(198.0 * MIB),
            memory_max_bytes: Some(200.0 * MIB),
            swap_max_bytes: Some(100.0 * MIB),
            ..Limits::default()
        };
        let mut container = Container::default();
        for _ in 0..50 {
            let (want, _) = container.begin_tick(&demand, &limits, 4.0, 1024.0 * MIB, 0.2);
            container.end_tick(want.allowed, &limits, 4.0, 0.2);
        }
        container
    }

    /// The value of a `name value` line.
    pub(crate) fn value(text: &str, name: &str) -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
    }
}
