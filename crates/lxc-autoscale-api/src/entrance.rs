//! The listeners: loopback and the unix socket for this machine, and a third one for other machines. Each has seats
//! of its own, so that no listener can be blocked by what happens at another.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::auth::{Door, Origin, Peer, peer, socket_diag};
use crate::seats::{Seat, Seats};
use crate::state::AppState;

/// The procfs of this machine: connections are real even if the node is simulated.
const PROCFS: &str = "/proc";
/// Largest head of a request.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How many tables of the kernel are read at the same time, if callers have to be looked up there.
const LOOK_UPS: usize = 8;
/// Pause after accepting a connection has failed, for instance because no file descriptors are left.
const ACCEPT_REST: Duration = Duration::from_millis(200);
/// The address that a connection over the unix socket counts as.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A listener.
pub(crate) enum Entrance {
    /// Loopback: the user at the other end is looked up, and may be trusted without a key.
    Loopback(TcpListener),
    /// The unix socket: the kernel tells which user is at the other end.
    Socket(UnixListener),
    /// For other machines: only keys count.
    Network(TcpListener, Option<TlsAcceptor>),
}

/// What connections of all listeners are served with.
pub(crate) struct Service {
    router: Router,
    state: AppState,
    /// Shuts connections down gracefully.
    connections: Arc<GracefulShutdown>,
    look_ups: Arc<Semaphore>,
}

/// What one connection is served with.
struct Connection {
    router: Router,
    state: AppState,
    watcher: Watcher,
}

/// Who is connected, and through which listener.
#[derive(Clone, Copy)]
struct Arrival {
    peer: Peer,
    door: Door,
    origin: Origin,
}

impl Entrance {
    /// Accepts connections and serves them until the task ends.
    pub(crate) async fn serve(self, service: Service) {
        let seats = Seats::new(service.state.config().server.max_connections);
        loop {
            if let Err(error) = self.accept(&service, &seats).await {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }

    async fn accept(&self, service: &Service, seats: &Seats) -> io::Result<()> {
        match self {
            Self::Loopback(listener) => {
                let (stream, client) = listener.accept().await?;
                let Ok(server) = stream.local_addr() else { return Ok(()) };
                let door = Door::new(client, server, false);
                match socket_diag::uid(client, server) {
                    Ok(uid) => {
                        service
                            .connection()
                            .take_in(
                                seats,
                                stream,
                                Arrival { peer: Peer { uid }, door, origin: Origin::tcp(client) },
                            )
                            .await;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot look up the owner of a connection: reading the tables");
                        service.take_in_later(seats, stream, (client, server), door).await;
                    }
                }
            }
            Self::Socket(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().map(|peer| peer.uid()).ok();
                let door = Door { client: LOOPBACK, address: LOOPBACK, is_tls: false };
                let arrival = Arrival { peer: Peer { uid }, door, origin: Origin::Socket(uid) };
                let Some(seat) = service.seat(seats, arrival).await else { return Ok(()) };
                tokio::spawn(service.connection().serve(stream, arrival, seat));
            }
            Self::Network(listener, tls) => {
                let (stream, client) = listener.accept().await?;
                let Ok(server) = stream.local_addr() else { return Ok(()) };
                let door = Door::new(client, server, tls.is_some());
                let arrival = Arrival { peer: Peer { uid: None }, door, origin: Origin::tcp(client) };
                let Some(seat) = seats.take(false).await else { return Ok(()) };
                match tls.clone() {
                    None => tokio::spawn(service.connection().serve(stream, arrival, seat)),
                    Some(tls) => tokio::spawn(service.connection().serve_tls(stream, tls, arrival, seat)),
                };
            }
        }
        Ok(())
    }
}

impl Service {
    /// Serves the API; `connections` shuts connections down gracefully.
    pub(crate) fn new(router: Router, state: AppState, connections: Arc<GracefulShutdown>) -> Self {
        Self { router, state, connections, look_ups: Arc::new(Semaphore::new(LOOK_UPS)) }
    }

    /// A seat for a new connection; `None` for a stranger if trusted callers have taken all seats.
    async fn seat(&self, seats: &Seats, arrival: Arrival) -> Option<Seat> {
        seats.take(arrival.peer.trusted(&self.state.config().server).is_some()).await
    }

    /// Accepts a loopback connection whose owner must be looked up in the kernel's tables. That takes so long that
    /// other connections are accepted meanwhile.
    async fn take_in_later(
        &self,
        seats: &Seats,
        stream: TcpStream,
        (client, server): (SocketAddr, SocketAddr),
        door: Door,
    ) {
        let Ok(turn) = Arc::clone(&self.look_ups).acquire_owned().await else { return };
        let (connection, seats) = (self.connection(), seats.clone());
        tokio::spawn(async move {
            let peer = look_up(client, server).await;
            drop(turn);
            connection.take_in(&seats, stream, Arrival { peer, door, origin: Origin::tcp(client) }).await;
        });
    }

    fn connection(&self) -> Connection {
        let watcher = self.connections.watcher();
        Connection { router: self.router.clone(), state: AppState::clone(&self.state), watcher }
    }
}

impl Connection {
    /// Serves a loopback connection whose owner was looked up, if there is a seat for it.
    async fn take_in(self, seats: &Seats, stream: TcpStream, arrival: Arrival) {
        // This must be checked after the look-up. A client that resets its connection frees its port, while what it
        // sent is still here; whoever has the port by then would be taken for the sender. As long as our end exists,
        // no other connection has the same two addresses.
        if stream.peer_addr().is_err() {
            tracing::debug!(client = %arrival.door.client, "a connection was reset before it was let in");
            return;
        }
        let is_trusted = arrival.peer.trusted(&self.state.config().server).is_some();
        // There is none for a stranger if trusted callers have taken all seats.
        if let Some(seat) = seats.take(is_trusted).await {
            tokio::spawn(self.serve(stream, arrival, seat));
        }
    }

    async fn serve_tls(self, stream: TcpStream, tls: TlsAcceptor, arrival: Arrival, seat: Seat) {
        let patience = Duration::from_secs(self.state.config().server.client_timeout_seconds);
        // A client that does not speak TLS, or is too slow, gets no answer.
        let shaken = tokio::select! {
            () = seat.asked_to_leave() => return,
            shaken = tokio::time::timeout(patience, tls.accept(stream)) => shaken,
        };
        if let Ok(Ok(stream)) = shaken {
            self.serve(stream, arrival, seat).await;
        }
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        arrival: Arrival,
        seat: Seat,
    ) {
        let Self { router, state, watcher } = self;
        let config = state.config();
        let seat = Arc::new(seat);
        let handler = service_fn({
            let seat = Arc::clone(&seat);
            move |request: hyper::Request<Incoming>| {
                answer(router.clone(), request, arrival, Arc::clone(&seat))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(config.server.client_timeout_seconds))
            .max_buf_size(MAX_HEAD_BYTES)
            // A stranger does not keep a connection that others could use.
            .keep_alive(arrival.peer.trusted(&config.server).is_some())
            .serve_connection(TokioIo::new(stream), handler);
        let client = arrival.door.client;
        tokio::select! {
            () = seat.asked_to_leave() => tracing::debug!(%client, "connection gives way to another"),
            ended = watcher.watch(connection) => if let Err(error) = ended {
                tracing::debug!(%client, %error, "connection ended");
            },
        }
    }
}

/// Answers one request; the seat is busy from the request's last byte until the answer.
async fn answer(
    router: Router,
    request: hyper::Request<Incoming>,
    arrival: Arrival,
    seat: Arc<Seat>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    let mut request = request.map(|body| Body::new(Arriving { body, seat: Arc::clone(&seat) }));
    request.extensions_mut().insert(arrival.peer);
    request.extensions_mut().insert(arrival.door);
    request.extensions_mut().insert(arrival.origin);
    if request.body().is_end_stream() && !seat.busy() {
        // The connection is about to be closed, so the request must not begin.
        return std::future::pending().await;
    }
    let response = router.oneshot(request).await;
    seat.waiting();
    response
}

/// A body that is being received; once it is complete, the seat is busy.
struct Arriving {
    body: Incoming,
    seat: Arc<Seat>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() && !self.seat.busy() {
            return Poll::Pending;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Looks up in the kernel's tables who is at the other end; nobody if that fails.
async fn look_up(client: SocketAddr, server: SocketAddr) -> Peer {
    let found = tokio::task::spawn_blocking(move || peer::uid(Path::new(PROCFS), client, server)).await;
    let uid = found.map_err(io::Error::other).flatten().unwrap_or_else(|error| {
        tracing::error!(%error, "cannot look up who is connected");
        None
    });
    Peer { uid }
}
