//! The server's certificate, which is read again when its files change, so that a renewed one needs no restart.
//!
//! The files are in `/etc/pve`, a file system whose reads may hang for minutes. So they are read in threads of their
//! own, and handshakes use the certificate that was read last.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

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
    let version = files.version()?;
    let served = Arc::new(Served(RwLock::new(files.load()?)));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&files.provider))
        .with_safe_default_protocol_versions()?;
    let renewal = Renewal { files, version, served: Arc::downgrade(&served) };
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
type Version = [(u64, i64, i64); 2];

impl Files {
    fn version(&self) -> Result<Version, CertificateError> {
        let look = |path: &PathBuf| match fs::metadata(path) {
            Ok(found) => Ok((found.ino(), found.mtime(), found.mtime_nsec())),
            Err(source) => Err(CertificateError::Read { path: path.clone(), source }),
        };
        Ok([look(&self.certificate)?, look(&self.key)?])
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
    version: Version,
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

    /// Reads the files again if they have changed. If the new certificate cannot be used, that is logged once and the
    /// old one stays.
    fn look(&mut self) {
        let Ok(version) = self.files.version() else { return };
        if version == self.version {
            return;
        }
        self.version = version;
        match self.files.load() {
            Ok(new) => {
                if let Some(served) = self.served.upgrade() {
                    *served.0.write().unwrap_or_else(PoisonError::into_inner) = new;
                }
                tracing::info!("The certificate was read again.");
            }
            Err(error) => tracing::error!(error = %ErrorChain(&error), "keeping the old certificate"),
        }
    }
}
