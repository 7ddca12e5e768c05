//! Calls that change something: the `pct` command of each, and the privileges it needs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::access::{Access, SDN_USE};
use super::wrap::Failure;
use crate::node::NodeLayout;
use crate::pve::command::{COMMANDS, Call, Command};
use crate::pve::config::{VolumeId, parse_property_string};
use crate::pve::getopt::{Words, parse_boolean};
use crate::pve::machine::{Machine, TaskListener};
use crate::pve::schema::{Kind, check_all};
use crate::pve::storage::Interrupt;
use crate::pve::terminal::Terminal;

/// A call that changes something, identified by method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The command of `pct`.
    command: &'static str,
    /// Whether its answer is the name of a task.
    pub(super) is_task: bool,
    /// Parameters in the path.
    from_path: Vec<(&'static str, String)>,
}

/// Finds the call; `path` does not include the node.
pub(super) fn find(method: &str, path: &[&str]) -> Option<Change> {
    let call = |command, is_task, from_path: &[(&'static str, &str)]| {
        let from_path = from_path.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Some(Change { command, is_task, from_path })
    };
    match (method, path) {
        ("PUT", ["lxc", id, "config"]) => call("set", false, &[("vmid", id)]),
        ("PUT", ["lxc", id, "resize"]) => call("resize", true, &[("vmid", id)]),
        ("POST", ["lxc", id, "snapshot"]) => call("snapshot", true, &[("vmid", id)]),
        ("DELETE", ["lxc", id, "snapshot", name]) => {
            call("delsnapshot", true, &[("vmid", id), ("snapname", name)])
        }
        ("POST", ["lxc", id, "snapshot", name, "rollback"]) => {
            call("rollback", true, &[("vmid", id), ("snapname", name)])
        }
        ("POST", ["lxc", id, "clone"]) => call("clone", true, &[("vmid", id)]),
        ("POST", ["lxc", id, "status", "start"]) => call("start", true, &[("vmid", id)]),
        ("POST", ["lxc", id, "status", "stop"]) => call("stop", true, &[("vmid", id)]),
        ("POST", ["lxc", id, "status", "shutdown"]) => call("shutdown", true, &[("vmid", id)]),
        ("POST", ["lxc", id, "status", "reboot"]) => call("reboot", true, &[("vmid", id)]),
        ("DELETE", ["lxc", id]) => call("destroy", true, &[("vmid", id)]),
        _ => None,
    }
}

/// Checks and runs a call; `begun` receives the name of its task, and `interrupt` stops it.
///
/// # Errors
/// [`Failure`] with Proxmox's texts.
pub(super) fn run(
    layout: &NodeLayout,
    access: &Access,
    who: &str,
    change: &Change,
    given: BTreeMap<String, String>,
    begun: TaskListener,
    interrupt: Interrupt,
) -> Result<Value, Failure> {
    let command = COMMANDS
        .iter()
        .find(|command| command.name == change.command)
        .ok_or_else(|| Failure::new(501, format!("no command {}", change.command)))?;
    let mut values = given;
    values.extend(change.from_path.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    check_parameters(command, &mut values)?;
    let mut machine = Machine::open(layout)?;
    check_privileges(&machine, access, who, command.name, &values)?;
    who.clone_into(&mut machine.user);
    machine.on_task = Some(begun);
    machine.volumes.interrupt = interrupt;
    let (mut out, mut err) = (std::io::sink(), std::io::sink());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    let words = Words { values, more: Vec::new() };
    (command.run)(&mut Call { machine: &machine, words, terminal: &mut terminal })?;
    Ok(Value::Null)
}

/// Checks names and values against Proxmox's schema, and writes booleans as 1 and 0.
fn check_parameters(command: &Command, values: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    let grammar = command.grammar();
    let mut errors = check_all(&grammar.properties, values);
    for name in values.keys() {
        if !grammar.properties.iter().any(|property| property.name == *name) {
            let text =
                "property is not defined in schema and the schema does not allow additional properties";
            errors.insert(name.clone(), text.to_owned());
        }
    }
    for name in grammar.positional {
        if !values.contains_key(*name) {
            errors.insert((*name).to_owned(), "property is missing and it is not optional".to_owned());
        }
    }
    if !errors.is_empty() {
        return Err(Failure::parameters(errors));
    }
    for property in grammar.properties.iter().filter(|property| property.kind == Kind::Boolean) {
        if let Some(value) = values.get_mut(property.name.as_ref())
            && let Some(is_set) = parse_boolean(value)
        {
            *value = u8::from(is_set).to_string();
        }
    }
    Ok(())
}

/// The privilege that an option of a container needs.
fn option_privilege(option: &str) -> &'static str {
    match option {
        "cores" | "cpulimit" | "cpuunits" => "VM.Config.CPU",
        "memory" | "swap" => "VM.Config.Memory",
        "hostname" | "nameserver" | "searchdomain" => "VM.Config.Network",
        _ if option.starts_with("net") => "VM.Config.Network",
        _ if option == "rootfs" || option.starts_with("mp") => "VM.Config.Disk",
        _ => "VM.Config.Options",
    }
}

fn check_privileges(
    machine: &Machine,
    access: &Access,
    who: &str,
    command: &str,
    values: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let id = values.get("vmid").map(String::as_str).unwrap_or_default();
    let container = format!("/vms/{id}");
    let need = |path: &str, privilege: &str| {
        if access.privileges(who, path).contains(privilege) {
            Ok(())
        } else {
            Err(Failure::permission(path, privilege))
        }
    };
    match command {
        "set" => {
            let all: [&str; 5] = [
                "VM.Config.Disk",
                "VM.Config.CPU",
                "VM.Config.Memory",
                "VM.Config.Network",
                "VM.Config.Options",
            ];
            let has = access.privileges(who, &container);
            if !all.iter().any(|privilege| has.contains(privilege)) {
                return Err(Failure::permission(&container, &all.join("|")));
            }
            let deleted = values.get("delete").into_iter().flat_map(|list| list.split([',', ';', ' ']));
            let options = values.keys().map(String::as_str).chain(deleted);
            let needed: BTreeSet<&str> = options
                .filter(|name| !["vmid", "digest", "delete", "revert"].contains(name))
                .map(option_privilege)
                .collect();
            needed.into_iter().try_for_each(|privilege| need(&container, privilege))
        }
        "resize" => {
            need(&container, "VM.Config.Disk")?;
            // The name of the disk counts as one more option.
            need(&container, "VM.Config.Options")?;
            storages_of(machine, id)?
                .iter()
                .try_for_each(|storage| need(&format!("/storage/{storage}"), "Datastore.AllocateSpace"))
        }
        "rollback" => need(&container, "VM.Snapshot.Rollback").or_else(|_| need(&container, "VM.Snapshot")),
        "snapshot" | "delsnapshot" => need(&container, "VM.Snapshot"),
        "clone" => {
            need(&container, "VM.Clone")?;
            let target = values.get("newid").map(String::as_str).unwrap_or_default();
            need(&format!("/vms/{target}"), "VM.Allocate")?;
            storages_of(machine, id)?
                .iter()
                .try_for_each(|storage| need(&format!("/storage/{storage}"), "Datastore.AllocateSpace"))?;
            if machine.settings.is_before((8, 0)) {
                return Ok(());
            }
            bridges_of(machine, id)?
                .iter()
                .try_for_each(|bridge| need(&format!("/sdn/zones/localnetwork/{bridge}"), SDN_USE))
        }
        "destroy" => need(&container, "VM.Allocate"),
        _ => need(&container, "VM.PowerMgmt"),
    }
}

/// The storages of a container's volumes.
fn storages_of(machine: &Machine, id: &str) -> Result<BTreeSet<String>, Failure> {
    let (_, loaded) = crate::pve::pvesh::load(machine, id)?;
    let volumes = loaded.config.current.volumes();
    Ok(volumes.iter().filter_map(|(_, volume)| storage_of(volume)).collect())
}

/// The bridges that a container is connected to, with the VLAN if it has one: `vmbr0/5`.
fn bridges_of(machine: &Machine, id: &str) -> Result<BTreeSet<String>, Failure> {
    let (_, loaded) = crate::pve::pvesh::load(machine, id)?;
    let section = &loaded.config.current;
    let networks = section.names().into_iter().filter(|name| {
        name.strip_prefix("net")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let bridges = networks.filter_map(|name| {
        let fields: BTreeMap<_, _> = parse_property_string(section.get(&name)?, "name").into_iter().collect();
        let bridge = fields.get("bridge")?.clone();
        Some(fields.get("tag").map_or(bridge.clone(), |tag| format!("{bridge}/{tag}")))
    });
    Ok(bridges.collect())
}

fn storage_of(volume: &VolumeId) -> Option<String> {
    volume.to_string().split_once(':').map(|(storage, _)| storage.to_owned())
}
