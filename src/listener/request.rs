//! The head of an HTTP/1 request, as strict as RFC 9112 allows: where it ends, what it asks for, and how its body is
//! framed. What is ambiguous is rejected here, so that no way to an answer has to know about it.
//!
//! Rare forms are rewritten once into the usual one ([`rewritten`]): a target in absolute form, and bytes in a target
//! that browsers send and no URI may hold. Everything after this sees an origin-form target of visible ASCII.

use httparse::{Header, Status};

/// Most fields of a head that can be configured.
pub const MAX_FIELDS: usize = 256;

/// Longest method: no client sends a longer one.
const MAX_METHOD: usize = 32;

/// What a head may have, at most.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the request target.
    pub target: usize,
    /// Bytes of the request line and all fields.
    pub bytes: usize,
    /// Header fields.
    pub fields: usize,
}

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Malformed {
    /// 400: it is not HTTP/1, or ambiguous.
    Syntax,
    /// 414: the target is too long.
    Target,
    /// 431: the head is too long, or has too many fields.
    Fields,
    /// 501: a transfer coding that no one here knows.
    Coding,
    /// 505: another version of HTTP.
    Version,
}

impl Malformed {
    pub fn status(self) -> u16 {
        match self {
            Self::Syntax => 400,
            Self::Target => 414,
            Self::Fields => 431,
            Self::Coding => 501,
            Self::Version => 505,
        }
    }
}

/// What was found at the start of a buffer.
#[derive(Debug, Eq, PartialEq)]
pub enum Found {
    /// No whole head yet.
    Incomplete,
    /// A head of so many bytes, after so many bytes of empty lines.
    Head { from: usize, to: usize },
}

/// Looks for a whole head. `seen` is how many bytes were looked at before, and is moved on; start with 0.
///
/// # Errors
/// When what is there can never become a head within the limits.
pub fn find(bytes: &[u8], seen: &mut usize, limits: &HeadLimits) -> Result<Found, Malformed> {
    // One empty line before a request is left over from a sloppy client (RFC 9112, 2.2).
    let from = match bytes {
        b"\r" => return Ok(Found::Incomplete),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let mut lines = memchr::memchr_iter(b'\n', &bytes[*seen..]).map(|at| *seen + at);
    let found = loop {
        let Some(end) = lines.next() else { break None };
        if end == 0 || bytes[end - 1] != b'\r' {
            // A bare line feed: recipients disagree on what it means.
            return Err(Malformed::Syntax);
        }
        if end >= from + 3 && bytes[end - 3..end] == *b"\r\n\r" {
            break Some(end + 1);
        }
        if end == from + 1 {
            // A second empty line.
            return Err(Malformed::Syntax);
        }
    };
    if let Some(to) = found
        && to - from <= limits.bytes
    {
        return Ok(Found::Head { from, to });
    }
    let line = &bytes[from.min(bytes.len())..];
    let line_end = memchr::memchr(b'\r', &line[..line.len().min(limits.target + MAX_METHOD)]);
    if *seen == 0 || line_end.is_none() {
        check_method(line)?;
    }
    if line_end.is_none() && line.len() > limits.target + MAX_METHOD {
        return Err(Malformed::Target);
    }
    if bytes.len() - from.min(bytes.len()) > limits.bytes {
        return Err(Malformed::Fields);
    }
    *seen = bytes.len();
    Ok(Found::Incomplete)
}

/// Whether a line begins with what may become a method: other protocols are rejected with their first bytes.
fn check_method(line: &[u8]) -> Result<(), Malformed> {
    let start = &line[..line.len().min(MAX_METHOD + 1)];
    match start.iter().position(|&byte| !is_token(byte)) {
        Some(0) => Err(Malformed::Syntax),
        Some(end) if start[end] != b' ' => Err(Malformed::Syntax),
        None if start.len() > MAX_METHOD => Err(Malformed::Syntax),
        _ => Ok(()),
    }
}

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Body {
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    Chunked,
}

/// What a head says about the connection and its framing. What it asks for stands in the head itself.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Framing {
    pub body: Body,
    /// The connection stays open after the answer.
    pub keep_alive: bool,
    /// It asks for another protocol.
    pub upgrade: bool,
    /// It waits for a `100 Continue`.
    pub expect: bool,
}

/// A head that was read and checked.
pub struct Request<'h, 'b> {
    pub method: &'b str,
    /// As it was sent.
    pub target: &'b [u8],
    /// 1.0 or 1.1: the digit after the dot.
    pub minor: u8,
    pub headers: &'h [Header<'b>],
    pub framing: Framing,
}

impl<'b> Request<'_, 'b> {
    /// The value of `Host`.
    pub fn host(&self) -> Option<&'b [u8]> {
        self.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host")).map(|field| field.value)
    }
}

/// Reads a whole head.
///
/// # Errors
/// When it is malformed or beyond the limits.
pub fn parse<'h, 'b>(
    head: &'b [u8],
    headers: &'h mut [Header<'b>],
    limits: &HeadLimits,
) -> Result<Request<'h, 'b>, Malformed> {
    let line_end = memchr::memchr(b'\r', head).filter(|end| head.get(end + 1) == Some(&b'\n'));
    let line_end = line_end.ok_or(Malformed::Syntax)?;
    let (method, target) = request_line(&head[..line_end], limits)?;
    let rest = &head[line_end + 2..];
    let fields = headers.len().min(limits.fields);
    let parsed = match httparse::parse_headers(rest, &mut headers[..fields]) {
        Ok(Status::Complete((_, parsed))) => parsed,
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::Fields),
        Ok(Status::Partial) | Err(_) => return Err(Malformed::Syntax),
    };
    let minor = head[line_end - 1] - b'0';
    let framing = framing(parsed, minor)?;
    Ok(Request { method, target, minor, headers: parsed, framing })
}

/// Method and target of a request line.
fn request_line<'b>(line: &'b [u8], limits: &HeadLimits) -> Result<(&'b str, &'b [u8]), Malformed> {
    let space = memchr::memchr(b' ', &line[..line.len().min(MAX_METHOD + 1)]).ok_or(Malformed::Syntax)?;
    let (method, rest) = (&line[..space], &line[space + 1..]);
    let end = memchr::memrchr(b' ', rest).ok_or(Malformed::Syntax)?;
    let (target, version) = (&rest[..end], &rest[end + 1..]);
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(Malformed::Version);
        }
        _ => return Err(Malformed::Syntax),
    }
    if target.len() > limits.target {
        return Err(Malformed::Target);
    }
    if target.is_empty() || target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
        return Err(Malformed::Syntax);
    }
    let method = std::str::from_utf8(method).ok().filter(|method| !method.is_empty() && method.bytes().all(is_token));
    Ok((method.ok_or(Malformed::Syntax)?, target))
}

fn framing(headers: &[Header<'_>], minor: u8) -> Result<Framing, Malformed> {
    let mut framing = Framing { keep_alive: minor > 0, ..Framing::default() };
    let (mut lengths, mut codings, mut hosts) = (0, 0, 0);
    let mut close = false;
    for header in headers {
        let (name, value) = (header.name.as_bytes(), header.value);
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            4 if is("host") => {
                hosts += 1;
                // A user's name is no part of a host, and parsers disagree on what is.
                if value.contains(&b'@') {
                    return Err(Malformed::Syntax);
                }
            }
            6 if is("expect") => framing.expect = true,
            7 if is("upgrade") => framing.upgrade = true,
            10 if is("connection") => {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        close = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        framing.keep_alive = true;
                    }
                }
            }
            14 if is("content-length") => {
                lengths += 1;
                framing.body = Body::Length(length(value).ok_or(Malformed::Syntax)?);
            }
            17 if is("transfer-encoding") => {
                codings += 1;
                if !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::Coding);
                }
                framing.body = Body::Chunked;
            }
            _ => {}
        }
    }
    framing.keep_alive &= !close;
    // Two hosts, two lengths, a length and a coding, a coding in HTTP/1.0: smuggling is made of these (RFC 9112, 3.2,
    // 6.1 and 6.3).
    if lengths + codings > 1 || codings > 0 && minor == 0 || hosts > 1 || hosts == 0 && minor > 0 {
        return Err(Malformed::Syntax);
    }
    Ok(framing)
}

/// Digits only: no sign, no list, no space.
fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// What a target is.
#[derive(Debug, Eq, PartialEq)]
pub enum Form {
    /// `/spring`, of bytes that a URI may hold.
    Origin,
    /// In another form, or with bytes that must be encoded: see [`rewritten`].
    Rewrite,
    /// `*`, for `OPTIONS`.
    Asterisk,
    /// For another kind of server: `CONNECT`.
    Authority,
}

/// The form of a target.
///
/// # Errors
/// When the method has no such target.
pub fn form(method: &str, target: &[u8]) -> Result<Form, Malformed> {
    if method == "CONNECT" {
        return Ok(Form::Authority);
    }
    match target {
        b"*" if method == "OPTIONS" => Ok(Form::Asterisk),
        [b'/', ..] if parts(target).all(|(byte, in_query)| is_uri(byte, in_query)) => Ok(Form::Origin),
        [b'/', ..] => Ok(Form::Rewrite),
        _ if authority_of(target).is_some() => Ok(Form::Rewrite),
        _ => Err(Malformed::Syntax),
    }
}

/// The authority of a target in absolute form, and what follows it.
fn authority_of(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let after = |scheme: &str| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    };
    let rest = after("http://").or_else(|| after("https://"))?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A user's name and password are nothing that a request may send (RFC 9110, 4.2.4).
    (!authority.is_empty() && !authority.contains(&b'@')).then_some((authority, path))
}

/// The head with a target in origin form, of bytes that a URI may hold. The host of an absolute target replaces
/// `Host`, as RFC 9112, 3.2.2 has it.
pub fn rewritten(request: &Request<'_, '_>) -> Vec<u8> {
    let (authority, path) = authority_of(request.target).map_or((None, request.target), |(a, path)| (Some(a), path));
    let mut head = Vec::with_capacity(1_024);
    head.extend_from_slice(request.method.as_bytes());
    head.push(b' ');
    if !path.starts_with(b"/") {
        head.push(b'/');
    }
    for (byte, in_query) in parts(path) {
        if is_uri(byte, in_query) {
            head.push(byte);
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            head.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    head.extend_from_slice(if request.minor == 0 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    let mut field = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    };
    if let Some(authority) = authority {
        field(b"Host", authority);
    }
    for header in request.headers {
        if authority.is_none() || !header.name.eq_ignore_ascii_case("host") {
            field(header.name.as_bytes(), header.value);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Bytes of a token (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Visible ASCII without what parsers of URIs reject. Other bytes that no URI may hold, such as braces, pass through
/// everything here as they are, and destinations get them as they were sent.
fn is_uri(byte: u8, in_query: bool) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>') && (in_query || byte != b'`')
}

/// The bytes of a target, and whether they stand in its query.
fn parts(target: &[u8]) -> impl Iterator<Item = (u8, bool)> {
    let mut in_query = false;
    target.iter().map(move |&byte| {
        in_query |= byte == b'?';
        (byte, in_query)
    })
}

#[cfg(test)]
mod tests;
