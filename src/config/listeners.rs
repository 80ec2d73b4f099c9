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
    /// Folder with more certificates: `NAME.pem` or `NAME.crt` with `NAME.key`, and `NAME/fullchain.pem` with
    /// `NAME/privkey.pem`. It alone makes the socket one for TLS as well; clients that send no name then get the pair
    /// with the name `default`, else the first one. Read again on SIGHUP and when it changes (`tls.watch_secs`): a
    /// pair that is rejected keeps its previous version, a removed pair disappears.
    #[serde(default)]
    pub certificates_dir: Option<PathBuf>,
    /// Whether the socket uses the certificates that the edge obtains by itself (`[acme]`), for names that it has no
    /// other certificate for. It alone makes the socket one for TLS as well.
    #[serde(default)]
    pub acme: bool,
    /// Protocols offered to TLS clients, the preferred one first. A visitor's click is one request, for which HTTP/1.1
    /// is cheaper; put `h2` first when this socket serves pages with many parts from an upstream.
    #[serde(default = "both")]
    pub alpn: Vec<Alpn>,
    /// Whether connections from `client_address.trusted_proxies` begin with a PROXY protocol header, version 1 or 2,
    /// that names the client. Other peers are taken as they are.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Whether a socket without TLS redirects to the same address over HTTPS, instead of answering.
    #[serde(default)]
    pub redirect_to_https: bool,
}

/// A protocol inside of TLS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Alpn {
    #[serde(rename = "http/1.1")]
    Http11,
    #[serde(rename = "h2")]
    H2,
}

impl Alpn {
    /// The name in the protocol.
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::Http11 => b"http/1.1",
            Self::H2 => b"h2",
        }
    }
}

impl Listener {
    /// Whether it accepts TLS only.
    pub fn has_tls(&self) -> bool {
        !self.tls.is_empty() || self.certificates_dir.is_some() || self.acme
    }
}

fn both() -> Vec<Alpn> {
    vec![Alpn::Http11, Alpn::H2]
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
    fn rules(&self, all: &Config, findings: &mut Findings) {
        for (i, (key, address)) in sockets(self).enumerate() {
            findings.socket(key, address, sockets(self).take(i));
        }
        for (i, listener) in self.iter().enumerate() {
            if listener.alpn.is_empty() {
                findings.error(
                    format!("listeners[{i}].alpn"),
                    "is empty, so that no client could speak to this socket",
                    "write `[\"http/1.1\", \"h2\"]`",
                );
            }
            if listener.redirect_to_https && listener.has_tls() {
                findings.error(
                    format!("listeners[{i}].redirect_to_https"),
                    "is set on a socket with TLS, which would redirect to itself",
                    "set it on the socket without TLS",
                );
            }
            if listener.proxy_protocol && all.client_address.trusted_proxies.is_empty() {
                findings.warning(
                    format!("listeners[{i}].proxy_protocol"),
                    "has no effect while `client_address.trusted_proxies` is empty",
                    "name the networks of your load balancers there",
                );
            }
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
            let folder = listener.certificates_dir.iter_mut();
            paths.extend(folder.map(|folder| (format!("listeners[{i}].certificates_dir"), folder)));
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
            ("listeners[1].address", "is 0.0.0.0:80, which `listeners[0].address` already uses", |c| {
                c.listeners[1].address = c.listeners[0].address;
            }),
            ("listeners[0].address", "port 0", |c| c.listeners[0].address.set_port(0)),
            ("listeners[1].tls[0].certificate_file", "is empty", |c| {
                c.listeners[1].tls[0].certificate_file.clear();
            }),
            ("listeners[1].tls[0].key_file", "is empty", |c| c.listeners[1].tls[0].key_file.clear()),
            ("listeners[0].certificates_dir", "is empty", |c| c.listeners[0].certificates_dir = Some("".into())),
            ("listeners[0].redirect_to_https", "with TLS", |c| {
                c.listeners[0].certificates_dir = Some("tls".into());
                c.listeners[0].redirect_to_https = true;
            }),
        ]);
    }
}
