//! One request to Proxmox's REST API, and what its answer means.
//!
//! Requests go to `/api2/extjs`, where the text of an error is in the body on every version; under `/api2/json`
//! it is in the reason phrase alone before Proxmox VE 8.4. Bodies have a length (Proxmox answers chunked ones
//! with 501), and requests that change something get a connection of their own: Proxmox closes idle ones after
//! five seconds, and such a request must not be sent twice.

use std::collections::BTreeMap;
use std::time::Duration;

use lxc_autoscale_core::{ErrorChain, Vmid};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::token::Token;
use crate::backend::{BackendError, texts};

/// Largest answer that is read: that of a node with thousands of guests is below one.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// Proxmox closes idle connections after five seconds.
const IDLE: Duration = Duration::from_secs(3);
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
    /// As it is named in logs and errors; without values, which may be long.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Speaks with one Proxmox node.
#[derive(Debug)]
pub(super) struct Client {
    base: String,
    token: Token,
    looking: reqwest::Client,
    changing: reqwest::Client,
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
    /// Prepares; connects to nothing.
    ///
    /// # Errors
    /// When TLS cannot be set up with `tls`.
    pub(super) fn new(base: String, token: Token, tls: &rustls::ClientConfig) -> reqwest::Result<Self> {
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .connect_timeout(CONNECT)
                .https_only(true)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
        };
        Ok(Self {
            base,
            token,
            looking: builder().pool_idle_timeout(IDLE).build()?,
            changing: builder().pool_max_idle_per_host(0).build()?,
        })
    }

    /// The token it uses.
    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    /// Sends a request and reads the `data` of its answer.
    ///
    /// # Errors
    /// [`BackendError`] for what Proxmox refuses, by name where it has one, and for an answer that is none.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, BackendError> {
        let data = self.ask_value(ask).await?;
        serde_json::from_value(data).map_err(|error| unreadable(ask, &error.to_string()))
    }

    async fn ask_value(&self, ask: &Ask) -> Result<Value, BackendError> {
        let looks = ask.method == Method::GET;
        let client = if looks { &self.looking } else { &self.changing };
        let url = format!("{}/api2/extjs{}", self.base, ask.path);
        let request = client.request(ask.method.clone(), url).timeout(ask.limit);
        let request = request.header(reqwest::header::AUTHORIZATION, self.token.header());
        // A body on DELETE is refused.
        let request = if matches!(ask.method, Method::GET | Method::DELETE) {
            request.query(&ask.parameters)
        } else {
            request.form(&ask.parameters)
        };
        let (again, sent) = (looks.then(|| request.try_clone()).flatten(), request.send().await);
        let answer = match (sent, again) {
            // An idle connection that was just closed says nothing about the server.
            (Err(error), Some(again)) if !error.is_timeout() => again.send().await,
            (sent, _) => sent,
        };
        let answer = answer.map_err(|error| unanswered(ask, error))?;
        let status = answer.status();
        let body = read(answer, ask).await?;
        let failed = |status: StatusCode, text: &str| refusal(ask, status.as_u16(), text);
        match status.as_u16() {
            200 => opened(ask, &body),
            401 => Err(BackendError::Unauthorized { token: self.token.id().to_owned() }),
            // Proxmox's proxy lost its connection to the daemon behind it, which may well go on.
            595 => Err(BackendError::NodeNotReady {
                detail: format!("{} got 595: the node behind it cannot be reached", ask.shown()),
            }),
            596..=599 => {
                Err(BackendError::TimedOut { command: ask.shown(), limit: ask.limit, running: !looks })
            }
            _ => Err(failed(status, &String::from_utf8_lossy(&body))),
        }
    }
}

async fn read(mut answer: reqwest::Response, ask: &Ask) -> Result<Vec<u8>, BackendError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unanswered(ask, error))? {
        if MAX_ANSWER_BYTES < body.len() + chunk.len() {
            return Err(unreadable(ask, "it is longer than 8 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn opened(ask: &Ask, body: &[u8]) -> Result<Value, BackendError> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|error| unreadable(ask, &error.to_string()))?;
    // 1 on every version, and true where somebody else's proxy writes JSON.
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

/// Names what Proxmox said.
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

fn unanswered(ask: &Ask, error: reqwest::Error) -> BackendError {
    if error.is_timeout() && !error.is_connect() {
        // What was asked for may be done all the same.
        return BackendError::TimedOut {
            command: ask.shown(),
            limit: ask.limit,
            running: ask.method != Method::GET,
        };
    }
    BackendError::Unreachable { command: ask.shown(), detail: ErrorChain(&error.without_url()).to_string() }
}

fn unreadable(ask: &Ask, why: &str) -> BackendError {
    BackendError::Unreadable { command: ask.shown(), detail: texts::shorten(why) }
}
