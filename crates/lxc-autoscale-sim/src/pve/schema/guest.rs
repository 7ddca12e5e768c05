//! The options of a container's configuration.

use std::borrow::Cow;

use super::{Kind, Property};

/// Options without a number.
const SINGLE: [&str; 29] = [
    "arch",
    "cmode",
    "console",
    "cores",
    "cpulimit",
    "cpuunits",
    "debug",
    "description",
    "features",
    "hookscript",
    "hostname",
    "lock",
    "memory",
    "nameserver",
    "onboot",
    "ostype",
    "parent",
    "protection",
    "rootfs",
    "searchdomain",
    "snapstate",
    "snaptime",
    "startup",
    "swap",
    "tags",
    "template",
    "timezone",
    "tty",
    "unprivileged",
];
/// Options that only Proxmox itself writes; no parameter sets them.
const INTERNAL: [&str; 3] = ["parent", "snapstate", "snaptime"];
/// Options with a number, and how many of each there are.
const NUMBERED: [(&str, u32); 4] = [("dev", 256), ("mp", 256), ("net", 32), ("unused", 256)];

/// The kind of an option of a container's configuration; `None` for an unknown one.
pub fn guest_option(name: &str) -> Option<Kind> {
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if base.len() < name.len() {
        let number: u32 = name[base.len()..].parse().ok()?;
        let (_, count) = NUMBERED.iter().find(|(numbered, _)| *numbered == base)?;
        let kind = match base {
            "net" => Kind::Pairs,
            "mp" | "unused" => Kind::Volume,
            _ => Kind::Text { max_length: None },
        };
        return (number < *count).then_some(kind);
    }
    let integer = |min: i64, max: Option<i64>| Kind::Integer { min: Some(min), max };
    Some(match name {
        "arch" => Kind::choice(&["amd64", "i386", "arm64", "armhf", "riscv32", "riscv64"]),
        "cmode" => Kind::choice(&["shell", "console", "tty"]),
        "console" | "debug" | "onboot" | "protection" | "template" | "unprivileged" => Kind::Boolean,
        "cores" => integer(1, Some(8192)),
        "cpulimit" => Kind::Number { min: 0, max: Some(8192) },
        "cpuunits" => integer(0, Some(500_000)),
        "description" => Kind::Text { max_length: Some(8192) },
        "features" => Kind::Pairs,
        "hostname" => Kind::DnsName,
        "lock" => Kind::choice(&[
            "backup",
            "create",
            "destroyed",
            "disk",
            "fstrim",
            "migrate",
            "mounted",
            "rollback",
            "snapshot",
            "snapshot-delete",
        ]),
        "memory" => integer(16, None),
        "ostype" => Kind::choice(&[
            "debian",
            "devuan",
            "ubuntu",
            "centos",
            "fedora",
            "opensuse",
            "archlinux",
            "alpine",
            "gentoo",
            "nixos",
            "unmanaged",
        ]),
        "rootfs" => Kind::Volume,
        "snaptime" | "swap" => integer(0, None),
        "tags" => Kind::Tags,
        "tty" => integer(0, Some(6)),
        "hookscript" | "nameserver" | "parent" | "searchdomain" | "snapstate" | "startup" | "timezone" => {
            Kind::Text { max_length: None }
        }
        _ => return None,
    })
}

/// All options that a call can set.
pub fn guest_options() -> Vec<Property> {
    let numbered =
        NUMBERED.iter().flat_map(|(base, count)| (0..*count).map(move |n| format!("{base}{n}").into()));
    let single = SINGLE.iter().filter(|name| !INTERNAL.contains(name)).map(|&name| Cow::Borrowed(name));
    single
        .chain(numbered)
        .filter_map(|name: Cow<'static, str>| Some(Property { kind: guest_option(&name)?, name }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_option_has_a_kind() {
        assert!(SINGLE.iter().all(|name| guest_option(name).is_some()));
        assert_eq!(guest_options().len(), 26 + 256 * 3 + 32);
        for unknown in ["nosuch", "net32", "mp256", "net", "memory0", "delete"] {
            assert_eq!(guest_option(unknown), None, "{unknown}");
        }
    }
}
