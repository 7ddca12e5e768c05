//! The commands of `pct`, with a module for each, or for those that share their implementation.

mod change;
mod clone;
mod create;
mod destroy;
mod exec;
mod hotplug;
mod list;
mod power;
mod resize;
mod set;
mod show;
mod snapshot;
mod unlock;
mod value;

use lxc_autoscale_core::Vmid;

use super::error::PctError;
use super::getopt::{Grammar, Words};
use super::machine::Machine;
use super::schema::{Kind, Property, guest_options};
use super::terminal::Terminal;

/// A call of one command, with arguments checked against the schema.
#[derive(Debug)]
pub struct Call<'a, 't> {
    /// The node.
    pub machine: &'a Machine,
    /// The arguments.
    pub words: Words,
    /// The output streams.
    pub terminal: &'a mut Terminal<'t>,
}

impl Call<'_, '_> {
    /// A parameter as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.words.values.get(name).map(String::as_str)
    }

    /// A boolean parameter; `false` if absent.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("1")
    }

    /// A parameter that is a container id.
    ///
    /// # Errors
    /// Proxmox's text; the schema has accepted only ids.
    pub fn vmid(&self, name: &str) -> Result<Vmid, PctError> {
        let missing = || PctError::parameter(name, "property is missing and it is not optional");
        self.text(name).and_then(|text| text.parse().ok()).ok_or_else(missing)
    }

    /// The container that the call is about.
    ///
    /// # Errors
    /// As [`Call::vmid`].
    pub fn id(&self) -> Result<Vmid, PctError> {
        self.vmid("vmid")
    }
}

/// A command.
#[derive(Clone, Copy)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its usage line.
    pub usage: &'static str,
    positional: &'static [&'static str],
    takes_more: bool,
    options: fn() -> Vec<Property>,
    /// Runs it; returns the exit status.
    pub run: fn(&mut Call<'_, '_>) -> Result<u8, PctError>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Command {
    /// Its arguments.
    pub fn grammar(&self) -> Grammar {
        Grammar { positional: self.positional, takes_more: self.takes_more, properties: (self.options)() }
    }
}

/// Most commands take a container and little else.
const VMID: &[&str] = &["vmid"];

fn vmid_only() -> Vec<Property> {
    vec![Property::new("vmid", Kind::Vmid)]
}

fn with_vmid(options: &[(&'static str, Kind)]) -> Vec<Property> {
    let mut properties = vmid_only();
    properties.extend(options.iter().map(|(name, kind)| Property::new(*name, kind.clone())));
    properties
}

const TEXT: Kind = Kind::Text { max_length: None };
const SECONDS: Kind = Kind::Integer { min: Some(0), max: None };

fn set_options() -> Vec<Property> {
    let mut properties = guest_options();
    properties.extend(with_vmid(&[
        ("delete", Kind::ConfigIdList),
        ("revert", Kind::ConfigIdList),
        ("digest", Kind::Text { max_length: Some(64) }),
    ]));
    properties
}

fn create_options() -> Vec<Property> {
    let mut properties = guest_options();
    properties.extend(with_vmid(&[
        ("ostemplate", Kind::Text { max_length: Some(255) }),
        ("storage", TEXT),
        ("start", Kind::Boolean),
    ]));
    properties
}

/// `rootfs` and every `mpN`.
fn disks() -> Kind {
    Kind::Choice(std::iter::once("rootfs".into()).chain((0..256).map(|n| format!("mp{n}").into())).collect())
}

macro_rules! command {
    ($name:literal, $usage:literal, $positional:expr, $options:expr, $run:path) => {
        Command {
            name: $name,
            usage: $usage,
            positional: $positional,
            takes_more: false,
            options: $options,
            run: $run,
        }
    };
}

/// The commands that this node has.
pub const COMMANDS: &[Command] = &[
    command!("list", "pct list ", &[], Vec::new, list::list),
    command!(
        "status",
        "pct status <vmid> [OPTIONS]",
        VMID,
        || with_vmid(&[("verbose", Kind::Boolean)]),
        show::status
    ),
    command!(
        "config",
        "pct config <vmid> [OPTIONS]",
        VMID,
        || with_vmid(&[("current", Kind::Boolean), ("snapshot", Kind::SnapshotName)]),
        show::config
    ),
    command!("pending", "pct pending <vmid>", VMID, vmid_only, show::pending),
    command!("df", "pct df <vmid>", VMID, vmid_only, show::df),
    command!("cpusets", "pct cpusets ", &[], Vec::new, show::cpusets),
    command!("set", "pct set <vmid> [OPTIONS]", VMID, set_options, set::set),
    command!(
        "resize",
        "pct resize <vmid> <disk> <size> [OPTIONS]",
        &["vmid", "disk", "size"],
        || {
            with_vmid(&[
                ("disk", disks()),
                ("size", Kind::Size),
                ("digest", Kind::Text { max_length: Some(40) }),
            ])
        },
        resize::resize
    ),
    command!(
        "start",
        "pct start <vmid> [OPTIONS]",
        VMID,
        || with_vmid(&[("skiplock", Kind::Boolean)]),
        power::start
    ),
    command!(
        "stop",
        "pct stop <vmid> [OPTIONS]",
        VMID,
        || with_vmid(&[("skiplock", Kind::Boolean)]),
        power::stop
    ),
    command!(
        "shutdown",
        "pct shutdown <vmid> [OPTIONS]",
        VMID,
        || with_vmid(&[("timeout", SECONDS), ("forceStop", Kind::Boolean)]),
        power::shutdown
    ),
    command!(
        "reboot",
        "pct reboot <vmid> [OPTIONS]",
        VMID,
        || with_vmid(&[("timeout", SECONDS)]),
        power::reboot
    ),
    command!(
        "create",
        "pct create <vmid> <ostemplate> [OPTIONS]",
        &["vmid", "ostemplate"],
        create_options,
        create::create
    ),
    command!(
        "destroy",
        "pct destroy <vmid> [OPTIONS]",
        VMID,
        || with_vmid(&[("force", Kind::Boolean), ("purge", Kind::Boolean)]),
        destroy::destroy
    ),
    command!(
        "snapshot",
        "pct snapshot <vmid> <snapname> [OPTIONS]",
        &["vmid", "snapname"],
        || with_vmid(&[("snapname", Kind::SnapshotName), ("description", TEXT)]),
        snapshot::snapshot
    ),
    command!(
        "delsnapshot",
        "pct delsnapshot <vmid> <snapname> [OPTIONS]",
        &["vmid", "snapname"],
        || with_vmid(&[("snapname", Kind::SnapshotName), ("force", Kind::Boolean)]),
        snapshot::delsnapshot
    ),
    command!(
        "rollback",
        "pct rollback <vmid> <snapname> [OPTIONS]",
        &["vmid", "snapname"],
        || with_vmid(&[("snapname", Kind::SnapshotName), ("start", Kind::Boolean)]),
        snapshot::rollback
    ),
    command!("listsnapshot", "pct listsnapshot <vmid>", VMID, vmid_only, list::listsnapshot),
    command!(
        "clone",
        "pct clone <vmid> <newid> [OPTIONS]",
        &["vmid", "newid"],
        || {
            with_vmid(&[
                ("newid", Kind::Vmid),
                ("hostname", Kind::DnsName),
                ("description", TEXT),
                ("snapname", Kind::SnapshotName),
                ("pool", TEXT),
                ("storage", TEXT),
                ("full", Kind::Boolean),
            ])
        },
        clone::clone
    ),
    command!("unlock", "pct unlock <vmid>", VMID, vmid_only, unlock::unlock),
    Command {
        name: "exec",
        usage: "pct exec <vmid> [<extra-args>] [OPTIONS]",
        positional: VMID,
        takes_more: true,
        options: || with_vmid(&[("keep-env", Kind::Boolean)]),
        run: exec::exec,
    },
];
