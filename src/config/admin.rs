//! `[admin]`: the listener for operators.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Section,
    findings::Findings,
    listeners::{Certificate, sockets},
};

/// A state in which clicks are answered, and may be lost if it lasts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Degraded {
    /// The disk does not accept the journal or objects; clicks wait in the rings.
    SpoolStalled,
    /// A ring is nine tenths full, or more: clicks of a full one are dropped.
    RingsFull,
}

impl Degraded {
    /// Its name, as in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpoolStalled => "spool_stalled",
            Self::RingsFull => "rings_full",
        }
    }
}

/// Longest path of a Unix socket, in bytes.
pub const MAX_SOCKET: usize = 107;

/// Longest name that a socket has before it is renamed, in bytes: a dot, and the number of the process.
const MAX_TEMPORARY: usize = 11;

/// The listener for operators.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port of the status page, `/metrics`, `/livez`, `/readyz` and everything below `/v1/`. No listener
    /// may have the same. On an address that other machines reach, set `tokens_file` and `tls`.
    pub address: SocketAddr,
    /// Names by which clients may reach the listener, without port: `status.example.com`. Requests for other names get
    /// 421, except `localhost` and IP addresses, so that no web page can lead its own name here and read the answers.
    pub hosts: Vec<String>,
    /// States in which `/readyz` answers 503, so that load balancers send clicks elsewhere: `spool_stalled`,
    /// `rings_full`. In the others it answers 200 and names them.
    pub not_ready_when: Vec<Degraded>,
    /// Unix socket that answers the same requests without a token; `clickedge` uses it by default. Only the user of the
    /// service and root can connect. At most 107 bytes. Absent: `admin.sock` in `capture.dir`.
    pub socket: Option<PathBuf>,
    /// Tokens of clients of this listener: a file with a line for each, `NAME SHA256 WORKSPACE,...` or
    /// `NAME SHA256 *`, and behind it the right: `read`, `write` (the default), which changes links, or `admin`, which
    /// orders the edge, such as a reload. `clickedge catalog token NAME` makes a token and its line. With the file,
    /// every request needs a token, except `/livez` and `/readyz`. Without it, links cannot be read or changed, and
    /// everything else is open to every client that reaches the address. The file is read again at a reload.
    pub tokens_file: Option<PathBuf>,
    /// Certificate of the listener. With it the address accepts TLS only. Read again at a reload.
    pub tls: Option<Certificate>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 9180)),
            hosts: Vec::new(),
            not_ready_when: Vec::new(),
            socket: None,
            tokens_file: None,
            tls: None,
        }
    }
}

impl Admin {
    /// The path of the Unix socket, with the folder of the rings; `None` if the default path would be too long.
    pub fn socket(&self, rings: &Path) -> Option<PathBuf> {
        let socket = self.socket.clone().unwrap_or_else(|| rings.join("admin.sock"));
        fits(&socket).then_some(socket)
    }
}

impl Section for Admin {
    fn rules(&self, all: &Config, findings: &mut Findings) {
        findings.socket("admin.address", self.address, sockets(&all.listeners));
        for (i, host) in self.hosts.iter().enumerate() {
            if !is_name(host) {
                findings.error(
                    format!("admin.hosts[{i}]"),
                    format!("must be a DNS name, is {host:?}"),
                    "write the name alone, without scheme and port: `status.example.com`",
                );
            }
        }
        if let Some(socket) = self.socket.as_deref().filter(|socket| !fits(socket)) {
            let length = socket.as_os_str().len();
            findings.error(
                "admin.socket",
                format!("has {length} bytes, and the path of a Unix socket at most {MAX_SOCKET}"),
                "name a shorter path, such as `/run/clickedge/admin.sock`",
            );
        }
        if self.address.ip().is_loopback() {
            return;
        }
        if self.tokens_file.is_none() {
            findings.warning(
                "admin.address",
                format!("is {}, where other machines read metrics and order reloads without a token", self.address),
                "set `admin.tokens_file`, or listen on `127.0.0.1`",
            );
        }
        if self.tls.is_none() {
            findings.warning(
                "admin.address",
                format!("is {}, where tokens and answers pass the network in clear text", self.address),
                "set `admin.tls`, or listen on `127.0.0.1` behind a proxy with TLS",
            );
        }
    }

    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        let mut paths = Vec::new();
        paths.extend(self.socket.iter_mut().map(|socket| ("admin.socket".to_owned(), socket)));
        paths.extend(self.tokens_file.iter_mut().map(|file| ("admin.tokens_file".to_owned(), file)));
        if let Some(Certificate { certificate_file, key_file }) = &mut self.tls {
            paths.push(("admin.tls.certificate_file".to_owned(), certificate_file));
            paths.push(("admin.tls.key_file".to_owned(), key_file));
        }
        paths
    }
}

/// Whether the path can be that of a Unix socket: also with the name that it has for a moment, before it is renamed.
pub fn fits(socket: &Path) -> bool {
    let name = socket.file_name().map_or(0, OsStr::len);
    socket.as_os_str().len() - name + name.max(MAX_TEMPORARY) <= MAX_SOCKET
}

fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Admin;
    use crate::config::fixture::{each_is_a_warning, each_is_an_error};

    #[test]
    fn the_address_is_checked() {
        each_is_an_error(&[
            ("admin.address", "port 0", |c| c.admin.address.set_port(0)),
            ("admin.address", "is 127.0.0.1:443, which `listeners[1].address` already uses", |c| {
                c.listeners[1].address = "127.0.0.1:443".parse().unwrap();
                c.admin.address = c.listeners[1].address;
            }),
        ]);
    }

    #[test]
    fn names_and_the_socket_are_checked() {
        each_is_an_error(&[
            ("admin.hosts[1]", "is \"https://a.example\"", |c| {
                c.admin.hosts = vec!["a.example".into(), "https://a.example".into()];
            }),
            ("admin.hosts[0]", "is \"a.example:9180\"", |c| c.admin.hosts = vec!["a.example:9180".into()]),
            ("admin.hosts[0]", "is \"*\"", |c| c.admin.hosts = vec!["*".into()]),
            ("admin.socket", "has 108 bytes", |c| c.admin.socket = Some("x".repeat(108).into())),
            ("admin.socket", "at most 107", |c| c.admin.socket = Some(format!("/{}/s", "x".repeat(98)).into())),
            ("admin.socket", "is empty", |c| c.admin.socket = Some("".into())),
        ]);
    }

    #[test]
    fn an_address_that_other_machines_reach_needs_tokens_and_tls() {
        each_is_a_warning(&[
            ("admin.address", "without a token", |c| {
                c.admin.address = "10.0.0.1:9180".parse().unwrap();
                c.admin.tls = Some(c.listeners[1].tls[0].clone());
            }),
            ("admin.address", "in clear text", |c| {
                c.admin.address = "[::]:9180".parse().unwrap();
                c.admin.tokens_file = Some("tokens".into());
            }),
        ]);
    }

    #[test]
    fn the_socket_is_in_the_folder_of_the_rings() {
        let socket = Admin::default().socket(Path::new("/run/clickedge"));
        assert_eq!(socket.as_deref(), Some(Path::new("/run/clickedge/admin.sock")));
        assert_eq!(Admin::default().socket(Path::new(&"x".repeat(98))), None);
    }
}
