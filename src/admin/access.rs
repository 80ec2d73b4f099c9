//! Who may ask for what. Every request passes these checks before a handler gets it, in this order:
//!
//! | check | answer |
//! |---|---|
//! | the target is a path as RFC 3986 writes it, whose escapes are UTF-8 and no control characters | 400 |
//! | `Host` is an IP address, `localhost` or one of `admin.hosts`: a web page can lead its own name to this address (DNS rebinding), and its requests then have that name | 421 |
//! | neither `Sec-Fetch-Site` nor `Origin` says that the page of another site has sent it | 403 |
//! | a token that suffices for the route, once the edge has tokens | 401, 403 |
//!
//! Through the Unix socket, whose file only the user of the service and root can open, come no foreign names, and no
//! token is needed. A browser sends a token as the password of the Basic scheme, which works without scripts; what it
//! sends by itself is why requests of other sites are rejected.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, Version, header, request};
use percent_encoding::percent_decode;

use super::{
    problem::{Kind, Problem},
    router::Needs,
};
use crate::catalog::tokens::{Grant, Right, Scope, TokenStore};

/// What a browser says about the page that sends a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The challenge of routes that people open in a browser. The first scheme is what it asks for.
const CHALLENGE: &str = "Basic realm=\"clickedge\", charset=\"UTF-8\", Bearer realm=\"clickedge\"";

/// How a client has reached the listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Via {
    Tcp,
    Tls,
    /// The Unix socket.
    Socket,
}

/// Checks requests before a handler gets them.
pub struct Access {
    /// In lower case.
    hosts: Vec<String>,
    tokens: Arc<TokenStore>,
    /// The right of the Unix socket.
    operator: Arc<Grant>,
}

impl Access {
    /// `hosts` are the names of the listener.
    pub fn new(hosts: &[String], tokens: Arc<TokenStore>) -> Self {
        let operator = Grant { name: "admin-socket".into(), scope: Scope::All, right: Right::Admin };
        Self { hosts: hosts.iter().map(|host| host.to_lowercase()).collect(), tokens, operator: Arc::new(operator) }
    }

    /// Rejects requests that were meant for others, or that the page of another site has sent.
    ///
    /// # Errors
    /// When it is rejected.
    pub fn check(&self, head: &request::Parts, via: Via) -> Result<(), Problem> {
        let host = head.headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
        match host {
            None if head.version >= Version::HTTP_11 => {
                return Err(Problem::new(Kind::BadRequest, "send `Host`"));
            }
            Some(host) if via != Via::Socket && !self.is_own(host) => {
                let detail = "use the IP address of the listener or `localhost`, or add the name to `admin.hosts`";
                return Err(Problem::new(Kind::Misdirected, detail));
            }
            _ => {}
        }
        let is_foreign = |value: &http::HeaderValue| !matches!(value.as_bytes(), b"same-origin" | b"none");
        if head.headers.get_all(SEC_FETCH_SITE).iter().any(is_foreign) {
            let detail = "open the address of the listener itself, and no link on another site";
            return Err(Problem::new(Kind::WebPage, detail));
        }
        let host = host.unwrap_or_default();
        if head.headers.get_all(header::ORIGIN).iter().any(|origin| !is_origin(origin.as_bytes(), host, via)) {
            let detail = "send the request from a program, without `Origin`, or from the page of this listener";
            return Err(Problem::new(Kind::WebPage, detail));
        }
        Ok(())
    }

    /// What the client of a request may do.
    ///
    /// # Errors
    /// When the edge has no tokens, or the request none that it knows.
    pub fn grant(&self, headers: &HeaderMap, via: Via) -> Result<Arc<Grant>, Problem> {
        if via == Via::Socket {
            return Ok(Arc::clone(&self.operator));
        }
        let tokens = self.tokens.load();
        let Some(tokens) = &*tokens else {
            let detail = "set `admin.tokens_file` to a file with the line that `clickedge catalog token NAME` prints, \
                          and reload";
            return Err(Problem::new(Kind::Off, detail));
        };
        let Some(token) = token(headers) else {
            let problem = Problem::new(Kind::Unauthorized, "send `Authorization: Bearer` with a token");
            return Err(problem.with_header("Bearer realm=\"clickedge\""));
        };
        tokens.find(&token).ok_or_else(|| {
            let detail =
                "the token is unknown: it may have been removed; make one with `clickedge catalog token NAME`";
            let challenge = "Bearer realm=\"clickedge\", error=\"invalid_token\"";
            Problem::new(Kind::Unauthorized, detail).with_header(challenge)
        })
    }
}

/// Checks that a client has what a route needs. While the edge has no tokens, who reaches it may do everything but read
/// and change links.
///
/// # Errors
/// When it has not.
pub fn admit(needs: Needs, grant: &Result<Arc<Grant>, Problem>) -> Result<(), Problem> {
    let least = match needs {
        Needs::Nothing | Needs::Grant => return Ok(()),
        Needs::Read => Right::Read,
        Needs::Order => Right::Admin,
    };
    let grant = match grant {
        Ok(grant) => grant,
        Err(problem) if problem.kind == Kind::Off => return Ok(()),
        Err(problem) => return Err(problem.clone().with_header(CHALLENGE)),
    };
    let outside = |reason: &str| {
        let detail = format!("token {:?} {reason}", grant.name);
        Err(Problem::new(Kind::OutsideScope, detail))
    };
    if grant.scope != Scope::All {
        return outside("is for some workspaces only: the line of one for this route has `*`");
    }
    if grant.right < least {
        return outside("orders nothing: the line of one for this route ends in `admin`");
    }
    Ok(())
}

/// Checks the target of a request as it was sent.
///
/// # Errors
/// When it is no path, or one that is not written as RFC 3986 requires.
pub fn check_target(target: &[u8]) -> Result<(), Problem> {
    let malformed = |detail: &str| Err(Problem::new(Kind::BadRequest, detail));
    if target.first() != Some(&b'/') {
        return malformed("the target of the request is no path: it begins with `/`");
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return malformed("the target of the request has other bytes than visible ASCII: percent-encode them");
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if path.iter().any(|byte| b"\"#<>[\\]^`{|}".contains(byte)) {
        return malformed("the path has one of the characters \"#<>[\\]^`{|}: percent-encode it");
    }
    let mut escapes = target.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    if escapes.any(|(at, _)| !target.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))) {
        return malformed("a `%` is not followed by two hexadecimal digits: write `%25` for the character");
    }
    match percent_decode(path).decode_utf8() {
        Err(_) => malformed("the path is not UTF-8 once it is percent-decoded"),
        Ok(path) if path.contains(char::is_control) => malformed("the path has a control character"),
        Ok(_) => Ok(()),
    }
}

impl Access {
    /// Whether a client that names this host means this listener.
    fn is_own(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) || self.hosts.contains(&name)
    }
}

/// Whether an origin is that of the page that a client gets from `host`. A proxy in front may have TLS.
fn is_origin(origin: &[u8], host: &str, via: Via) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let plain = origin.strip_prefix("http://").filter(|_| via != Via::Tls);
    let authority = plain.or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| !host.is_empty() && authority.eq_ignore_ascii_case(host))
}

/// The token of a request: RFC 6750, 2.1, or the password of RFC 7617. The names of schemes have no case.
fn token(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.as_bytes();
    let of_scheme = |name: &str| {
        let (scheme, rest) = value.split_at_checked(name.len())?;
        scheme.eq_ignore_ascii_case(name.as_bytes()).then(|| rest.trim_ascii())
    };
    if let Some(token) = of_scheme("Bearer ") {
        return (!token.is_empty()).then(|| token.to_vec());
    }
    let pair = STANDARD.decode(of_scheme("Basic ")?).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
