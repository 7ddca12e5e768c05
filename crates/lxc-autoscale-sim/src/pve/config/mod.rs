//! A container's configuration file: current options, pending changes, snapshots.
//!
//! Proxmox rewrites the whole file on each change: options are sorted, the description comes first as comment lines,
//! raw `lxc.` lines come last, then `[pve:pending]`, then the snapshots by name. Lines it cannot read are dropped
//! with a warning, and comment lines anywhere become part of the description.

mod encode;
mod parse;
mod property_string;
mod write;

use std::collections::BTreeMap;

use lxc_autoscale_core::container_config::ContainerConfig;
use sha1::{Digest, Sha1};

pub use encode::{decode_text, encode_text};
pub use property_string::{
    NetworkAddress, VolumeId, format_size, network_with, parse_property_string, parse_size_bytes,
    valid_volume_id, volume_with_size,
};

/// The options of one section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Options by name, except the description.
    pub options: BTreeMap<String, String>,
    /// The description; its lines end with a line break, as Proxmox stores them.
    pub description: Option<String>,
    /// Raw LXC lines, in order.
    pub raw: Vec<(String, String)>,
}

/// A container's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestConfig {
    /// The options in force.
    pub current: Section,
    /// Changes that take effect at the next start; `delete` lists options to be removed.
    pub pending: Section,
    /// Snapshots by name.
    pub snapshots: BTreeMap<String, Section>,
}

impl Section {
    /// The value of an option; the description counts as one.
    pub fn get(&self, name: &str) -> Option<&str> {
        match name {
            "description" => self.description.as_deref(),
            _ => self.options.get(name).map(String::as_str),
        }
    }

    /// Sets an option.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if name == "description" {
            self.description = (!value.is_empty()).then_some(value);
        } else {
            self.options.insert(name.to_owned(), value);
        }
    }

    /// Removes an option and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        if name == "description" { self.description.take() } else { self.options.remove(name) }
    }

    /// The names of all options, sorted, including the description.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.options.keys().cloned().collect();
        if self.description.is_some() {
            names.push("description".to_owned());
            names.sort_unstable();
        }
        names
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.options.is_empty() && self.description.is_none() && self.raw.is_empty()
    }

    /// The settings that matter for the container's size, typed.
    pub fn summary(&self) -> ContainerConfig {
        ContainerConfig::parse(&write::section(self)).0
    }

    /// The volume of an option such as `rootfs`.
    pub fn volume(&self, name: &str) -> Option<VolumeId> {
        VolumeId::of_property(self.get(name)?)
    }

    /// Options that name a volume: `rootfs`, `mpN` and `unusedN`, except bind mounts and devices.
    pub fn volumes(&self) -> Vec<(String, VolumeId)> {
        let is_volume = |name: &str| {
            let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
            name == "rootfs" || base.len() < name.len() && (base == "mp" || base == "unused")
        };
        let names = self.options.keys().filter(|name| is_volume(name));
        names.filter_map(|name| Some((name.clone(), self.volume(name)?))).collect()
    }
}

impl GuestConfig {
    /// Parses a file. The texts are Proxmox's warnings about lines it dropped, without the leading `vm <id> - `.
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        parse::parse(text)
    }

    /// The file as Proxmox would write it.
    pub fn write(&self) -> String {
        write::config(self)
    }

    /// The options with pending changes merged in, as `pct config` shows them.
    pub fn with_pending(&self) -> Section {
        let mut merged = self.current.clone();
        for name in self.pending_deletions() {
            merged.remove(&name);
        }
        for name in self.pending.names() {
            if let Some(value) = self.pending.get(&name)
                && name != "delete"
            {
                merged.set(&name, value);
            }
        }
        merged
    }

    /// Options that are removed at the next start.
    pub fn pending_deletions(&self) -> Vec<String> {
        let list = self.pending.options.get("delete").map(String::as_str).unwrap_or_default();
        super::schema::split_list(list).map(|name| name.trim_start_matches('!').to_owned()).collect()
    }

    /// Replaces the list of options to be removed.
    pub fn set_pending_deletions(&mut self, mut names: Vec<String>) {
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            self.pending.remove("delete");
        } else {
            self.pending.set("delete", names.join(","));
        }
    }
}

/// The digest that `--digest` is compared with: SHA-1 of the file's bytes.
pub fn digest(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
