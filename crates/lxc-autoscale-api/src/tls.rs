//! The server's certificate: read again when its files change, so that a renewed one needs no restart.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lxc_autoscale_core::ErrorChain;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be looked at.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("cannot read a certificate or key from `{}`", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that cannot be used.
    #[error("the certificate or its key cannot be used")]
    Use(#[from] rustls::Error),
}

/// TLS with the certificate in these files.
///
/// # Errors
/// [`CertificateError`] when there is none that can be used now.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let files = Files { certificate: certificate.to_owned(), key: key.to_owned(), provider };
    let version = files.version()?;
    let first = files.load()?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&files.provider))
        .with_safe_default_protocol_versions()?;
    let resolver = Reloading { current: Mutex::new((version, first)), files };
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

/// Tells one state of both files from another.
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

#[derive(Debug)]
struct Reloading {
    files: Files,
    current: Mutex<(Version, Arc<CertifiedKey>)>,
}

impl Reloading {
    /// The certificate, read again when its files are others. A new one that cannot be used is said once, and the
    /// old one goes on.
    fn certificate(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(version) = self.files.version() else { return Arc::clone(&current.1) };
        if version != current.0 {
            current.0 = version;
            match self.files.load() {
                Ok(new) => {
                    tracing::info!("The certificate was read again.");
                    current.1 = new;
                }
                Err(error) => tracing::error!(error = %ErrorChain(&error), "keeping the old certificate"),
            }
        }
        Arc::clone(&current.1)
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certificate())
    }
}
