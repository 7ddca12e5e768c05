//! Sends requests over kept connections, and records the latency of each response.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use lxc_autoscale_core::Vmid;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Number of requests that are sent before any is counted.
const WARM_UP: usize = 20;

/// Why there was no successful response.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    body: String,
}

impl Call {
    pub(crate) fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: String::new() }
    }

    pub(crate) fn set_cores(vmid: Vmid, cores: u32) -> Self {
        let body = json!({"vm_id": vmid, "cores": cores}).to_string();
        Self { method: Method::POST, path: "/scale/cores".to_owned(), body }
    }

    /// The request in the form in which it is sent.
    pub(crate) fn message(&self, host: SocketAddr) -> String {
        let Self { method, path, body } = self;
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }
}

/// The result for one kind of request.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Responses per second.
    pub(crate) per_second: f64,
    /// Their latencies in ascending order.
    pub(crate) latencies: Vec<Duration>,
}

/// The latency that this share of sorted latencies does not exceed.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among them")]
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

/// A connection that is reopened if the server closes it.
pub(crate) struct Connection {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Sends a request; returns the latency of its response.
    ///
    /// # Errors
    /// If the response is not a success.
    pub(crate) async fn send(&mut self, call: &Call) -> Result<Duration, Failure> {
        self.exchange(call).await.map(|(took, _)| took)
    }

    /// As [`Connection::send`], also returning the body.
    ///
    /// # Errors
    /// If the response is not a success.
    pub(crate) async fn exchange(&mut self, call: &Call) -> Result<(Duration, Bytes), Failure> {
        let request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(call.body.clone())))?;
        let begun = Instant::now();
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => connect(self.address).await?,
        };
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let took = begun.elapsed();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(format!("{} {}: {status}: {text}", call.method, call.path).into());
        }
        self.sender = Some(sender);
        Ok((took, body))
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with the sender, or when the server closes it; the next request notices either.
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends the calls of each connection in turn, repeatedly, for some time.
///
/// # Errors
/// If one of them is not successful.
pub(crate) async fn run(
    address: SocketAddr,
    calls: Vec<Vec<Call>>,
    time: Duration,
) -> Result<Measured, Failure> {
    let mut senders = JoinSet::new();
    for calls in calls {
        senders.spawn(async move {
            let mut connection = Connection::new(address);
            for call in calls.iter().cycle().take(WARM_UP) {
                connection.send(call).await?;
            }
            let (mut latencies, begun) = (Vec::new(), Instant::now());
            for call in calls.iter().cycle() {
                if time <= begun.elapsed() {
                    break;
                }
                latencies.push(connection.send(call).await?);
            }
            let per_second = latencies.len() as f64 / begun.elapsed().as_secs_f64();
            Ok::<_, Failure>((latencies, per_second))
        });
    }
    let mut all = Measured { per_second: 0.0, latencies: Vec::new() };
    while let Some(done) = senders.join_next().await {
        let (latencies, per_second) = done??;
        all.per_second += per_second;
        all.latencies.extend(latencies);
    }
    all.latencies.sort_unstable();
    Ok(all)
}
