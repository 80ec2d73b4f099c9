//! `[[listeners]]`: the sockets that answer clicks.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// A socket that answers clicks.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port, `0.0.0.0:80` or `[::]:443`. Must be unique.
    pub address: SocketAddr,
    /// Certificates. With them the socket accepts TLS only and selects the certificate by server name (SNI); the first
    /// one is for clients that send no name.
    #[serde(default)]
    pub tls: Vec<Certificate>,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// File with the certificate chain, leaf first.
    pub certificate_file: PathBuf,
    /// File with the private key: PKCS #8, SEC 1 or PKCS #1. Only this service should be able to read it.
    pub key_file: PathBuf,
}

impl Section for Vec<Listener> {
    fn rules(&self, _all: &Config, findings: &mut Findings) {
        if self.is_empty() {
            findings.error(
                "listeners",
                "is empty, so nothing would answer clicks",
                "add a section `[[listeners]]` with `address = \"0.0.0.0:8080\"`",
            );
        }
        for (i, (key, address)) in sockets(self).enumerate() {
            findings.socket(key, address, sockets(self).take(i));
        }
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        let mut paths = Vec::new();
        for (i, listener) in self.iter_mut().enumerate() {
            for (j, certificate) in listener.tls.iter_mut().enumerate() {
                let key = format!("listeners[{i}].tls[{j}]");
                paths.push((format!("{key}.certificate_file"), &mut certificate.certificate_file));
                paths.push((format!("{key}.key_file"), &mut certificate.key_file));
            }
        }
        paths
    }
}

/// The addresses of listeners, with their keys.
pub(super) fn sockets(listeners: &[Listener]) -> impl Iterator<Item = (String, SocketAddr)> {
    listeners.iter().enumerate().map(|(i, listener)| (format!("listeners[{i}].address"), listener.address))
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn sockets_and_certificates_are_checked() {
        each_is_an_error(&[
            ("listeners", "is empty", |c| c.listeners.clear()),
            ("listeners[1].address", "is 0.0.0.0:80, which `listeners[0].address` already uses", |c| {
                c.listeners[1].address = c.listeners[0].address;
            }),
            ("listeners[0].address", "port 0", |c| c.listeners[0].address.set_port(0)),
            ("listeners[1].tls[0].certificate_file", "is empty", |c| {
                c.listeners[1].tls[0].certificate_file.clear();
            }),
            ("listeners[1].tls[0].key_file", "is empty", |c| c.listeners[1].tls[0].key_file.clear()),
        ]);
    }
}
