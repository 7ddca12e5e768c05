//! `/events` and `/metrics/current`: events, and the current measurements.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::header::{ACCEPT, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::Timestamp;
use lxc_autoscale_core::api::{CurrentMetrics, EventInfo, EventKind, EventPage, LedgerRequest};
use lxc_autoscale_core::count;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{Answer, in_thread, success};
use crate::auth::caller::Caller;
use crate::error::ApiError;
use crate::events::{Since, TooManyListeners, seen_by};
use crate::extract::ApiQuery;
use crate::metrics;
use crate::openapi::{Content, Input, Output, Parameter, Schemas, Shape};
use crate::state::AppState;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: &str = "text/event-stream";
/// How often a listener is sent a sign of life, and checked for still being allowed.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// The last event that a client has received.
#[derive(Clone, Debug)]
pub(super) struct LastEventId(Option<String>);

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let value = parts.headers.get(LAST_EVENT_ID);
        Ok(Self(value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())))
    }
}

impl Input for LastEventId {
    fn describe(shape: &mut Shape, _: &mut Schemas) {
        shape.parameters.push(Parameter {
            place: "header",
            name: "Last-Event-ID".to_owned(),
            required: false,
            schema: json!({"type": "string", "description": "The last event received; the answer starts after it."}),
            is_group: false,
        });
    }
}

/// A page of events, or a stream of them.
pub(super) struct EventAnswer(Response);

impl IntoResponse for EventAnswer {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Output for EventAnswer {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        shape.answer::<EventPage>(StatusCode::OK, schemas);
        let schema =
            json!({"type": "string", "description": "Server-sent events, for clients that accept them."});
        shape.answers.push(Content { status: StatusCode::OK, media_type: EVENT_STREAM, schema });
    }
}

pub(super) async fn events(
    State(state): State<AppState>,
    caller: Caller,
    LastEventId(last): LastEventId,
    headers: HeaderMap,
) -> Result<EventAnswer, ApiError> {
    let mut accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if !accepts.any(|value| value.contains(EVENT_STREAM)) {
        let Since { events, missed } = state.events().since(last.as_deref());
        let events: Vec<_> = events.iter().filter_map(|event| seen_by(event, &caller)).collect();
        let message = format!("{}.", count(events.len(), "event"));
        let page = EventPage { events, missed, last: state.events().last() };
        return Ok(EventAnswer(success(message, page).into_response()));
    }
    let (Since { events, missed }, queue) = state.events().listen(last.as_deref()).map_err(refused)?;
    let mut alive = interval_at(Instant::now() + ALIVE_EVERY, ALIVE_EVERY);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let listener = Listener { state, caller, greeted: false, missed, before: events.into(), queue, alive };
    let told = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Ok(EventAnswer(Sse::new(told).into_response()))
}

fn refused(error: TooManyListeners) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners", error.to_string())
}

/// The client of a stream.
struct Listener {
    state: AppState,
    caller: Caller,
    /// Whether anything was sent yet.
    greeted: bool,
    missed: bool,
    /// The events from before it connected.
    before: VecDeque<Arc<EventInfo>>,
    queue: mpsc::Receiver<Arc<EventInfo>>,
    alive: Interval,
}

impl Listener {
    /// What to send next; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        // The head of the response is sent together with the first part of the body, so something is sent at once.
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Event::default().comment("events follow"));
        }
        if std::mem::take(&mut self.missed) {
            return Some(Event::default().event("missed").data("{}"));
        }
        loop {
            let event = if let Some(event) = self.before.pop_front() {
                event
            } else {
                tokio::select! {
                    event = self.queue.recv() => event?,
                    _ = self.alive.tick() => {
                        return self.is_still_allowed().await.then(|| Event::default().comment("alive"));
                    }
                }
            };
            if !self.is_still_allowed().await {
                return None;
            }
            if let Some(event) = seen_by(&event, &self.caller).and_then(|event| shown(&event)) {
                return Some(event);
            }
        }
    }

    /// A stream ends when its key is revoked.
    async fn is_still_allowed(&self) -> bool {
        let Self { state, caller, .. } = self;
        caller.is_still_known(&state.config().server, state.keys(), Timestamp::now()).await
    }
}

fn shown(event: &EventInfo) -> Option<Event> {
    let name = match event.what {
        EventKind::Snapshot(_) => "snapshot",
        EventKind::Change(_) => "change",
        EventKind::Job(_) => "job",
        EventKind::Boost(_) => "boost",
        EventKind::Alert(_) => "alert",
    };
    let shown = Event::default().event(name).id(&event.id).json_data(event);
    shown.inspect_err(|error| tracing::error!(%error, "an event cannot be shown")).ok()
}

pub(super) async fn current(
    State(state): State<AppState>,
    caller: Caller,
    ApiQuery(LedgerRequest { vm_id }): ApiQuery<LedgerRequest>,
) -> Answer<CurrentMetrics> {
    if let Some(vmid) = vm_id {
        caller.may_touch(&[vmid])?;
    }
    let config = state.config().metrics.clone();
    let read = config.clone();
    let newest = in_thread(move || metrics::latest(&read)).await?;
    let mut snapshot = newest.map_err(|reason| ApiError::new(StatusCode::NOT_FOUND, "no_metrics", reason))?;
    snapshot
        .containers
        .retain(|vmid, _| vm_id.is_none_or(|wanted| wanted == *vmid) && caller.may_touch(&[*vmid]).is_ok());
    if let Some(node) = &mut snapshot.summary.node {
        node.alerts.retain(|alert| alert.container.is_none_or(|vmid| caller.may_touch(&[vmid]).is_ok()));
    }
    let now = Timestamp::now();
    let taken = snapshot.summary.collection_end_time;
    let current = CurrentMetrics {
        taken,
        age_seconds: now.duration_since(taken.instant()).as_secs_f64(),
        fresh: metrics::is_present(taken, &config, now).is_ok(),
        node: snapshot.summary.node,
        containers: snapshot.containers.into_iter().map(|(vmid, record)| (vmid, record.into())).collect(),
    };
    let containers = count(current.containers.len(), "container");
    let message = format!("{containers}, measured {:.0} s ago.", current.age_seconds);
    Ok(success(message, current))
}
