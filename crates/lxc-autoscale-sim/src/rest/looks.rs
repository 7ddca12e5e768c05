//! Calls that only read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use lxc_autoscale_core::Vmid;
use serde_json::{Value, json};

use super::access::Access;
use super::task_looks;
use super::wrap::Failure;
use crate::pve::Machine;
use crate::pve::pvesh;
use crate::pve::vmstatus::as_string;

/// Answers a call. `path` is the whole path, `machine` the node that it names or the one that was asked, `cluster`
/// all nodes.
///
/// # Errors
/// [`Failure`] with Proxmox's texts.
pub(super) fn look(
    machine: &Machine,
    cluster: &[Machine],
    access: &Access,
    who: &str,
    path: &[&str],
    given: &BTreeMap<String, String>,
) -> Result<Value, Failure> {
    let audit = |id: &str| {
        let place = format!("/vms/{id}");
        let may = access.privileges(who, &place).contains("VM.Audit");
        if may { Ok(()) } else { Err(Failure::permission(&place, "VM.Audit")) }
    };
    match path {
        ["access", "permissions"] => {
            let shown = access.permissions(who).into_iter().map(|(path, privileges)| {
                let privileges: BTreeMap<&str, u8> = privileges.into_iter().map(|name| (name, 1)).collect();
                (path, privileges)
            });
            Ok(json!(shown.collect::<BTreeMap<_, _>>()))
        }
        ["cluster", "status"] => {
            if !access.privileges(who, "/").contains("Sys.Audit") {
                return Err(Failure::permission("/", "Sys.Audit"));
            }
            cluster_status(machine)
        }
        ["nodes", _, "lxc", id, "pending"] => {
            audit(id)?;
            pending(machine, id)
        }
        ["cluster", "nextid"] => next_id(cluster, given.get("vmid")),
        ["nodes", node, "tasks"] => {
            let may_see_all = access.privileges(who, &format!("/nodes/{node}")).contains("Sys.Audit");
            task_looks::list(machine, given, if may_see_all { None } else { Some(who) })
        }
        ["nodes", _, "tasks", upid, "status"] => task_looks::status(machine, upid),
        ["nodes", _, "tasks", upid, "log"] => task_looks::log(machine, upid),
        ["nodes", _, "lxc", id, "snapshot"] => {
            audit(id)?;
            snapshots(machine, id)
        }
        ["nodes", _, "lxc", id, "config"] => {
            audit(id)?;
            let is_current = given.get("current").is_some_and(|value| value == "1");
            Ok(pvesh::config(machine, id, is_current, given.get("snapshot").map(String::as_str))?)
        }
        ["nodes", _, "lxc"] | ["cluster", "resources"] => {
            let asked = if path[0] == "cluster" { cluster } else { std::slice::from_ref(machine) };
            let mut list = all(asked, path, given.get("type").map(String::as_str))?;
            // Entries that the caller may not see are silently omitted.
            list.retain(|entry| audit(&pvesh::text_of(&entry["vmid"])).is_ok());
            Ok(Value::Array(list))
        }
        ["nodes"] => Ok(Value::Array(all(cluster, path, None)?)),
        ["nodes", node, "status"] => {
            let place = format!("/nodes/{node}");
            if !access.privileges(who, &place).contains("Sys.Audit") {
                return Err(Failure::permission(&place, "Sys.Audit"));
            }
            Ok(pvesh::answer(machine, path, None)?)
        }
        ["nodes", _, "lxc", id, ..] => {
            audit(id)?;
            pvesh::answer(machine, path, None).map_err(|error| unknown(path, error))
        }
        _ => pvesh::answer(machine, path, None).map_err(|error| unknown(path, error)),
    }
}

/// `pvesh` has a text of its own for an unknown path.
fn unknown(path: &[&str], error: crate::pve::error::PctError) -> Failure {
    if error.text().starts_with("no 'get' handler") {
        return Failure::new(501, format!("Method 'GET /{}' not implemented", path.join("/")));
    }
    error.into()
}

/// The answers of several nodes as one list.
fn all(machines: &[Machine], path: &[&str], kind: Option<&str>) -> Result<Vec<Value>, Failure> {
    let mut entries = Vec::new();
    for machine in machines {
        if let Value::Array(list) = pvesh::answer(machine, path, kind)? {
            entries.extend(list);
        }
    }
    Ok(entries)
}

fn next_id(cluster: &[Machine], wanted: Option<&String>) -> Result<Value, Failure> {
    let mut taken = BTreeSet::new();
    for machine in cluster {
        taken.extend(machine.store.list()?);
    }
    let is_taken = |id: Vmid| taken.contains(&id);
    let Some(wanted) = wanted else {
        let free = (100..=999_999_999).filter_map(|id| Vmid::try_from(id).ok()).find(|id| !is_taken(*id));
        return Ok(json!(free.map(|id| id.to_string())));
    };
    let id = pvesh::vmid(wanted)?;
    if is_taken(id) {
        let errors = BTreeMap::from([("vmid".to_owned(), format!("VM {id} already exists"))]);
        return Err(Failure::parameters(errors));
    }
    Ok(json!(id.to_string()))
}

/// The settings of a container, each with its pending change.
fn pending(machine: &Machine, id: &str) -> Result<Value, Failure> {
    let (_, loaded) = pvesh::load(machine, id)?;
    let config = &loaded.config;
    let removed = config.pending_deletions();
    let mut names = config.current.names();
    names.extend(config.pending.names().into_iter().filter(|name| name != "delete"));
    names.extend(removed.iter().cloned());
    names.sort_unstable();
    names.dedup();
    let entry = |name: &String| {
        let mut entry = json!({"key": name});
        if let Some(value) = config.current.get(name) {
            entry["value"] = json!(value);
        }
        if let Some(value) = config.pending.get(name) {
            entry["pending"] = json!(value);
        }
        if removed.contains(name) {
            entry["delete"] = json!(1);
        }
        entry
    };
    Ok(names.iter().map(entry).collect())
}

/// The content of `.members`, in the format of the API.
fn cluster_status(machine: &Machine) -> Result<Value, Failure> {
    let text = fs::read_to_string(machine.layout.members())?;
    let members: Value = serde_json::from_str(&text).map_err(|error| Failure::new(500, error.to_string()))?;
    let own = members["nodename"].as_str().unwrap_or_default();
    let node = |name: &str, id: &Value, online: &Value, ip: &Value| {
        json!({
            "type": "node", "id": format!("node/{name}"), "name": name, "nodeid": id, "online": online,
            "local": u8::from(name == own), "ip": ip.as_str().unwrap_or("127.0.0.1"), "level": "",
        })
    };
    let Some(cluster) = members["cluster"].as_object() else {
        return Ok(json!([node(own, &json!(0), &json!(1), &Value::Null)]));
    };
    let mut list = vec![json!({
        "type": "cluster", "id": "cluster", "name": cluster["name"], "nodes": cluster["nodes"],
        "quorate": cluster["quorate"], "version": cluster["version"],
    })];
    for (name, member) in members["nodelist"].as_object().into_iter().flatten() {
        list.push(node(name, &member["id"], &member["online"], &member["ip"]));
    }
    Ok(Value::Array(list))
}

fn snapshots(machine: &Machine, id: &str) -> Result<Value, Failure> {
    let (vmid, loaded) = pvesh::load(machine, id)?;
    let config = &loaded.config;
    let mut list: Vec<Value> = Vec::new();
    for (name, section) in &config.snapshots {
        let mut entry = json!({
            "name": name,
            "description": section.description.as_deref().unwrap_or_default(),
        });
        if let Some(time) = section.get("snaptime").and_then(|time| time.parse::<i64>().ok()) {
            entry["snaptime"] = json!(time);
            if machine.settings.is_before((7, 0)) {
                as_string(&mut entry["snaptime"]);
            }
        }
        for key in ["parent", "snapstate"] {
            if let Some(value) = section.get(key) {
                entry[key] = json!(value);
            }
        }
        list.push(entry);
    }
    let mut current = json!({
        "name": "current", "description": "You are here!", "digest": loaded.digest,
        "running": u8::from(machine.is_running(vmid)?),
    });
    if let Some(parent) = config.current.get("parent") {
        current["parent"] = json!(parent);
    }
    list.push(current);
    Ok(Value::Array(list))
}
