//! What the audit log contains in addition to changes: refused requests, and keys that were created or revoked.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use jiff::Timestamp;
use lxc_autoscale_api::auth::Peer;
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::node::{Node, request, send};
use crate::server::{NOBODY, Server, program, write_config};

pub(crate) fn lines(node: &Node) -> Vec<Value> {
    let text = fs::read_to_string(node.root().join("audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
pub(crate) fn assert_chain_holds(node: &Node) {
    let verdict = lxc_autoscale_api::audit::verify(&node.root().join("audit.jsonl"), 9).unwrap();
    assert_eq!(verdict.findings, []);
}

pub(crate) fn key(node: &Node, name: &str, role: Role, containers: &[u32]) -> String {
    let ids: std::collections::BTreeSet<_> = containers.iter().map(|id| (*id).try_into().unwrap()).collect();
    let containers = (!ids.is_empty()).then_some(ids);
    let new = NewKey { name: name.to_owned(), role, containers, expires: None };
    KeyFile::new(node.config.server.keys_file.clone()).create(new, Timestamp::now()).unwrap()
}

/// Each refused change is recorded, with the caller, the purpose and the reason.
#[tokio::test]
async fn a_refused_change_is_written_down() {
    let mut node = Node::new();
    node.config.limits.protected_containers = vec![102.try_into().unwrap()];
    let (viewer, operator, elsewhere) = (
        key(&node, "looks", Role::Viewer, &[]),
        key(&node, "operates", Role::Operator, &[]),
        key(&node, "elsewhere", Role::Admin, &[105]),
    );
    let api = node.api();
    let cores = |id: u32| json!({"vm_id": id, "cores": 4});
    let patch = json!({"set": {"scaling.cpu.max_cores": 4}});
    let nobody = Peer { uid: Some(NOBODY) };
    let root = Peer { uid: Some(0) };
    for (key, peer, (method, path), body, expected) in [
        (None, nobody, ("POST", "/scale/cores"), cores(104), Some(("uid:65534", "forbidden"))),
        (Some("lxak_0"), root, ("POST", "/scale/cores"), cores(104), Some(("uid:0", "invalid_key"))),
        (Some(&viewer), nobody, ("POST", "/scale/cores"), cores(104), Some(("key:looks", "wrong_role"))),
        (Some(&operator), nobody, ("PATCH", "/config"), patch.clone(), Some(("key:operates", "wrong_role"))),
        (
            Some(&elsewhere),
            nobody,
            ("POST", "/scale/cores"),
            cores(104),
            Some(("key:elsewhere", "out_of_scope")),
        ),
        (Some(&elsewhere), nobody, ("PATCH", "/config"), patch, Some(("key:elsewhere", "out_of_scope"))),
        (None, root, ("POST", "/scale/cores"), cores(102), Some(("uid:0", "protected_container"))),
        // A request that only reads changes nothing, and an unknown route is no request for anything.
        (None, nobody, ("GET", "/ledger"), Value::Null, None),
        (None, nobody, ("POST", "/nowhere"), cores(104), None),
        (None, root, ("POST", "/scale/cores"), json!({"vm_id": 1}), None),
    ]
        as [(Option<&str>, Peer, (&str, &str), Value, Option<(&str, &str)>); 10]
    {
        let before = lines(&node).len();
        let mut request = request(method, path, (!body.is_null()).then_some(body));
        request.extensions_mut().insert(peer);
        if let Some(key) = key {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        let reply = send(&api, request).await;
        assert!(reply.status.is_client_error(), "{reply:?}");
        let more = lines(&node).split_off(before);
        let found: Vec<_> = more.iter().map(|line| (&line["caller"], &line["code"])).collect();
        let (caller, code) = expected.unzip();
        let wanted = (json!(caller), json!(code));
        let wanted: Vec<_> = expected.iter().map(|_| (&wanted.0, &wanted.1)).collect();
        assert_eq!(found, wanted, "{method} {path}: {more:?}");
        for line in more {
            assert_eq!(
                (&line["event"], &line["action"]),
                (&json!("refused"), &json!(format!("{method} {path}")))
            );
            assert!(line.get("change").is_none() && line["message"] == reply.message(), "{line}");
        }
    }
    assert_eq!(node.calls(), [""; 0]);
    assert_chain_holds(&node);
}

/// The stated purpose of a request is in both audit records of the change, and in the ledger.
#[tokio::test]
async fn what_a_change_is_for_is_written_down() {
    let node = Node::new();
    let api = node.api();
    let ask = async |(path, body): (&str, Value), purpose: Option<&str>| {
        let mut request = request("POST", path, Some(body));
        if let Some(purpose) = purpose {
            request.headers_mut().insert("x-purpose", purpose.parse().unwrap());
        }
        send(&api, request).await
    };
    let cores = |cores: u32| ("/scale/cores", json!({"vm_id": 104, "cores": cores}));
    let boost = ("/boost", json!({"vm_id": 104, "cores": 8, "minutes": 5}));
    for (what, purpose, why) in [
        (cores(3), None, "request"),
        (cores(4), Some("decision 4711"), "request: decision 4711"),
        (cores(5), Some("  plan 3f2a9c81d04b, decision 7 "), "request: plan 3f2a9c81d04b, decision 7"),
        (boost, Some("boost"), "boost: boost"),
    ] {
        let before = lines(&node).len();
        ask(what, purpose).await.data();
        let more = lines(&node).split_off(before);
        let found: Vec<_> = more
            .iter()
            .map(|line| (line["event"].as_str().unwrap(), line["why"].as_str().unwrap()))
            .collect();
        assert_eq!(found, [("begun", why), ("done", why)]);
        let page = node.get("/ledger?vm_id=104").await;
        assert_eq!(page.data()["entries"][0]["why"], why);
    }
    let (written, calls) = (lines(&node).len(), node.calls().len());
    for bad in ["", "   ", "a\tb", &"x".repeat(101)] {
        ask(cores(6), Some(bad)).await.assert_error(400, "invalid_parameter");
    }
    assert_eq!((lines(&node).len(), node.calls().len()), (written, calls));
    // A request that only reads needs no purpose.
    let mut look = request("GET", "/routes", None);
    look.headers_mut().insert("x-purpose", "".parse().unwrap());
    send(&api, look).await.data();
    assert_chain_holds(&node);
}

/// A change that exceeds the limit is refused, and that is recorded, too.
#[tokio::test]
async fn one_change_too_many_is_written_down() {
    let mut node = Node::new();
    node.config.server.max_changes = 1;
    node.hook("set", "until [ -e \"$root/go\" ]; do sleep 0.01; done");
    let api = node.api();
    let first = tokio::spawn({
        let api = api.clone();
        let body = json!({"vm_id": 104, "cores": 4});
        async move { send(&api, request("POST", "/scale/cores", Some(body))).await }
    });
    while node.calls().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let second = send(&api, request("POST", "/scale/cores", Some(json!({"vm_id": 102, "cores": 2})))).await;
    second.assert_error(503, "too_many_changes");
    fs::write(node.root().join("go"), "").unwrap();
    first.await.unwrap().data();
    let refused: Vec<_> = lines(&node).into_iter().filter(|line| line["event"] == "refused").collect();
    let [line] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(
        (&line["code"], &line["caller"], &line["action"]),
        (&json!("too_many_changes"), &json!("uid:0"), &json!("POST /scale/cores"))
    );
    assert_chain_holds(&node);
}

/// A stranger can fill neither the disk nor the log, and the number of omitted refusals is reported.
#[tokio::test]
async fn refusals_are_bounded_and_those_left_out_are_counted() {
    let mut node = Node::new();
    node.config.server.refusals_per_minute = 100_000.try_into().unwrap();
    let viewer = key(&node, "looks", Role::Viewer, &[]);
    let api = node.api();
    let ask = async |uid: u32, key: Option<&str>| {
        let mut request = request("POST", "/scale/cores", Some(json!({"vm_id": 104, "cores": 4})));
        request.extensions_mut().insert(Peer { uid: Some(uid) });
        if let Some(key) = key {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        assert_eq!(send(&api, request).await.status, 403);
    };
    for uid in 1000..1200 {
        ask(uid, None).await;
    }
    let written = lines(&node).len();
    assert!((20..=30).contains(&written), "{written} of 200");
    // A known caller has an allowance of their own, whatever strangers do.
    ask(NOBODY, Some(&viewer)).await;
    let last = lines(&node).pop().unwrap();
    assert_eq!((&last["caller"], &last["left_out"]), (&json!("key:looks"), &json!(200 - written)));
    assert_chain_holds(&node);
}

/// The program creates and revokes keys while the server writes to the same log.
#[test]
fn keys_that_are_made_and_revoked_are_written_down() {
    let node = Node::new();
    let server = Server::start(&node, "");
    let me = format!("uid:{}", geteuid().as_raw());
    let change = |cores: u32| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(crate::server::cores_request(cores).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    };
    let key = |arguments: &[&str]| program(&node, "key").args(arguments).output().unwrap();
    change(3);
    let create = ["create", "backup", "--role", "operator", "--containers", "104,105"];
    assert!(key(&create).status.success());
    change(4);
    assert!(!key(&create).status.success(), "there is one of that name");
    assert!(key(&["revoke", "backup"]).status.success());
    change(5);
    let of_keys: Vec<_> = lines(&node).into_iter().filter(|line| line.get("change").is_none()).collect();
    let told: Vec<_> = of_keys
        .iter()
        .map(|line| (line["event"].as_str().unwrap(), line["action"].as_str().unwrap()))
        .collect();
    let made = "make the key `backup`: role operator, 104,105";
    assert_eq!(
        told,
        [
            ("begun", made),
            ("done", made),
            ("begun", made),
            ("not_done", made),
            ("begun", "revoke the key `backup`"),
            ("done", "revoke the key `backup`"),
        ]
    );
    assert!(of_keys.iter().all(|line| line["caller"] == me.as_str()), "{of_keys:?}");
    assert_eq!(lines(&node).len(), 12, "three changes beside that");
    assert_chain_holds(&node);
}

/// A key cannot be created without a record, but it can be revoked without one.
#[test]
fn without_a_log_no_key_is_made_and_any_is_revoked() {
    let node = Node::new();
    write_config(&node, "", "");
    let key = |arguments: &[&str]| {
        let done = program(&node, "key").args(arguments).output().unwrap();
        (
            done.status.success(),
            String::from_utf8(done.stdout).unwrap(),
            String::from_utf8(done.stderr).unwrap(),
        )
    };
    let (done, secret, said) = key(&["create", "first", "--role", "viewer"]);
    assert!(done && secret.starts_with("lxak_"), "{said}");
    fs::remove_file(node.root().join("audit.jsonl")).unwrap();
    fs::create_dir(node.root().join("audit.jsonl")).unwrap();
    let (done, secret, said) = key(&["create", "second", "--role", "viewer"]);
    assert!(!done && secret.is_empty() && said.contains("no key was created"), "{said}");
    let (done, _, said) = key(&["revoke", "first"]);
    assert!(
        !done && said.contains("the key `first` was revoked, but that could not be written to the audit log"),
        "{said}"
    );
    let listed = key(&["list"]).1;
    assert!(listed.starts_with("There are no keys;") && listed.lines().count() == 1, "{listed}");
    assert_eq!(key(&["list", "--json"]).1, "[]\n");
}

/// A mistyped path must not look like a log without records.
#[test]
fn a_log_that_is_not_there_is_not_verified() {
    let node = Node::new();
    let verify = |rest: &str| {
        write_config(&node, "", "");
        let config = node.root().join("api.toml");
        let text = fs::read_to_string(&config).unwrap();
        let own = format!("file = \"{}\"", node.root().join("audit.jsonl").display());
        fs::write(&config, text.replace(&own, rest)).unwrap();
        let done = program(&node, "audit").arg("verify").output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(said).unwrap())
    };
    let there = node.root().join("audit.jsonl");
    let own = format!("file = \"{}\"", there.display());
    let (code, said) = verify(&own);
    assert!(
        code == Some(1) && said.contains(&format!("there is no audit log `{}`", there.display())),
        "{said}"
    );
    let (code, said) = verify("file = \"\"");
    assert!(code == Some(1) && said.contains("no audit log is kept"), "{said}");
    fs::write(&there, "").unwrap();
    assert_eq!(verify(&own), (Some(0), "there are no records\n".to_owned()));
}

/// A revoked key stays revoked if the power fails at the next moment: file and directory are synced by then.
#[test]
fn what_is_done_to_keys_is_on_the_disk_when_it_is_said() {
    let node = Node::new();
    write_config(&node, "", "");
    key(&node, "gone", Role::Viewer, &[]);
    let program = program(&node, "key");
    let log = node.root().join("calls");
    let mut traced = std::process::Command::new("strace");
    traced.args(["-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o"]).arg(&log);
    let Ok(done) =
        traced.arg(program.get_program()).args(program.get_args()).args(["revoke", "gone"]).output()
    else {
        println!("skipped: strace is not installed");
        return;
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let calls = fs::read_to_string(log).unwrap();
    let renamed = calls.lines().position(|line| line.contains("keys.json\"")).unwrap();
    let directory = format!("<{}>", node.root().display());
    let after: Vec<_> = calls.lines().skip(renamed).filter(|line| line.contains("fsync(")).collect();
    assert!(after.iter().any(|line| line.contains(&directory)), "{calls}");
}

/// From where: the address and port of a client, or the user at the other end of the unix socket; in the records of
/// changes and of refusals, and in the log of the service.
#[test]
fn where_a_change_was_asked_from_is_written_down() {
    let node = Node::new();
    let mut server = Server::start(&node, "");
    let ask_over = |mut stream: Box<dyn ReadWrite>, path: &str| {
        let body = json!({"vm_id": 104, "cores": 3}).to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let tcp = TcpStream::connect(server.address()).unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    assert!(ask_over(Box::new(tcp), "/scale/cores").starts_with("HTTP/1.1 200 "));
    let found: Vec<Value> = lines(&node).iter().map(|line| line["address"].clone()).collect();
    assert_eq!(found, [json!(address), json!(address)], "begun and done");
    assert!(server.wait_for("set the cores of container 104 to 3: done").contains(&address));

    let socket = std::os::unix::net::UnixStream::connect(node.root().join("api.sock")).unwrap();
    assert!(ask_over(Box::new(socket), "/scale/cores").starts_with("HTTP/1.1 200 "));
    let unix = format!("unix:uid:{}", geteuid().as_raw());
    assert_eq!(lines(&node).last().unwrap()["address"], json!(unix));

    let tcp = TcpStream::connect(server.address()).unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let body = "POST /scale/cores HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let (mut tcp, mut answer) = (tcp, String::new());
    tcp.write_all(body.as_bytes()).unwrap();
    tcp.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let refused = lines(&node).pop().unwrap();
    assert_eq!((&refused["event"], &refused["address"]), (&json!("refused"), &json!(address)));
    assert!(server.wait_for("request refused").contains(&address));
    assert_chain_holds(&node);
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// Records of earlier versions have no address. They stay valid, and the chain goes on after them.
#[tokio::test]
async fn a_log_of_an_earlier_version_goes_on() {
    let node = Node::new();
    let file = node.root().join("audit.jsonl");
    let old = include_str!("audit-of-an-earlier-version.jsonl");
    assert!(!old.contains("\"address\":"));
    fs::write(&file, old).unwrap();
    node.post("/scale/cores", json!({"vm_id": 104, "cores": 3})).await.data();
    assert_chain_holds(&node);
    assert_eq!(lines(&node).len(), old.lines().count() + 2);
}

/// The chain alone does not show that its end is missing, and `api.sqlite` has the same changes.
#[tokio::test]
async fn records_missing_at_the_end_of_the_log_are_missed() {
    let node = Node::new();
    write_config(&node, "", "");
    for cores in [3, 4] {
        node.post("/scale/cores", json!({"vm_id": 104, "cores": cores})).await.data();
    }
    let verify = || {
        let mut command = program(&node, "audit");
        let done = command.arg("verify").output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let whole = fs::read_to_string(node.root().join("audit.jsonl")).unwrap();
    let cut: String = whole.split_inclusive('\n').take(2).collect();
    let ended_before = |seconds: i64| {
        let database = rusqlite::Connection::open(node.config.state.directory.join("api.sqlite")).unwrap();
        database.execute("UPDATE changes SET ended_us = ended_us - ?1", [seconds * 1_000_000]).unwrap();
    };
    // What ended just now may be on its way.
    fs::write(node.root().join("audit.jsonl"), &cut).unwrap();
    let (code, said) = verify();
    assert!(code == Some(0) && !said.contains("warning"), "{said}");
    ended_before(120);
    for (log, says) in [
        (cut.as_str(), Some("has change 2, and the log ends with change 1")),
        ("", Some("has change 2, and the log has none")),
        (whole.as_str(), None),
    ] {
        fs::write(node.root().join("audit.jsonl"), log).unwrap();
        let (code, said) = verify();
        assert_eq!(code, Some(0), "it may have been elsewhere: {said}");
        let warned = says.is_some_and(|says| said.contains(says) && said.contains("api.sqlite"));
        assert_eq!((warned, said.contains("warning")), (says.is_some(), says.is_some()), "{said}");
    }
    // Rotation leaves the newest records.
    fs::remove_file(node.root().join("audit.jsonl")).unwrap();
    fs::write(node.root().join("audit.jsonl.1"), whole).unwrap();
    let (_, said) = verify();
    assert!(!said.contains("warning"), "{said}");
    fs::remove_dir_all(&node.config.state.directory).unwrap();
    let (_, said) = verify();
    assert!(!said.contains("warning"), "{said}");
}
