//! Listens, and serves a limited number of connections.
//!
//! The server may share its thread with the daemon's work, so nothing here may take long: an exposition is written in
//! pieces, and a silent connection gives way to a new one. Each connection is answered once: a new connection costs a
//! scraper on the same node nothing, while a kept one would occupy a place.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::answer::answer;
use super::{EndpointConfig, Page};
use crate::ErrorChain;

/// The most connections at the same time.
const MAX_CONNECTIONS: usize = 32;
/// Buffer size for the head of a request, and for the part of an answer that the client has not read yet.
const MAX_BUFFER_BYTES: usize = 16 << 10;
/// How long a client may take to send its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last in all; Prometheus times out after 10 s by default.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after listening or accepting has failed.
const REST: Duration = Duration::from_secs(1);

/// Why the exporter cannot listen.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    /// The address cannot be bound.
    #[error("cannot listen on {address} (`exporter.listen`); does another program use it?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The bound address cannot be written.
    #[error("cannot write the bound address to `{}` (`exporter.address_file`)", path.display())]
    AddressFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Listens as `settings` say, and again whenever they change, until their sender is dropped.
pub async fn serve<P: Page, const PORT: u16>(
    mut settings: watch::Receiver<EndpointConfig<PORT>>,
    page: watch::Receiver<Arc<P>>,
) {
    let mut trouble = None;
    loop {
        let config = settings.borrow_and_update().clone();
        if !config.enabled {
            if settings.changed().await.is_err() {
                return;
            }
            continue;
        }
        let serving = async {
            match listen(&config).await {
                Ok((listener, _address_file)) => {
                    report(&mut trouble, None);
                    accept(&listener, &page).await;
                }
                Err(error) => {
                    report(&mut trouble, Some(&error));
                    tokio::time::sleep(REST).await;
                }
            }
        };
        tokio::select! {
            changed = settings.changed() => if changed.is_err() { return },
            () = serving => {}
        }
    }
}

/// Logs once that it cannot listen, and once that it can again.
fn report(trouble: &mut Option<String>, error: Option<&ListenError>) {
    let now = error.map(|error| ErrorChain(error).to_string());
    match &now {
        Some(error) if trouble.as_ref() != Some(error) => {
            tracing::error!("{error}; the daemon continues and will try again");
        }
        None if trouble.is_some() => tracing::info!("the exporter can listen again"),
        _ => {}
    }
    *trouble = now;
}

/// The file with the bound address; removed when nobody listens there any more.
#[derive(Debug)]
struct AddressFile<'a>(&'a Path);

impl<'a> AddressFile<'a> {
    /// Writes it in one step: a reader sees either nothing or the whole address.
    fn write(path: &'a Path, address: SocketAddr) -> io::Result<Self> {
        if !path.as_os_str().is_empty() {
            let mut draft = path.as_os_str().to_owned();
            draft.push(".new");
            std::fs::write(&draft, format!("{address}\n"))?;
            std::fs::rename(&draft, path)?;
        }
        Ok(Self(path))
    }
}

impl Drop for AddressFile<'_> {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty()
            && let Err(error) = std::fs::remove_file(self.0)
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the exporter's address file");
        }
    }
}

async fn listen<const PORT: u16>(
    config: &EndpointConfig<PORT>,
) -> Result<(TcpListener, AddressFile<'_>), ListenError> {
    let address = config.listen;
    let bind_error = |source| ListenError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bind_error)?;
    let bound = listener.local_addr().map_err(bind_error)?;
    let file = AddressFile::write(&config.address_file, bound)
        .map_err(|source| ListenError::AddressFile { path: config.address_file.clone(), source })?;
    tracing::info!("metrics for Prometheus are at http://{bound}/metrics");
    Ok((listener, file))
}

/// Accepts connections for ever.
async fn accept<P: Page>(listener: &TcpListener, page: &watch::Receiver<Arc<P>>) {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.admit(stream, page.clone()),
            Err(error) => {
                tracing::warn!(%error, "the exporter cannot accept a connection");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// The open connections, oldest first; dropping this closes all of them.
#[derive(Debug, Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    task: AbortHandle,
    is_answered: Arc<AtomicBool>,
}

impl Connections {
    /// Serves another connection. If there is no place left, the oldest silent connection gives way, or else the one
    /// that has been reading its answer for the longest time.
    fn admit<P: Page>(&mut self, stream: TcpStream, page: watch::Receiver<Arc<P>>) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|connection| !connection.task.is_finished());
        if MAX_CONNECTIONS <= self.open.len() {
            let is_silent = |connection: &Open| !connection.is_answered.load(Ordering::Relaxed);
            let place = self.open.iter().position(is_silent).unwrap_or(0);
            if let Some(given_up) = self.open.remove(place) {
                given_up.task.abort();
            }
        }
        let is_answered = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(talk(stream, page, Arc::clone(&is_answered)));
        self.open.push_back(Open { task, is_answered });
    }
}

/// Answers one request.
async fn talk<P: Page>(stream: TcpStream, page: watch::Receiver<Arc<P>>, is_answered: Arc<AtomicBool>) {
    let service = service_fn(|request| {
        is_answered.store(true, Ordering::Relaxed);
        let page = Arc::clone(&page.borrow());
        async move { Ok::<_, Infallible>(answer(&request, page).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_BUFFER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // It does not matter how a client ends.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}
