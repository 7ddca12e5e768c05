//! `pvesh get`, for the paths that the daemons use.

use lxc_autoscale_core::Vmid;
use serde_json::{Value, json};

use super::error::PctError;
use super::machine::Machine;
use super::terminal::Terminal;
use super::vmstatus::vmstatus;
use crate::node::{NodeLayout, read_text};

/// Exit status of a Perl program that dies without an error number.
const DIED: u8 = 255;

/// Runs one call and returns its exit status.
pub fn run(layout: &NodeLayout, args: &[String], terminal: &mut Terminal<'_>) -> u8 {
    let status = match try_run(layout, args) {
        Ok(value) => writeln!(terminal.out, "{value}").map(|()| 0),
        Err(error) => terminal.err.write_all(error.report("").as_bytes()).map(|()| error.exit()),
    };
    // A reader that has gone cannot be told anything.
    status.unwrap_or(DIED)
}

fn try_run(layout: &NodeLayout, args: &[String]) -> Result<Value, PctError> {
    let call = Get::parse(args)?;
    let machine = Machine::open(layout)?;
    let path: Vec<&str> = call.path.split('/').filter(|part| !part.is_empty()).collect();
    answer(&machine, &path, call.kind.as_deref())
}

/// Answers a path that is only read; `kind` is the requested kind of resources.
///
/// # Errors
/// Proxmox's texts, also for a path that is not supported here.
pub(crate) fn answer(machine: &Machine, path: &[&str], kind: Option<&str>) -> Result<Value, PctError> {
    let node = machine.settings.name.clone();
    match path {
        ["version"] => Ok(version(machine)),
        ["nodes"] => {
            let status = node_status(machine)?;
            Ok(json!([{
                "id": format!("node/{node}"), "node": node, "type": "node", "status": "online", "level": "",
                "cpu": status["cpu"], "maxcpu": status["cpuinfo"]["cpus"],
                "mem": status["memory"]["used"], "maxmem": status["memory"]["total"], "uptime": status["uptime"],
            }]))
        }
        ["nodes", name, ..] if *name != node => Err(PctError::died(format!("no such cluster node '{name}'"))),
        ["nodes", _, "status"] => node_status(machine),
        ["nodes", _, "lxc"] => containers(machine),
        ["nodes", _, "lxc", id, "config"] => config(machine, id, false, None),
        ["nodes", _, "lxc", id, "status", "current"] => {
            let (id, loaded) = load(machine, id)?;
            let mut status = vmstatus(machine, id, &loaded.config.current, machine.is_running(id)?)?;
            status.insert("ha".to_owned(), json!({"managed": 0}));
            status.insert("cpu".to_owned(), json!(0));
            Ok(Value::Object(status))
        }
        ["cluster", "resources"] => resources(machine, kind),
        _ => Err(PctError::died(format!("no 'get' handler for '/{}'", path.join("/")))),
    }
}

/// A `get` call.
struct Get {
    path: String,
    kind: Option<String>,
}

impl Get {
    fn parse(args: &[String]) -> Result<Self, PctError> {
        let usage = |message| PctError::Usage { warnings: String::new(), message };
        let mut words = args.iter();
        let (Some("get"), Some(path)) = (words.next().map(String::as_str), words.next()) else {
            return Err(PctError::died("this node answers `pvesh get <path> --output-format json` only"));
        };
        let mut call = Self { path: path.clone(), kind: None };
        while let Some(word) = words.next() {
            let name = word.trim_start_matches('-');
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (name, words.next().cloned().unwrap_or_default()),
            };
            match (name, value.as_str()) {
                ("output-format", "json") => {}
                ("output-format", _) => return Err(PctError::died("this node writes JSON only")),
                ("type", _) => call.kind = Some(value),
                _ => return Err(usage("unable to parse option")),
            }
        }
        Ok(call)
    }
}

fn version(machine: &Machine) -> Value {
    let version = &machine.settings.pve_version;
    let release = version.rsplit_once('.').map_or(version.as_str(), |(release, _)| release);
    json!({"release": release, "repoid": "51304a7ed0", "version": version})
}

/// A value as text, whether it is a number or a string.
pub(crate) fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Parses an id.
///
/// # Errors
/// Proxmox's text.
pub(crate) fn vmid(id: &str) -> Result<Vmid, PctError> {
    let no_id = |_| PctError::parameter("vmid", format!("type check ('integer') failed - got '{id}'"));
    id.parse().map_err(no_id)
}

/// Reads the configuration of a container.
///
/// # Errors
/// Proxmox's text if there is none.
pub(crate) fn load(machine: &Machine, id: &str) -> Result<(Vmid, super::store::Loaded), PctError> {
    let id = vmid(id)?;
    Ok((id, machine.store.load(id, &mut std::io::sink())?))
}

/// The configuration of a container: in force, with pending changes, or as a snapshot has it.
///
/// # Errors
/// As [`load`], and Proxmox's text if there is no such snapshot.
pub(crate) fn config(
    machine: &Machine,
    id: &str,
    is_current: bool,
    snapshot: Option<&str>,
) -> Result<Value, PctError> {
    let (_, mut loaded) = load(machine, id)?;
    let section = match snapshot {
        Some(name) => {
            let kept = loaded.config.snapshots.remove(name);
            kept.ok_or_else(|| PctError::died(format!("snapshot '{name}' does not exist")))?
        }
        None if is_current => loaded.config.current,
        None => loaded.config.with_pending(),
    };
    let mut answer = serde_json::Map::new();
    for name in section.names() {
        let text = section.get(&name).unwrap_or_default();
        // In Proxmox's answers, `cpulimit` stays a string; whole numbers and booleans do not.
        let is_number = name != "cpulimit" && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text
            .parse::<u64>()
            .ok()
            .filter(|_| is_number)
            .map_or_else(|| json!(text), |number| json!(number));
        answer.insert(name, value);
    }
    answer.insert("digest".to_owned(), json!(loaded.digest));
    if !section.raw.is_empty() {
        answer.insert("lxc".to_owned(), json!(section.raw));
    }
    Ok(Value::Object(answer))
}

fn containers(machine: &Machine) -> Result<Value, PctError> {
    let running = machine.engine.running()?;
    let mut list = Vec::new();
    for id in machine.store.list()? {
        // It was destroyed since the directory was read.
        let Ok(loaded) = machine.store.load(id, &mut std::io::sink()) else { continue };
        let mut status = vmstatus(machine, id, &loaded.config.current, running.contains(id))?;
        status.insert("cpu".to_owned(), json!(0));
        list.push(Value::Object(status));
    }
    Ok(Value::Array(list))
}

fn resources(machine: &Machine, kind: Option<&str>) -> Result<Value, PctError> {
    let mut list = match containers(machine)? {
        Value::Array(list) if kind.is_none_or(|kind| kind == "vm") => list,
        _ => Vec::new(),
    };
    for entry in list.iter_mut().filter_map(Value::as_object_mut) {
        let id = entry.get("vmid").map(text_of).unwrap_or_default();
        entry.insert("id".to_owned(), json!(format!("lxc/{id}")));
        entry.insert("node".to_owned(), json!(machine.settings.name));
        if let Some(cpus) = entry.remove("cpus") {
            entry.insert("maxcpu".to_owned(), cpus);
        }
        for absent in ["maxswap", "swap", "pid"] {
            entry.remove(absent);
        }
        entry.entry("template").or_insert(json!(0));
    }
    Ok(Value::Array(list))
}

/// The node's own figures, from the tree's `/proc`, or from this machine's if the containers are real.
fn node_status(machine: &Machine) -> Result<Value, PctError> {
    let own = machine.layout.proc();
    let proc = if own.join("meminfo").exists() { own } else { std::path::PathBuf::from("/proc") };
    let meminfo = read_text(&proc.join("meminfo"))?;
    let bytes = |key: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib: u64 = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        kib * 1024
    };
    let (total, free) = (bytes("MemTotal"), bytes("MemAvailable"));
    let (swap_total, swap_free) = (bytes("SwapTotal"), bytes("SwapFree"));
    let uptime = read_text(&proc.join("uptime"))?;
    let uptime = uptime.split('.').next().and_then(|seconds| seconds.trim().parse::<u64>().ok()).unwrap_or(0);
    let loadavg = read_text(&proc.join("loadavg")).unwrap_or_else(|_| "0.00 0.00 0.00".to_owned());
    let loadavg: Vec<&str> = loadavg.split_whitespace().take(3).collect();
    let cpus = machine.engine.cpus()?.len();
    Ok(json!({
        "cpu": 0, "wait": 0, "idle": 0, "uptime": uptime, "loadavg": loadavg,
        "cpuinfo": {"cpus": cpus, "cores": cpus, "sockets": 1, "user_hz": 100},
        "memory": {"total": total, "free": free, "used": total.saturating_sub(free)},
        "swap": {"total": swap_total, "free": swap_free, "used": swap_total.saturating_sub(swap_free)},
        "pveversion": format!("pve-manager/{}/simulated", machine.settings.pve_version),
    }))
}
