//! Names that are passed to `pct`. They are checked against the rules of Proxmox's own schema, so that none of them
//! can be taken for an option, a path or anything else.

use std::fmt;

/// The name of a snapshot: 2 to 40 of `A-Za-z0-9_-`, a letter first, and none of Proxmox's reserved names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotName(String);

/// The host name of a container: DNS labels joined by dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname(String);

/// Why a text is not such a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not a snapshot name.
    #[error(
        "`snapshot_name` must be 2 to 40 letters, digits, `_` or `-`, the first a letter, and neither `current` \
         nor `vzdump`"
    )]
    Snapshot,
    /// Not a host name.
    #[error(
        "`new_vm_name` must be a host name: letters, digits and inner hyphens in labels of at most 63, joined \
         by dots, at most 255 in all (an underscore is replaced by a hyphen)"
    )]
    Host,
}

impl SnapshotName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName::Snapshot`].
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let reserved = text.eq_ignore_ascii_case("current") || text.eq_ignore_ascii_case("vzdump");
        let begins = text.starts_with(|first: char| first.is_ascii_alphabetic());
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        let valid = (2..=40).contains(&text.len()) && begins && plain && !reserved;
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidName::Snapshot) }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Hostname {
    /// Checks a name after replacing underscores by hyphens: the documented request contains the name
    /// `cloned_container`, which Proxmox would refuse.
    ///
    /// # Errors
    /// [`InvalidName::Host`].
    pub fn from_requested(text: &str) -> Result<Self, InvalidName> {
        let name = text.replace('_', "-");
        let valid = name.len() <= 255 && name.split('.').all(is_label);
        if valid { Ok(Self(name)) } else { Err(InvalidName::Host) }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = label.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn snapshot_names_follow_proxmox() {
        for good in ["my_snapshot", "ab", "A-1", "before-upgrade", &"a".repeat(40)] {
            assert!(SnapshotName::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", "a", "1bad", "_x", "-x", "--start", "bad.name", "bad name", "a\n", "current", "VZDUMP", "ä1"]
        {
            assert!(SnapshotName::new(bad).is_err(), "{bad}");
        }
        assert!(SnapshotName::new(&"a".repeat(41)).is_err());
    }

    #[test]
    fn host_names_follow_dns_and_underscores_become_hyphens() {
        let name = |text: &str| Hostname::from_requested(text).ok().map(|name| name.to_string());
        assert_eq!(name("cloned_container").as_deref(), Some("cloned-container"));
        assert_eq!(name("web01.example.com").as_deref(), Some("web01.example.com"));
        for bad in ["", ".", "a.", "-a", "a-", "_a", "--full", "a b", "a/b", "a..b", "é"] {
            assert_eq!(name(bad), None, "{bad}");
        }
        assert_eq!(name(&"a".repeat(64)), None);
        assert_eq!(name(&["a"; 200].join(".")), None);
    }

    proptest! {
        /// A name that passes contains no character that a program could take for anything but a name.
        #[test]
        fn what_passes_is_harmless(text in "\\PC{0,60}") {
            let names = [
                SnapshotName::new(&text).map(|name| name.to_string()),
                Hostname::from_requested(&text).map(|name| name.to_string()),
            ];
            for name in names.into_iter().flatten() {
                prop_assert!(name.starts_with(|c: char| c.is_ascii_alphanumeric()));
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
            }
        }
    }
}
