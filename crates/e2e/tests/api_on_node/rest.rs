//! The peculiarities of the REST API: tokens, privileges, certificates, tasks; and that refusals by Proxmox have the
//! same error codes with both back ends.

use std::fs;

use std::time::Duration;

use lxc_autoscale_e2e::{eventually, output};

use crate::node::{BackEnd, Node, Proxmox, TOKEN, check};
use crate::schema;

const JSON: &str = r#"-H "Content-Type: application/json""#;

#[test]
fn what_proxmox_refuses_has_the_same_name_through_both() {
    let pct = Node::start(BackEnd::Pct);
    let rest = Node::start(BackEnd::Rest);
    for node in [&pct, &rest] {
        let conf = fs::read_to_string(node.config_path(101)).unwrap();
        fs::write(node.config_path(101), format!("lock: backup\n{conf}")).unwrap();
        node.run(&format!(
            r#"curl -X POST http://proxmox:5000/snapshot/create {JSON} -d '{{"vm_id": 104, "snapshot_name": "once"}}'"#
        ));
    }
    for (path, body, code) in [
        ("/scale/cores", r#"{"vm_id": 999, "cores": 2}"#, "no_such_container"),
        ("/scale/cores", r#"{"vm_id": 101, "cores": 3}"#, "locked"),
        ("/scale/ram", r#"{"vm_id": 101, "memory": 4096}"#, "locked"),
        ("/power/stop", r#"{"vm_id": 101}"#, "locked"),
        ("/power/start", r#"{"vm_id": 999}"#, "no_such_container"),
        ("/snapshot/create", r#"{"vm_id": 104, "snapshot_name": "once"}"#, "snapshot_exists"),
        ("/snapshot/rollback", r#"{"vm_id": 104, "snapshot_name": "never"}"#, "no_such_snapshot"),
        ("/clone/create", r#"{"vm_id": 104, "new_vm_id": 102, "new_vm_name": "x"}"#, "container_exists"),
    ] {
        for node in [&pct, &rest] {
            let answer = node.post(path, body);
            assert_eq!(answer["code"], code, "{path} {body}: {answer}");
        }
    }
}

/// A node whose volumes take a minute; nothing here waits for that, because the work is cancelled.
#[test]
fn a_copy_and_a_snapshot_that_are_given_up_leave_nothing() {
    let node = Node::start(BackEnd::Rest);
    // A running container would be copied from a snapshot, which takes time, too.
    node.run(&format!(r#"curl -X POST http://proxmox:5000/power/stop {JSON} -d '{{"vm_id": 104}}'"#));
    node.proxmox.set("volume_work_milliseconds", 60_000);
    let config = |id| fs::read_to_string(node.config_path(id)).unwrap_or_default();
    for (path, body, at, half) in [
        ("/clone/create", r#"{"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}"#, 105, "lock: create"),
        ("/snapshot/create", r#"{"vm_id": 104, "snapshot_name": "mine"}"#, 104, "snapstate: prepare"),
    ] {
        let before = config(104);
        let line = format!(
            r#"curl -X POST http://proxmox:5000{path} {JSON} -H "Prefer: respond-async" -d '{body}'"#
        );
        let job = format!("http://proxmox:5000/jobs/{}", node.run(&line)["data"]["id"]);
        let patience = Duration::from_secs(40);
        eventually(half, patience, || config(at).contains(half).then_some(()));
        node.run(&format!("curl -X DELETE {job}"));
        let ended = eventually("the job ends", patience, || {
            let job = node.run(&format!("curl {job}"))["data"].clone();
            job["ended"].is_string().then_some(job)
        });
        assert_eq!((&ended["state"], &ended["code"]), (&"cancelled".into(), &"cancelled".into()), "{ended}");
        assert_eq!(config(104), before, "{path}");
        assert!(!node.config_path(105).exists());
    }
    let seen = schema::check_calls(&fs::read_to_string(node.proxmox.at("calls.jsonl")).unwrap());
    assert!(seen.contains("DELETE /nodes/{node}/tasks/{upid}"), "{seen:?}");
}

/// Whatever privileges the token had before, and whichever roles exist: afterwards it has all, and the commands can
/// be repeated.
#[test]
fn check_names_missing_privileges_and_its_commands_grant_them() {
    for (before, place) in [
        (None, ""),
        // Inherited: an entry on a deeper path replaces it.
        (Some("role add Some --privs 'VM.Audit VM.Config.CPU Sys.Audit'"), "/ Some"),
        // Made by an earlier version of the commands, which granted less.
        (Some("role add LxcAutoscale --privs 'VM.Audit VM.Config.CPU'"), "/vms LxcAutoscale"),
    ] {
        let proxmox = Proxmox::start(BackEnd::Rest);
        proxmox.make_token();
        if let (Some(role), Some((path, name))) = (before, place.split_once(' ')) {
            proxmox.succeed(&format!("pveum {role}"));
            proxmox.succeed(&format!("pveum acl modify {path} --users autoscale@pve --roles {name}"));
            proxmox.succeed(&format!("pveum acl modify {path} --tokens '{TOKEN}' --roles {name}"));
        }
        let config = proxmox.configure(BackEnd::Rest, "");
        let (_, said) = check(&config);
        assert!(said.contains("missing to change memory: VM.Config.Memory on /vms"), "{said}");
        assert_eq!(said.contains("missing to change cores"), before.is_none(), "{said}");
        let commands: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("    pveum ")).collect();
        assert!(!commands.is_empty(), "{said}");
        for command in [&commands[..], &commands[..]].concat() {
            proxmox.succeed(&format!("pveum {command}"));
        }
        let (succeeds, said) = check(&config);
        assert!(succeeds && !said.contains("missing to"), "{before:?}: {said}");
        assert!(said.contains("nothing is missing"), "{before:?}: {said}");
        let seen = schema::check_calls(&fs::read_to_string(proxmox.at("calls.jsonl")).unwrap());
        assert!(seen.contains("GET /access/permissions"), "{seen:?}");
    }
}

/// A shell of root gets no credential from systemd. What is checked there must be what the service uses all the same,
/// and not pct, which works for root.
#[test]
fn check_in_a_shell_checks_what_the_service_uses() {
    let proxmox = Proxmox::start(BackEnd::Rest);
    proxmox.make_token();
    let (token, unit) = (proxmox.at("token"), proxmox.at("lxc_autoscale_api.service"));
    let shipped = |file: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd").join(file);
        fs::read_to_string(path).unwrap()
    };
    fs::write(&unit, shipped("lxc_autoscale_api.service")).unwrap();
    let configure = |back_end: &str| {
        let config = proxmox.configure(BackEnd::Rest, "");
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace(&format!("token_file = \"{}\"\n", token.display()), "");
        let text = text.replace("[paths]\n", &format!("[paths]\nunit = \"{}\"\n", unit.display()));
        fs::write(&config, format!("backend = \"{back_end}\"\n{text}")).unwrap();
        config
    };
    let (_, said) = check(&configure("auto"));
    assert!(said.contains("ok       backend        pct, because there is no API token"), "{said}");
    let (succeeds, said) = check(&configure("rest"));
    assert!(!succeeds && said.contains("-> make a token (docs/privileges.md)"), "{said}");

    let addition = shipped("lxc_autoscale_api.service.d/rest.conf");
    let loaded = addition.replace("/etc/lxc_autoscale_ml/proxmox_token", &token.display().to_string());
    assert_ne!(loaded, addition);
    fs::create_dir(unit.with_extension("service.d")).unwrap();
    fs::write(unit.with_extension("service.d").join("rest.conf"), loaded).unwrap();
    for back_end in ["auto", "rest"] {
        let (succeeds, said) = check(&configure(back_end));
        assert!(!succeeds && said.contains("FAILED   privileges"), "{back_end}: {said}");
        let why = format!("with the token in `{}`, which the unit passes to the service", token.display());
        assert!(said.contains("ok       backend        the REST API") && said.contains(&why), "{said}");
    }
    // The service would not be root, so pct would not do.
    let (succeeds, said) = check(&configure("pct"));
    let why = "pct needs root, but the unit runs the service as `lxc-autoscale-api`";
    assert!(!succeeds && said.contains(why), "{said}");
    proxmox.grant_all();
    let (succeeds, said) = check(&configure("auto"));
    assert!(succeeds && said.contains("nothing is missing"), "{said}");
    // Root can read a file of its own; the service could not.
    fs::write(unit.with_extension("service.d").join("user.conf"), "[Service]\nUser=nobody\n").unwrap();
    let config = configure("auto");
    let text = fs::read_to_string(&config).unwrap();
    let file = format!("[rest]\ntoken_file = \"{}\"\n", token.display());
    fs::write(&config, text.replace("[rest]\n", &file)).unwrap();
    let (succeeds, said) = check(&config);
    assert!(!succeeds && said.contains("does not belong to `nobody`"), "{said}");
    fs::remove_file(&token).unwrap();
    let (succeeds, said) = check(&configure("auto"));
    assert!(!succeeds && said.contains("cannot read the API token"), "{said}");
}

/// A token that may do nothing must not pass for one that works: neither for whoever installs it, nor for a probe.
#[test]
fn a_token_that_may_change_nothing_is_a_failure() {
    for (role, lacking) in [
        ("", Some("VM.Audit, VM.Config.CPU, VM.Config.Memory")),
        ("VM.Audit VM.Snapshot", Some("VM.Config.CPU, VM.Config.Memory")),
        ("VM.Audit VM.Config.CPU", None),
        ("VM.Audit VM.Config.CPU VM.Config.Memory", None),
    ] {
        let proxmox = Proxmox::start(BackEnd::Rest);
        proxmox.make_token();
        proxmox.succeed(&format!("pveum role add Some --privs '{role}'"));
        for who in ["--users autoscale@pve".to_owned(), format!("--tokens '{TOKEN}'")] {
            proxmox.succeed(&format!("pveum acl modify /vms {who} --roles Some"));
        }
        let config = proxmox.configure(BackEnd::Rest, "");
        let (succeeds, said) = check(&config);
        assert_eq!(succeeds, lacking.is_none(), "{role}: {said}");
        let node = Node::serve(proxmox, &config);
        let health = node.ask("curl http://proxmox:5000/health/check");
        assert_eq!(health["status"], if lacking.is_some() { "error" } else { "success" }, "{role}: {health}");
        if let Some(lacking) = lacking {
            let why = format!("the token may not resize any container: it lacks {lacking}");
            assert!(said.contains(&format!("FAILED   privileges     {why}")), "{role}: {said}");
            let message = health["message"].as_str().unwrap();
            assert!(
                message.starts_with("Containers cannot be changed: ") && message.contains(&why),
                "{health}"
            );
            assert_eq!(health["code"], "unhealthy", "{health}");
        }
    }
}

/// By hand, another container was made under the id.
#[test]
fn another_container_with_the_id_is_told_through_both() {
    for back_end in [BackEnd::Pct, BackEnd::Rest] {
        let node = Node::start(back_end);
        assert_eq!(node.post("/scale/cores", r#"{"vm_id": 104, "cores": 3}"#)["status"], "success");
        let conf = fs::read_to_string(node.config_path(104)).unwrap();
        let addresses = conf.replace("hwaddr=BC:24:11:", "hwaddr=BC:24:12:");
        let name = addresses.replace("hostname: ", "hostname: other-");
        assert!(conf != addresses && addresses != name, "{conf}");
        for (theirs, code) in [(addresses, "unsure_container"), (name, "other_container")] {
            fs::write(node.config_path(104), &theirs).unwrap();
            let undone = node.post("/undo", r#"{"vm_id": 104, "to": "original"}"#);
            assert_eq!(undone["data"][0]["code"], code, "{back_end:?}: {undone}");
            assert_eq!(fs::read_to_string(node.config_path(104)).unwrap(), theirs, "{back_end:?}");
        }
    }
}

#[test]
fn a_rollback_to_a_size_out_of_bounds_is_refused_through_both() {
    for back_end in [BackEnd::Pct, BackEnd::Rest] {
        let node = Node::start_with(back_end, "[limits]\nmax_cores = 4");
        let body = r#"{"vm_id": 104, "snapshot_name": "once"}"#;
        assert_eq!(node.post("/snapshot/create", body)["status"], "success");
        let conf = fs::read_to_string(node.config_path(104)).unwrap();
        let (now, kept) = conf.split_once("[once]").unwrap();
        fs::write(node.config_path(104), format!("{now}[once]{}", kept.replace("cores: 1\n", "cores: 8\n")))
            .unwrap();
        let refused = node.post("/snapshot/rollback", body);
        assert_eq!(refused["code"], "out_of_bounds", "{back_end:?}: {refused}");
        assert!(refused["message"].as_str().unwrap().contains("snapshot `once`"), "{refused}");
        assert_eq!(node.config(104).cores, Some(1));
    }
}

/// Proxmox stops the container for a rollback; without the privilege to start it, it would stay stopped.
#[test]
fn a_rollback_that_could_not_start_the_container_again_stops_nothing() {
    let proxmox = Proxmox::start(BackEnd::Rest);
    proxmox.make_token();
    proxmox.succeed("pveum role add Some --privs 'VM.Audit VM.Snapshot'");
    for who in ["--users autoscale@pve".to_owned(), format!("--tokens '{TOKEN}'")] {
        proxmox.succeed(&format!("pveum acl modify /vms {who} --roles Some"));
    }
    let config = proxmox.configure(BackEnd::Rest, "");
    let (_, said) = check(&config);
    assert!(said.contains("missing to snapshots and rollback: VM.PowerMgmt on /vms"), "{said}");
    let node = Node::serve(proxmox, &config);
    let body = r#"{"vm_id": 104, "snapshot_name": "once"}"#;
    assert_eq!(node.post("/snapshot/create", body)["status"], "success");
    let refused = node.post("/snapshot/rollback", body);
    assert_eq!(refused["code"], "not_permitted", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("VM.PowerMgmt"), "{refused}");
    let calls = fs::read_to_string(node.proxmox.at("calls.jsonl")).unwrap();
    assert!(!calls.contains("/rollback"), "{calls}");
    // A stopped container is not started afterwards, so nothing is missing.
    node.proxmox.succeed("pct stop 104");
    assert_eq!(node.post("/snapshot/rollback", body)["status"], "success");
}

/// A privilege that an older Proxmox does not know must be neither reported nor granted, because `pveum` would refuse
/// the role.
#[test]
fn a_bridge_takes_a_privilege_since_version_8() {
    for (version, asks) in [("7.4-17", false), ("9.1.4", true)] {
        let proxmox = Proxmox::start(BackEnd::Rest);
        proxmox.set("pve_version", version);
        proxmox.make_token();
        let config = proxmox.configure(BackEnd::Rest, "");
        let (_, said) = check(&config);
        assert_eq!(said.contains("SDN.Use on /sdn/zones/localnetwork"), asks, "{version}: {said}");
        for command in said.lines().filter_map(|line| line.strip_prefix("    pveum ")) {
            proxmox.succeed(&format!("pveum {command}"));
        }
        assert!(check(&config).1.contains("nothing is missing"), "{version}");
        // What the privilege is for: the copied container has a network.
        let node = Node::serve(proxmox, &config);
        let body = r#"{"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}"#;
        let answer = node.post("/clone/create", body);
        assert_eq!(answer["status"], "success", "{version}: {answer}");
    }
}

#[test]
fn a_copy_with_a_network_takes_the_bridge() {
    let proxmox = Proxmox::start(BackEnd::Rest);
    proxmox.make_token();
    proxmox.grant_all();
    proxmox.succeed("pveum role modify Bridges --privs ''");
    let config = proxmox.configure(BackEnd::Rest, "");
    let node = Node::serve(proxmox, &config);
    let answer = node.post("/clone/create", r#"{"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}"#);
    assert_eq!(answer["code"], "not_permitted", "{answer}");
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("/sdn/zones/localnetwork/vmbr0") && message.contains("SDN.Use"), "{answer}");
    assert!(!node.config_path(105).exists());
}

#[test]
fn a_token_that_may_not_is_told_which_privilege() {
    let proxmox = Proxmox::start(BackEnd::Rest);
    proxmox.make_token();
    for who in ["--users autoscale@pve".to_owned(), format!("--tokens '{TOKEN}'")] {
        let _ = proxmox.shell("pveum role add Look --privs VM.Audit");
        proxmox.succeed(&format!("pveum acl modify /vms {who} --roles Look"));
    }
    let config = proxmox.configure(BackEnd::Rest, "");
    let node = Node::serve(proxmox, &config);
    let answer = node.post("/scale/cores", r#"{"vm_id": 104, "cores": 3}"#);
    assert_eq!(answer["code"], "not_permitted", "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("/vms/104"), "{answer}");
    assert_ne!(node.config(104).cores, Some(3));
}

#[test]
fn only_the_certificate_that_is_expected_is_sent_a_token() {
    let proxmox = Proxmox::start(BackEnd::Rest);
    proxmox.make_token();
    proxmox.grant_all();
    let leaf = proxmox.at("node/etc/pve/nodes/proxmox/pve-ssl.pem");
    let shown = output(
        std::process::Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(&leaf),
    );
    let shown = String::from_utf8(shown.stdout).unwrap();
    let own = shown.trim().split_once('=').unwrap().1.to_owned();
    let other = if own.starts_with("00") { own.replacen("00", "11", 1) } else { format!("00{}", &own[2..]) };
    for (fingerprint, trusted) in [(own, true), (other, false)] {
        let config = proxmox.configure(BackEnd::Rest, &format!("fingerprint = \"{fingerprint}\""));
        let (succeeds, said) = check(&config);
        assert_eq!(succeeds, trusted, "{fingerprint}: {said}");
    }
    // An authority that has not signed anything here.
    let mut command = std::process::Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    command.args(["-subj", "/CN=somebody", "-keyout", "/dev/null", "-out"]);
    let ca = proxmox.at("node/etc/pve/pve-root-ca.pem");
    assert!(output(command.arg(&ca)).status.success());
    let (succeeds, said) = check(&proxmox.configure(BackEnd::Rest, ""));
    assert!(!succeeds && said.contains("certificate"), "{said}");
}

#[test]
fn a_token_that_proxmox_does_not_know_and_one_that_others_can_read_are_told_apart() {
    let proxmox = Proxmox::start(BackEnd::Rest);
    proxmox.make_token();
    let config = proxmox.configure(BackEnd::Rest, "");
    proxmox.succeed(&format!("chmod 644 '{}'", proxmox.at("token").display()));
    let (succeeds, said) = check(&config);
    assert!(!succeeds && said.contains("can be read by others (mode 0644)"), "{said}");

    proxmox.succeed(&format!("chmod 600 '{}'", proxmox.at("token").display()));
    fs::write(proxmox.at("token"), format!("{TOKEN}=00000000-0000-4000-8000-000000000000\n")).unwrap();
    let (succeeds, said) = check(&config);
    assert!(!succeeds && said.contains(&format!("does not accept the API token `{TOKEN}`")), "{said}");
}
