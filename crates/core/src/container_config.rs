//! Proxmox's configuration of a container: the current section of `/etc/pve/lxc/<id>.conf`.
//!
//! The format is Proxmox's own (pve-container `src/PVE/LXC/Config.pm`): `key: value` lines; `#` lines are the
//! description; everything from the first `[section]` on is pending changes or snapshots, which are ignored here.
//! Proxmox drops lines it cannot parse with a warning; this parser also keeps the rest, and reports them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::Mebibytes;

/// Memory of a container without a configured size, in MiB (Proxmox's default).
const DEFAULT_MEMORY: Mebibytes = Mebibytes::new(512);

/// The settings of a container that matter for its size and for whether it may be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainerConfig {
    /// Host name; without one, Proxmox shows `CT<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number of whole cores (a cpuset of that size); absent means all CPUs of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// CPU quota in cores; absent means no quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpulimit: Option<f64>,
    /// CPU weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuunits: Option<u32>,
    /// Memory.
    pub memory_mb: Mebibytes,
    /// Swap.
    pub swap_mb: Mebibytes,
    /// Size of the root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs_mb: Option<Mebibytes>,
    /// Tags, as Proxmox sorts them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The lock that Proxmox holds on it (`backup`, `migrate` …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Whether it is protected from removal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub protection: bool,
    /// Whether it is a template, which cannot be started.
    #[serde(default, skip_serializing_if = "is_false")]
    pub template: bool,
    /// Whether it is started when the node boots.
    #[serde(default, skip_serializing_if = "is_false")]
    pub onboot: bool,
    /// CPUs that it is pinned to (`lxc.cgroup2.cpuset.cpus`); Proxmox then ignores `cores`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_cpuset: Option<String>,
}

/// A line that cannot be parsed; the rest of the file is still used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}: `{text}`")]
pub struct UnreadableLine {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
    /// The line, cut at 80 characters.
    pub text: String,
}

impl ContainerConfig {
    /// Parses the current section; also returns the lines that cannot be parsed.
    pub fn parse(text: &str) -> (Self, Vec<UnreadableLine>) {
        let mut config = Self::unset();
        let mut unreadable = Vec::new();
        for (index, raw) in text.lines().enumerate() {
            let line = raw.trim();
            if line.starts_with('[') {
                break;
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(reason) = config.apply(line) {
                unreadable.push(UnreadableLine {
                    line: index + 1,
                    reason,
                    text: line.chars().take(80).collect(),
                });
            }
        }
        (config, unreadable)
    }

    /// The settings of an empty file.
    fn unset() -> Self {
        Self {
            name: None,
            cores: None,
            cpulimit: None,
            cpuunits: None,
            memory_mb: DEFAULT_MEMORY,
            swap_mb: Mebibytes::new(0),
            rootfs_mb: None,
            tags: Vec::new(),
            lock: None,
            protection: false,
            template: false,
            onboot: false,
            pinned_cpuset: None,
        }
    }

    fn apply(&mut self, line: &str) -> Result<(), &'static str> {
        // Raw LXC keys may use either separator; all other lines use the colon.
        let separator = if line.starts_with("lxc.") { [':', '='].as_slice() } else { [':'].as_slice() };
        let (key, value) = line.split_once(separator).ok_or("not a `key: value` line")?;
        let (key, value) = (key.trim(), value.trim());
        match key {
            "hostname" => self.name = Some(value.to_owned()),
            "cores" => self.cores = Some(value.parse().map_err(|_| "not a whole number of cores")?),
            "cpulimit" => {
                let limit: f64 = value.parse().map_err(|_| "not a number of cores")?;
                if !(limit.is_finite() && 0.0 <= limit) {
                    return Err("not a number of cores");
                }
                self.cpulimit = (0.0 < limit).then_some(limit);
            }
            "cpuunits" => self.cpuunits = Some(value.parse().map_err(|_| "not a CPU weight")?),
            "memory" => self.memory_mb = parse_mebibytes(value)?,
            "swap" => self.swap_mb = parse_mebibytes(value)?,
            "rootfs" => self.rootfs_mb = parse_volume_size(value)?,
            "tags" => self.tags = split_tags(value),
            "lock" => self.lock = Some(value.to_owned()),
            "protection" => self.protection = parse_bool(value)?,
            "template" => self.template = parse_bool(value)?,
            "onboot" => self.onboot = parse_bool(value)?,
            "lxc.cgroup2.cpuset.cpus" | "lxc.cgroup.cpuset.cpus" => {
                self.pinned_cpuset = Some(value.to_owned());
            }
            _ => {}
        }
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

fn parse_mebibytes(value: &str) -> Result<Mebibytes, &'static str> {
    // Proxmox's own pattern is `^\d+$`; Rust's parser would also accept a sign.
    if value.starts_with('+') {
        return Err("not a whole number of MiB");
    }
    value.parse().map(Mebibytes::new).map_err(|_| "not a whole number of MiB")
}

fn parse_bool(value: &str) -> Result<bool, &'static str> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Ok(true),
        "0" | "off" | "no" | "false" => Ok(false),
        _ => Err("not a boolean"),
    }
}

/// A tag as tags are compared: Proxmox stores them in small letters unless the datacenter is set up otherwise, shows them
/// as somebody wrote them, and people write them in configurations as they like.
pub fn folded_tag(tag: &str) -> Cow<'_, str> {
    if tag.bytes().any(|byte| byte.is_ascii_uppercase()) {
        tag.to_ascii_lowercase().into()
    } else {
        tag.into()
    }
}

/// Whether `wanted` is one of these tags, [folded](folded_tag).
pub fn has_tag(tags: &[String], wanted: &str) -> bool {
    let wanted = folded_tag(wanted);
    tags.iter().any(|tag| folded_tag(tag) == wanted)
}

/// Tags are separated by `;`, `,` or blanks.
fn split_tags(value: &str) -> Vec<String> {
    value.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// Parses the `size=` of a volume, rounded up to whole MiB; a volume may have none.
fn parse_volume_size(value: &str) -> Result<Option<Mebibytes>, &'static str> {
    let Some(size) = value.split(',').find_map(|part| part.trim().strip_prefix("size=")) else {
        return Ok(None);
    };
    parse_size(size).map(Some).ok_or("not a volume size")
}

/// Parses a size as Proxmox writes it (`8G`, `10752M`, `1T`, `256K`, or bytes without a unit), rounded up to MiB.
pub fn parse_size(text: &str) -> Option<Mebibytes> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let bytes_per_unit: f64 = match &text[digits.len()..] {
        "" => 1.0,
        "K" => 1024.0,
        "M" => 1024.0 * 1024.0,
        "G" => 1024.0 * 1024.0 * 1024.0,
        "T" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    Mebibytes::from_f64_ceil(number * bytes_per_unit / Mebibytes::BYTES as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: &str = "\
#web tier%3A blue
arch: amd64
cores: 2
cpulimit: 1.5
cpuunits: 200
features: nesting=1
hostname: web01
lock: backup
memory: 1024
onboot: 1
ostype: debian
parent: before-upgrade
protection: 1
rootfs: local-lvm:vm-101-disk-0,mountoptions=noatime,size=10752M
swap: 512
tags: autoscale;web
unprivileged: 1
lxc.cgroup2.cpuset.cpus = 0-3

[pve:pending]
delete: nameserver
memory: 9999

[before-upgrade]
#taken by autoscaler
cores: 1
memory: 64
snaptime: 1714551072
";

    #[test]
    fn a_tag_is_the_same_in_small_and_capital_letters() {
        let tags = ["Prod".to_owned(), "größe".to_owned()];
        for (wanted, want) in
            [("prod", true), ("PROD", true), ("größe", true), ("GRÖSSE", false), ("pro", false)]
        {
            assert_eq!(has_tag(&tags, wanted), want, "{wanted}");
        }
        assert_eq!((folded_tag("Prod"), folded_tag("größe")), ("prod".into(), "größe".into()));
    }

    #[test]
    fn the_current_section_is_read_and_nothing_after_it() {
        let (config, unreadable) = ContainerConfig::parse(FULL);
        assert_eq!(unreadable, []);
        let want = ContainerConfig {
            name: Some("web01".to_owned()),
            cores: Some(2),
            cpulimit: Some(1.5),
            cpuunits: Some(200),
            memory_mb: Mebibytes::new(1024),
            swap_mb: Mebibytes::new(512),
            rootfs_mb: Some(Mebibytes::new(10752)),
            tags: vec!["autoscale".to_owned(), "web".to_owned()],
            lock: Some("backup".to_owned()),
            protection: true,
            template: false,
            onboot: true,
            pinned_cpuset: Some("0-3".to_owned()),
        };
        assert_eq!(config, want);
    }

    #[test]
    fn an_empty_file_means_proxmox_defaults() {
        let (config, _) = ContainerConfig::parse("");
        assert_eq!((config.memory_mb, config.swap_mb), (Mebibytes::new(512), Mebibytes::new(0)));
        assert_eq!(config.cores, None);
    }

    #[test]
    fn a_bad_line_is_reported_and_costs_only_itself() {
        let (config, unreadable) = ContainerConfig::parse("memory: +512\nnonsense\ncores: 3\n");
        assert_eq!(config.cores, Some(3));
        let lines: Vec<_> = unreadable.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [1, 2]);
        assert_eq!(config.memory_mb, Mebibytes::new(512));
    }

    #[test]
    fn sizes_in_every_spelling() {
        let mib = |text| parse_size(text).map(Mebibytes::get);
        assert_eq!(mib("8G"), Some(8192));
        assert_eq!(mib("10752M"), Some(10752));
        assert_eq!(mib("1T"), Some(1_048_576));
        assert_eq!(mib("256K"), Some(1));
        assert_eq!(mib("1048576"), Some(1));
        assert_eq!(mib("1.5G"), Some(1536));
        for bad in ["", "G", "-1G", "8g", "8GB", "inf", "nan", "+2G"] {
            assert_eq!(mib(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cpulimit_of_zero_means_none() {
        assert_eq!(ContainerConfig::parse("cpulimit: 0").0.cpulimit, None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}(\n\\PC{0,60}){0,6}") {
            let (config, _) = ContainerConfig::parse(&text);
            let json = serde_json::to_string(&config).unwrap();
            prop_assert_eq!(serde_json::from_str::<ContainerConfig>(&json).unwrap(), config);
        }
    }
}
