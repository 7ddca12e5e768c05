//! Sends requests to Proxmox's REST API and interprets the answers.
//!
//! Requests go to `/api2/extjs`, where every version puts the text of an error into the body; under `/api2/json` it
//! is only in the reason phrase before Proxmox VE 8.4. Bodies are sent with a length, because Proxmox answers chunked
//! ones with 501. Each request that changes something gets a connection of its own: Proxmox closes idle connections
//! after five seconds, and such a request must not be sent twice.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::token::Token;
use crate::backend::{BackendError, texts};

/// Largest answer that is read; that of a node with thousands of guests is smaller than one MiB.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// How long idle connections are kept; Proxmox closes them after five seconds.
const IDLE: Duration = Duration::from_secs(3);
/// How many idle connections are kept.
const MOST_IDLE: usize = 4;
const CONNECT: Duration = Duration::from_secs(10);

/// What a request is about, for its errors.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// A container.
    Container(Vmid),
    /// The node or the cluster.
    Node,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) parameters: Vec<(&'static str, String)>,
    pub(super) about: About,
    pub(super) limit: Duration,
}

impl Ask {
    /// The request as it is named in logs and errors, without the parameters, which may be long.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A client of one Proxmox node.
#[derive(Debug)]
pub(super) struct Client {
    base: String,
    token: Token,
    authorization: HeaderValue,
    looking: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    changing: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// The answer under `/api2/extjs`.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(default)]
    success: Value,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    errors: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    data: Value,
}

impl Client {
    /// Creates the client; connects to nothing.
    pub(super) fn new(base: String, token: Token, tls: &rustls::ClientConfig) -> Self {
        let client = |keeps_connections: bool| {
            let mut tcp = HttpConnector::new();
            tcp.set_connect_timeout(Some(CONNECT));
            tcp.enforce_http(false);
            let https = HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_only()
                .enable_http1()
                .wrap_connector(tcp);
            Http::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(if keeps_connections { MOST_IDLE } else { 0 })
                .retry_canceled_requests(false)
                .build(https)
        };
        let authorization = token.header();
        Self { base, token, authorization, looking: client(true), changing: client(false) }
    }

    /// The token it uses.
    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    /// Sends a request and returns the `data` of its answer.
    ///
    /// # Errors
    /// [`BackendError`] if Proxmox refuses, typed if the reason is known, or if the answer cannot be understood.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, BackendError> {
        let data = self.ask_value(ask).await?;
        serde_json::from_value(data).map_err(|error| unreadable(ask, &error.to_string()))
    }

    async fn ask_value(&self, ask: &Ask) -> Result<Value, BackendError> {
        let looks = ask.method == Method::GET;
        let (status, body) = match tokio::time::timeout(ask.limit, self.send(ask, looks)).await {
            Ok(answer) => answer?,
            // The request may have been carried out all the same.
            Err(_) => return Err(timed_out(ask, !looks)),
        };
        match status {
            200 => opened(ask, &body),
            401 => Err(BackendError::Unauthorized { token: self.token.id().to_owned() }),
            595 => Err(BackendError::NodeNotReady {
                detail: format!("{} got 595: the node behind it cannot be reached", ask.shown()),
            }),
            // Proxmox's proxy lost its connection to the daemon behind it, which may well continue.
            596..=599 if looks => Err(timed_out(ask, false)),
            596..=599 => Err(lost(ask, format!("its proxy answered {status}"))),
            _ => Err(refusal(ask, status, &String::from_utf8_lossy(&body))),
        }
    }

    /// Sends the request; returns status and body of the answer.
    async fn send(&self, ask: &Ask, looks: bool) -> Result<(u16, Bytes), BackendError> {
        let client = if looks { &self.looking } else { &self.changing };
        let answer = match client.request(self.request(ask)?).await {
            // An idle connection that was just closed says nothing about the server.
            Err(error) if looks && !error.is_connect() => client.request(self.request(ask)?).await,
            answer => answer,
        };
        let answer = answer.map_err(|error| {
            let detail = without_address(&ErrorChain(&error).to_string());
            if error.is_connect() { unreachable(ask, detail) } else { unanswered(ask, detail) }
        })?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| {
            unanswered(ask, format!("its answer ended early, or is longer than 8 MiB: {error}"))
        })?;
        Ok((status, body.to_bytes()))
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, BackendError> {
        let parameters =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(&ask.parameters).finish();
        let mut url = format!("{}/api2/extjs{}", self.base, ask.path);
        let mut body = Bytes::new();
        let mut request =
            Request::builder().method(ask.method.clone()).header(AUTHORIZATION, &self.authorization);
        // Proxmox refuses a body on DELETE.
        if matches!(ask.method, Method::GET | Method::DELETE) {
            if !parameters.is_empty() {
                url.extend(["?", &parameters]);
            }
        } else {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            body = Bytes::from(parameters);
        }
        request.uri(url).body(Full::new(body)).map_err(|error| unreachable(ask, error.to_string()))
    }
}

/// The text of an error without the address of the documentation of rustls, which is for programmers.
fn without_address(text: &str) -> String {
    let words = text.split(' ').filter(|word| !word.starts_with("https://docs.rs/"));
    words.collect::<Vec<_>>().join(" ").trim_end_matches(':').to_owned()
}

fn opened(ask: &Ask, body: &[u8]) -> Result<Value, BackendError> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|error| unreadable(ask, &error.to_string()))?;
    // It is 1 on every version, and `true` if another proxy writes the JSON.
    if envelope.success == 1 || envelope.success == true {
        return Ok(envelope.data);
    }
    let mut text = envelope.message.unwrap_or_default().trim().to_owned();
    for (name, error) in envelope.errors.unwrap_or_default() {
        let error = error.as_str().map_or_else(|| error.to_string(), |error| error.trim().to_owned());
        text.extend(["\n", &name, ": ", &error]);
    }
    Err(refusal(ask, envelope.status.unwrap_or(500), &text))
}

/// The typed error for a refusal.
fn refusal(ask: &Ask, status: u16, text: &str) -> BackendError {
    if status == 401 || status == 403 || text.contains("Permission check failed") {
        return BackendError::NotPermitted { command: ask.shown(), detail: texts::shorten(text) };
    }
    let known = match ask.about {
        About::Container(vmid) => texts::known(vmid, text),
        About::Node => None,
    };
    known.unwrap_or_else(|| BackendError::Failed {
        command: ask.shown(),
        status: format!("HTTP {status}"),
        detail: texts::shorten(text),
    })
}

fn timed_out(ask: &Ask, running: bool) -> BackendError {
    BackendError::TimedOut { command: ask.shown(), limit: ask.limit, running }
}

/// The request was not sent.
fn unreachable(ask: &Ask, detail: String) -> BackendError {
    BackendError::Unreachable { command: ask.shown(), detail }
}

/// The request was sent, or part of it.
fn unanswered(ask: &Ask, detail: String) -> BackendError {
    if ask.method == Method::GET { unreachable(ask, detail) } else { lost(ask, detail) }
}

fn lost(ask: &Ask, detail: String) -> BackendError {
    BackendError::AnswerLost { command: ask.shown(), detail }
}

/// The answer cannot be understood; a change may have been carried out.
fn unreadable(ask: &Ask, why: &str) -> BackendError {
    let detail = texts::shorten(why);
    if ask.method == Method::GET {
        BackendError::Unreadable { command: ask.shown(), detail }
    } else {
        lost(ask, format!("it cannot be understood: {detail}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_for_programmers_is_told() {
        let address = "https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";
        let told =
            without_address(&format!("peer closed connection without sending TLS close_notify: {address}"));
        assert_eq!(told, "peer closed connection without sending TLS close_notify");
        assert_eq!(without_address("connection refused: 1"), "connection refused: 1");
    }
}
