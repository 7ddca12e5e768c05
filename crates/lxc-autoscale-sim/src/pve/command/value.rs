//! Converts the value of an option before it is stored.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;

use lxc_autoscale_core::Vmid;

use crate::node::CgroupVersion;
use crate::pve::config::{
    NetworkAddress, VolumeId, network_with, parse_property_string, parse_size_bytes, volume_with_size,
};
use crate::pve::error::PctError;
use crate::pve::machine::Machine;
use crate::pve::schema::split_list;

/// The value as it is stored: tags sorted, networks with an address, volumes created, weights within the kernel's
/// range.
///
/// # Errors
/// [`PctError`] if a new volume cannot be created.
pub(super) fn stored_value(
    machine: &Machine,
    id: Vmid,
    name: &str,
    value: String,
    out: &mut dyn Write,
) -> Result<String, PctError> {
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    match base {
        "rootfs" | "mp" => allocate(machine, id, &value, out),
        "tags" => {
            let tags: BTreeSet<String> = split_list(&value).map(str::to_lowercase).collect();
            Ok(tags.into_iter().collect::<Vec<_>>().join(";"))
        }
        "cpuunits" => Ok(within_kernel_range(machine.engine.cgroup_version(), value)),
        "net" => Ok(network_with(&value, NetworkAddress::Keep, fresh_address)),
        _ => Ok(value),
    }
}

/// Clips weights as Proxmox does: v2 has a maximum (and leaves it to the kernel to refuse 0), v1 has both bounds.
fn within_kernel_range(version: CgroupVersion, value: String) -> String {
    let Ok(units) = value.parse::<u64>() else { return value };
    let cut = match version {
        CgroupVersion::V1 => units.clamp(2, 262_144),
        CgroupVersion::V2 => units.min(10_000),
    };
    if cut == units { value } else { cut.to_string() }
}

/// Turns `STORAGE:GIBIBYTES` into a new volume; a value that names a volume is left alone.
fn allocate(machine: &Machine, id: Vmid, value: &str, out: &mut dyn Write) -> Result<String, PctError> {
    let pairs = parse_property_string(value, "volume");
    let volume = pairs.iter().find(|(key, _)| key == "volume").map_or("", |(_, volume)| volume.as_str());
    let new = volume.split_once(':').filter(|(_, size)| size.parse::<f64>().is_ok());
    let Some((storage, gibibytes)) = new else { return Ok(value.to_owned()) };
    let bytes = parse_size_bytes(&format!("{gibibytes}G"))
        .filter(|&bytes| 0 < bytes)
        .ok_or_else(|| PctError::died(format!("unable to parse volume size '{gibibytes}'")))?;
    let new: VolumeId = machine.volumes.free_name(storage, id)?;
    let created = machine.volumes.create(&new, bytes, out)?;
    Ok(volume_with_size(value, &new, created.bytes))
}

/// Three random bytes of a hardware address.
pub(super) fn fresh_address() -> [u8; 3] {
    // Every `RandomState` has a new seed, which is random enough to tell two addresses apart.
    let [a, b, c, ..] = RandomState::new().hash_one(std::process::id()).to_ne_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_cut_as_each_kernel_needs_it() {
        let cut = |version, units: &str| within_kernel_range(version, units.to_owned());
        let shown = ["0", "1", "10000", "500000"].map(|units| cut(CgroupVersion::V2, units));
        assert_eq!(shown, ["0", "1", "10000", "10000"]);
        let shown = ["0", "1", "10000", "500000"].map(|units| cut(CgroupVersion::V1, units));
        assert_eq!(shown, ["2", "2", "10000", "262144"]);
    }
}
