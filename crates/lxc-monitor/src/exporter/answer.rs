//! Requests and their answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use lxc_autoscale_core::exposition::negotiate;
use lxc_autoscale_core::own_process;

use super::page::{Exposition, Page};
use crate::clock;

/// What is sent after the head.
#[derive(Debug)]
pub enum Content {
    /// A line, or nothing any more.
    Line(Option<Bytes>),
    /// An exposition, written as fast as it is taken.
    Exposition(Box<Exposition>),
}

/// Answers a request with what `page` holds.
pub fn answer<B>(request: &Request<B>, page: &Page) -> Response<Content> {
    let path = request.uri().path();
    if !["/metrics", "/health"].contains(&path) {
        return line(StatusCode::NOT_FOUND, "there are /metrics and /health\n".to_owned());
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = line(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    if path == "/health" { health(page) } else { metrics(request.headers(), page) }
}

fn metrics(headers: &HeaderMap, page: &Page) -> Response<Content> {
    let accepted: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = negotiate(&accepted.join(","));
    let exposition = Exposition::begin(page, format, clock::now().since_boot, own_process::cpu_time());
    response(StatusCode::OK, format.content_type(), Content::Exposition(Box::new(exposition)))
}

/// Whether measurements are being made, for whoever watches the daemon from outside.
fn health(page: &Page) -> Response<Content> {
    let since_boot = clock::now().since_boot;
    if page.is_fresh(since_boot) {
        return line(StatusCode::OK, "ok\n".to_owned());
    }
    let reason = match page.snapshot {
        None => "nothing was measured yet\n".to_owned(),
        Some(_) => format!("the newest cycle ended {} s ago\n", page.age(since_boot).as_secs()),
    };
    line(StatusCode::SERVICE_UNAVAILABLE, reason)
}

fn line(status: StatusCode, text: String) -> Response<Content> {
    response(status, "text/plain; charset=utf-8", Content::Line(Some(Bytes::from(text))))
}

fn response(status: StatusCode, content_type: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Line(text) => text.take(),
            Self::Exposition(exposition) => exposition.next_piece().map(Bytes::from),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Line(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Line(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Exposition(_) => SizeHint::default(),
        }
    }
}
