//! The certificate of the node and the certificate authority of its cluster, at the same paths as in Proxmox.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::server::RestError;
use crate::node::{NodeLayout, write_atomically};

/// Reads the node's certificate and key, or creates them with an authority of their own.
///
/// # Errors
/// [`RestError`] if they can be neither read nor created.
pub(super) fn open(
    layout: &NodeLayout,
    node: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), RestError> {
    let home = layout.etc_pve_node(node);
    let (certificate, key) = (home.join("pve-ssl.pem"), home.join("pve-ssl.key"));
    if !certificate.is_file() {
        make(layout, node)?;
    }
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect)
        .map_err(|source| RestError::Certificate { path: certificate, source })?;
    let key_file = PrivateKeyDer::from_pem_file(&key);
    Ok((chain, key_file.map_err(|source| RestError::Certificate { path: key, source })?))
}

fn make(layout: &NodeLayout, node: &str) -> Result<(), RestError> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Proxmox Virtual Environment");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut leaf = CertificateParams::new(vec!["localhost".to_owned(), node.to_owned()])?;
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        leaf.subject_alt_names.push(SanType::IpAddress(address));
    }
    leaf.distinguished_name.push(DnType::CommonName, node);
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &authority)?;

    let home = layout.etc_pve_node(node);
    write_atomically(&layout.etc_pve().join("pve-root-ca.pem"), &authority.pem())?;
    write_atomically(&home.join("pve-ssl.key"), &key.serialize_pem())?;
    write_atomically(&home.join("pve-ssl.pem"), &certificate.pem())?;
    Ok(())
}
