//! Permissions as one table: route × role × method × origin × expected code.
//!
//! A new route needs one line in [`ROUTES`]; a route of the server without one fails the test.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use lxc_autoscale_api::auth::{Door, Peer};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::node::{Node, send};

/// One route per line: the lowest role, the method, a path with its query, and a valid body. A route that names
/// container 104 or 105 is outside the scope of a key for another container.
const ROUTES: &str = r#"
    operator POST   /scale/cores                                 {"vm_id": 104, "cores": 2}
    operator POST   /scale/cpulimit                              {"vm_id": 104, "cpulimit": 1.5}
    operator POST   /scale/ram                                   {"vm_id": 104, "memory": 2048}
    operator POST   /scale/storage/increase                      {"vm_id": 104, "disk_size": 1}
    operator POST   /snapshot/create                             {"vm_id": 104, "snapshot_name": "before"}
    viewer   GET    /snapshot/list?vm_id=104
    admin    POST   /snapshot/rollback                           {"vm_id": 104, "snapshot_name": "before"}
    admin    POST   /snapshot/prune                              {"vm_id": 104, "keep": 2}
    admin    DELETE /snapshot/delete                             {"vm_id": 104, "snapshot_name": "before"}
    admin    POST   /clone/create                                {"vm_id": 104, "new_vm_id": 105, "new_vm_name": "copy"}
    admin    DELETE /clone/delete                                {"vm_id": 105}
    operator POST   /power/reboot                                {"vm_id": 104}
    operator POST   /power/shutdown                              {"vm_id": 104, "timeout": 5}
    operator POST   /power/start                                 {"vm_id": 104}
    admin    POST   /power/stop                                  {"vm_id": 104}
    viewer   GET    /resource/vm/status?vm_id=104
    viewer   GET    /resource/lxc/status?lxc_id=104
    viewer   GET    /resource/lxc/config?lxc_id=104
    viewer   GET    /resource/lxc/why?lxc_id=104
    viewer   GET    /resource/cluster/status
    viewer   GET    /resource/node/status?node_name=proxmox
    viewer   GET    /metrics/current?vm_id=104
    viewer   GET    /events
    viewer   GET    /health/check
    viewer   GET    /metrics
    viewer   GET    /jobs
    viewer   GET    /jobs/7
    operator DELETE /jobs/7
    operator POST   /jobs/7/cancel
    operator POST   /boost                                       {"vm_id": 104, "cores": 4, "minutes": 5}
    viewer   GET    /boost?vm_id=104
    operator DELETE /boost                                       {"vm_id": 104}
    viewer   GET    /ledger?vm_id=104
    operator POST   /undo                                        {"vm_id": 104, "to": "original"}
    viewer   GET    /config
    operator POST   /config/validate                             {"set": {"scaling.cpu.max_cores": 4}}
    admin    PATCH  /config                                      {"set": {"policy.web.ids": [104]}}
    admin    PUT    /config                                      {"text": ""}
    viewer   GET    /routes
    viewer   GET    /openapi.json
    viewer   GET    /docs
    viewer   GET    /docs/page.css
    viewer   GET    /docs/page.js
"#;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const ADMINS_NETWORK: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 77));
const OUR_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10));

/// One line of [`ROUTES`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    role: Role,
    pub(crate) method: &'static str,
    pub(crate) uri: &'static str,
    pub(crate) body: &'static str,
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        ROUTES.trim().lines().map(Self::parse).collect()
    }

    fn parse(line: &'static str) -> Self {
        let next = |text: &'static str| text.trim_start().split_once(' ').unwrap_or((text.trim(), ""));
        let (role, rest) = next(line);
        let (method, rest) = next(rest);
        let (uri, body) = next(rest);
        let role = clap::ValueEnum::from_str(role, false).unwrap_or_else(|_| panic!("no role: {line}"));
        Self { role, method, uri, body: body.trim() }
    }

    pub(crate) fn path(&self) -> &'static str {
        self.uri.split('?').next().unwrap_or_default()
    }

    /// Whether it is a request for this route of the server, whose path may contain `{parameters}`.
    pub(crate) fn is_for(&self, route: &Value) -> bool {
        let template = route["path"].as_str().unwrap();
        let same = |(ours, theirs): (&str, &str)| ours == theirs || theirs.starts_with('{');
        let path = self.path();
        self.method == route["method"]
            && path.split('/').count() == template.split('/').count()
            && path.split('/').zip(template.split('/')).all(same)
    }

    fn touches_a_container(&self) -> bool {
        ["104", "105"].iter().any(|id| self.uri.contains(id) || self.body.contains(id))
    }

    fn request(&self, origin: &Origin) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(self.uri);
        if !self.body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if self.method == "PUT" {
            // Replacing a whole file requires it, and that is checked before the rest.
            request = request.header("if-match", "\"0\"");
        }
        if let Some(host) = origin.host {
            request = request.header("host", host);
        }
        for (name, value) in &origin.headers {
            request = request.header(*name, value);
        }
        if let Some(door) = origin.door {
            request = request.extension(door);
        }
        request.extension(Peer { uid: origin.uid }).body(Body::from(self.body)).unwrap()
    }
}

/// The refusal; `None` if the request is not refused.
type Verdict = Option<(u16, &'static str)>;

/// The origin of a request.
struct Origin {
    name: &'static str,
    uid: Option<u32>,
    door: Option<Door>,
    host: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    /// The expected outcome.
    verdict: fn(&Row) -> Verdict,
}

impl Origin {
    /// A user of this machine.
    fn user(name: &'static str, uid: Option<u32>, verdict: fn(&Row) -> Verdict) -> Self {
        Self { name, uid, door: None, host: Some("proxmox:5000"), headers: Vec::new(), verdict }
    }

    /// An ordinary user with a key.
    fn key(name: &'static str, key: &str, verdict: fn(&Row) -> Verdict) -> Self {
        Self::user(name, Some(1000), verdict).with("authorization", &format!("Bearer {key}"))
    }

    /// Root, but with a contradictory header.
    fn root_with(
        name: &'static str,
        header: &'static str,
        value: &str,
        verdict: fn(&Row) -> Verdict,
    ) -> Self {
        Self::user(name, Some(0), verdict).with(header, value)
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The same through the listener for other machines, where no user is known.
    fn through_the_network(self, name: &'static str) -> Self {
        let door = Some(Door { client: ADMINS_NETWORK, address: OUR_ADDRESS, is_tls: true });
        Self { name, uid: None, door, host: Some("192.168.1.10:5443"), ..self }
    }

    fn addressed_to(self, host: Option<&'static str>) -> Self {
        Self { host, ..self }
    }
}

const ALLOWED: fn(&Row) -> Verdict = |_| None;
const FORBIDDEN: fn(&Row) -> Verdict = |_| Some((403, "forbidden"));
const BAD_KEY: fn(&Row) -> Verdict = |_| Some((401, "invalid_key"));
const FOREIGN: fn(&Row) -> Verdict = |_| Some((403, "foreign_origin"));
const WRONG_HOST: fn(&Row) -> Verdict = |_| Some((421, "unknown_host"));

fn viewer(row: &Row) -> Verdict {
    (Role::Viewer < row.role).then_some((403, "wrong_role"))
}

fn operator(row: &Row) -> Verdict {
    (Role::Operator < row.role).then_some((403, "wrong_role"))
}

fn scoped(row: &Row) -> Verdict {
    let is_of_all = row.uri.starts_with("/config");
    (is_of_all || row.touches_a_container()).then_some((403, "out_of_scope"))
}

fn origins(node: &Node) -> Vec<Origin> {
    let file = KeyFile::new(node.config.server.keys_file.clone());
    let [view, operate, administer] =
        [Role::Viewer, Role::Operator, Role::Admin].map(|role| create(node, role.name(), role, None));
    let elsewhere = create(node, "elsewhere", Role::Admin, Some(&[102]));
    let revoked = create(node, "revoked", Role::Admin, None);
    file.revoke("revoked").unwrap();
    let ended = Timestamp::now() - SignedDuration::from_secs(1);
    let new = NewKey { name: "old".to_owned(), role: Role::Admin, containers: None, expires: Some(ended) };
    let expired = file.create(new, ended).unwrap();
    vec![
        Origin::user("root", Some(0), ALLOWED),
        Origin::user("a trusted user", Some(990), ALLOWED),
        Origin::user("another user", Some(1000), FORBIDDEN),
        Origin::user("somebody unknown", None, FORBIDDEN),
        Origin::key("a viewer's key", &view, viewer),
        Origin::key("an operator's key", &operate, operator),
        Origin::key("an admin's key", &administer, ALLOWED),
        Origin::key("a key for another container", &elsewhere, scoped),
        Origin::key("an unknown key", "lxak_0000", BAD_KEY),
        Origin::key("an expired key", &expired, BAD_KEY),
        Origin::key("a revoked key", &revoked, BAD_KEY),
        Origin::root_with("root with a viewer's key", "authorization", &format!("Bearer {view}"), viewer),
        Origin::root_with("root with a bad key", "authorization", "Bearer lxak_0000", BAD_KEY),
        Origin::root_with("a page from elsewhere", "origin", "http://evil.example", FOREIGN),
        Origin::root_with("a page without an origin", "origin", "null", FOREIGN),
        Origin::root_with("a cross-site request", "sec-fetch-site", "cross-site", FOREIGN),
        Origin::root_with("our own page", "origin", "http://proxmox:5000", ALLOWED),
        Origin::key("an admin's key in a foreign page", &administer, FOREIGN)
            .with("origin", "http://evil.example"),
        Origin::user("a rebound name", Some(0), WRONG_HOST).addressed_to(Some("evil.example:5000")),
        Origin::user("an address of another", Some(0), WRONG_HOST).addressed_to(Some("192.168.1.10:5000")),
        Origin::user("no host at all", Some(0), WRONG_HOST).addressed_to(None),
        Origin::user("", None, FORBIDDEN).through_the_network("the network without a key"),
        Origin::key("", &view, viewer).through_the_network("the network with a viewer's key"),
        Origin::key("", &operate, operator).through_the_network("the network with an operator's key"),
        Origin::key("", &administer, ALLOWED).through_the_network("the network with an admin's key"),
        Origin::key("", &elsewhere, scoped)
            .through_the_network("the network with a key for another container"),
        Origin::key("", &revoked, BAD_KEY).through_the_network("the network with a revoked key"),
        Origin::key("", &administer, WRONG_HOST)
            .through_the_network("the network under a rebound name")
            .addressed_to(Some("evil.example:5443")),
        Origin::key("", &administer, FOREIGN)
            .through_the_network("a foreign page through the network")
            .with("origin", "https://evil.example"),
    ]
}

/// Sends a request; returns the refusal if it is about the caller, otherwise nothing.
async fn verdict(api: &axum::Router, request: Request<Body>) -> Verdict {
    const ABOUT_WHO_ASKS: [&str; 7] = [
        "forbidden",
        "invalid_key",
        "wrong_role",
        "out_of_scope",
        "foreign_origin",
        "unknown_host",
        "too_many_requests",
    ];
    let response = api.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    if status < 400 {
        // It may be a page or a stream of events.
        return None;
    }
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    assert_ne!(status, 500, "{body}");
    let code = body["code"].as_str().unwrap();
    // Whether an allowed change is possible depends on earlier ones.
    ABOUT_WHO_ASKS.into_iter().find(|known| *known == code).map(|code| (status, code))
}

fn node() -> Node {
    let mut node = Node::new();
    node.config.server.trusted_uids = vec![990];
    node.config.server.refusals_per_minute = 100_000.try_into().unwrap();
    node
}

fn create(node: &Node, name: &str, role: Role, containers: Option<&[u32]>) -> String {
    let containers =
        containers.map(|ids| ids.iter().map(|id| (*id).try_into().unwrap()).collect::<BTreeSet<_>>());
    let new = NewKey { name: name.to_owned(), role, containers, expires: None };
    KeyFile::new(node.config.server.keys_file.clone()).create(new, Timestamp::now()).unwrap()
}

/// The table of routes, as reported by the server.
async fn served(node: &Node) -> Vec<Value> {
    node.get("/routes").await.data().as_array().unwrap().clone()
}

#[tokio::test]
async fn route_by_role_by_origin() {
    for index in 0..origins(&node()).len() {
        // Each origin has a node of its own, so that one leaves no traces for the next.
        let node = node();
        let origin = &origins(&node)[index];
        let api = node.api();
        for row in Row::all() {
            let expected = (origin.verdict)(&row);
            let calls = node.calls().len();
            let found = verdict(&api, row.request(origin)).await;
            assert_eq!(found, expected, "{} asks for {} {}", origin.name, row.method, row.uri);
            let refused_calls = node.calls().len() - calls;
            assert!(expected.is_none() || refused_calls == 0, "{}: {row:?} reached pct", origin.name);
        }
    }
}

#[tokio::test]
async fn every_route_has_a_row_and_every_row_a_route() {
    let served = served(&node()).await;
    for route in &served {
        let rows: Vec<_> = Row::all().into_iter().filter(|row| row.is_for(route)).collect();
        assert!(!rows.is_empty(), "{route} has no line in ROUTES");
        for row in rows {
            assert_eq!(row.role.name(), route["role"], "{row:?}");
        }
    }
    for row in Row::all() {
        assert!(served.iter().any(|route| row.is_for(route)), "there is no route for {row:?}");
    }
}

/// Methods that a path does not support must not give access either, nor must paths that do not exist.
#[tokio::test]
async fn other_methods_and_paths_tell_strangers_nothing() {
    let node = node();
    let (api, served, origins) = (node.api(), served(&node).await, origins(&node));
    let by_name = |name: &str| origins.iter().find(|origin| origin.name == name).unwrap();
    let mut wrong = vec![(Row { role: Role::Viewer, method: "GET", uri: "/nowhere", body: "" }, 404)];
    for row in Row::all() {
        for method in METHODS {
            let other = Row { method, ..row };
            if !served.iter().any(|route| other.is_for(route)) {
                wrong.push((other, 405));
            }
        }
    }
    for (row, status) in wrong {
        for name in ["another user", "the network without a key"] {
            assert_eq!(verdict(&api, row.request(by_name(name))).await, Some((403, "forbidden")), "{row:?}");
        }
        let bad = verdict(&api, row.request(by_name("a revoked key"))).await;
        assert_eq!(bad, Some((401, "invalid_key")), "{row:?}");
        let response = api.clone().oneshot(row.request(by_name("root"))).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{row:?}");
    }
    assert_eq!(node.calls(), [""; 0]);
}

async fn look(api: &axum::Router, key: &str) -> crate::node::Reply {
    let request = Request::get("/routes").header("host", "proxmox:5000").extension(Peer { uid: None });
    send(api, request.header("authorization", format!("Bearer {key}")).body(Body::empty()).unwrap()).await
}

/// The same server keeps running; the key works, is revoked by another process, and no longer works.
#[tokio::test]
async fn a_revoked_key_is_dead_at_once() {
    let node = node();
    let api = node.api();
    let key = create(&node, "guest", Role::Viewer, None);
    look(&api, &key).await.data();
    KeyFile::new(node.config.server.keys_file.clone()).revoke("guest").unwrap();
    look(&api, &key).await.assert_error(401, "invalid_key");
}

#[tokio::test]
async fn a_scoped_key_may_what_it_is_for() {
    let node = node();
    let scoped = create(&node, "one", Role::Operator, Some(&[102]));
    let request = Request::post("/scale/cores").header("host", "proxmox:5000").extension(Peer { uid: None });
    let request = request
        .header("authorization", format!("Bearer {scoped}"))
        .header("content-type", "application/json")
        .body(Body::from(json!({"vm_id": 102, "cores": 2}).to_string()));
    send(&node.api(), request.unwrap()).await.data();
}

/// A request by the holder of a new key, an admin's, for container 102 alone.
pub(crate) fn with_key(node: &Node, path: &str) -> Request<Body> {
    let key = create(node, "for-102", Role::Admin, Some(&[102]));
    let request = Request::get(path).header("host", "proxmox:5000").extension(Peer { uid: None });
    request.header("authorization", format!("Bearer {key}")).body(Body::empty()).unwrap()
}

/// RFC 9110: the name of the scheme is case-insensitive, and a 401 says which scheme is wanted.
#[tokio::test]
async fn the_scheme_is_spoken_as_http_has_it() {
    let node = Node::new();
    let viewer = create(&node, "viewer", Role::Viewer, None);
    let api = node.api();
    let ask = async |authorization: String| {
        let request = Request::get("/routes").header("host", "proxmox:5000").extension(Peer { uid: None });
        send(&api, request.header("authorization", authorization).body(Body::empty()).unwrap()).await
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        ask(format!("{scheme} {viewer}")).await.data();
    }
    let refused = ask("bearer lxak_0000".to_owned()).await;
    refused.assert_error(401, "invalid_key");
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_again() {
    let mut node = Node::new();
    node.config.server.requests_per_minute = 2.try_into().unwrap();
    let (one, other) = (create(&node, "one", Role::Viewer, None), create(&node, "other", Role::Viewer, None));
    let api = node.api();
    for left in ["\"requests\";r=1;t=30", "\"requests\";r=0;t=60"] {
        let reply = look(&api, &one).await;
        reply.data();
        assert_eq!(reply.headers["ratelimit-policy"], "\"requests\";q=2;w=60");
        assert_eq!(reply.headers["ratelimit"], left);
    }
    let reply = look(&api, &one).await;
    reply.assert_error(429, "too_many_requests");
    assert_eq!(reply.headers["ratelimit"], "\"requests\";r=0;t=60");
    let seconds: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    look(&api, &other).await.data();
    // Root is not limited.
    for _ in 0..10 {
        let reply = send(&api, crate::node::request("GET", "/routes", None)).await;
        reply.data();
        assert!(!reply.headers.contains_key("ratelimit"), "{reply:?}");
    }
}

#[tokio::test]
async fn nothing_but_the_header_carries_a_key() {
    let node = Node::new();
    let viewer = create(&node, "viewer", Role::Viewer, None);
    let api = node.api();
    let ask = async |uri: &str, header: Option<&str>| {
        let request = Request::get(uri).header("host", "proxmox:5000").extension(Peer { uid: Some(1000) });
        let request = match header {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        send(&api, request.body(Body::empty()).unwrap()).await
    };
    ask(&format!("/routes?api_key={viewer}"), None).await.assert_error(403, "forbidden");
    for header in [viewer.as_str(), "Basic x", "", "Bearer"] {
        ask("/routes", Some(header)).await.assert_error(401, "invalid_key");
    }
}
