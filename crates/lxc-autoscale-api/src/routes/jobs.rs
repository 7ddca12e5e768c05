//! `/jobs/*`, and the responses to calls that may take an hour.

use std::marker::PhantomData;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::header::{HeaderName, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lxc_autoscale_core::api::{Envelope, JobInfo};
use lxc_autoscale_core::count;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Answer, success};
use crate::actions::ActionError;
use crate::auth::caller::Caller;
use crate::changes::{CancelRefused, Change};
use crate::error::ApiError;
use crate::extract::ApiPath;
use crate::jobs::{Journal, Order, Task, table};
use crate::openapi::{Input, Output, Parameter, Schemas, Shape};
use crate::state::{AppState, Shared};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const RESPOND_ASYNC: &str = "respond-async";

/// Whether a client prefers to get the number of a job over waiting for the result (RFC 7240).
#[derive(Clone, Copy, Debug)]
pub(super) struct PrefersAsync(bool);

impl<S: Sync> FromRequestParts<S> for PrefersAsync {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let wanted = |value: &HeaderValue| {
            let words = value.to_str().unwrap_or_default().split([',', ';']);
            words.into_iter().any(|word| word.trim().eq_ignore_ascii_case(RESPOND_ASYNC))
        };
        Ok(Self(parts.headers.get_all(PREFER).iter().any(wanted)))
    }
}

impl Input for PrefersAsync {
    fn describe(shape: &mut Shape, _: &mut Schemas) {
        let description = "`respond-async`: answer with a job instead of waiting for its result.";
        let schema = json!({"type": "string", "description": description});
        shape.parameters.push(Parameter {
            place: "header",
            name: "Prefer".to_owned(),
            required: false,
            schema,
            is_group: false,
        });
    }
}

/// The response to a call that may take an hour: its result `T`, or the job that runs it.
pub(super) struct LongAnswer<T> {
    response: Response,
    result: PhantomData<fn() -> T>,
}

impl<T> LongAnswer<T> {
    fn new(response: impl IntoResponse) -> Self {
        Self { response: response.into_response(), result: PhantomData }
    }
}

impl<T> IntoResponse for LongAnswer<T> {
    fn into_response(self) -> Response {
        self.response
    }
}

impl<T: JsonSchema> Output for LongAnswer<T> {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        shape.answer::<T>(StatusCode::OK, schemas);
        shape.answer::<JobInfo>(StatusCode::ACCEPTED, schemas);
    }
}

/// The number of a job in the path.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct JobPath {
    /// The job.
    #[schemars(range(min = 1))]
    id: i64,
}

/// Runs a call that may take an hour; answers when it ends or, if the client prefers, at once.
pub(super) async fn answer<T, W, F>(
    state: &Shared,
    PrefersAsync(at_once): PrefersAsync,
    change: Change,
    task: Task,
    say: fn(&T) -> String,
    work: F,
) -> Result<LongAnswer<T>, ApiError>
where
    T: Serialize + Send + 'static,
    W: Future<Output = Result<T, ActionError>> + Send + 'static,
    F: FnOnce(Journal) -> W + Send + 'static,
{
    let order = Order::requested(task);
    if !at_once {
        let done = state.changes().wait_for_job(change, order, say, work).await?;
        return Ok(LongAnswer::new(success(say(&done), done)));
    }
    let number = state.changes().start_job(change, order, say, work).await?;
    let (info, _) = find(state, number).await?;
    let location = HeaderValue::from_str(&format!("/jobs/{number}")).map_err(|_| no_such_job())?;
    let body = Json(Envelope::success(format!("Job {number} was accepted; see GET /jobs/{number}."), info));
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(PREFERENCE_APPLIED, HeaderValue::from_static(RESPOND_ASYNC));
    Ok(LongAnswer::new(response))
}

pub(super) async fn list(State(state): State<AppState>, caller: Caller) -> Answer<Vec<JobInfo>> {
    let jobs = state.store().with(move |connection| table::jobs(connection, caller.containers.as_ref()));
    let jobs: Vec<JobInfo> = jobs.await.map_err(ActionError::from)?;
    let jobs: Vec<JobInfo> = jobs.into_iter().map(|job| as_of_now(&state, job)).collect();
    Ok(success(format!("{}.", count(jobs.len(), "job")), jobs))
}

pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    ApiPath(JobPath { id }): ApiPath<JobPath>,
) -> Answer<JobInfo> {
    let (info, _) = find(&state, id).await?;
    caller.may_touch(&info.containers)?;
    Ok(success(format!("Job {} is {}.", info.id, word(&info)), info))
}

pub(super) async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    ApiPath(JobPath { id: number }): ApiPath<JobPath>,
) -> Answer<JobInfo> {
    let (info, order) = find(&state, number).await?;
    caller.may_touch(&info.containers)?;
    caller.may(order.task.role())?;
    if info.ended.is_some() {
        return Err(refused(CancelRefused::Ended));
    }
    state.changes().cancel(number, &info.summary, &caller, info.cancellable).await.map_err(refused)?;
    let (info, _) = find(&state, number).await?;
    Ok(success(format!("Job {number} was asked to cancel; it is {} now.", word(&info)), info))
}

fn refused(error: CancelRefused) -> ApiError {
    let code = match error {
        CancelRefused::Ended => "job_ended",
        CancelRefused::NotCancellable => "not_cancellable",
        CancelRefused::Change(error) => return error.into(),
    };
    ApiError::new(StatusCode::CONFLICT, code, error.to_string())
}

fn word(info: &JobInfo) -> String {
    format!("{:?}", info.state).to_lowercase()
}

async fn find(state: &Shared, number: i64) -> Result<(JobInfo, Order), ApiError> {
    let found = state.store().with(move |connection| table::job(connection, number)).await;
    let (info, order) = found.map_err(ActionError::from)?.ok_or_else(no_such_job)?;
    Ok((as_of_now(state, info), order))
}

/// A job that was begun before this server started cannot be cancelled by it.
fn as_of_now(state: &Shared, job: JobInfo) -> JobInfo {
    let cancellable =
        job.cancellable && i64::try_from(job.id).is_ok_and(|number| state.changes().can_cancel(number));
    JobInfo { cancellable, ..job }
}

fn no_such_job() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_such_job", "there is no job with that number; see GET /jobs")
}
