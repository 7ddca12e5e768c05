//! Proxmox's arithmetic of memory limits.

use lxc_autoscale_core::Mebibytes;

/// Below this limit, in MiB, `memory.high` is a share of the limit; from here on it is a fixed distance below it.
const FIXED_DISTANCE_FROM: u64 = 16 * 1024;

/// The `memory.high` that Proxmox sets for a limit: 1016/1024 of it below 16 GiB, 128 MiB less from there on.
pub fn memory_high_bytes(limit: Mebibytes) -> u64 {
    let limit_bytes = limit.get().saturating_mul(Mebibytes::BYTES);
    if limit.get() < FIXED_DISTANCE_FROM {
        limit.get() * (Mebibytes::BYTES / 1024) * 1016
    } else {
        limit_bytes - 128 * Mebibytes::BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_recorded() {
        for (limit, high) in
            [(16, 16_646_144), (128, 133_169_152), (512, 532_676_608), (99_999_999, 104_857_464_733_696)]
        {
            assert_eq!(memory_high_bytes(Mebibytes::new(limit)), high, "{limit} MiB");
        }
    }

    #[test]
    fn the_two_rules_meet() {
        let distance = |limit: u64| limit * Mebibytes::BYTES - memory_high_bytes(Mebibytes::new(limit));
        assert_eq!(distance(16 * 1024), 128 * Mebibytes::BYTES);
        assert!(distance(16 * 1024 - 1) <= 128 * Mebibytes::BYTES);
    }
}
