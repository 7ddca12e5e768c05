//! The HTTPS server: who is calling, which call is meant, and those rules of Proxmox's own server that trip up
//! clients.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue, SERVER, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lxc_autoscale_core::ErrorChain;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::access::Access;
use super::tasks::Tasks;
use super::wrap::{Failure, Format, Wrapped, wrap};
use super::{calls, certificate, looks};
use crate::node::{Answers, NodeError, NodeLayout, NodeSettings};
use crate::pve::Machine;
use crate::pve::error::PctError;
use crate::pve::storage::Interrupt;

/// Largest body that Proxmox accepts.
const MAX_BODY_BYTES: usize = 512 << 10;
/// How long Proxmox keeps an idle connection.
const IDLE: Duration = Duration::from_secs(5);
/// How long Proxmox delays its answer to unknown callers.
const UNAUTHORIZED_DELAY: Duration = Duration::from_secs(3);

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The tree does not contain a node, or cannot be read or written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The certificate or its key cannot be read.
    #[error("cannot read `{}`", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate cannot be created.
    #[error("cannot create a certificate")]
    Make(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("cannot serve TLS")]
    Tls(#[from] rustls::Error),
    /// The server cannot listen on the address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A node's REST API, listening.
#[derive(Debug)]
pub struct RestServer {
    listener: TcpListener,
    address: SocketAddr,
    node: Arc<Served>,
    tls: Arc<rustls::ServerConfig>,
}

/// A node of the cluster.
#[derive(Clone, Debug)]
struct Member {
    layout: NodeLayout,
    name: String,
}

impl Member {
    fn open(layout: &NodeLayout) -> Result<(Self, NodeSettings), NodeError> {
        let settings = NodeSettings::load(layout)?;
        Ok((Self { layout: layout.clone(), name: settings.name.clone() }, settings))
    }
}

/// An answer that is withheld: the connection breaks instead.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Lost;

#[derive(Debug)]
struct Served {
    /// The node that runs the server.
    own: Member,
    /// All nodes: this one, and those it forwards calls to.
    cluster: Vec<Member>,
    log: Option<std::fs::File>,
    tasks: Tasks,
}

impl RestServer {
    /// Listens; creates the certificate if there is none. Calls that name one of `others` are forwarded to it. Each
    /// call and its answer are written to `log`.
    ///
    /// # Errors
    /// [`RestError`] if it cannot be served.
    pub async fn bind(
        layout: &NodeLayout,
        others: &[NodeLayout],
        address: SocketAddr,
        log: Option<PathBuf>,
    ) -> Result<Self, RestError> {
        let (own, settings) = Member::open(layout)?;
        let mut cluster = vec![own.clone()];
        for other in others {
            cluster.push(Member::open(other)?.0);
        }
        let open = |path: PathBuf| {
            let file = std::fs::File::options().create(true).append(true).open(&path);
            file.map_err(NodeError::file("create", &path))
        };
        let log = log.map(open).transpose()?;
        let (chain, key) = certificate::open(layout, &settings.name)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let listener =
            TcpListener::bind(address).await.map_err(|source| RestError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| RestError::Listen { address, source })?;
        let node = Arc::new(Served { own, cluster, log, tasks: Tasks::default() });
        Ok(Self { listener, address, node, tls: Arc::new(tls) })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever.
    pub async fn serve(self) -> Infallible {
        let acceptor = TlsAcceptor::from(self.tls);
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, acceptor.clone(), Arc::clone(&self.node)));
                }
                // No file descriptors are left, or the client has gone already.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// Serves one connection; whatever ends it concerns only the client.
async fn connection(stream: TcpStream, acceptor: TlsAcceptor, node: Arc<Served>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let node = Arc::clone(&node);
        async move { node.respond(request).await }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Served {
    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
        let changes = request.method() != Method::GET;
        let starts = changes && is_start(request.uri().path());
        let settings = NodeSettings::load(&self.own.layout).unwrap_or_default();
        if changes && settings.answers_to_changes == Answers::Unreached {
            return Ok(plain(595, "No route to host"));
        }
        let response = self.respond_to(request).await;
        let settings = NodeSettings::load(&self.own.layout).unwrap_or_default();
        match settings.answers_to_changes {
            Answers::GivenUp if changes => Ok(plain(596, "Connection timed out")),
            Answers::Lost if changes => Err(Lost),
            Answers::StartLost if starts => Err(Lost),
            _ => Ok(response),
        }
    }

    async fn respond_to(self: &Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let Some((format, rest)) = split_format(&path) else {
            return plain(501, &format!("Method '{} {path}' not implemented", request.method()));
        };
        if request.headers().contains_key(TRANSFER_ENCODING) {
            return plain(501, "chunked transfer encoding not supported");
        }
        let takes_body = matches!(*request.method(), Method::PUT | Method::POST);
        if !takes_body && !hyper::body::Body::is_end_stream(request.body()) {
            return plain(501, &format!("Unexpected content for method '{}'", request.method()));
        }
        let access = match Access::load(&self.own.layout) {
            Ok(access) => access,
            Err(error) => return plain(500, &ErrorChain(&error).to_string()),
        };
        let credential = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let credential = credential.and_then(|value| value.strip_prefix("PVEAPIToken="));
        let who = credential.ok_or_else(|| "No ticket".to_owned());
        let who = match who.and_then(|credential| access.authenticate(credential)) {
            Ok(who) => who,
            Err(reason) => {
                tokio::time::sleep(UNAUTHORIZED_DELAY).await;
                return plain(401, &reason);
            }
        };
        let result = self.answer(request, rest, access, who).await;
        // Putting the text into the body came with the release of libpve-http-server-perl in 8.4.
        let settings = NodeSettings::load(&self.own.layout).unwrap_or_default();
        finish(wrap(result, format, !settings.is_before((8, 4))))
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        path: &str,
        access: Access,
        who: String,
    ) -> Result<Value, Failure> {
        let method = request.method().as_str().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let content = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content.is_some_and(|content| content.starts_with("application/json"));
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await;
        let body = body.map_err(|_| Failure::new(413, "request body too large"))?.to_bytes();
        let mut given = if is_json { from_json(&body)? } else { from_form(&String::from_utf8_lossy(&body)) };
        // Parameters in the query take precedence.
        given.extend(from_form(&query));

        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
        let told = json!({"method": method, "path": path, "parameters": given});
        let result = self.act(&method, path, parts, given, access, who).await;
        self.note(told, &result);
        result
    }

    /// Logs a call and its answer.
    fn note(&self, mut told: Value, result: &Result<Value, Failure>) {
        let Some(mut log) = self.log.as_ref() else { return };
        match result {
            Ok(data) => told["data"] = data.clone(),
            Err(failure) => told["error"] = json!({"status": failure.status, "text": failure.text}),
        }
        // In a single write, so that lines of concurrent calls do not mix; a full disk affects only the log.
        let _ = log.write_all(format!("{told}\n").as_bytes());
    }

    async fn act(
        self: &Arc<Self>,
        method: &str,
        path: &str,
        parts: Vec<String>,
        given: BTreeMap<String, String>,
        access: Access,
        who: String,
    ) -> Result<Value, Failure> {
        let layout = self.node_of(&parts)?.layout.clone();
        let names: Vec<&str> = parts.iter().map(String::as_str).collect();
        if method == "GET" {
            let node = Arc::clone(self);
            return blocking(move || {
                let machine = Machine::open(&layout)?;
                let cluster: Result<Vec<Machine>, PctError> =
                    node.cluster.iter().map(|member| Machine::open(&member.layout)).collect();
                let names: Vec<&str> = parts.iter().map(String::as_str).collect();
                looks::look(&machine, &cluster?, &access, &who, &names, &given)
            })
            .await;
        }
        if let ("DELETE", ["nodes", node, "tasks", upid]) = (method, names.as_slice()) {
            return self.tasks.stop(upid, node, &access, &who);
        }
        let change = match names.as_slice() {
            ["nodes", _, rest @ ..] => calls::find(method, rest),
            _ => None,
        };
        let Some(change) = change else {
            return Err(Failure::new(501, format!("Method '{method} {path}' not implemented")));
        };
        let node = Arc::clone(self);
        let (tell, told) = oneshot::channel();
        let tell = std::sync::Mutex::new(Some(tell));
        let is_task = change.is_task;
        let interrupt = Interrupt::default();
        let work = blocking(move || {
            let task = node.tasks.clone();
            let stops = interrupt.clone();
            let begun = move |upid: &str| {
                task.begin(upid, stops.clone());
                let teller = tell.lock().ok().and_then(|mut tell| tell.take());
                // The caller may have left.
                let _ = teller.map(|tell| tell.send(upid.to_owned()));
            };
            let done = calls::run(&layout, &access, &who, &change, given, Box::new(begun), interrupt.clone());
            node.tasks.end(&interrupt);
            done
        });
        if !is_task {
            return work.await;
        }
        // The answer is the name of the task; the work continues.
        let work = tokio::spawn(work);
        let told = told.await;
        let answers = NodeSettings::load(&self.own.layout).unwrap_or_default().answers_to_changes;
        match told {
            Ok(upid) => {
                if answers == Answers::StartLost && is_start(path) {
                    // How it ended is in its log.
                    let _ = work.await;
                }
                Ok(json!(upid))
            }
            Err(_) => work.await.unwrap_or_else(|error| Err(Failure::new(500, error.to_string()))),
        }
    }

    /// The node that a call names, or this one.
    fn node_of(&self, parts: &[String]) -> Result<&Member, Failure> {
        let name = match parts {
            [first, name, ..] if first == "nodes" && name != "localhost" => name,
            _ => return Ok(&self.own),
        };
        self.cluster.iter().find(|member| member.name == *name).ok_or_else(|| {
            Failure::new(
                500,
                format!(
                    "hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not \
                     known"
                ),
            )
        })
    }
}

/// Whether a call with this path starts a container.
fn is_start(path: &str) -> bool {
    path.ends_with("/status/start")
}

/// Runs work that waits for files and locks outside the threads of connections.
async fn blocking(work: impl FnOnce() -> Result<Value, Failure> + Send + 'static) -> Result<Value, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::new(500, error.to_string())))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        PctError::from(error).into()
    }
}

fn split_format(path: &str) -> Option<(Format, &str)> {
    let rest = path.strip_prefix("/api2/")?;
    let json = rest.strip_prefix("json").map(|rest| (Format::Json, rest));
    json.or_else(|| rest.strip_prefix("extjs").map(|rest| (Format::Extjs, rest)))
}

fn from_form(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| decoded(&text.replace('+', " "));
            (plain(name), plain(value))
        })
        .collect()
}

fn from_json(body: &[u8]) -> Result<BTreeMap<String, String>, Failure> {
    let given: BTreeMap<String, Value> =
        serde_json::from_slice(body).map_err(|error| Failure::new(400, format!("JSON: {error}")))?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(given.into_iter().map(|(name, value)| (name, text(value))).collect())
}

/// Percent-decodes a text; invalid escapes are kept.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// An answer without a body, as Proxmox's server itself sends it.
fn plain(status: u16, reason: &str) -> Response<Full<Bytes>> {
    finish(Wrapped { status, reason: Some(reason.to_owned()), body: Value::Null })
}

fn finish(wrapped: Wrapped) -> Response<Full<Bytes>> {
    let body = if wrapped.body.is_null() { String::new() } else { wrapped.body.to_string() };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() =
        StatusCode::from_u16(wrapped.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
    if 400 <= wrapped.status {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let reason = wrapped.reason.map(String::into_bytes);
    if let Some(reason) = reason.and_then(|reason| hyper::ext::ReasonPhrase::try_from(reason).ok()) {
        response.extensions_mut().insert(reason);
    }
    response
}
