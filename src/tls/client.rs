//! TLS as a client: rustls with ring, and the certificates that are trusted.

use std::{
    io,
    path::Path,
    sync::{Arc, LazyLock},
};

use hyper_rustls::ConfigBuilderExt;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::runtime::filesystem::read_regular;

/// The configuration with the certificates of this machine, for all clients.
static NATIVE: LazyLock<Result<ClientConfig, String>> =
    LazyLock::new(|| match builder().and_then(ConfigBuilder::with_native_roots) {
        Ok(builder) => Ok(builder.with_no_client_auth()),
        Err(error) => Err(error.to_string()),
    });

/// A client that trusts the certificates in this file, or those of this machine.
///
/// # Errors
/// When the file cannot be read or has no certificate, or the machine has none.
pub fn config(ca_file: Option<&Path>) -> io::Result<ClientConfig> {
    match ca_file {
        Some(file) => Ok(builder()?.with_root_certificates(read_roots(file)?).with_no_client_auth()),
        None => NATIVE.clone().map_err(|error| io::Error::other(format!("no root certificates: {error}"))),
    }
}

/// Reads the certificates in a file.
///
/// # Errors
/// When it cannot be read, or has no certificate, or one that is malformed.
pub fn read_roots(file: &Path) -> io::Result<RootCertStore> {
    let malformed = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read_regular(file)?) {
        roots.add(certificate.map_err(|error| malformed(&error))?).map_err(|error| malformed(&error))?;
    }
    if roots.is_empty() { Err(malformed(&"it has no certificate")) } else { Ok(roots) }
}

fn builder() -> io::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_sound_certificate_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
        std::fs::write(&file, made.cert.pem() + &made.cert.pem()).unwrap();
        assert_eq!(read_roots(&file).unwrap().len(), 2);
        assert!(config(Some(&file)).is_ok());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for content in ["", "no certificate", broken] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(read_roots(&file).unwrap_err().kind(), io::ErrorKind::InvalidData, "{content}");
        }
    }
}
