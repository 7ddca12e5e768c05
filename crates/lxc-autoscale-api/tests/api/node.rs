//! A node for the tests: configurations, a procfs and a substitute for `pct` in a temporary directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use jiff::Timestamp;
use lxc_autoscale_api::auth::Peer;
use lxc_autoscale_api::backend::pct::PctHost;
use lxc_autoscale_api::config::Config;
use lxc_autoscale_api::routes;
use lxc_autoscale_api::state::Shared;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::config::Validate;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// A node called `proxmox` with a running container 104 and a stopped container 102.
pub(crate) struct Node {
    directory: TempDir,
    pub(crate) config: Config,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: Value,
}

pub(crate) const RUNNING_104: &str = "\
arch: amd64
cores: 2
hostname: web
memory: 2048
ostype: debian
rootfs: local-lvm:vm-104-disk-0,size=8G
swap: 512
tags: blue
";

/// 64 GiB, half of it available.
const MEMINFO: &str = "\
MemTotal:       67108864 kB
MemAvailable:   33554432 kB
SwapTotal:             0 kB
SwapFree:              0 kB
";

pub(crate) const STOPPED_102: &str = "\
arch: amd64
hostname: db
memory: 1024
rootfs: local-lvm:vm-102-disk-0,size=4G
";

impl Node {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in ["etc/pve/lxc", "etc/pve/nodes/other/qemu-server", "proc/net", "proc/sys/kernel", "hook"]
        {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/fake-pct.sh"), root.join("pct")).unwrap();
        fs::write(root.join("proc/sys/kernel/hostname"), "proxmox\n").unwrap();
        fs::write(root.join("proc/net/unix"), "Num       RefCount Protocol Flags    Type St Inode Path\n")
            .unwrap();
        fs::write(root.join("proc/uptime"), "3600.25 7000.00\n").unwrap();
        fs::write(root.join("proc/meminfo"), MEMINFO).unwrap();
        fs::write(root.join("etc/pve/nodes/other/qemu-server/200.conf"), "cores: 1\n").unwrap();

        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.pct.path = root.join("pct");
        config.paths.pve = root.join("etc/pve");
        config.paths.proc = root.join("proc");
        config.metrics.file = root.join("log/lxc_metrics.json");
        config.server.keys_file = root.join("keys.json");
        config.state.directory = root.join("state");
        config.audit.file = root.join("audit.jsonl");
        config.configuration.ml_file = root.join("lxc_autoscale_ml.toml");
        config.configuration.monitor_file = root.join("lxc_monitor.toml");
        config.logging.file = PathBuf::new();
        fs::write(&config.configuration.ml_file, "").unwrap();
        config.validate().unwrap();
        let node = Self { directory, config };
        node.write_conf(104, RUNNING_104);
        node.write_conf(102, STOPPED_102);
        node.run(104);
        node
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    fn conf_path(&self, id: u32) -> PathBuf {
        self.root().join(format!("etc/pve/lxc/{id}.conf"))
    }

    pub(crate) fn write_conf(&self, id: u32, text: &str) {
        fs::write(self.conf_path(id), text).unwrap();
    }

    /// The configuration of a container, or `None` if it does not exist.
    pub(crate) fn conf(&self, id: u32) -> Option<String> {
        fs::read_to_string(self.conf_path(id)).ok()
    }

    /// Makes a container appear to be running.
    pub(crate) fn run(&self, id: u32) {
        let path = self.root().join("proc/net/unix");
        let mut text = fs::read_to_string(&path).unwrap();
        text += "0000000000000000: 00000002 00000000 00010000 0001 01 20101 ";
        text += &command_socket(id);
        text.push('\n');
        fs::write(path, text).unwrap();
    }

    pub(crate) fn is_running(&self, id: u32) -> bool {
        let text = fs::read_to_string(self.root().join("proc/net/unix")).unwrap();
        text.contains(&command_socket(id))
    }

    /// Makes the substitute for `pct` run a script before a command.
    pub(crate) fn hook(&self, command: &str, script: &str) {
        fs::write(self.root().join("hook").join(command), script).unwrap();
    }

    /// The calls of `pct` so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root().join("argv.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Writes a metrics file whose newest record of `id` is `age_seconds` old.
    pub(crate) fn measured(&self, id: u32, memory_usage_mb: f64, age_seconds: i64) {
        let record = json!({"memory_usage_mb": memory_usage_mb, "cpu_cores_used": 0.5});
        self.measured_as(&[(id, record)], &Value::Null, age_seconds);
    }

    /// Writes a metrics file that is `age_seconds` old and tells what each container has taken of its memory, and what
    /// the node has available, in MiB.
    pub(crate) fn measured_taken(&self, taken: &[(u32, f64)], available_mib: f64, age_seconds: i64) {
        let records = taken.iter().map(|(id, taken)| {
            // Part of what is taken is shared memory; the page cache is not taken, in use or not.
            let memory = json!({
                "current_mb": taken + 900.0, "anon_mb": taken - 10.0, "file_mb": 910.0, "shmem_mb": 10.0,
                "inactive_file_mb": 300.0, "active_file_mb": 600.0, "dirty_mb": 0.0
            });
            (*id, json!({"memory_usage_mb": taken + 600.0, "memory": memory}))
        });
        let node = json!({"name": "proxmox", "memory_available_mb": available_mib});
        self.measured_as(&records.collect::<Vec<_>>(), &node, age_seconds);
    }

    fn measured_as(&self, records: &[(u32, Value)], node: &Value, age_seconds: i64) {
        let then = Timestamp::now() - jiff::SignedDuration::from_secs(age_seconds);
        let time = RecordTime::utc(then).to_string();
        let mut snapshot = json!({
            "summary": {"collection_start_time": time, "collection_end_time": time,
                        "total_containers": records.len(), "total_duration_seconds": 0.01, "schema_version": 1}
        });
        if !node.is_null() {
            snapshot["summary"]["node"] = node.clone();
        }
        for (id, record) in records {
            let mut record = record.clone();
            record["timestamp"] = time.as_str().into();
            snapshot[id.to_string()] = record;
        }
        let path = &self.config.metrics.file;
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("[\n{snapshot}\n]\n")).unwrap();
    }

    /// Sets what the kernel says is available of the node's 64 GiB, in MiB.
    pub(crate) fn available(&self, mib: u64) {
        let meminfo = MEMINFO.replace("33554432", &(mib * 1024).to_string());
        fs::write(self.root().join("proc/meminfo"), meminfo).unwrap();
    }

    /// The API of this node, called in this process.
    pub(crate) fn api(&self) -> Router {
        let host = Arc::new(PctHost::new(self.config.pct.clone(), self.config.paths.clone()));
        routes::router(Arc::new(Shared::new(self.config.clone(), host, Some("proxmox".to_owned()))))
    }

    /// Sends one request as root.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        send(&self.api(), request(method, path, body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.send("POST", path, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None).await
    }
}

impl Reply {
    /// Asserts that this is an error with this status and code, in the common form.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), &self.body["code"]), (status, &json!(code)), "{self:?}");
        assert_eq!(self.body["status"], "error", "{self:?}");
        assert_eq!(self.body["data"], Value::Null, "{self:?}");
        assert!(self.body["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
    }

    /// Asserts success and returns the data.
    #[track_caller]
    pub(crate) fn data(&self) -> &Value {
        assert_eq!((self.status.as_u16(), &self.body["status"]), (200, &json!("success")), "{self:?}");
        assert!(self.body.get("code").is_none(), "{self:?}");
        &self.body["data"]
    }

    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap()
    }
}

/// The socket that shows that a container is running.
fn command_socket(id: u32) -> String {
    format!("@/var/lib/lxc/{id}/command")
}

/// A request by root, addressed as in the product's first description.
pub(crate) fn request(method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("host", "proxmox:5000");
    let request = request.extension(Peer { uid: Some(0) });
    match body {
        Some(body) => {
            request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
        }
        None => request.body(Body::empty()).unwrap(),
    }
}

/// Waits until this API has stored what it has answered, as whoever reads from it does: another API, or a test that looks
/// into the file, would not wait for that.
async fn stored(api: &Router) {
    api.clone().oneshot(request("GET", "/jobs", None)).await.unwrap();
}

pub(crate) async fn send(api: &Router, request: Request<Body>) -> Reply {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = api.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
    crate::openapi::assert_documented(&method, &path, parts.status, body["code"].as_str());
    if method != Method::GET {
        stored(api).await;
    }
    Reply { status: parts.status, headers: parts.headers, body }
}
