//! The real server on a simulated node, through either back end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::procfs;
use lxc_autoscale_e2e::{Process, binary, eventually, output, short_directory, words};
use rustix::process::Signal;
use serde_json::Value;

/// A token as `pveum` names it.
pub(crate) const TOKEN: &str = "autoscale@pve!scaler";
/// All privileges that the server's features need.
pub(crate) const ROLE: &str = "VM.Audit VM.Config.CPU VM.Config.Memory VM.Config.Disk VM.Config.Options VM.Snapshot VM.PowerMgmt \
                    VM.Clone VM.Allocate";
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How the server changes containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackEnd {
    Pct,
    Rest,
}

/// A running simulated node, with Proxmox's REST API if asked for.
pub(crate) struct Proxmox {
    pub(crate) url: String,
    _kernel: Process,
    _rest: Option<Process>,
    // After the processes, which would write to it while it is removed.
    directory: tempfile::TempDir,
}

/// A node with our server on it.
pub(crate) struct Node {
    address: String,
    api: Process,
    pub(crate) proxmox: Proxmox,
}

impl Proxmox {
    pub(crate) fn start(back_end: BackEnd) -> Self {
        Self::start_cluster(back_end, &[])
    }

    pub(crate) fn start_with_cgroup(back_end: BackEnd, cgroup: &str) -> Self {
        Self::start_node(back_end, &[], cgroup)
    }

    /// Also starts other nodes of its cluster, which have no containers; each has a directory next to that of this
    /// node.
    pub(crate) fn start_cluster(back_end: BackEnd, others: &[&str]) -> Self {
        Self::start_node(back_end, others, "v2")
    }

    fn start_node(back_end: BackEnd, others: &[&str], cgroup: &str) -> Self {
        let directory = short_directory();
        let at = |path: &str| directory.path().join(path);
        let mut simulate = Command::new(binary("lxc-autoscale-sim"));
        simulate.args(["run", "--cgroup", cgroup, "--dir"]).arg(directory.path());
        let kernel = Process::start(&mut simulate, &at("kernel.log"));
        // The containers start one after another; the kernel counts what they take once all of them run.
        eventually("the simulated node's containers run and take memory", PATIENCE, || {
            let memory = procfs::meminfo(&fs::read_to_string(at("node/proc/meminfo")).ok()?).ok()?;
            (memory.available < memory.total && at("bin/pct").exists()).then_some(())
        });
        let rest = (back_end == BackEnd::Rest).then(|| {
            let mut serve = Command::new(binary("lxc-autoscale-sim"));
            serve.arg("--node").arg(at("node")).args(["serve-rest", "--listen", "127.0.0.1:0", "--log"]);
            serve.arg(at("calls.jsonl"));
            for other in others {
                let mut create = Command::new(binary("lxc-autoscale-sim"));
                let made = output(create.arg("--node").arg(at(other)).args(["create-node", "--name", other]));
                assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
                serve.arg("--other").arg(at(other));
            }
            Process::start(&mut serve, &at("rest.log"))
        });
        let url = rest.as_ref().map_or_else(String::new, |rest| {
            eventually("Proxmox's API tells its address", PATIENCE, || {
                rest.output().lines().find(|line| line.starts_with("https://")).map(str::to_owned)
            })
        });
        Self { directory, url, _kernel: kernel, _rest: rest }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Changes a setting of the simulated node.
    pub(crate) fn set(&self, key: &str, value: impl Into<Value>) {
        let path = self.at("node/etc/sim/node.json");
        let mut settings: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        settings[key] = value.into();
        // In a single step, because the node may read it at any time.
        let draft = path.with_extension("new");
        fs::write(&draft, settings.to_string()).unwrap();
        fs::rename(draft, path).unwrap();
    }

    /// Runs a shell line with the node's commands on the path.
    pub(crate) fn shell(&self, line: &str) -> Output {
        let path = format!("{}:{}", self.at("bin").display(), std::env::var("PATH").unwrap_or_default());
        output(Command::new("sh").args(["-c", line]).env("PATH", path))
    }

    #[track_caller]
    pub(crate) fn succeed(&self, line: &str) -> String {
        let done = self.shell(line);
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Creates a token without privileges, and the file with it.
    pub(crate) fn make_token(&self) {
        self.succeed("pveum user add autoscale@pve");
        let made = self.succeed("pveum user token add autoscale@pve scaler --privsep 1");
        let made: Value = serde_json::from_str(&made).unwrap();
        let file = self.at("token");
        fs::write(&file, format!("{TOKEN}={}\n", made["value"].as_str().unwrap())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Grants it all privileges that are of use.
    pub(crate) fn grant_all(&self) {
        self.succeed(&format!("pveum role add Scale --privs '{ROLE}'"));
        self.succeed("pveum role add Space --privs Datastore.AllocateSpace");
        self.succeed("pveum role add Cluster --privs Sys.Audit");
        self.succeed("pveum role add Bridges --privs SDN.Use");
        let bridges = ("/sdn/zones/localnetwork", "Bridges");
        for (path, role) in [("/vms", "Scale"), ("/storage", "Space"), bridges, ("/", "Cluster")] {
            self.succeed(&format!("pveum acl modify {path} --users autoscale@pve --roles {role}"));
            self.succeed(&format!("pveum acl modify {path} --tokens '{TOKEN}' --roles {role}"));
        }
    }

    /// A copy of a shipped configuration, which the server may change.
    fn shipped(&self, name: &str) -> PathBuf {
        let (shipped, copy) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config"), self.at(name));
        fs::copy(shipped.join(name), &copy).unwrap();
        copy
    }

    /// Writes a configuration of our server and returns its path.
    pub(crate) fn configure(&self, back_end: BackEnd, more: &str) -> PathBuf {
        let node = self.at("node").display().to_string();
        let rest = match back_end {
            BackEnd::Pct => format!("{more}\n"),
            BackEnd::Rest => format!(
                "[rest]\nurl = \"{}\"\nnode = \"proxmox\"\ntoken_file = \"{}\"\nca_file = \"{node}/etc/pve/pve-root-ca.pem\"\n{more}\n",
                self.url,
                self.at("token").display(),
            ),
        };
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nsocket = \"\"\naddress_file = \"{address}\"\n\
             [pct]\npath = \"{pct}\"\n{rest}\
             [paths]\npve = \"{node}/etc/pve\"\nproc = \"{node}/proc\"\nlxc = \"/var/lib/lxc\"\n\
             [metrics]\nfile = \"{metrics}\"\n[configuration]\nml_file = \"{ml_file}\"\nml_program = \"{ml}\"\n\
             monitor_file = \"{monitor_file}\"\nmonitor_program = \"{monitor}\"\n[audit]\nfile = \"{audit}\"\n[state]\ndirectory = \"{state}\"\n[logging]\nfile = \"\"\n",
            address = self.at("address").display(),
            pct = self.at("bin/pct").display(),
            metrics = self.at("lxc_metrics.json").display(),
            audit = self.at("audit.jsonl").display(),
            state = self.at("api-state").display(),
            ml_file = self.shipped("lxc_autoscale_ml.toml").display(),
            ml = binary("lxc-autoscale-ml").display(),
            monitor_file = self.shipped("lxc_monitor.toml").display(),
            monitor = binary("lxc-monitor").display(),
        );
        let path = self.at("api.toml");
        fs::write(&path, config).unwrap();
        path
    }
}

/// Runs `lxc-autoscale-api check` with a configuration; returns whether it succeeded, and its output.
pub(crate) fn check(config: &Path) -> (bool, String) {
    let done = output(Command::new(binary("lxc-autoscale-api")).arg("check").arg("--config").arg(config));
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8(text).unwrap())
}

impl Node {
    pub(crate) fn start(back_end: BackEnd) -> Self {
        Self::start_with(back_end, "")
    }

    /// Starts it with additional tables in the configuration of our server.
    pub(crate) fn start_with(back_end: BackEnd, more: &str) -> Self {
        let proxmox = Proxmox::start(back_end);
        if back_end == BackEnd::Rest {
            proxmox.make_token();
            proxmox.grant_all();
        }
        let config = proxmox.configure(back_end, more);
        Self::serve(proxmox, &config)
    }

    /// Starts it with additional keys in the table `server`.
    pub(crate) fn start_with_server(back_end: BackEnd, keys: &str) -> Self {
        let proxmox = Proxmox::start(back_end);
        let config = proxmox.configure(back_end, "");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("[server]\n", &format!("[server]\n{keys}"))).unwrap();
        Self::serve(proxmox, &config)
    }

    /// Starts our server.
    pub(crate) fn serve(proxmox: Proxmox, config: &Path) -> Self {
        let mut serve = Command::new(binary("lxc-autoscale-api"));
        let api = Process::start(serve.arg("run").arg("--config").arg(config), &proxmox.at("api.log"));
        let address = eventually("the server tells its address", PATIENCE, || {
            fs::read_to_string(proxmox.at("address")).ok().filter(|text| !text.trim().is_empty())
        });
        Self { address: address.trim().to_owned(), proxmox, api }
    }

    /// Kills our server; what it has begun on the node goes on.
    pub(crate) fn kill(self) -> Proxmox {
        let Self { mut api, proxmox, .. } = self;
        api.signal(Signal::KILL);
        api.wait(PATIENCE);
        // The next one tells another address.
        fs::remove_file(proxmox.at("address")).unwrap();
        proxmox
    }

    /// Posts a body and returns the response, whatever it is.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &str) -> Value {
        let json = r#"-H "Content-Type: application/json""#;
        self.ask(&format!("curl -X POST http://proxmox:5000{path} {json} -d '{body}'"))
    }

    /// The data of a GET request.
    #[track_caller]
    pub(crate) fn look(&self, path: &str) -> Value {
        self.run(&format!(r#"curl "http://proxmox:5000{path}""#))["data"].clone()
    }

    /// The log of the calls of Proxmox's API.
    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.proxmox.at("calls.jsonl")).unwrap()
    }

    /// Runs a documented line unchanged, except for the address of the node.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Value {
        let answer = self.ask(line);
        assert_eq!(answer["status"], "success", "{line}: {answer}");
        answer
    }

    /// As [`Node::run`], with any response.
    #[track_caller]
    pub(crate) fn ask(&self, line: &str) -> Value {
        let mut words = words(line).into_iter();
        let mut command = Command::new(words.next().unwrap());
        command.args(["--silent", "--show-error", "--connect-to", &format!("proxmox:5000:{}", self.address)]);
        let done = output(command.args(words));
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn config_path(&self, id: u32) -> PathBuf {
        self.proxmox.at(&format!("node/etc/pve/lxc/{id}.conf"))
    }

    pub(crate) fn config(&self, id: u32) -> ContainerConfig {
        ContainerConfig::parse(&fs::read_to_string(self.config_path(id)).unwrap()).0
    }

    pub(crate) fn cgroup(&self, id: u32, file: &str) -> String {
        let path = self.proxmox.at(&format!("node/sys/fs/cgroup/lxc/{id}/{file}"));
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    pub(crate) fn runs(&self, id: u32) -> bool {
        let sockets = fs::read_to_string(self.proxmox.at("node/proc/net/unix")).unwrap();
        sockets.contains(&format!("/{id}/command"))
    }
}
