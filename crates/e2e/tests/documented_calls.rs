//! Every `curl` line of the product's first description, verbatim, against the real server on a simulated
//! node; what counts is what changed in the node.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_e2e::{Process, binary, eventually, output, short_directory, words};
use serde_json::Value;

struct Node {
    directory: tempfile::TempDir,
    address: String,
    _api: Process,
    _kernel: Process,
}

impl Node {
    fn start() -> Self {
        let directory = short_directory();
        let at = |path: &str| directory.path().join(path);
        let mut simulate = Command::new(binary("lxc-autoscale-sim"));
        let kernel =
            Process::start(simulate.arg("run").arg("--dir").arg(directory.path()), &at("kernel.log"));
        eventually("the simulated node runs container 104", Duration::from_mins(1), || {
            let sockets = fs::read_to_string(at("node/proc/net/unix")).ok()?;
            (sockets.contains("/104/command") && at("bin/pct").exists()).then_some(())
        });
        let node = at("node").display().to_string();
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\naddress_file = \"{address}\"\n\
             [pct]\npath = \"{pct}\"\n\
             [paths]\npve = \"{node}/etc/pve\"\nproc = \"{node}/proc\"\nlxc = \"/var/lib/lxc\"\n\
             [metrics]\nfile = \"{metrics}\"\n[logging]\nfile = \"\"\n",
            address = at("address").display(),
            pct = at("bin/pct").display(),
            metrics = at("lxc_metrics.json").display(),
        );
        fs::write(at("api.toml"), config).unwrap();
        let mut serve = Command::new(binary("lxc-autoscale-api"));
        let api = Process::start(serve.arg("run").arg("--config").arg(at("api.toml")), &at("api.log"));
        let address = eventually("the server tells its address", Duration::from_mins(1), || {
            fs::read_to_string(at("address")).ok().filter(|text| !text.trim().is_empty())
        });
        Self { address: address.trim().to_owned(), directory, _api: api, _kernel: kernel }
    }

    /// Runs a documented line as it stands; only the way to the node is told beside it.
    #[track_caller]
    fn run(&self, line: &str) -> Value {
        let mut words = words(line).into_iter();
        let mut command = Command::new(words.next().unwrap());
        command.args(["--silent", "--show-error", "--connect-to", &format!("proxmox:5000:{}", self.address)]);
        let done = output(command.args(words));
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(answer["status"], "success", "{line}: {answer}");
        answer
    }

    fn config_path(&self, id: u32) -> PathBuf {
        self.directory.path().join(format!("node/etc/pve/lxc/{id}.conf"))
    }

    fn config(&self, id: u32) -> ContainerConfig {
        ContainerConfig::parse(&fs::read_to_string(self.config_path(id)).unwrap()).0
    }

    fn cgroup(&self, id: u32, file: &str) -> String {
        let path = self.directory.path().join(format!("node/sys/fs/cgroup/lxc/{id}/{file}"));
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    fn runs(&self, id: u32) -> bool {
        let sockets = fs::read_to_string(self.directory.path().join("node/proc/net/unix")).unwrap();
        sockets.contains(&format!("/{id}/command"))
    }
}

#[test]
fn every_documented_call_does_what_it_says() {
    let node = Node::start();
    let json = r#"-H "Content-Type: application/json""#;

    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/scale/cores {json} -d '{{"vm_id": 104, "cores": 4}}'"#
    ));
    assert_eq!(node.config(104).cores, Some(4));

    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/scale/ram {json} -d '{{"vm_id": 104, "memory": 4096}}'"#
    ));
    assert_eq!(node.config(104).memory_mb.get(), 4096);
    assert_eq!(
        node.cgroup(104, "memory.max"),
        (4096_u64 << 20).to_string(),
        "a running container has it at once"
    );

    let before = node.config(104).rootfs_mb.unwrap().get();
    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/scale/storage/increase {json} -d '{{"vm_id": 104, "disk_size": 2}}'"#
    ));
    assert_eq!(node.config(104).rootfs_mb.unwrap().get(), before + 2048);

    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/snapshot/create {json} -d '{{"vm_id": 104, "snapshot_name": "my_snapshot"}}'"#
    ));
    assert!(fs::read_to_string(node.config_path(104)).unwrap().contains("[my_snapshot]"));

    let list = node.run(r#"curl -X GET "http://proxmox:5000/snapshot/list?vm_id=104""#);
    assert_eq!(list["data"]["snapshots"][0]["name"], "my_snapshot", "{list}");

    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/scale/ram {json} -d '{{"vm_id": 104, "memory": 5120}}'"#
    ));
    node.run(&format!(
        r#"curl -X POST http://proxmox:5000/snapshot/rollback {json} -d '{{"vm_id": 104, "snapshot_name": "my_snapshot"}}'"#
    ));
    assert_eq!(node.config(104).memory_mb.get(), 4096, "the snapshot's size is back");
    assert!(node.runs(104), "a container that ran runs again after the rollback");

    let clone = node.run(&format!(
        r#"curl -X POST http://proxmox:5000/clone/create {json} -d '{{"vm_id": 104, "new_vm_id": 105, "new_vm_name": "cloned_container"}}'"#
    ));
    assert_eq!(node.config(105).name.as_deref(), Some("cloned-container"), "{clone}");
    assert!(node.runs(104));
    let source = fs::read_to_string(node.config_path(104)).unwrap();
    assert_eq!(source.matches("\nsnaptime:").count(), 1, "no temporary snapshot is left behind: {source}");
    assert!(!source.contains("lock:"), "{source}");

    node.run(&format!(r#"curl -X DELETE http://proxmox:5000/clone/delete {json} -d '{{"vm_id": 105}}'"#));
    assert!(!node.config_path(105).exists());

    let status = node.run(r#"curl -X GET "http://proxmox:5000/resource/vm/status?vm_id=104""#);
    assert_eq!(status["data"]["state"], "running", "{status}");
    assert_eq!(status["data"]["allocation"]["memory_mb"], 4096, "{status}");

    let status = node.run(r#"curl -X GET "http://proxmox:5000/resource/node/status?node_name=proxmox""#);
    assert_eq!(status["data"]["node_name"], "proxmox", "{status}");

    let routes = node.run("curl -X GET http://proxmox:5000/routes");
    assert_eq!(routes["data"].as_array().map(Vec::len), Some(12), "{routes}");
}

#[test]
fn health_says_what_is_missing_and_a_fresh_monitor_makes_it_whole() {
    let node = Node::start();
    let health = node.run("curl -X GET http://proxmox:5000/health/check");
    assert_eq!(health["data"]["state"], "degraded", "no monitor has written yet: {health}");
}
