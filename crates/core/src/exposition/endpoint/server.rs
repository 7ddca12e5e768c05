//! Listens, and serves a bounded number of connections.
//!
//! The server may share its thread with the daemon's work, so nothing here may take long: an exposition is written in
//! pieces, and a connection that says nothing makes room for one that does. Each connection is answered once: a
//! new one costs a scraper on the same node nothing, and one that is kept costs a place.

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

/// Connections at once.
const MAX_CONNECTIONS: usize = 32;
/// Room for the head of a request, and for what a client has not taken yet of its answer.
const MAX_BUFFER_BYTES: usize = 16 << 10;
/// Time for a client to say what it wants.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a connection from beginning to end; Prometheus gives up after 10 s unless told otherwise.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long listening or accepting rests when it fails.
const REST: Duration = Duration::from_secs(1);

/// Why the exporter cannot listen.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    /// The address is not ours to take.
    #[error("cannot listen on {address} (`exporter.listen`); does another program use it?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The bound address cannot be written down.
    #[error("cannot write the bound address to `{}` (`exporter.address_file`)", path.display())]
    AddressFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Listens as `settings` say, and anew whenever they change, until nobody can change them any more.
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

/// Says once that it cannot listen, and once that it can again.
fn report(trouble: &mut Option<String>, error: Option<&ListenError>) {
    let now = error.map(|error| ErrorChain(error).to_string());
    match &now {
        Some(error) if trouble.as_ref() != Some(error) => {
            tracing::error!("{error}; the daemon goes on, and listening is tried again");
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
    /// Written in one step: a reader sees all of it or nothing.
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

/// The connections that are open, longest first; all end with this.
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
    /// Serves one more, in the place of the longest silent one when there is no other; else in the place of the
    /// one that takes its answer for the longest time.
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
    // How a client ends is its own affair.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}
