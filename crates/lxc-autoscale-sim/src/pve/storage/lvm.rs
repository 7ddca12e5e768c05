//! What the LVM tools do to sizes, and what they print.

use std::io::{self, Write};

use lxc_autoscale_core::Mebibytes;

use crate::node::Storage;

/// Volumes consist of whole extents.
const EXTENT: u64 = 4 << 20;
/// The volume group of a Proxmox installation.
const GROUP: &str = "pve";

/// Rounds up to whole extents.
pub(super) fn whole_extents(bytes: u64) -> u64 {
    bytes.next_multiple_of(EXTENT)
}

/// The device of a volume.
pub(super) fn device(name: &str) -> String {
    format!("/dev/{GROUP}/{name}")
}

pub(super) fn created(out: &mut dyn Write, name: &str) -> io::Result<()> {
    writeln!(out, "  Logical volume \"{name}\" created.")
}

pub(super) fn removed(out: &mut dyn Write, name: &str) -> io::Result<()> {
    writeln!(out, "  Logical volume \"{name}\" successfully removed.")
}

/// The output of `lvextend`, with its warnings if the pool is overcommitted.
pub(super) fn resized(
    out: &mut dyn Write,
    name: &str,
    old: u64,
    new: u64,
    pool: &Storage,
    promised: Mebibytes,
) -> io::Result<()> {
    let size = |bytes: u64| format!("{} ({} extents)", shown(bytes), bytes / EXTENT);
    writeln!(out, "  Size of logical volume {GROUP}/{name} changed from {} to {}.", size(old), size(new))?;
    let is_overpromised = pool.size < promised;
    if is_overpromised {
        writeln!(
            out,
            "  WARNING: You have not turned on protection against thin pools running out of space.\n  \
             WARNING: Set activation/thin_pool_autoextend_threshold below 100 to trigger automatic extension of \
             thin pools before they get full."
        )?;
    }
    writeln!(out, "  Logical volume {GROUP}/{name} successfully resized.")?;
    if is_overpromised {
        // An installation leaves 2 GiB of the group, minus the labels, outside the pool.
        let group = (pool.size.get() + 2048) * Mebibytes::BYTES - EXTENT;
        let promised = shown(promised.get() * Mebibytes::BYTES);
        writeln!(
            out,
            "  WARNING: Sum of all thin volume sizes ({promised}) exceeds the size of thin pool {GROUP}/data and the \
             size of whole volume group ({}).",
            shown(group)
        )?;
    }
    Ok(())
}

/// A size as LVM prints it, with `<` if rounding made it larger.
fn shown(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x4000_0000 => (1u64 << 20, "MiB"),
        0x4000_0000..0x100_0000_0000 => (1 << 30, "GiB"),
        _ => (1 << 40, "TiB"),
    };
    let exact = bytes as f64 / unit as f64;
    let rounded = (exact * 100.0).round() / 100.0;
    let sign = if exact < rounded { "<" } else { "" };
    format!("{sign}{rounded:.2} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_recorded() {
        assert_eq!(shown(256 << 20), "256.00 MiB");
        assert_eq!(shown(1 << 30), "1.00 GiB");
        assert_eq!(shown(21096 << 20), "20.60 GiB");
        assert_eq!(shown((12 << 30) - EXTENT), "<12.00 GiB");
        assert_eq!(whole_extents(614 << 20), 616 << 20);
    }
}
