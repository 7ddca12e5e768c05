//! Many clients change the same containers, `pct` fails at random, locks come and go, and the server is killed
//! repeatedly. In the end the node, the ledger, the jobs and the audit log agree, and nothing is left half-made.
//!
//! `CONSISTENCY_SECONDS=60` runs it for a minute; by default it takes a few seconds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its case must fail; clippy sees no test in what tests share"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_e2e::{Process, binary, eventually, output, request, short_directory};
use rustix::process::Signal;
use serde_json::{Value, json};

const CONTAINERS: std::ops::Range<u32> = 200..220;
const COPIES: u32 = 300;
const CLIENTS: u32 = 200;
const PATIENCE: Duration = Duration::from_mins(2);

/// The node of the containers, and the state directory of the server.
struct Node {
    directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { directory: short_directory() };
        let sim = |arguments: &[&str]| {
            let mut command = Command::new(binary("lxc-autoscale-sim"));
            let done = output(command.arg("--node").arg(node.at("node")).args(arguments));
            assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        };
        let bin = node.at("bin").display().to_string();
        sim(&["create-node", "--memory", "65536", "--bin", &bin]);
        for id in CONTAINERS {
            let start = if id % 2 == 0 { "1" } else { "0" };
            let id = id.to_string();
            // On a storage that supports snapshots.
            let sizes = ["--cores", "2", "--memory", "512", "--rootfs", "local-lvm:1", "--start", start];
            sim(&[&["pct", "create", &id, "local:none"][..], &sizes].concat());
        }
        let flaky = format!(
            "#!/bin/sh\nn=$(od -An -N1 -tu1 /dev/urandom)\n\
             if [ \"$n\" -lt 20 ]; then echo 'it failed before' >&2; exit 255; fi\n\
             '{bin}/pct' \"$@\"; code=$?\n\
             if [ \"$n\" -gt 240 ]; then echo 'it failed afterwards' >&2; exit 255; fi\nexit $code\n"
        );
        fs::write(node.at("flaky-pct"), flaky).unwrap();
        fs::set_permissions(node.at("flaky-pct"), fs::Permissions::from_mode(0o755)).unwrap();
        let at = |path: &str| node.at(path).display().to_string();
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nsocket = \"\"\naddress_file = \"{}\"\nmax_changes = 400\nmax_connections = 400\n\
             [limits]\nmax_changes_per_hour = 0\nallow_blind_memory_shrink = true\n\
             [pct]\npath = \"{}\"\n[paths]\npve = \"{}\"\nproc = \"{}\"\n[metrics]\nfile = \"{}\"\n\
             [audit]\nfile = \"{}\"\n[state]\ndirectory = \"{}\"\n[logging]\nfile = \"\"\n",
            at("address"),
            at("flaky-pct"),
            at("node/etc/pve"),
            at("node/proc"),
            at("metrics.json"),
            at("audit.jsonl"),
            at("state"),
        );
        fs::write(node.at("api.toml"), config).unwrap();
        node
    }

    /// Makes the server load another configuration, which allows more or fewer cores.
    fn reload(&self, server: &Process, max_cores: u32) {
        let (path, draft) = (self.at("api.toml"), self.at("api.toml.draft"));
        let text = fs::read_to_string(&path).unwrap();
        let others = text.lines().filter(|line| !line.starts_with("max_cores"));
        let limits = format!("[limits]\nmax_cores = {max_cores}");
        let text: Vec<&str> = others.map(|line| if line == "[limits]" { &limits } else { line }).collect();
        fs::write(&draft, text.join("\n")).unwrap();
        fs::rename(draft, path).unwrap();
        server.signal(Signal::HUP);
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary("lxc-autoscale-api"));
        command.arg("--config").arg(self.at("api.toml"));
        command
    }

    fn serve(&self) -> Process {
        let _ = fs::remove_file(self.at("address"));
        let process = Process::start(self.command().arg("run"), &self.at("api.log"));
        eventually("the server tells its address", PATIENCE, || fs::metadata(self.at("address")).ok());
        process
    }

    fn conf(&self, id: u32) -> PathBuf {
        self.at(&format!("node/etc/pve/lxc/{id}.conf"))
    }

    /// Another program locks a container for a moment, as a backup does.
    fn lock(&self, id: u32, held: Duration) {
        let change = |edit: &dyn Fn(&str) -> String| {
            let lock = self.at(&format!("node/run/lock/lxc/pve-config-{id}.lock"));
            let Ok(lock) = File::options().append(true).create(true).open(lock) else { return };
            lock.lock().unwrap();
            let Ok(text) = fs::read_to_string(self.conf(id)) else { return };
            let draft = self.conf(id).with_extension("draft");
            fs::write(&draft, edit(&text)).unwrap();
            fs::rename(draft, self.conf(id)).unwrap();
        };
        let is_free = fs::read_to_string(self.conf(id)).is_ok_and(|text| !text.contains("lock: "));
        if is_free {
            change(&|text| {
                if text.contains("lock: ") { text.to_owned() } else { format!("lock: backup\n{text}") }
            });
            thread::sleep(held);
            change(&|text| text.replace("lock: backup\n", ""));
        }
    }
}

/// Sends a request; `None` if the server does not answer.
fn ask(address: &Path, method: &str, path: &str, at_once: bool, body: &Value) -> Option<Value> {
    let address = fs::read_to_string(address).ok()?;
    let prefer = [("prefer", "respond-async")];
    let headers = if at_once { &prefer[..] } else { &[] };
    Some(request(address.trim(), method, path, headers, body).ok()?.body)
}

/// One client: a reproducible sequence of calls.
fn client(address: &Path, seed: u64, is_over: &AtomicBool, answered: &AtomicU64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move |bound: u64| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % bound
    };
    while !is_over.load(Ordering::Relaxed) {
        let id = CONTAINERS.start + u32::try_from(random(20)).unwrap();
        let copy = COPIES + u32::try_from(random(10)).unwrap();
        let name = format!("s{}", random(3));
        let (method, path, body) = match random(100) {
            0..30 => ("POST", "/scale/cores", json!({"vm_id": id, "cores": 1 + random(8)})),
            30..52 => ("POST", "/scale/ram", json!({"vm_id": id, "memory": 256 + random(8) * 64})),
            52..57 => ("POST", "/scale/cpulimit", json!({"vm_id": id, "cpulimit": random(5) as f64 / 2.0})),
            57..62 => ("POST", "/snapshot/create", json!({"vm_id": id, "snapshot_name": name})),
            62..65 => ("POST", "/snapshot/rollback", json!({"vm_id": id, "snapshot_name": name})),
            65..67 => ("POST", "/snapshot/prune", json!({"vm_id": id, "keep": 1})),
            67..73 => {
                ("POST", "/clone/create", json!({"vm_id": id, "new_vm_id": copy, "new_vm_name": "copy"}))
            }
            73..77 => ("DELETE", "/clone/delete", json!({"vm_id": copy})),
            77..79 => ("POST", "/scale/storage/increase", json!({"vm_id": id, "disk_size": 1})),
            79..83 => ("POST", "/power/start", json!({"vm_id": id})),
            83..85 => ("POST", "/power/shutdown", json!({"vm_id": id, "timeout": 5})),
            85..88 => ("POST", "/power/reboot", json!({"vm_id": id, "timeout": 5})),
            88..90 => ("POST", "/power/stop", json!({"vm_id": id})),
            90..94 => {
                let more = json!({"vm_id": id, "cores": 9 + random(4), "memory": 1024, "minutes": 1});
                ("POST", "/boost", more)
            }
            94..97 => ("DELETE", "/boost", json!({"vm_id": id})),
            _ => ("POST", "/undo", json!({"vm_id": id, "to": "original"})),
        };
        if ask(address, method, path, random(8) == 0, &body).is_some() {
            answered.fetch_add(1, Ordering::Relaxed);
        } else {
            // The server is down, and will be up again in a moment.
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn nothing_contradicts_anything_after_many_kills() {
    let seconds = std::env::var("CONSISTENCY_SECONDS").map_or(4, |text| text.parse().unwrap());
    let node = Node::new();
    let mut server = node.serve();
    let is_over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let kills = thread::scope(|scope| {
        for seed in 1..=u64::from(CLIENTS) {
            let (address, is_over, answered) =
                (node.at("address"), Arc::clone(&is_over), Arc::clone(&answered));
            scope.spawn(move || client(&address, seed, &is_over, &answered));
        }
        let (locks, is_locking) = (&node, Arc::clone(&is_over));
        scope.spawn(move || {
            for id in CONTAINERS.cycle() {
                if is_locking.load(Ordering::Relaxed) {
                    return;
                }
                locks.lock(id, Duration::from_millis(100));
            }
        });
        let begun = Instant::now();
        let mut kills = 0;
        while begun.elapsed() < Duration::from_secs(seconds) {
            for max_cores in [6, 64, 8, 64] {
                thread::sleep(Duration::from_millis(375));
                node.reload(&server, max_cores);
            }
            server.signal(Signal::KILL);
            server.wait(PATIENCE);
            kills += 1;
            server = node.serve();
        }
        is_over.store(true, Ordering::Relaxed);
        kills
    });
    assert!(0 < kills && 100 < answered.load(Ordering::Relaxed), "{kills} kills, {answered:?} answers");

    // An interrupted change of a container is settled before the next change gets its turn.
    let address = node.at("address");
    for id in CONTAINERS {
        eventually("a container can be changed", PATIENCE, || {
            let answer = ask(&address, "POST", "/scale/cores", false, &json!({"vm_id": id, "cores": 3}))?;
            (answer["status"] == "success").then_some(())
        });
    }
    every_kind_of_change_is_made(&address);
    for id in CONTAINERS {
        eventually("all boosts have ended, and nothing is left of them", PATIENCE, || {
            let left = ask(&address, "DELETE", "/boost", false, &json!({"vm_id": id}))?;
            (left["status"] == "success" && left["data"] == json!([])).then_some(())
        });
    }
    let jobs = eventually("all jobs have ended", PATIENCE, || {
        let jobs = ask(&address, "GET", "/jobs", false, &Value::Null)?["data"].clone();
        jobs.as_array()?.iter().all(|job| !job["ended"].is_null()).then_some(jobs)
    });
    let ledgers: BTreeMap<u32, Value> = CONTAINERS
        .map(|id| (id, ask(&address, "GET", &format!("/ledger?vm_id={id}"), false, &Value::Null).unwrap()))
        .collect();
    assert!(server.stop().success());
    let said = server.output();
    assert!(!said.contains("panicked"), "{said}");

    let verified = output(node.command().args(["audit", "verify"]));
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let trail = trail(&node);
    for (id, ledger) in &ledgers {
        ledger_agrees(&node, *id, &ledger["data"]["entries"]);
    }
    for job in jobs.as_array().unwrap() {
        let last = &trail[&job["id"].as_u64().unwrap()];
        assert_eq!(job["state"] == "done", last["event"] == "done", "{job} {last}");
    }
    nothing_is_half_made(&node, &trail);
}

/// Makes those kinds of changes that may have had no chance while many were waiting and the server was killed. Each
/// sequence is retried until `pct` fails in none of its calls.
fn every_kind_of_change_is_made(address: &Path) {
    let id = CONTAINERS.start;
    let sequences: [&dyn Fn(u32) -> Vec<(&'static str, Value)>; 5] = [
        &|_| vec![("/scale/cpulimit", json!({"vm_id": id, "cpulimit": 1.5}))],
        &|_| vec![("/scale/storage/increase", json!({"vm_id": id, "disk_size": 1}))],
        &|attempt| {
            let snapshot = json!({"vm_id": id, "snapshot_name": format!("last{attempt}")});
            vec![
                ("/snapshot/create", snapshot.clone()),
                ("/snapshot/rollback", snapshot),
                ("/snapshot/prune", json!({"vm_id": id, "keep": 1})),
            ]
        },
        &|attempt| {
            let copy = COPIES + 100 + attempt;
            vec![("/clone/create", json!({"vm_id": id, "new_vm_id": copy, "new_vm_name": "copy"}))]
        },
        &|_| {
            let container = json!({"vm_id": id});
            let stops = ["/power/reboot", "/power/shutdown", "/power/start", "/power/stop", "/power/start"];
            let paths = ["/power/start"].into_iter().chain(stops);
            paths.map(|path| (path, container.clone())).collect()
        },
    ];
    for sequence in sequences {
        let mut attempt = 0;
        eventually("a sequence of changes succeeds", PATIENCE, || {
            attempt += 1;
            let mut calls = sequence(attempt).into_iter();
            let done = calls.all(|(path, body)| {
                ask(address, "POST", path, false, &body).is_some_and(|answer| answer["status"] == "success")
            });
            done.then_some(())
        });
    }
    let mut more = 0;
    eventually("a container is boosted", PATIENCE, || {
        // A raise that was made but reported as failed is not a boost, and must not leave the container raised.
        more += 1;
        let raised = json!({"vm_id": id, "cores": 16 + more, "memory": 2048 + 64 * more, "minutes": 1});
        (ask(address, "POST", "/boost", false, &raised)?["status"] == "success").then_some(())
    });
}

/// The last record of each change in the audit log.
fn trail(node: &Node) -> BTreeMap<u64, Value> {
    let text = fs::read_to_string(node.at("audit.jsonl")).unwrap();
    // A kill may have left an incomplete line.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let trail: BTreeMap<u64, Value> =
        lines.filter_map(|line| Some((line["change"].as_u64()?, line))).collect();
    let open: Vec<&Value> = trail.values().filter(|line| line["event"] == "begun").collect();
    assert!(open.is_empty(), "begun and never ended: {open:?}");
    trail
}

/// The entries follow each other without a gap, up to the current value on the node.
fn ledger_agrees(node: &Node, id: u32, entries: &Value) {
    let (config, _) = ContainerConfig::parse(&fs::read_to_string(node.conf(id)).unwrap());
    let entries: Vec<&Value> = entries.as_array().unwrap().iter().rev().collect();
    assert!(entries.iter().all(|entry| entry["caller"] != "outside"), "{id}: {entries:#?}");
    let sizes = [
        ("cores", config.cores.map(f64::from)),
        ("cpulimit", config.cpulimit),
        ("memory", Some(config.memory_mb.get() as f64)),
        ("rootfs", config.rootfs_mb.map(|size| size.get() as f64)),
    ];
    for (resource, has) in sizes {
        let of: Vec<&&Value> = entries.iter().filter(|entry| entry["resource"] == resource).collect();
        for pair in of.windows(2) {
            assert_eq!(pair[0]["after"], pair[1]["before"], "container {id}: a gap between {pair:#?}");
        }
        if let Some(last) = of.last() {
            assert_eq!(last["after"].as_f64(), has, "container {id}, {resource}: {last}");
        }
    }
}

/// Every copy is complete and marked, and no temporary snapshot is left, except those that could not be removed and
/// were named.
fn nothing_is_half_made(node: &Node, trail: &BTreeMap<u64, Value>) {
    let named = |what: &str| {
        let mut lines = trail.values().map(Value::to_string).filter(|line| line.contains(what));
        lines.any(|line| line.contains("left_behind") || line.contains("must be removed by hand"))
    };
    // All that the audit log says about it, for when it fails.
    let told = |what: &str| {
        let text = fs::read_to_string(node.at("audit.jsonl")).unwrap();
        text.lines().filter(|line| line.contains(what)).collect::<Vec<_>>().join("\n")
    };
    for entry in fs::read_dir(node.at("node/etc/pve/lxc")).unwrap() {
        let path = entry.unwrap().path();
        let Some(id) = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok()) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        let (config, _) = ContainerConfig::parse(&text);
        if COPIES <= id {
            let is_whole =
                config.lock.is_none() && config.tags.contains(&format!("lxc-autoscale-clone-{id}"));
            let name = format!("container {id}");
            assert!(is_whole || named(&name), "{id}: {text}\n{}", told(&name));
        }
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'))
                && name.starts_with("lxc-autoscale-clone-")
            {
                assert!(named(name), "container {id} has {name}\n{}", told(name));
            }
        }
    }
}
