//! Answers requests.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::Page;
use crate::exposition::negotiate;

/// The body of a response.
#[derive(Debug)]
pub(super) enum Content<P> {
    /// One line; `None` once it was sent.
    Line(Option<Bytes>),
    /// An exposition, written as fast as the client reads it.
    Exposition(Box<P>),
}

/// How many expositions may start at the same time; each may wait for a disk and occupies a thread meanwhile.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Answers a request with the content of `page`.
pub(super) async fn answer<B, P: Page>(request: &Request<B>, page: Arc<P>) -> Response<Content<P::Pieces>> {
    let path = request.uri().path();
    if !["/metrics", "/health"].contains(&path) {
        return line(StatusCode::NOT_FOUND, "there are /metrics and /health\n".to_owned());
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = line(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    if path == "/health" { health(&*page) } else { metrics(request.headers(), page).await }
}

async fn metrics<P: Page>(headers: &HeaderMap, page: Arc<P>) -> Response<Content<P::Pieces>> {
    let accepted: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = negotiate(&accepted.join(","));
    // Held by the thread: if a disk hangs, a client that gives up must not make room for another thread that hangs.
    let turn = TURNS.acquire().await;
    let begun = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        page.exposition(format)
    });
    match begun.await {
        Ok(pieces) => response(StatusCode::OK, format.content_type(), Content::Exposition(Box::new(pieces))),
        Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn health<P: Page>(page: &P) -> Response<Content<P::Pieces>> {
    let (status, first) = match page.health() {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    };
    let lines: String = std::iter::once(first).chain(page.remarks()).map(|said| said + "\n").collect();
    line(status, lines)
}

fn line<P>(status: StatusCode, text: String) -> Response<Content<P>> {
    response(status, "text/plain; charset=utf-8", Content::Line(Some(Bytes::from(text))))
}

fn response<P>(status: StatusCode, content_type: &'static str, content: Content<P>) -> Response<Content<P>> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<P: Iterator<Item = String> + Unpin> Body for Content<P> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Line(text) => text.take(),
            Self::Exposition(exposition) => exposition.next().map(Bytes::from),
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
