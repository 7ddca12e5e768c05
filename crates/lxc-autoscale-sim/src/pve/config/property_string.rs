//! Values that consist of several parts: volumes, network devices, sizes.

use std::fmt;

/// Splits `a=1,b=2`; a first part without a key belongs to `default_key`.
pub fn parse_property_string(value: &str, default_key: &str) -> Vec<(String, String)> {
    let parts = value.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (default_key.to_owned(), part.to_owned()),
        })
        .collect()
}

/// A volume of a storage, `<storage>:<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeId {
    /// The storage.
    pub storage: String,
    /// Its name there.
    pub name: String,
}

impl VolumeId {
    /// Parses `<storage>:<name>`; a bind mount or device gives `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let (storage, name) = text.split_once(':')?;
        let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic());
        let climbs = name.split('/').any(|part| part.is_empty() || part.starts_with('.'));
        let is_storage = storage.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let starts = storage.starts_with(|c: char| c.is_ascii_alphabetic());
        (starts && is_storage && is_word(name) && !climbs)
            .then(|| Self { storage: storage.to_owned(), name: name.to_owned() })
    }

    /// The volume of a `rootfs` or `mpN` value.
    pub fn of_property(value: &str) -> Option<Self> {
        let pairs = parse_property_string(value, "volume");
        Self::parse(&pairs.iter().find(|(key, _)| key == "volume")?.1)
    }

    /// The name without the directory in which a storage may put it.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The container that it belongs to, according to its name.
    pub fn owner(&self) -> Option<&str> {
        self.short_name().split('-').nth(1)
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.storage, self.name)
    }
}

/// Whether a text names a volume, a device or a directory.
pub fn valid_volume_id(text: &str) -> bool {
    text.starts_with('/') || VolumeId::parse(text).is_some()
}

/// Replaces the volume and the size of a `rootfs` or `mpN` value and keeps its other options.
pub fn volume_with_size(value: &str, volume: &VolumeId, bytes: u64) -> String {
    let mut text = volume.to_string();
    let mut pairs = parse_property_string(value, "volume");
    pairs.retain(|(key, _)| key != "volume" && key != "size");
    pairs.push(("size".to_owned(), format_size(bytes)));
    pairs.sort();
    for (key, value) in pairs {
        text.extend([",", key.as_str(), "=", value.as_str()]);
    }
    text
}

/// Parses a size in bytes: `8G`, `10752M`, `0.5T`; without a unit it is in bytes.
pub fn parse_size_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    let number: f64 = digits.parse().ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()))?;
    let bytes = (number * factor as f64).trunc();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked just before"
    )]
    (0.0..9.0e18).contains(&bytes).then_some(bytes as u64)
}

/// Formats a size with the largest unit that represents it exactly.
pub fn format_size(bytes: u64) -> String {
    let mut value = bytes;
    let mut unit = "";
    for larger in ["K", "M", "G", "T"] {
        if value == 0 || !value.is_multiple_of(1024) {
            break;
        }
        value /= 1024;
        unit = larger;
    }
    format!("{value}{unit}")
}

/// The hardware address of a network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkAddress {
    /// Keep the existing one; a new one only if there is none.
    Keep,
    /// Assign a new one.
    Renew,
}

/// Formats a `netN` value as Proxmox does: the name first, the rest sorted, always with an address and a type.
pub fn network_with(value: &str, address: NetworkAddress, fresh: impl FnOnce() -> [u8; 3]) -> String {
    let mut pairs = parse_property_string(value, "model");
    if address == NetworkAddress::Renew {
        pairs.retain(|(key, _)| key != "hwaddr");
    }
    if !pairs.iter().any(|(key, _)| key == "hwaddr") {
        let [a, b, c] = fresh();
        pairs.push(("hwaddr".to_owned(), format!("BC:24:11:{a:02X}:{b:02X}:{c:02X}")));
    }
    if !pairs.iter().any(|(key, _)| key == "type") {
        pairs.push(("type".to_owned(), "veth".to_owned()));
    }
    pairs.sort_by(|(one, _), (other, _)| (one != "name", one).cmp(&(other != "name", other)));
    let parts: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_use_the_largest_exact_unit() {
        for (text, shown) in
            [("10.5G", "10752M"), ("1024G", "1T"), ("614M", "614M"), ("1000", "1000"), ("0.5G", "512M")]
        {
            assert_eq!(format_size(parse_size_bytes(text).unwrap()), shown, "{text}");
        }
        assert_eq!(parse_size_bytes("-1G"), None);
        assert_eq!(parse_size_bytes("1g"), None);
    }

    #[test]
    fn volumes_keep_their_options() {
        let volume =
            VolumeId::of_property("volume=local-lvm:vm-100-disk-0,size=8G,mountoptions=noatime").unwrap();
        assert_eq!((volume.to_string().as_str(), volume.owner()), ("local-lvm:vm-100-disk-0", Some("100")));
        let text =
            volume_with_size("local:102/vm-102-disk-0.raw,size=8G,mountoptions=noatime", &volume, 1 << 30);
        assert_eq!(text, "local-lvm:vm-100-disk-0,mountoptions=noatime,size=1G");
        for none in ["/dev/sda", "/mnt/bulk,mp=/x", "local:../../etc", "local:/etc", "local:"] {
            assert_eq!(VolumeId::of_property(none), None, "{none}");
        }
    }

    #[test]
    fn networks_are_completed_and_sorted() {
        let fresh = || [0xAB, 0, 0x10];
        let text = network_with("ip=10.0.2.5/24,name=eth0,bridge=vmbr0", NetworkAddress::Keep, fresh);
        assert_eq!(text, "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:AB:00:10,ip=10.0.2.5/24,type=veth");
        assert_eq!(network_with(&text, NetworkAddress::Keep, || [0; 3]), text);
        assert!(network_with(&text, NetworkAddress::Renew, || [0; 3]).contains("BC:24:11:00:00:00"));
    }
}
