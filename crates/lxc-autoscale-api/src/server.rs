//! Listens, serves connections, and ends in order.
//!
//! axum's own serve loop bounds neither the number of connections nor the time a client may take for its
//! request head, so the loop is here. The user at the other end is looked up once for each connection.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use lxc_autoscale_core::config::{self, ConfigError};
use lxc_autoscale_core::service::{self, Request, Signals};
use lxc_autoscale_core::{ErrorChain, telemetry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::audit::AuditError;
use crate::auth::{Peer, peer};
use crate::backend::Opened;
use crate::backend::rest::RestSetupError;
use crate::config::Config;
use crate::key_command::KeyCommandError;
use crate::node::{self, CPU_INTERVAL};
use crate::routes;
use crate::state::{AppState, Shared};

/// The process's own procfs: connections are real even where the node is a simulated one.
const PROCFS: &str = "/proc";
/// Room for the head of a request.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How long accepting rests when it fails, for instance because there are no file descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// Why the server ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logging cannot be set up.
    #[error("cannot set up logging")]
    Telemetry(#[from] telemetry::TelemetryError),
    /// The runtime or the signal handlers cannot be set up.
    #[error("cannot set up the runtime")]
    Runtime(#[source] io::Error),
    /// Proxmox's REST API cannot be used.
    #[error("the REST API cannot be used")]
    Rest(#[from] RestSetupError),
    /// Keys cannot be made, listed or revoked.
    #[error(transparent)]
    Keys(#[from] KeyCommandError),
    /// The audit log cannot be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (`server.listen`); does another server use it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The bound address cannot be written down.
    #[error("cannot write the bound address to `{}` (`server.address_file`)", path.display())]
    AddressFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Serves until told to stop, then finishes what is begun.
///
/// # Errors
/// [`ServerError`] when it cannot begin.
pub async fn run(config: Config, config_path: &Path) -> Result<(), ServerError> {
    let node_name = node::name(&config.paths.proc)
        .inspect_err(|error| tracing::warn!(%error, "the node's name is not known"))
        .ok();
    let backend = Opened::new(&config, node_name.as_deref())?;
    tracing::info!("Containers are changed through {backend}.");
    let state: AppState = Arc::new(Shared::new(config, backend.into_host(), node_name));
    let config = state.config();
    let mut signals = Signals::install().map_err(ServerError::Runtime)?;
    let address = config.server.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
    write_address(&config.server.address_file, address)?;
    tracing::info!("Listening on http://{address}.");
    service::notify_ready();

    let meter = tokio::spawn(watch_cpus(AppState::clone(&state)));
    let connections = Arc::new(GracefulShutdown::new());
    let acceptor = tokio::spawn(accept(listener, AppState::clone(&state), Arc::clone(&connections)));
    wait_for_stop(&mut signals, &state, config_path).await;

    service::notify_stopping();
    tracing::info!("Stopping: no new requests; what is begun is finished.");
    meter.abort();
    acceptor.abort();
    // It was aborted, so how it ended says nothing; afterwards this is the only handle on the connections.
    let _ = acceptor.await;
    // A clone may take an hour to its end.
    service::alive_during(state.changes().finish()).await;
    if let Some(connections) = Arc::into_inner(connections) {
        let grace = Duration::from_secs(config.server.client_timeout_seconds);
        if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
            tracing::warn!("some clients did not take their answers");
        }
    }
    remove_address(&config.server.address_file);
    tracing::info!("Stopped.");
    Ok(())
}

/// Handles reloads and the watchdog until a stop is asked for.
async fn wait_for_stop(signals: &mut Signals, state: &Shared, config_path: &Path) {
    let mut watchdog = service::watchdog();
    loop {
        let watchdog_due = async {
            match &mut watchdog {
                Some(interval) => interval.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            request = signals.next() => match request {
                Request::Stop => return,
                Request::Reload => reload(state, config_path),
            },
            _ = watchdog_due => service::notify_alive(),
        }
    }
}

fn reload(state: &Shared, config_path: &Path) {
    service::notify_reloading();
    match config::load::<Config>(config_path) {
        Ok(new) => match state.reload(&new).as_slice() {
            [] => tracing::info!("Configuration read again."),
            restart => tracing::warn!(
                tables = restart.join(","),
                "Configuration read again; changes in these tables take a restart."
            ),
        },
        Err(error) => tracing::error!(error = %ErrorChain(&error), "keeping the old configuration"),
    }
    service::notify_ready();
}

async fn watch_cpus(state: AppState) {
    let mut interval = tokio::time::interval(CPU_INTERVAL);
    loop {
        interval.tick().await;
        let state = AppState::clone(&state);
        let read = tokio::task::spawn_blocking(move || state.cpu().read(&state.config().paths.proc));
        if let Err(error) = read.await {
            tracing::error!(%error, "reading the CPU counters ended unexpectedly");
        }
    }
}

async fn accept(listener: TcpListener, state: AppState, connections: Arc<GracefulShutdown>) {
    let router = routes::router(AppState::clone(&state));
    let slots = Arc::new(Semaphore::new(state.config().server.max_connections));
    loop {
        // The semaphore is never closed; an error would only mean to stop.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let connection =
                    serve(stream, client, router.clone(), AppState::clone(&state), connections.watcher());
                tokio::spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, client: SocketAddr, router: Router, state: AppState, watcher: Watcher) {
    let config = state.config();
    let peer = look_up(&stream, client).await;
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(config.server.client_timeout_seconds))
        .max_buf_size(MAX_HEAD_BYTES)
        // Nobody unknown keeps a connection that others could use.
        .keep_alive(peer.trusted(&config.server).is_some())
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%client, %error, "connection ended");
    }
}

/// Finds out who is at the other end; nobody, when that cannot be told.
async fn look_up(stream: &TcpStream, client: SocketAddr) -> Peer {
    let Ok(server) = stream.local_addr() else { return Peer { uid: None } };
    let found = tokio::task::spawn_blocking(move || peer::uid(Path::new(PROCFS), client, server)).await;
    let uid = found.map_err(io::Error::other).flatten().unwrap_or_else(|error| {
        tracing::error!(%error, "cannot look up who is connected");
        None
    });
    Peer { uid }
}

/// Tells whoever started us the port, in one step: a reader sees all of it or nothing.
fn write_address(path: &Path, address: SocketAddr) -> Result<(), ServerError> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    std::fs::write(&draft, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|source| ServerError::AddressFile { path: path.to_owned(), source })
}

fn remove_address(path: &Path) {
    if !path.as_os_str().is_empty()
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove the address file");
    }
}
