//! Listens, reloads the configuration, and shuts down gracefully.
//!
//! axum's own serve loop limits neither the number of connections nor the time a client may take for its request
//! head, so this server has its own loop (`crate::entrance`). The user at the other end is looked up once per
//! connection.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use lxc_autoscale_core::api::ConfigSetting;
use lxc_autoscale_core::config::{self, ConfigError};
use lxc_autoscale_core::service::{self, Request, Signals};
use lxc_autoscale_core::{ErrorChain, telemetry};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::audit::VerifyError;
use crate::auth::keys::KeysError;
use crate::backend::Opened;
use crate::backend::rest::RestSetupError;
use crate::boosts;
use crate::config::{Config, NetworkConfig, SHIPPED};
use crate::entrance::{Entrance, Service};
use crate::events;
use crate::jobs::reconcile;
use crate::key_command::KeyCommandError;
use crate::node::{self, CPU_INTERVAL};
use crate::own_name;
use crate::routes;
use crate::socket::{self, SocketError, SocketFile};
use crate::state::{AppState, Shared, restart_keys};
use crate::store::StoreError;
use crate::tls::{self, CertificateError, Renewal};
use crate::undo_command::UndoCommandError;

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The effective configuration cannot be shown.
    #[error(transparent)]
    ShowConfig(#[from] config::ShowError),
    /// Logging cannot be set up.
    #[error("cannot set up logging")]
    Telemetry(#[from] telemetry::TelemetryError),
    /// The runtime or the signal handlers cannot be set up.
    #[error("cannot set up the runtime")]
    Runtime(#[source] io::Error),
    /// Proxmox's REST API cannot be used.
    #[error("the REST API cannot be used")]
    Rest(#[from] RestSetupError),
    /// Keys cannot be created, listed or revoked.
    #[error(transparent)]
    Keys(#[from] KeyCommandError),
    /// The keys cannot be read.
    #[error(transparent)]
    KeyFile(#[from] KeysError),
    /// The listener for other machines would be useless without keys.
    #[error(
        "`network.listen` is {address}, but there are no keys: `lxc-autoscale-api key create` creates one"
    )]
    NoKeys {
        /// The address.
        address: SocketAddr,
    },
    /// The certificate cannot be used.
    #[error("cannot serve other machines (`[network]`)")]
    Certificate(#[from] CertificateError),
    /// The audit log cannot be read.
    #[error(transparent)]
    Audit(#[from] VerifyError),
    /// Nothing was undone.
    #[error(transparent)]
    Undo(#[from] UndoCommandError),
    /// The stored state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server cannot listen on the address.
    #[error("cannot listen on {address} (`server.listen` or `network.listen`); is another server using it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server cannot listen on the unix socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The bound address cannot be written.
    #[error("cannot write the bound address to `{}` (`server.address_file`)", path.display())]
    AddressFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Serves until told to stop, then finishes the changes that have begun.
///
/// # Errors
/// [`ServerError`] if it cannot start.
pub async fn run(config: Config, config_path: &Path) -> Result<(), ServerError> {
    // Read now, before the address is announced and anybody can change the file.
    let started = config::report::<Config>(SHIPPED, &config::read(config_path)?).settings;
    let node_name = node::name(&config.paths.proc)
        .inspect_err(|error| tracing::warn!(%error, "the node's name is not known"))
        .ok();
    let backend = Opened::new(&config, node_name.as_deref())?;
    tracing::info!("Containers are changed through {backend}.");
    let state: AppState =
        Arc::new(Shared::new(config, backend.into_host(), node_name).started_with(config_path));
    let config = state.config();
    let mut signals = Signals::install().map_err(ServerError::Runtime)?;
    let address = config.server.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
    let _state_lock = state.store().take().await?;
    reconcile::begin(&state).await?;
    write_address(&config.server.address_file, address)?;
    tracing::info!("Listening on http://{address}.");
    let (socket, _socket_file) = open_socket(&config.server.socket)?.unzip();
    let network = open_network(&state, &config.network).await?;
    let own_name = open_own_name(&state, address);
    service::notify_ready();

    let boosts = tokio::spawn(boosts::watch(AppState::clone(&state)));
    let measured = tokio::spawn(events::measured::watch(AppState::clone(&state)));
    let meter = tokio::spawn(watch_cpus(AppState::clone(&state)));
    let connections = Arc::new(GracefulShutdown::new());
    let mut acceptors = JoinSet::new();
    let served_with = || {
        let router = routes::router(AppState::clone(&state));
        Service::new(router, AppState::clone(&state), Arc::clone(&connections))
    };
    let loopback = [listener].into_iter().chain(own_name).map(Entrance::Loopback);
    for entrance in loopback.chain(socket.map(Entrance::Socket)) {
        acceptors.spawn(entrance.serve(served_with()));
    }
    let mut door =
        NetworkDoor { acceptor: network.map(|entrance| tokio::spawn(entrance.serve(served_with()))) };
    while wait_for_signal(&mut signals).await == Request::Reload {
        service::notify_reloading();
        if let Some(network) = reload(&state, config_path, &started) {
            door.move_to(&state, &network, served_with()).await;
        }
        service::notify_ready();
    }

    service::notify_stopping();
    tracing::info!("Stopping: no new requests; changes under way are finished.");
    meter.abort();
    measured.abort();
    boosts.abort();
    // After this, no other handle on the connections is left.
    acceptors.shutdown().await;
    door.close().await;
    // A clone may take an hour to end.
    service::ending_with(state.changes().finish()).await;
    // By now the listeners of events know how the last changes ended.
    state.events().close();
    if let Some(connections) = Arc::into_inner(connections) {
        let grace = Duration::from_secs(config.server.client_timeout_seconds);
        if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
            tracing::warn!("some clients did not read their answers");
        }
    }
    remove_address(&config.server.address_file);
    tracing::info!("Stopped.");
    Ok(())
}

/// Serves the watchdog until a signal arrives.
async fn wait_for_signal(signals: &mut Signals) -> Request {
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
            request = signals.next() => return request,
            _ = watchdog_due => service::notify_alive(),
        }
    }
}

/// Applies the new configuration file, and logs which changed keys need a restart. Returns the new settings of the
/// listener for other machines if they have changed.
fn reload(state: &Shared, config_path: &Path, started: &[ConfigSetting]) -> Option<NetworkConfig> {
    let loaded = config::read(config_path).and_then(|text| {
        let new: Config = config::check(config_path, &text)?;
        Ok((new, config::report::<Config>(SHIPPED, &text).settings))
    });
    let (new, settings) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(error = %ErrorChain(&error), "keeping the old configuration");
            return None;
        }
    };
    state.reload(&new);
    match restart_keys(started, &settings).as_slice() {
        [] => tracing::info!("Configuration read again."),
        keys => tracing::warn!(
            keys = keys.join(","),
            "Configuration read again; changes of these keys need a restart."
        ),
    }
    (state.config().network != new.network).then_some(new.network)
}

/// The listener for other machines, if it is open.
struct NetworkDoor {
    acceptor: Option<JoinHandle<()>>,
}

impl NetworkDoor {
    /// Closes this listener and opens another one as `network` says; if that fails, this one stays as it is.
    async fn move_to(&mut self, state: &Shared, network: &NetworkConfig, service: Service) {
        // Two sockets cannot have the same address at the same time, so everything else that could fail is checked
        // first.
        let frees_address = network.listen == state.config().network.listen;
        let checked = if frees_address { check_network(state, network).await.map(drop) } else { Ok(()) };
        let opened = match checked {
            Ok(()) => {
                if frees_address {
                    self.close().await;
                }
                open_network(state, network).await
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok(entrance) => {
                self.close().await;
                if entrance.is_none() {
                    tracing::info!("The listener for other machines is closed.");
                }
                self.acceptor = entrance.map(|entrance| tokio::spawn(entrance.serve(service)));
                state.moved_to(network);
            }
            Err(error) => {
                let door = if self.acceptor.is_some() { "stays as it was" } else { "is closed" };
                tracing::error!(error = %ErrorChain(&error), "the listener for other machines {door}");
            }
        }
    }

    /// Accepts no more connections; when this returns, the address is free.
    async fn close(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.abort();
            // The error says that the task was cancelled, which is intended.
            let _ = acceptor.await;
        }
    }
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

/// Opens the unix socket, if one is configured.
fn open_socket(path: &Path) -> Result<Option<(UnixListener, SocketFile)>, ServerError> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let opened = socket::open(path)?;
    tracing::info!("Listening on the unix socket {}.", path.display());
    Ok(Some(opened))
}

/// Opens the listeners at the addresses of the node's own name. The listener for other machines comes first where both want
/// the same port: root asks there with a key, or at 127.0.0.1 without.
fn open_own_name(state: &Shared, listen: SocketAddr) -> Vec<TcpListener> {
    let config = state.config();
    let is_taken = config.network.listen.is_some_and(|network| network.port() == listen.port());
    match state.node_name().filter(|_| config.server.listen_at_own_name && !is_taken) {
        Some(name) => own_name::open(&config.paths.hosts, name, listen),
        None => Vec::new(),
    }
}

/// Opens the listener for other machines, if one is configured.
async fn open_network(state: &Shared, network: &NetworkConfig) -> Result<Option<Entrance>, ServerError> {
    let Some((address, tls)) = check_network(state, network).await? else { return Ok(None) };
    let listener =
        TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
    let Some((tls, renewal)) = tls else {
        tracing::warn!(
            "Listening on http://{address} for holders of keys, without TLS (`network.plain_http`): keys can be \
             read in transit."
        );
        return Ok(Some(Entrance::Network(listener, None)));
    };
    tracing::info!("Listening on https://{address} for holders of keys.");
    tokio::spawn(renewal.follow());
    Ok(Some(Entrance::Network(listener, Some(TlsAcceptor::from(tls)))))
}

/// The settings of the listener for other machines: its address, and TLS unless it is turned off.
type NetworkParts = (SocketAddr, Option<(Arc<rustls::ServerConfig>, Renewal)>);

/// Checks the settings of the listener for other machines; `None` if there is to be none.
async fn check_network(state: &Shared, network: &NetworkConfig) -> Result<Option<NetworkParts>, ServerError> {
    let Some(address) = network.listen else { return Ok(None) };
    if state.keys().keys()?.is_empty() {
        return Err(ServerError::NoKeys { address });
    }
    if network.plain_http {
        return Ok(Some((address, None)));
    }
    let tls = tls::open(&network.certificate_file, &network.key_file).await?;
    Ok(Some((address, Some(tls))))
}

/// Writes the port for whoever started us, in one step: a reader sees either nothing or the whole address.
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
