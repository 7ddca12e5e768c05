//! Configuration through the API: with the real server, the real programs that report their effective configuration,
//! and the real ml daemon, which applies a change while it is running.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is test code")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_e2e::{Answer, Process, binary, eventually, output, request, short_directory};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(2);

/// The server with copies of the shipped files of the three daemons.
struct Server {
    process: Process,
    address: String,
    // After the process, which would write to it while it is removed.
    directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::start_through(|program, _| Command::new(program))
    }

    /// Starts it through another program, which receives the directory of the file that can be changed.
    fn start_through(command: fn(&Path, &Path) -> Command) -> Self {
        let directory = short_directory();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
        for name in ["lxc_autoscale_ml.toml", "lxc_monitor.toml"] {
            fs::copy(shipped.join(name), directory.path().join(name)).unwrap();
        }
        // Like an administrator who keeps the content of /etc elsewhere.
        fs::create_dir(directory.path().join("kept")).unwrap();
        fs::rename(at("lxc_autoscale_ml.toml"), at("kept/ml.toml")).unwrap();
        fs::set_permissions(at("kept/ml.toml"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink(at("kept/ml.toml"), at("lxc_autoscale_ml.toml")).unwrap();
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nsocket = \"\"\naddress_file = \"{}\"\nkeys_file = \"{}\"\n\
             [configuration]\nml_file = \"{}\"\nml_program = \"{}\"\nmonitor_file = \"{}\"\nmonitor_program = \"{}\"\nbackup_count = 2\n\
             [audit]\nfile = \"{}\"\n[state]\ndirectory = \"{}\"\n[logging]\nfile = \"\"\n",
            at("address"),
            at("keys.json"),
            at("lxc_autoscale_ml.toml"),
            binary("lxc-autoscale-ml").display(),
            at("lxc_monitor.toml"),
            binary("lxc-monitor").display(),
            at("audit.jsonl"),
            at("state"),
        );
        fs::write(at("api.toml"), config).unwrap();
        let mut serve = command(&binary("lxc-autoscale-api"), &directory.path().join("kept"));
        let log = directory.path().join("api.log");
        let process = Process::start(serve.arg("run").arg("--config").arg(at("api.toml")), &log);
        let address = eventually("the server tells its address", PATIENCE, || {
            fs::read_to_string(directory.path().join("address")).ok().filter(|text| !text.trim().is_empty())
        });
        Self { address: address.trim().to_owned(), directory, process }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_with(method, path, &[], body)
    }

    #[expect(clippy::needless_pass_by_value, reason = "a request reads more easily so")]
    fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        request(&self.address, method, path, headers, &body).unwrap()
    }

    /// The content of the ml daemon's file, at its real path.
    fn file(&self) -> String {
        fs::read_to_string(self.at("kept/ml.toml")).unwrap()
    }

    fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.at("audit.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Asserts that a request was refused and the file is unchanged.
    #[track_caller]
    fn refuses(&self, answer: &Answer, before: &str, status: u16, code: &str, says: &str) {
        assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)), "{}", answer.body);
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
        assert_eq!(self.file(), before);
    }
}

fn setting<'a>(info: &'a Value, key: &str) -> &'a Value {
    let settings = info["settings"].as_array().unwrap();
    settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("no {key} in {info}"))
}

fn comments(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with('#')).collect()
}

#[test]
fn it_is_shown_changed_by_key_and_its_comments_stay() {
    let server = Server::start();
    let shipped = server.file();
    let shown = server.ask("GET", "/config", Value::Null);
    let info = &shown.body["data"];
    assert_eq!(
        (shown.status, info["file"].as_str(), info["text"].as_str()),
        (200, Some("ml"), Some(shipped.as_str()))
    );
    let cores = setting(info, "scaling.cpu.max_cores");
    let line = shipped.lines().position(|line| line == "max_cores = 8").unwrap() + 1;
    assert_eq!(*cores, json!({"key": "scaling.cpu.max_cores", "value": 8, "line": line, "default": 8}));
    assert!(info.get("in_force").is_none(), "no ml daemon runs: {info}");

    let changes = json!({"set": {"scaling.cpu.max_cores": 4, "policy.db.tags": ["db"], "policy.db.scaling.priority": 7}});
    let verdict = server.ask("POST", "/config/validate", changes.clone());
    assert_eq!((verdict.status, &verdict.body["data"]["valid"]), (200, &json!(true)), "{}", verdict.body);
    assert_eq!(server.file(), shipped, "a question changes nothing");

    let done = server.ask("PATCH", "/config", changes);
    assert_eq!(done.status, 200, "{}", done.body);
    let told = json!([
        {"key": "policy.db.scaling.priority", "after": 7},
        {"key": "policy.db.tags", "after": ["db"]},
        {"key": "scaling.cpu.max_cores", "before": 8, "after": 4},
    ]);
    assert_eq!((&done.body["data"]["changed"], &done.body["data"]["changes"]), (&json!(true), &told));
    assert_eq!(verdict.body["data"]["changes"], told, "as it was foretold");
    let digest = done.body["data"]["digest"].as_str().unwrap();
    assert!(done.head.to_ascii_lowercase().contains(&format!("etag: \"{digest}\"")), "{}", done.head);
    assert_eq!(comments(&server.file()), comments(&shipped));
    let info = server.ask("GET", "/config", Value::Null).body["data"].clone();
    assert_eq!(
        (&setting(&info, "scaling.cpu.max_cores")["value"], info["digest"].as_str()),
        (&json!(4), Some(digest))
    );

    let removed = server.ask("PATCH", "/config", json!({"remove": ["scaling.cpu.max_cores", "policy.db"]}));
    assert_eq!(removed.status, 200, "{}", removed.body);
    let info = server.ask("GET", "/config", Value::Null).body["data"].clone();
    let cores = setting(&info, "scaling.cpu.max_cores");
    assert_eq!((&cores["value"], cores.get("line")), (&json!(8), None), "the default holds again");
    assert_eq!(comments(&server.file()), comments(&shipped));

    let again = server.ask("PATCH", "/config", json!({"set": {"scaling.memory.min_mib": 128}}));
    assert_eq!(again.body["data"]["changed"], false, "{}", again.body);
    // Mode and link are unchanged, and the last two versions are kept.
    let metadata = fs::metadata(server.at("kept/ml.toml")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(server.at("lxc_autoscale_ml.toml")).unwrap().is_symlink());
    let kept = |number: u32| fs::read_to_string(server.at(&format!("kept/ml.toml.{number}"))).ok();
    assert_eq!(kept(2).as_deref(), Some(shipped.as_str()));
    assert!(kept(1).unwrap().contains("[policy.db]") && kept(3).is_none());
}

#[test]
fn what_is_wrong_is_refused_with_the_daemons_own_words_and_nothing_is_written() {
    let server = Server::start();
    let before = server.file();
    let patch = |body: Value| server.ask("PATCH", "/config", body);
    let refuses =
        |answer: &Answer, status, code, says: &str| server.refuses(answer, &before, status, code, says);

    let misspelt = json!({"set": {"scaling.cpu.max_core": 4}});
    let line = before.lines().position(|line| line.starts_with("[scaling.memory]")).unwrap();
    let answer = patch(misspelt.clone());
    refuses(
        &answer,
        422,
        "invalid_config",
        "unknown key `scaling.cpu.max_core`; did you mean `scaling.cpu.max_cores`?",
    );
    // The daemon reports exactly the same about such a file.
    let candidate = before.replace("[scaling.memory]", "max_core = 4\n[scaling.memory]");
    fs::write(server.at("candidate.toml"), &candidate).unwrap();
    let mut daemon = Command::new(binary("lxc-autoscale-ml"));
    let said = output(daemon.arg("config").arg("--config").arg(server.at("candidate.toml")));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(
        said.contains("unknown key `scaling.cpu.max_core`; did you mean `scaling.cpu.max_cores`?"),
        "{said}"
    );
    let problem = &server.ask("POST", "/config/validate", misspelt).body["data"]["problem"];
    assert_eq!(
        (&problem["key"], &problem["nearest"]),
        (&json!("scaling.cpu.max_core"), &json!("scaling.cpu.max_cores"))
    );
    assert!(problem["line"].as_u64().unwrap() <= line as u64 + 1, "{problem}");

    refuses(
        &patch(json!({"set": {"scaling.cpu.min_cores": 9, "scaling.cpu.max_cores": 7}})),
        422,
        "invalid_config",
        "`scaling.cpu.max_cores` must",
    );
    refuses(&patch(json!({"set": {"scaling.cpu.max_cores": "four"}})), 422, "invalid_config", "expected f64");
    refuses(&patch(json!({"set": {"scaling.mode.x": 1}})), 422, "invalid_config", "`mode` in it");
    refuses(&patch(json!({"set": {"scaling.cpu.max_cores": null}})), 422, "invalid_config", "a null");
    refuses(&patch(json!({"remove": ["scaling.cpu.cores"]})), 404, "no_such_key", "is not in the file");
    for key in ["../../etc/passwd", "scaling..cpu", "", "scaling.cpu.max cores", "a\nb"] {
        refuses(&patch(json!({"set": {key: 1}})), 400, "invalid_parameter", "is not a dotted key");
    }
    refuses(&patch(json!({})), 400, "invalid_parameter", "at least one key");
    refuses(&patch(json!({"sett": {}})), 400, "invalid_parameter", "unknown field");
    for (key, value) in [
        ("api.url", json!("http://127.0.0.1:9")),
        ("logging.file", json!("/etc/cron.d/x")),
        ("state.directory", json!("/tmp")),
        ("metrics.file", json!("/tmp/mine.json")),
        ("metrics.owner", json!("nobody")),
        ("recommend.demand_model", json!("/root/x")),
    ] {
        refuses(&patch(json!({"set": {key: value}})), 403, "protected_key", key);
    }
    let whole =
        before.replace("url = \"unix:/run/lxc_autoscale_ml/api.sock\"", "url = \"http://127.0.0.1:9\"");
    let put = |text: &str, tag: &str| {
        server.ask_with("PUT", "/config", &[("if-match", tag)], json!({"text": text}))
    };
    refuses(&put(&whole, "*"), 403, "protected_key", "api.url");
    refuses(
        &put("interval_seconds = 0\n", "*"),
        422,
        "invalid_config",
        ":1: `interval_seconds` must be from 1",
    );
    refuses(&put("interval_seconds = \n", "*"), 422, "invalid_config", ":1: ");

    // Each attempt is in the audit log, with the reason for its refusal.
    let audit = server.audit();
    let not_done: Vec<_> = audit.iter().filter(|line| line["event"] == "not_done").collect();
    assert!(
        not_done.iter().any(
            |line| line["code"] == "protected_key" && line["action"].to_string().contains("logging.file")
        )
    );
    assert!(not_done.iter().all(|line| line["caller"].as_str().unwrap().starts_with("uid:")), "{not_done:?}");
    assert!(!server.at("kept/ml.toml.1").exists());
}

#[test]
fn a_change_is_made_to_the_file_that_its_author_saw() {
    let server = Server::start();
    let shown = server.ask("GET", "/config", Value::Null).body["data"].clone();
    let (text, digest) = (shown["text"].as_str().unwrap(), shown["digest"].as_str().unwrap());
    let tag = format!("\"{digest}\"");
    let mine = json!({"text": text.replace("max_cores = 8", "max_cores = 5")});
    let blind = server.ask("PUT", "/config", mine.clone());
    server.refuses(&blind, text, 428, "if_match_required", "If-Match");
    let done = server.ask_with("PUT", "/config", &[("if-match", &tag)], mine.clone());
    assert_eq!(done.status, 200, "{}", done.body);
    assert!(server.file().contains("max_cores = 5"));

    let late = server.file();
    let put = server.ask_with("PUT", "/config", &[("if-match", &tag)], mine);
    server.refuses(&put, &late, 412, "config_changed", "was changed meanwhile");
    let set = json!({"set": {"scaling.cpu.max_cores": 6}});
    let patch = server.ask_with("PATCH", "/config", &[("if-match", &tag)], set);
    server.refuses(&patch, &late, 412, "config_changed", "was changed meanwhile");

    // The record has the values before and after.
    let line = server.audit().into_iter().find(|line| line["event"] == "done").unwrap();
    assert_eq!(line["result"]["changes"], json!([{"key": "scaling.cpu.max_cores", "before": 8, "after": 5}]));
    let verified = output(
        Command::new(binary("lxc-autoscale-api"))
            .args(["audit", "verify", "--config"])
            .arg(server.at("api.toml")),
    );
    assert!(verified.status.success());

    // A broken file is not changed any further, and the problem is reported.
    fs::write(server.at("kept/ml.toml"), "interval_seconds = \n").unwrap();
    let shown = server.ask("GET", "/config", Value::Null);
    assert_eq!((shown.status, &shown.body["data"]["problem"]["line"]), (200, &json!(1)), "{}", shown.body);
    let patch = server.ask("PATCH", "/config", json!({"set": {"interval_seconds": 5}}));
    server.refuses(&patch, "interval_seconds = \n", 409, "config_broken", "repair it on the node");
    // An invalid key in it can be removed.
    fs::write(server.at("kept/ml.toml"), "interval_second = 5\n").unwrap();
    let mended = server.ask("PATCH", "/config", json!({"remove": ["interval_second"]}));
    assert_eq!((mended.status, server.file().as_str()), (200, ""), "{}", mended.body);
}

/// A program for which a directory is read-only, as `/etc` is in the unit for Proxmox's REST API
/// (`ProtectSystem=strict`).
fn confined(program: &Path, read_only: &Path) -> Command {
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount]).arg(read_only).arg(program);
    command
}

#[test]
fn a_server_that_may_not_write_the_file_shows_it_and_says_so() {
    assert!(rustix::process::geteuid().is_root(), "only root can mount: run this test as root");
    let server = Server::start_through(confined);
    let before = server.file();
    assert_eq!(server.ask("GET", "/config", Value::Null).status, 200);
    let set = json!({"set": {"scaling.cpu.max_cores": 4}});
    let weighed = server.ask("POST", "/config/validate", set.clone());
    assert_eq!((weighed.status, &weighed.body["data"]["valid"]), (200, &json!(true)), "{}", weighed.body);
    for _ in 0..2 {
        let patch = server.ask("PATCH", "/config", set.clone());
        server.refuses(&patch, &before, 409, "config_read_only", "can be changed on the node only");
    }
    let last = server.audit().pop().unwrap();
    assert_eq!((&last["event"], &last["code"]), (&json!("not_done"), &json!("config_read_only")), "{last}");
    let mut check = confined(&binary("lxc-autoscale-api"), &server.at("kept"));
    let said = output(check.arg("check").arg("--config").arg(server.at("api.toml"))).stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.lines().any(|line| line.starts_with("warning  ml_config")), "{said}");
    let free = output(
        Command::new(binary("lxc-autoscale-api")).arg("check").arg("--config").arg(server.at("api.toml")),
    );
    let said = String::from_utf8(free.stdout).unwrap();
    assert!(
        said.contains("ok       ml_config      `") && said.contains("can be changed at /config"),
        "{said}"
    );
}

#[test]
fn roles_scopes_and_the_other_files() {
    let server = Server::start();
    let key = |name: &str, more: &[&str]| {
        let mut create = Command::new(binary("lxc-autoscale-api"));
        create.args(["key", "create", name]).args(more).arg("--config").arg(server.at("api.toml"));
        let said = String::from_utf8(output(&mut create).stdout).unwrap();
        let secret = said.split_whitespace().find(|word| word.starts_with("lxak_")).unwrap();
        format!("Bearer {secret}")
    };
    let before = server.file();
    let set = json!({"set": {"scaling.cpu.max_cores": 4}});
    let ask = |key: &str, method: &str, path: &str, body: &Value| {
        server.ask_with(method, path, &[("authorization", key)], body.clone())
    };
    let operator = key("operator", &["--role", "operator"]);
    assert_eq!(ask(&operator, "POST", "/config/validate", &set).status, 200);
    server.refuses(&ask(&operator, "PATCH", "/config", &set), &before, 403, "wrong_role", "admin");
    let scoped = key("scoped", &["--role", "admin", "--containers", "104"]);
    server.refuses(
        &ask(&scoped, "PATCH", "/config", &set),
        &before,
        403,
        "out_of_scope",
        "settings for all containers",
    );

    let monitor = server.ask("GET", "/config?file=monitor", Value::Null).body["data"].clone();
    assert_eq!(
        setting(&monitor, "interval_seconds")["default"],
        setting(&monitor, "interval_seconds")["value"]
    );
    let api = server.ask("GET", "/config?file=api", Value::Null).body["data"].clone();
    assert_eq!(setting(&api, "configuration.backup_count")["value"], 2);
    assert_eq!(api["path"], server.at("api.toml").display().to_string());
    let other = server.ask("GET", "/config?file=../../etc/shadow", Value::Null);
    assert_eq!((other.status, other.body["code"].as_str()), (400, Some("invalid_parameter")));

    // Without the program nobody can validate the file, so nothing is written.
    fs::write(
        server.at("api.toml"),
        fs::read_to_string(server.at("api.toml"))
            .unwrap()
            .replace("ml_program = \"", "ml_program = \"/nonexistent"),
    )
    .unwrap();
    server.process.signal(rustix::process::Signal::HUP);
    let gone = eventually("the server reads its configuration again", PATIENCE, || {
        let answer = server.ask("PATCH", "/config", json!({"set": {"scaling.priority": 0}}));
        (answer.status != 200).then_some(answer)
    });
    server.refuses(&gone, &before, 502, "config_check_failed", "/nonexistent");
}

/// From an HTTP request to the next decision of a daemon that keeps running.
#[test]
fn the_next_decisions_go_by_a_changed_policy_without_a_restart() {
    let directory = short_directory();
    let (report, policies) = (directory.path().join("r.json"), directory.path().join("policies.toml"));
    let comment = "# The busy one; whoever reads this file shall know why.";
    fs::write(
        &policies,
        format!("{comment}\n[policy.busy]\nids = [104]\n# One for now.\nscaling.cpu.max_cores = 1\n"),
    )
    .unwrap();
    let mut command = Command::new(binary("lxc-autoscale-sim"));
    command.args(["demo", "--seconds", "3600", "--dir"]).arg(directory.path());
    command.arg("--report").arg(&report).arg("--policies").arg(&policies);
    let mut demo = Process::start(&mut command, &directory.path().join("demo.out"));
    let file = directory.path().join("etc/lxc_autoscale_ml.toml");
    let cores = || {
        let text = fs::read_to_string(directory.path().join("node/etc/pve/lxc/104.conf")).ok()?;
        ContainerConfig::parse(&text).0.cores
    };
    let api_file = directory.path().join("etc/lxc_autoscale_api.toml");
    let address = eventually("the demo has begun", PATIENCE, || fs::read_to_string(&api_file).ok());
    let address = address.split_once("listen = \"").unwrap().1.split('"').next().unwrap().to_owned();
    let ask = |method: &str, body: Value| request(&address, method, "/config", &[], &body).ok();
    let in_force = || Some(ask("GET", Value::Null)?.body["data"]["in_force"].clone());
    eventually("the daemon says that it goes by the file", PATIENCE, || {
        in_force()?["is_file"].as_bool().filter(|is_file| *is_file)
    });
    let log = || fs::read_to_string(directory.path().join("log/lxc_autoscale_ml.log")).unwrap_or_default();

    eventually("a decision is held back by the bound", PATIENCE, || {
        let mut decisions = Command::new(binary("lxc-autoscale-ml"));
        let said = output(decisions.arg("--config").arg(&file).args(["decisions", "--json"]));
        String::from_utf8_lossy(&said.stdout).contains("104").then_some(())
    });
    assert_eq!(cores(), Some(1));
    let done = ask("PATCH", json!({"set": {"policy.busy.scaling.cpu.max_cores": 4}})).unwrap();
    assert_eq!(done.status, 200, "{}", done.body);
    eventually("the next decisions go beyond the former bound", PATIENCE, || {
        cores().filter(|cores| 1 < *cores)
    });
    assert!(log().contains("configuration reloaded from") && !log().contains("[INFO] stopping"), "{}", log());
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(comment) && text.contains("# One for now.\nscaling.cpu.max_cores = 4\n"), "{text}");

    // Somebody breaks the file by hand: the daemon continues with the old configuration and says so, and so does the
    // API.
    fs::write(&file, text.replace("max_cores = 4", "max_core = 4")).unwrap();
    eventually("the daemon says what is wrong", PATIENCE, || {
        log().contains("did you mean `policy.busy.scaling.cpu.max_cores`?").then_some(())
    });
    let shown = ask("GET", Value::Null).unwrap().body["data"].clone();
    assert_eq!(shown["problem"]["nearest"], "policy.busy.scaling.cpu.max_cores", "{shown}");
    assert_eq!(shown["in_force"]["is_file"], false, "{shown}");
    let difference = json!({"key": "policy.busy.scaling.cpu.max_cores", "before": 4});
    assert!(shown["in_force"]["differences"].as_array().unwrap().contains(&difference), "{shown}");
    fs::write(&file, text).unwrap();
    eventually("repaired, it is in force again", PATIENCE, || {
        in_force()?["is_file"].as_bool().filter(|is_file| *is_file)
    });

    demo.signal(rustix::process::Signal::INT);
    assert!(demo.wait(Duration::from_mins(1)).success(), "{}", demo.output());
    let record = directory.path().join("state/configuration_in_force.toml");
    assert!(!record.exists(), "nothing is in force any more");
}
