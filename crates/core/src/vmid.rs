//! The id of a container on a Proxmox node.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::whole_number::WholeNumber;

/// A container id, from 100 to 999 999 999, as in Proxmox's own schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "WholeNumber", into = "u32")]
pub struct Vmid(u32);

/// Why a value is not a container id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a container id: ids are whole numbers from 100 to 999999999")]
pub struct InvalidVmid {
    value: String,
}

impl Vmid {
    /// The lowest id that Proxmox assigns.
    pub const MIN: u32 = 100;
    /// The highest id Proxmox accepts.
    pub const MAX: u32 = 999_999_999;

    /// Returns the id as a number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Parses `<id>.conf`, the name of a container's configuration file.
    ///
    /// Any other name gives `None`, including others in the same directory (Proxmox writes `<id>.conf.tmp.<pid>`
    /// there) and ids with a sign or leading zeros.
    pub fn from_config_file_name(name: &str) -> Option<Self> {
        name.strip_suffix(".conf")?.parse().ok()
    }
}

impl TryFrom<WholeNumber> for Vmid {
    type Error = InvalidVmid;

    fn try_from(number: WholeNumber) -> Result<Self, InvalidVmid> {
        let number = u64::from(number);
        u32::try_from(number).map_err(|_| InvalidVmid { value: number.to_string() })?.try_into()
    }
}

impl TryFrom<u32> for Vmid {
    type Error = InvalidVmid;

    fn try_from(value: u32) -> Result<Self, InvalidVmid> {
        if (Self::MIN..=Self::MAX).contains(&value) {
            Ok(Self(value))
        } else {
            Err(InvalidVmid { value: value.to_string() })
        }
    }
}

impl From<Vmid> for u32 {
    fn from(vmid: Vmid) -> u32 {
        vmid.0
    }
}

impl FromStr for Vmid {
    type Err = InvalidVmid;

    fn from_str(text: &str) -> Result<Self, InvalidVmid> {
        let invalid = || InvalidVmid { value: text.chars().take(40).collect() };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        if !is_plain {
            return Err(invalid());
        }
        let number: u32 = text.parse().map_err(|_| invalid())?;
        Self::try_from(number).map_err(|_| invalid())
    }
}

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<u32>) {
        assert_eq!(text.parse::<Vmid>().ok().map(Vmid::get), want, "{text:?}");
    }

    #[test]
    fn only_plain_numbers_in_range_are_ids() {
        check("100", Some(100));
        check("999999999", Some(999_999_999));
        for bad in [
            "99",
            "1000000000",
            "",
            "+100",
            "-100",
            "0100",
            "100 ",
            "1e3",
            "104;id",
            "summary",
            "99999999999999",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn only_exact_config_file_names_count() {
        assert_eq!(Vmid::from_config_file_name("104.conf").map(Vmid::get), Some(104));
        for bad in ["104.conf.tmp.77", "104", "x104.conf", ".conf", "0104.conf"] {
            assert_eq!(Vmid::from_config_file_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn it_is_a_json_number_and_a_json_key() {
        let map: BTreeMap<Vmid, u8> = serde_json::from_str(r#"{"104": 1}"#).unwrap();
        assert_eq!(serde_json::to_string(&map).unwrap(), r#"{"104":1}"#);
        assert!(serde_json::from_str::<Vmid>("99").unwrap_err().to_string().contains("not a container id"));
    }
}
