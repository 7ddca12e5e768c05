//! Which server is accepted as Proxmox: one with a certificate of the given authority, or one with exactly the given
//! certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// Why no server can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the authority's certificate cannot be read.
    #[error("cannot read a certificate from `{}` (`rest.ca_file`)", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The file holds no certificate.
    #[error("`{}` (`rest.ca_file`) holds no certificate", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of the authority, or the TLS setup as a whole, cannot be used.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// The SHA-256 fingerprint of a certificate, as Proxmox shows it: 32 pairs of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Parses `AA:BB:…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && !pair.starts_with('+'))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        pairs.next().is_none().then_some(Self(bytes))
    }
}

/// Trusts the authority whose certificates are in a file.
///
/// # Errors
/// [`TlsError`] if there is none that can be used.
pub(super) fn trusting_authority(path: &Path) -> Result<ClientConfig, TlsError> {
    let authority = |source| TlsError::Authority { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(authority)? {
        roots.add(certificate.map_err(authority)?)?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoAuthority { path: path.to_owned() });
    }
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// Trusts exactly one certificate, regardless of its issuer and names.
///
/// # Errors
/// [`TlsError::Setup`] if TLS cannot be set up at all.
pub(super) fn trusting_fingerprint(fingerprint: Fingerprint) -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(Pinned { fingerprint, provider: provider() });
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Sha256::digest(end_entity).as_slice() == self.fingerprint.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_32_pairs() {
        let text = ["AB"; 32].join(":");
        assert_eq!(Fingerprint::parse(&text), Some(Fingerprint([0xAB; 32])));
        assert_eq!(Fingerprint::parse(&text.to_lowercase()), Some(Fingerprint([0xAB; 32])));
        for bad in [["AB"; 31].join(":"), ["AB"; 33].join(":"), ["GG"; 32].join(":"), ["+1"; 32].join(":")] {
            assert_eq!(Fingerprint::parse(&bad), None, "{bad}");
        }
    }
}
