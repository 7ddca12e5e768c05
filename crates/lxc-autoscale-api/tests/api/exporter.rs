//! The metrics for Prometheus: every request, change and call is counted, under a limited number of labels.

use std::collections::BTreeSet;
use std::path::Path;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use jiff::Timestamp;
use lxc_autoscale_api::auth::Peer;
use lxc_autoscale_api::auth::caller::Role;
use lxc_autoscale_api::auth::keys::{KeyFile, NewKey};
use lxc_autoscale_api::exporter::families;
use serde_json::json;
use tower::ServiceExt;

use crate::node::{Node, request, send};

/// The response to a request for the metrics: its media type and its text.
async fn ask(api: &Router, request: Request<Body>) -> (String, String) {
    let response = api.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (media_type, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn scrape(api: &Router) -> String {
    ask(api, request("GET", "/metrics", None)).await.1
}

#[track_caller]
fn assert_lines(exposition: &str, lines: &[&str]) {
    for line in lines {
        assert!(exposition.lines().any(|served| served == *line), "{line} in\n{exposition}");
    }
}

/// A node on which everything that is counted has happened at least once.
async fn busy(node: &mut Node) -> Router {
    node.measured(104, 300.5, 5);
    node.config.server.requests_per_minute = 1.try_into().unwrap();
    let api = node.api();
    let post = async |path, body| send(&api, request("POST", path, Some(body))).await;
    post("/scale/cores", json!({"vm_id": 104, "cores": 4})).await.data();
    post("/scale/cores", json!({"vm_id": 104, "cores": 3})).await.data();
    post("/scale/cpulimit", json!({"vm_id": 104, "cpulimit": 2})).await.data();
    post("/scale/ram", json!({"vm_id": 104, "memory": 256}))
        .await
        .assert_error(409, "shrink_below_working_set");
    post("/scale/storage/increase", json!({"vm_id": 104, "disk_size": 1})).await.data();
    post("/scale/cores", json!({"vm_id": 999, "cores": 4})).await.assert_error(404, "no_such_container");
    post("/snapshot/create", json!({"vm_id": 104, "snapshot_name": "before"})).await.data();
    post("/boost", json!({"vm_id": 104, "cores": 6, "minutes": 5})).await.data();
    node.hook("set", "fail 'no quorum'");
    post("/scale/ram", json!({"vm_id": 102, "memory": 1100})).await;
    let stranger = request("GET", "/routes", None).map(|_| Body::empty());
    let mut stranger = stranger;
    stranger.extensions_mut().insert(Peer { uid: Some(1000) });
    send(&api, stranger).await.assert_error(403, "forbidden");
    let key = key(node, "often", None);
    for code in [200, 429] {
        assert_eq!(send(&api, with_key("/routes", &key)).await.status.as_u16(), code);
    }
    api
}

fn key(node: &Node, name: &str, containers: Option<u32>) -> String {
    let containers = containers.map(|id| BTreeSet::from([id.try_into().unwrap()]));
    let new = NewKey { name: name.to_owned(), role: Role::Viewer, containers, expires: None };
    KeyFile::new(node.config.server.keys_file.clone()).create(new, Timestamp::now()).unwrap()
}

fn with_key(uri: &str, key: &str) -> Request<Body> {
    let request = Request::get(uri).header("host", "proxmox:5000").extension(Peer { uid: None });
    request.header("authorization", format!("Bearer {key}")).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn what_happened_is_counted() {
    let mut node = Node::new();
    let api = busy(&mut node).await;
    let exposition = scrape(&api).await;
    assert_lines(
        &exposition,
        &[
            concat!("lxc_api_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "# TYPE lxc_api_requests_total counter",
            "lxc_api_requests_total{method=\"POST\",route=\"/scale/cores\",status=\"200\"} 2",
            "lxc_api_requests_total{method=\"POST\",route=\"/scale/cores\",status=\"404\"} 1",
            "lxc_api_requests_total{method=\"POST\",route=\"/scale/ram\",status=\"409\"} 1",
            "# TYPE lxc_api_request_duration_seconds histogram",
            "lxc_api_request_duration_seconds_bucket{method=\"POST\",route=\"/scale/cores\",status=\"200\",le=\"+Inf\"} 2",
            "lxc_api_request_duration_seconds_count{method=\"POST\",route=\"/scale/cores\",status=\"200\"} 2",
            "lxc_api_error_answers_total{code=\"forbidden\"} 1",
            "lxc_api_error_answers_total{code=\"too_many_requests\"} 1",
            "lxc_api_error_answers_total{code=\"no_such_container\"} 1",
            // The boost is one of them.
            "lxc_api_changes_total{kind=\"set_cores\",result=\"done\"} 3",
            "lxc_api_changes_total{kind=\"set_cores\",result=\"no_such_container\"} 1",
            "lxc_api_changes_total{kind=\"set_memory\",result=\"shrink_below_working_set\"} 1",
            "lxc_api_changes_total{kind=\"create_snapshot\",result=\"done\"} 1",
            "lxc_api_change_duration_seconds_count{kind=\"set_cores\"} 4",
            "lxc_api_resizes_total{id=\"lxc/104\",resource=\"cores\",result=\"done\"} 3",
            "lxc_api_resizes_total{id=\"lxc/104\",resource=\"memory\",result=\"shrink_below_working_set\"} 1",
            "lxc_api_resizes_total{id=\"lxc/102\",resource=\"memory\",result=\"node_not_ready\"} 1",
            "lxc_api_changes_in_progress{state=\"running\"} 0",
            "lxc_api_changes_in_progress{state=\"waiting\"} 0",
            "lxc_api_changes_limit 64",
            "lxc_api_jobs{state=\"done\"} 2",
            "lxc_api_jobs{state=\"failed\"} 0",
            "lxc_api_boosts{id=\"lxc/104\",resource=\"cores\"} 1",
            "lxc_api_backend_call_duration_seconds_count{call=\"set_cores\",result=\"done\"} 3",
            "lxc_api_backend_call_duration_seconds_count{call=\"set_memory\",result=\"node_not_ready\"} 1",
            // Nine changes that had their turn, each with a start and an end.
            "lxc_api_audit_records_total 18",
            "lxc_api_audit_failures_total 0",
        ],
    );
    let number = |name: &str| -> f64 {
        let line = exposition.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    let now = Timestamp::now().as_second() as f64;
    let age = now - number("lxc_api_last_snapshot_timestamp_seconds");
    assert!((4.0..60.0).contains(&age), "{age}");
    assert!(number("process_start_time_seconds") <= now + 1.0);
    assert!(1e6 < number("process_resident_memory_bytes"));
    assert!(0.0 < number("process_cpu_seconds_total"));
}

/// Dashboards and alerts for the Python original keep working.
#[tokio::test]
async fn the_names_of_the_original_are_served_too() {
    let mut node = Node::new();
    let api = busy(&mut node).await;
    assert_lines(
        &scrape(&api).await,
        &[
            "# HELP lxc_autoscale_api_requests_total Alias of lxc_api_requests_total.",
            "lxc_autoscale_api_requests_total{method=\"POST\",endpoint=\"/scale/cores\",status=\"404\"} 1",
            "lxc_autoscale_api_request_duration_seconds_count{method=\"POST\",endpoint=\"/scale/cores\"} 3",
            "lxc_autoscale_scaling_actions_total{container_id=\"104\",resource=\"cpu\",action=\"set\"} 4",
            "lxc_autoscale_scaling_actions_total{container_id=\"104\",resource=\"storage\",action=\"increase\"} 1",
            "lxc_autoscale_scaling_failures_total{container_id=\"104\",resource=\"ram\",reason=\"shrink_below_working_set\"} 1",
        ],
    );
}

#[tokio::test]
async fn the_allocations_of_the_original_come_from_what_was_measured_just_now() {
    let node = Node::new();
    let api = node.api();
    let measured = |age_seconds| {
        node.measured(104, 300.5, age_seconds);
        let path = &node.config.metrics.file;
        let text = std::fs::read_to_string(path).unwrap();
        let configured =
            "\"configuration\":{\"cores\":2,\"memory_mb\":2048,\"swap_mb\":0},\"memory_usage_mb\"";
        std::fs::write(path, text.replace("\"memory_usage_mb\"", configured)).unwrap();
    };
    measured(5);
    let lines = [
        "lxc_autoscale_container_cpu_cores{container_id=\"104\"} 2",
        "lxc_autoscale_container_memory_mb{container_id=\"104\"} 2048",
    ];
    assert_lines(&scrape(&api).await, &lines);
    measured(600);
    let stale = scrape(&api).await;
    assert!(!stale.contains("lxc_autoscale_container_"), "{stale}");
    assert!(stale.contains("lxc_api_last_snapshot_timestamp_seconds "), "how old it is can still be told");
    std::fs::remove_file(&node.config.metrics.file).unwrap();
    assert!(!scrape(&api).await.contains("lxc_api_last_snapshot_timestamp_seconds"));
}

/// Whatever clients send, there is only one series for it.
#[tokio::test]
async fn nothing_that_a_client_sends_becomes_a_label() {
    let node = Node::new();
    let api = node.api();
    let names = |exposition: &str| -> BTreeSet<String> {
        let samples = exposition.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned()).collect()
    };
    let send_all = async |round: usize| {
        for number in 0..20 {
            let word = format!("x{round}-{number}");
            for (method, uri) in
                [("GET", format!("/{word}")), ("PURGE", format!("/{word}")), ("PUT", format!("/jobs/{word}"))]
            {
                send(&api, request(method, &uri, None)).await;
            }
            send(&api, request("GET", &format!("/jobs/{number}"), None)).await;
            let body = json!({"vm_id": 1_000_000 + round * 100 + number, "cores": 2});
            send(&api, request("POST", "/scale/cores", Some(body))).await;
        }
        names(&scrape(&api).await)
    };
    // The first scrape counts itself in the second one.
    send_all(0).await;
    let first = send_all(1).await;
    assert_eq!(send_all(2).await, first);
    let unknown = "lxc_api_requests_total{method=\"GET\",route=\"other\",status=\"404\"}";
    let strange = "lxc_api_requests_total{method=\"other\",route=\"other\",status=\"404\"}";
    let job = "lxc_api_requests_total{method=\"GET\",route=\"/jobs/{id}\",status=\"404\"}";
    for name in [unknown, strange, job] {
        assert!(first.contains(name), "{name} in {first:#?}");
    }
}

/// A key that is limited to one container sees no other.
#[tokio::test]
async fn a_key_for_some_containers_sees_no_others() {
    let mut node = Node::new();
    let api = busy(&mut node).await;
    let scoped = key(&node, "scoped", Some(102));
    let (_, exposition) = ask(&api, with_key("/metrics", &scoped)).await;
    assert!(exposition.contains("id=\"lxc/102\""), "{exposition}");
    for hidden in ["lxc/104", "container_id=\"104\""] {
        assert!(!exposition.contains(hidden), "{hidden} in {exposition}");
    }
}

#[tokio::test]
async fn either_format_is_served() {
    let node = Node::new();
    let api = node.api();
    let mut open = request("GET", "/metrics", None);
    open.headers_mut().insert("accept", "application/openmetrics-text;version=1.0.0".parse().unwrap());
    let (media_type, text) = ask(&api, open).await;
    assert_eq!(media_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE lxc_api_build info\n"), "{text}");
    let (media_type, text) = ask(&api, request("GET", "/metrics", None)).await;
    assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
    assert!(!text.contains("# EOF") && text.contains("# TYPE lxc_api_build_info gauge\n"), "{text}");
}

#[test]
fn the_documentation_lists_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/prometheus.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, own) = document.split_once("\n## The API server\n").unwrap();
    let (own, _) = own.split_once("\n## The ml daemon\n").unwrap();
    let rows: Vec<_> = own.lines().filter(|line| line.starts_with("| `")).collect();
    let want: Vec<_> = families::all()
        .map(|family| {
            let description = &family.description;
            format!("| `{}{}` | {} |", description.name, description.suffix(), description.help)
        })
        .collect();
    assert!(rows == want, "the table must read:\n{}", want.join("\n"));
}
