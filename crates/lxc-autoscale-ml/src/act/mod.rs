//! Asks our API to resize a container. This daemon changes nothing itself.
//!
//! A call is retried when nobody listens, when the API is too busy (429, 503) and when its backend failed (502), with a
//! pause that doubles, until a deadline. A call that may still be under way (no answer, 504) is never repeated: the
//! second attempt would be refused because of the first, whose outcome would be lost. Nor is one that the API refuses
//! for a reason of its own (any other 4xx, 500). A success counts only with the value read back.

mod endpoint;
mod error;

use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{
    BoostInfo, ContainerStatus, Envelope, LedgerPage, PURPOSE_HEADER, QUEUE_TIMEOUT_HEADER,
    ScaleCoresRequest, ScaleCpulimitRequest, ScaleRamRequest, ScaledCores, ScaledCpulimit, ScaledRam,
};
use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub use endpoint::Endpoint;
pub use error::CallError;

/// Pause before the first repetition; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Most bytes of an answer that are read. Most answers have a few hundred; a boost has as many, and there may be 16 of
/// them for each container.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Time limit for a list that is requested in every cycle, without retries: the cycle can do without it.
const LIST_PATIENCE: Duration = Duration::from_secs(5);

/// How long a change may wait in the API for another one of the same container. It is short: other containers wait
/// meanwhile, the decision can be made again in the next cycle, and all of the wait and the change itself must fit into
/// the time for one answer.
pub(crate) const QUEUE_SECONDS: u64 = 5;

/// Time limits and retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the connection.
    pub connect: Duration,
    /// For one answer; a resize through `pct` takes seconds while Proxmox holds a lock.
    pub answer: Duration,
    /// For one call with all its retries.
    pub deadline: Duration,
    /// Retries after the first attempt.
    pub retries: u32,
}

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The HTTP library failed.
    #[error("cannot set up the HTTP client")]
    Http(#[from] reqwest::Error),
    /// Not an address where the API can listen.
    #[error("`{0}` is neither `unix:` and the path of a socket nor a plain HTTP address")]
    Endpoint(String),
}

/// The client of our API.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    /// As written in the configuration.
    url: String,
    endpoint: Endpoint,
    patience: Patience,
    /// How long a change may wait in the API for another one of the same container; absent: as long as the API lets it.
    queue_seconds: Option<u64>,
}

impl ApiClient {
    /// Prepares to call the API at `url`, an [`Endpoint`]; does not connect yet.
    ///
    /// # Errors
    /// When it is not one, or the HTTP client cannot be set up.
    pub fn new(url: &str, patience: Patience) -> Result<Self, ClientError> {
        let endpoint = Endpoint::of(url).ok_or_else(|| ClientError::Endpoint(url.to_owned()))?;
        let builder = reqwest::Client::builder()
            .connect_timeout(patience.connect)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("lxc-autoscale-ml/", env!("CARGO_PKG_VERSION")));
        let builder = match &endpoint {
            Endpoint::Socket(path) => builder.unix_socket(path.as_path()),
            Endpoint::Http(_) => builder,
        };
        Ok(Self { http: builder.build()?, url: url.to_owned(), endpoint, patience, queue_seconds: None })
    }

    /// The client of the daemon, which decides again in its next cycle: its changes wait for a moment only.
    #[must_use]
    pub fn in_a_hurry(self) -> Self {
        Self { queue_seconds: Some(QUEUE_SECONDS), ..self }
    }

    /// The API that is called.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How long a call with all its retries may take.
    pub fn deadline(&self) -> Duration {
        self.patience.deadline
    }

    /// A container's allocation in Proxmox's configuration, and its usage.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn container_status(&self, vm_id: Vmid) -> Result<ContainerStatus, CallError> {
        let route = "/resource/vm/status";
        let url = format!("{}{route}?vm_id={vm_id}", self.endpoint.base());
        self.call(route, || self.http.get(&url)).await
    }

    /// All active boosts.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn boosts(&self) -> Result<Vec<BoostInfo>, CallError> {
        self.list("/boost", "").await
    }

    /// The newest ledger entries of a container: sizes changed through the API, or changes it noticed.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ledger(&self, vm_id: Vmid) -> Result<LedgerPage, CallError> {
        self.list("/ledger", &format!("?vm_id={vm_id}")).await
    }

    /// Sets the number of cores.
    ///
    /// # Errors
    /// [`CallError`]; see [`CallError::may_have_happened`].
    pub async fn scale_cores(
        &self,
        request: &ScaleCoresRequest,
        purpose: &str,
    ) -> Result<ScaledCores, CallError> {
        self.post("/scale/cores", request, purpose).await
    }

    /// Sets the CPU limit, in cores.
    ///
    /// # Errors
    /// [`CallError`]; see [`CallError::may_have_happened`].
    pub async fn scale_cpulimit(
        &self,
        request: &ScaleCpulimitRequest,
        purpose: &str,
    ) -> Result<ScaledCpulimit, CallError> {
        self.post("/scale/cpulimit", request, purpose).await
    }

    /// Sets the memory.
    ///
    /// # Errors
    /// [`CallError`]; see [`CallError::may_have_happened`].
    pub async fn scale_ram(&self, request: &ScaleRamRequest, purpose: &str) -> Result<ScaledRam, CallError> {
        self.post("/scale/ram", request, purpose).await
    }

    /// Whether it answers anything at all, after it did not answer a change in time: that may be because of one
    /// container.
    pub async fn is_there(&self) -> bool {
        !matches!(self.boosts().await, Err(CallError::Unreachable { .. } | CallError::Unanswered { .. }))
    }

    /// Requests a list, once and with a short time limit.
    async fn list<R: DeserializeOwned>(&self, route: &'static str, query: &str) -> Result<R, CallError> {
        let url = format!("{}{route}{query}", self.endpoint.base());
        self.attempt(route, self.http.get(url), LIST_PATIENCE.min(self.patience.answer)).await
    }

    /// Requests a change; `purpose` goes to the API's audit log and ledger.
    async fn post<Q, R>(&self, route: &'static str, request: &Q, purpose: &str) -> Result<R, CallError>
    where
        Q: Serialize + Sync,
        R: DeserializeOwned,
    {
        let url = format!("{}{route}", self.endpoint.base());
        let with_headers = || {
            let request = self.http.post(&url).header(PURPOSE_HEADER, purpose);
            match self.queue_seconds {
                Some(seconds) => request.header(QUEUE_TIMEOUT_HEADER, seconds),
                None => request,
            }
        };
        self.call(route, || with_headers().json(request)).await
    }

    /// Sends a request until it is answered or the deadline has passed.
    async fn call<R: DeserializeOwned>(
        &self,
        route: &'static str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<R, CallError> {
        let deadline = Instant::now() + self.patience.deadline;
        let mut pause = FIRST_PAUSE;
        let mut left = self.patience.retries;
        loop {
            let now = Instant::now();
            let limit = self.patience.answer.min(deadline.saturating_duration_since(now));
            let error = match self.attempt(route, request(), limit).await {
                Ok(made) => return Ok(made),
                Err(error) => error,
            };
            let wait = error.retry_after().unwrap_or(pause);
            // Compared as durations: the end of a long wait may be no time that can be represented.
            let rest = deadline.saturating_duration_since(Instant::now());
            if left == 0 || !error.is_transient() || rest <= wait {
                return Err(error);
            }
            tracing::debug!(route, ?wait, %error, "calling the API again");
            tokio::time::sleep(wait).await;
            left -= 1;
            pause *= 2;
        }
    }

    async fn attempt<R: DeserializeOwned>(
        &self,
        route: &'static str,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<R, CallError> {
        let lost = |source: reqwest::Error| {
            let url = self.url.clone();
            // A request that could not be built was not sent either.
            if source.is_connect() || source.is_builder() {
                CallError::Unreachable { url, source }
            } else {
                CallError::Unanswered { url, route, source }
            }
        };
        let mut response = request.timeout(limit).send().await.map_err(lost)?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            let room = MAX_ANSWER_BYTES.saturating_sub(body.len());
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        if !status.is_success() {
            return Err(refusal(route, status, &body, retry_after));
        }
        let envelope: Envelope<R> =
            serde_json::from_slice(&body).map_err(|source| CallError::NotUnderstood { route, source })?;
        envelope.data.ok_or(CallError::WithoutResult { route })
    }
}

/// Reads the API's refusal; a proxy in between may have answered in its own format.
fn refusal(route: &'static str, status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> CallError {
    let envelope: Option<Envelope<serde_json::Value>> = serde_json::from_slice(body).ok();
    let (code, message) = match envelope {
        Some(envelope) => (envelope.code, envelope.message),
        None => (None, String::from_utf8_lossy(body).chars().take(200).collect()),
    };
    let code = code.unwrap_or_else(|| "unnamed".to_owned());
    CallError::Refused { route, status, code, message, retry_after }
}

/// `Retry-After` in seconds; our API never writes the form with a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode as Status};
    use axum::routing::post;
    use lxc_autoscale_core::Mebibytes;
    use serde_json::{Value, json};

    use super::*;

    const PATIENCE: Patience = Patience {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(20),
        deadline: Duration::from_mins(1),
        retries: 2,
    };

    const PURPOSE: &str = "decision 4711";

    /// The API's answers, call by call; `None` keeps the caller waiting for ever.
    type Script = Arc<Mutex<VecDeque<Option<(u16, String)>>>>;

    /// Serves the script on a free port and records the requests.
    async fn serve(answers: Vec<Option<(u16, Value)>>) -> (String, Arc<Mutex<Vec<Value>>>) {
        let texts = answers.into_iter().map(|answer| answer.map(|(status, body)| (status, body.to_string())));
        let script: Script = Arc::new(Mutex::new(texts.collect()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let handler = |State((script, asked)): State<(Script, Arc<Mutex<Vec<Value>>>)>,
                       headers: HeaderMap,
                       body: String| async move {
            // Each attempt carries its purpose, and how long it may wait.
            assert_eq!(headers[PURPOSE_HEADER], PURPOSE);
            assert_eq!(headers[QUEUE_TIMEOUT_HEADER], QUEUE_SECONDS.to_string());
            asked.lock().unwrap().push(serde_json::from_str(&body).unwrap());
            let answer = script.lock().unwrap().pop_front().expect("one call more than scripted");
            match answer {
                Some((status, text)) => (Status::from_u16(status).unwrap(), text),
                None => std::future::pending().await,
            }
        };
        let router = Router::new()
            .route("/scale/cores", post(handler))
            .route("/scale/ram", post(handler))
            .with_state((script, Arc::clone(&asked)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, asked)
    }

    fn resized(before: u32, after: u32) -> Value {
        json!({"status": "success", "message": "done", "data":
            {"vm_id": 104, "before": before, "after": after, "changed": before != after}})
    }

    fn refused(code: &str) -> Value {
        json!({"status": "error", "message": "it is so", "data": null, "code": code})
    }

    fn four_cores() -> ScaleCoresRequest {
        ScaleCoresRequest { vm_id: Vmid::try_from(104).unwrap(), cores: 4, expected: Some(2) }
    }

    /// Asks for four cores; returns the outcome and the number of calls.
    async fn ask(
        answers: Vec<Option<(u16, Value)>>,
        patience: Patience,
    ) -> (Result<ScaledCores, CallError>, usize) {
        let (url, asked) = serve(answers).await;
        let client = ApiClient::new(&url, patience).unwrap().in_a_hurry();
        let result = client.scale_cores(&four_cores(), PURPOSE).await;
        let asked = asked.lock().unwrap();
        assert!(
            asked.iter().all(|body| *body == json!({"vm_id": 104, "cores": 4, "expected": 2})),
            "{asked:?}"
        );
        (result, asked.len())
    }

    #[tokio::test]
    async fn the_value_read_back_is_returned() {
        let (result, calls) = ask(vec![Some((200, resized(2, 4)))], PATIENCE).await;
        let result = result.unwrap();
        assert_eq!(
            (result.before.unwrap().get(), result.after.unwrap().get(), result.changed),
            (2.0, 4.0, true)
        );
        assert_eq!(calls, 1);
    }

    #[tokio::test]
    async fn memory_is_asked_for_in_mebibytes() {
        let (url, asked) = serve(vec![Some((200, resized(4096, 8192)))]).await;
        let client = ApiClient::new(&url, PATIENCE).unwrap().in_a_hurry();
        let memory = Mebibytes::new(8192);
        let request = ScaleRamRequest { vm_id: four_cores().vm_id, memory, expected: None };
        let result = client.scale_ram(&request, PURPOSE).await.unwrap();
        assert_eq!(result.after, Some(Mebibytes::new(8192)));
        assert_eq!(*asked.lock().unwrap(), [json!({"vm_id": 104, "memory": 8192})]);
    }

    #[tokio::test]
    async fn what_passes_is_tried_again() {
        for status in [429, 502, 503] {
            let answers = vec![Some((status, refused("busy"))), Some((200, resized(2, 4)))];
            let (result, calls) = ask(answers, PATIENCE).await;
            assert!(result.unwrap().changed, "{status}");
            assert_eq!(calls, 2, "{status}");
        }
    }

    #[tokio::test]
    async fn what_does_not_pass_is_not_tried_again() {
        for status in [400, 403, 404, 409, 422, 500] {
            let (result, calls) = ask(vec![Some((status, refused("container_locked")))], PATIENCE).await;
            let error = result.unwrap_err();
            let shown = error.to_string();
            assert!(shown.contains("container_locked") && shown.contains("it is so"), "{shown}");
            assert!(!error.may_have_happened(), "{status}");
            assert_eq!(calls, 1, "{status}");
        }
    }

    /// The program behind the API continues and may succeed: a second attempt would only be told that the first is
    /// still under way, and that refusal would be taken for the outcome.
    #[tokio::test]
    async fn what_may_be_under_way_is_not_asked_for_again() {
        let answers = vec![Some((504, refused("pct_timed_out"))), Some((409, refused("change_in_progress")))];
        let (result, calls) = ask(answers, PATIENCE).await;
        let error = result.unwrap_err();
        assert!(error.may_have_happened() && error.to_string().contains("pct_timed_out"), "{error}");
        assert_eq!(calls, 1);
    }

    #[tokio::test]
    async fn patience_ends_after_the_retries() {
        let (result, calls) = ask(vec![Some((503, refused("busy"))); 3], PATIENCE).await;
        assert!(result.unwrap_err().is_api_down());
        assert_eq!(calls, 3);
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_may_have_been_acted_upon_and_is_not_repeated() {
        let patience = Patience { answer: Duration::from_millis(50), ..PATIENCE };
        let (result, calls) = ask(vec![None], patience).await;
        let error = result.unwrap_err();
        assert!(matches!(error, CallError::Unanswered { .. }), "{error:?}");
        assert!(error.may_have_happened() && error.is_late() && !error.is_api_down());
        assert_eq!(calls, 1);
    }

    #[tokio::test]
    async fn nobody_there_means_nothing_was_done() {
        // Bound and dropped at once, so that the port is certainly free.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = ApiClient::new(&url, Patience { retries: 1, ..PATIENCE }).unwrap().in_a_hurry();
        let error = client.scale_cores(&four_cores(), PURPOSE).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
        assert!(error.is_api_down() && !error.may_have_happened());
    }

    #[tokio::test]
    async fn the_api_is_asked_through_its_socket_and_missed_where_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let url = format!("unix:{}", path.display());
        let client = ApiClient::new(&url, Patience { retries: 0, ..PATIENCE }).unwrap().in_a_hurry();
        let error = client.scale_cores(&four_cores(), PURPOSE).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&url) && !error.may_have_happened(), "{error}");

        let handler = async || serde_json::to_string(&resized(2, 4)).unwrap();
        let router = Router::new().route("/scale/cores", post(handler));
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        assert!(client.scale_cores(&four_cores(), PURPOSE).await.unwrap().changed);
    }

    #[tokio::test]
    async fn a_success_that_says_nothing_is_no_success() {
        let silent = json!({"status": "success", "message": "done", "data": null});
        let (result, _) = ask(vec![Some((200, silent))], PATIENCE).await;
        assert!(matches!(result, Err(CallError::WithoutResult { .. })), "{result:?}");
        let (result, _) = ask(vec![Some((200, json!("it works!")))], PATIENCE).await;
        assert!(matches!(result, Err(CallError::NotUnderstood { .. })), "{result:?}");
    }

    /// The answer may come from anything that listens there.
    #[tokio::test]
    async fn no_wait_that_an_answer_asks_for_is_too_long_to_be_refused() {
        for seconds in [u64::MAX, u64::from(u32::MAX), 61] {
            let handler = async move || {
                (
                    Status::SERVICE_UNAVAILABLE,
                    [(RETRY_AFTER, seconds.to_string())],
                    refused("busy").to_string(),
                )
            };
            let router = Router::new().route("/scale/cores", post(handler));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, router).await });
            let client = ApiClient::new(&url, PATIENCE).unwrap().in_a_hurry();
            let error = client.scale_cores(&four_cores(), PURPOSE).await.unwrap_err();
            assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_wait_beyond_the_deadline_is_not_begun() {
        let patience = Patience { deadline: Duration::from_millis(100), ..PATIENCE };
        let (result, calls) = ask(vec![Some((503, refused("busy")))], patience).await;
        assert!(result.is_err());
        assert_eq!(calls, 1);
    }
}
