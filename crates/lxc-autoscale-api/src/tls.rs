//! The server's certificate, which is read again when its files change, so that a renewed one needs no restart.
//!
//! The files are in `/etc/pve`, a file system whose reads may hang for minutes. So they are read in threads of their
//! own, and handshakes use the certificate that was read last.
//!
//! Its times are whole seconds, too. So files that were written within the last seconds, or that cannot be used, are read
//! again at the next look, whether they seem to have changed or not.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use lxc_autoscale_core::ErrorChain;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the files are checked for changes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How old the times of the files must be to tell that they are whole: a second write in the same second leaves them as
/// they are. The clock of another node of the cluster may have set them.
const SETTLED: Duration = Duration::from_secs(10);
/// How long reading them may take when a listener is opened.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold a certificate or key.
    #[error("cannot read a certificate or key from `{}`", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not match, or are of an unsupported kind.
    #[error("the certificate or its key cannot be used")]
    Use(#[from] rustls::Error),
    /// A file system does not answer.
    #[error("reading `{}` took longer than {} s", path.display(), READ_LIMIT.as_secs())]
    TimedOut {
        /// The file of the certificate.
        path: PathBuf,
    },
    /// A defect in this program.
    #[error("reading `{}` ended unexpectedly", path.display())]
    Ended {
        /// The file of the certificate.
        path: PathBuf,
    },
}

/// TLS with the current certificate in these files; [`Renewal::follow`] keeps it up to date.
///
/// # Errors
/// [`CertificateError`] if it cannot be used.
pub async fn open(certificate: &Path, key: &Path) -> Result<(Arc<ServerConfig>, Renewal), CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let files = Files { certificate: certificate.to_owned(), key: key.to_owned(), provider };
    let path = files.certificate.clone();
    match timeout(READ_LIMIT, spawn_blocking(move || read(files))).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => Err(CertificateError::Ended { path }),
        Err(_) => Err(CertificateError::TimedOut { path }),
    }
}

fn read(files: Files) -> Result<(Arc<ServerConfig>, Renewal), CertificateError> {
    let version = files.version(SystemTime::now())?;
    let served = Arc::new(Served(RwLock::new(files.load()?)));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&files.provider))
        .with_safe_default_protocol_versions()?;
    let renewal = Renewal { files, version, failure: None, served: Arc::downgrade(&served) };
    let mut config = builder.with_no_client_auth().with_cert_resolver(served);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), renewal))
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

/// Tells two states of both files apart.
type Version = [(u64, u64, i64, i64); 2];

impl Files {
    /// The state of both files; `None` if they may still be being written at `now`, and then look the same when they are
    /// whole.
    fn version(&self, now: SystemTime) -> Result<Option<Version>, CertificateError> {
        let look = |path: &PathBuf| {
            fs::metadata(path).map_err(|source| CertificateError::Read { path: path.clone(), source })
        };
        let found = [look(&self.certificate)?, look(&self.key)?];
        let is_settled = found.iter().filter_map(|file| file.modified().ok()).all(|modified| {
            let apart = now.duration_since(modified).unwrap_or_else(|ahead| ahead.duration());
            SETTLED <= apart
        });
        let versions = found.map(|file| (file.ino(), file.len(), file.mtime(), file.mtime_nsec()));
        Ok(is_settled.then_some(versions))
    }

    fn load(&self) -> Result<Arc<CertifiedKey>, CertificateError> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| CertificateError::Form { path: self.certificate.clone(), source })?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| CertificateError::Form { path: self.key.clone(), source })?;
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &self.provider)?))
    }
}

/// The certificate that handshakes use.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Keeps the served certificate up to date with the files.
#[derive(Debug)]
pub struct Renewal {
    files: Files,
    /// The state of the files that are served; `None` if it may change without showing.
    version: Option<Version>,
    /// Why they could not be read again, as last logged.
    failure: Option<String>,
    served: Weak<Served>,
}

impl Renewal {
    /// Checks the files every two seconds, until nobody serves their certificate any more.
    pub async fn follow(self) {
        let mut interval = interval(LOOK_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewal = self;
        while renewal.served.strong_count() != 0 {
            interval.tick().await;
            // If the file system hangs, only this task waits.
            let looked = spawn_blocking(move || {
                renewal.look();
                renewal
            });
            renewal = match looked.await {
                Ok(renewal) => renewal,
                Err(error) => {
                    tracing::error!(%error, "renewed certificates are no longer noticed");
                    return;
                }
            };
        }
    }

    /// Reads the files again if they may have changed. If the new certificate cannot be used, the old one stays, which is
    /// logged once for each reason, and it is tried again.
    fn look(&mut self) {
        match self.read_again(SystemTime::now()) {
            Ok(is_new) => {
                if is_new {
                    tracing::info!("The certificate was read again.");
                } else if self.failure.is_some() {
                    tracing::info!("The certificate can be read again.");
                }
                self.failure = None;
            }
            Err(error) => {
                let failure = ErrorChain(&error).to_string();
                if self.failure.as_ref() != Some(&failure) {
                    tracing::error!(error = %failure, "keeping the old certificate");
                }
                self.failure = Some(failure);
            }
        }
    }

    /// Whether another certificate is served from now on.
    fn read_again(&mut self, now: SystemTime) -> Result<bool, CertificateError> {
        let version = self.files.version(now)?;
        if self.failure.is_none() && version.is_some() && version == self.version {
            return Ok(false);
        }
        let new = self.files.load()?;
        self.version = version;
        let Some(served) = self.served.upgrade() else { return Ok(false) };
        let mut served = served.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = served.cert != new.cert;
        // The key may be another one for the same certificate.
        *served = new;
        Ok(is_new)
    }
}
