//! TLS as a client: rustls with ring, and the certificates that are trusted.

use std::{
    io,
    path::Path,
    sync::{Arc, LazyLock},
};

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, crypto::ring::default_provider};

use super::roots;

/// The configuration with the certificates of this machine, for all clients.
static NATIVE: LazyLock<Result<ClientConfig, String>> = LazyLock::new(|| {
    let roots = native_roots()?;
    let builder = builder().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
});

/// A client that trusts the certificates in this file, or those of this machine.
///
/// # Errors
/// When the file cannot be read or has no certificate, or the machine has none.
pub fn config(ca_file: Option<&Path>) -> io::Result<ClientConfig> {
    match ca_file {
        Some(file) => Ok(builder()?.with_root_certificates(roots::read(file)?).with_no_client_auth()),
        None => NATIVE.clone().map_err(|error| io::Error::other(format!("no root certificates: {error}"))),
    }
}

/// The certificates of this machine, as far as they can be used.
fn native_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    match found.errors.first() {
        _ if !roots.is_empty() => Ok(roots),
        Some(error) => Err(error.to_string()),
        None => Err("this machine has none that is valid".into()),
    }
}

fn builder() -> io::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)
}
