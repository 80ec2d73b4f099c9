//! The head of a request: method, target and headers, as far as the redirect and the click need them.
//!
//! A neutral type that an adapter fills ([`super::proxy`] from Pingora's request header) in one pass over the headers,
//! without copying anything.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use crate::{
    click::{Flags, Protocol},
    link::{BadKey, Host},
};

/// What was asked.
pub struct Head<'a> {
    pub method: &'a Method,
    authority: Authority<'a>,
    /// Raw path.
    pub path: &'a [u8],
    /// Raw query without `?`; empty for none.
    pub query: &'a [u8],
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
    pub accept_language: &'a [u8],
    pub hints: Hints<'a>,
    /// `X-Requested-With`.
    pub requested_with: &'a [u8],
    pub signature: Signature<'a>,
    /// Values of the header in which trusted proxies name the client, in the order in which they stand. Filled only
    /// when the peer is such a proxy.
    pub forwarded: Vec<&'a [u8]>,
    /// What else the headers and the connection show.
    pub flags: Flags,
    pub protocol: Protocol,
}

/// User agent client hints (W3C), raw; empty for those that were not sent.
#[derive(Clone, Copy, Default)]
pub struct Hints<'a> {
    /// `Sec-CH-UA-Full-Version-List`, else `Sec-CH-UA`.
    pub brands: &'a [u8],
    /// `Sec-CH-UA-Platform`.
    pub platform: &'a [u8],
    /// `Sec-CH-UA-Platform-Version`.
    pub platform_version: &'a [u8],
    /// `Sec-CH-UA-Form-Factors`.
    pub form_factors: &'a [u8],
}

/// An HTTP message signature (RFC 9421), raw; empty for what was not sent.
#[derive(Clone, Copy, Default)]
pub struct Signature<'a> {
    /// `Signature-Agent`. Without it, the others are of no interest.
    pub agent: &'a [u8],
    /// `Signature-Input`.
    pub input: &'a [u8],
    /// `Signature`.
    pub signature: &'a [u8],
}

/// Where the host is named.
#[derive(Clone, Copy)]
enum Authority<'a> {
    Missing,
    One(&'a [u8]),
    /// More than one `Host` header: ambiguous (RFC 9112, 3.2).
    Many,
}

impl<'a> Head<'a> {
    /// Reads a request line and its headers. `target` is the request target as it was sent.
    pub fn read(method: &'a Method, target: &'a [u8], version: Version, headers: &'a HeaderMap) -> Self {
        let protocol = match version {
            Version::HTTP_10 => Protocol::Http10,
            Version::HTTP_2 => Protocol::Http2,
            _ => Protocol::Http11,
        };
        let mut head = Self::new(method, target, protocol);
        for (name, value) in headers {
            head.read_header(name, value);
        }
        head
    }

    /// A request line, without headers.
    pub fn new(method: &'a Method, target: &'a [u8], protocol: Protocol) -> Self {
        let (path, query) = split_target(target);
        let mut head = Self {
            method,
            authority: Authority::Missing,
            path,
            query,
            user_agent: b"",
            referer: b"",
            accept_language: b"",
            hints: Hints::default(),
            requested_with: b"",
            signature: Signature::default(),
            forwarded: Vec::new(),
            flags: Flags::default(),
            protocol,
        };
        head.flags.set(Flags::HEAD, *method == Method::HEAD);
        head
    }

    /// The same request with another query.
    pub fn with_query<'b>(&'b self, query: &'b [u8]) -> Head<'b> {
        let Self { path, user_agent, referer, accept_language, requested_with, signature, flags, protocol, .. } =
            *self;
        Head {
            method: self.method,
            authority: self.authority,
            path,
            query,
            user_agent,
            referer,
            accept_language,
            hints: self.hints,
            requested_with,
            signature,
            forwarded: self.forwarded.clone(),
            flags,
            protocol,
        }
    }

    /// Takes the authority of the target (`:authority` in HTTP/2; RFC 9113, 8.3.1) in place of `Host`.
    pub fn set_authority(&mut self, authority: &'a [u8]) {
        self.authority = Authority::One(authority);
    }

    fn read_header(&mut self, name: &HeaderName, value: &'a HeaderValue) {
        let value = value.as_bytes();
        match *name {
            header::HOST => self.authority.add(value),
            header::USER_AGENT => self.user_agent = value,
            header::REFERER => self.referer = value,
            header::ACCEPT_LANGUAGE => self.accept_language = value,
            header::ACCEPT => self.flags.set(Flags::ACCEPT, true),
            header::ACCEPT_ENCODING => self.flags.set(Flags::ACCEPT_ENCODING, true),
            header::DNT => self.opt_out(Flags::DNT, value),
            // No other header of interest is a standard one.
            _ => self.read_rare(name.as_str(), value),
        }
    }

    /// Reads a header whose name is in any letters. The same ones count as in [`read`](Self::read).
    pub fn read_field(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            3 if is("dnt") => self.opt_out(Flags::DNT, value),
            4 if is("host") => self.authority.add(value),
            6 if is("accept") => self.flags.set(Flags::ACCEPT, true),
            7 if is("referer") => self.referer = value,
            10 if is("user-agent") => self.user_agent = value,
            15 if is("accept-encoding") => self.flags.set(Flags::ACCEPT_ENCODING, true),
            15 if is("accept-language") => self.accept_language = value,
            // The longest of the rare ones has 27 letters.
            length @ 4..32 if matches!(name[0] | 0x20, b's' | b'x' | b'p') => {
                let mut lower = [0; 32];
                lower[..length].copy_from_slice(name);
                lower[..length].make_ascii_lowercase();
                if let Ok(name) = std::str::from_utf8(&lower[..length]) {
                    self.read_rare(name, value);
                }
            }
            _ => {}
        }
    }

    fn read_rare(&mut self, name: &str, value: &'a [u8]) {
        if let Some(name) = name.strip_prefix("sec-") {
            match name {
                "fetch-mode" => {
                    self.flags.set(Flags::FETCH_METADATA, true);
                    self.flags.set(Flags::NAVIGATE, value == b"navigate");
                }
                "ch-ua" if self.hints.brands.is_empty() => self.hints.brands = value,
                "ch-ua-full-version-list" => self.hints.brands = value,
                "ch-ua-platform" => self.hints.platform = value,
                "ch-ua-platform-version" => self.hints.platform_version = value,
                "ch-ua-form-factors" => self.hints.form_factors = value,
                "ch-ua-mobile" => {
                    self.flags.set(Flags::MOBILE, value == b"?1");
                    self.flags.set(Flags::NOT_MOBILE, value == b"?0");
                }
                "gpc" => self.opt_out(Flags::GPC, value),
                "purpose" => self.purpose(value),
                _ => {}
            }
        } else if let Some(name) = name.strip_prefix("x-") {
            match name {
                "requested-with" => self.requested_with = value,
                "purpose" | "moz" => self.purpose(value),
                _ => {}
            }
        } else if name == "purpose" {
            self.purpose(value);
        } else if let Some(name) = name.strip_prefix("signature") {
            match name {
                "-agent" => self.signature.agent = value,
                "-input" => self.signature.input = value,
                "" => self.signature.signature = value,
                _ => {}
            }
        }
    }

    fn opt_out(&mut self, signal: Flags, value: &[u8]) {
        for flag in [Flags::OPTED_OUT, signal] {
            self.flags.set(flag, value == b"1");
        }
    }

    /// The host in normal form.
    ///
    /// # Errors
    /// When it is missing, named more than once, or invalid.
    pub fn host(&self) -> Result<Host, BadKey> {
        match self.authority {
            Authority::Missing => Err(BadKey::EmptyHost),
            Authority::One(raw) => Host::parse(raw),
            Authority::Many => Err(BadKey::InvalidHost),
        }
    }

    /// Whether the query holds a control character. Plain ones arrive percent-encoded from Pingora, so they look like
    /// encoded ones. Tab, line feed and carriage return are accepted: texts that people share hold them.
    pub fn has_control_in_query(&self) -> bool {
        memchr::memchr_iter(b'%', self.query).any(|at| match self.query.get(at + 1..at + 3) {
            Some([b'0', b'9' | b'a' | b'A' | b'd' | b'D']) => false,
            Some([b'0' | b'1', digit]) => digit.is_ascii_hexdigit(),
            Some(b"7f" | b"7F") => true,
            _ => false,
        })
    }

    /// `prefetch`, `prefetch;prerender`, `preview`, in a list.
    fn purpose(&mut self, value: &[u8]) {
        for token in value.split(|&byte| matches!(byte, b';' | b',')) {
            let token = token.trim_ascii();
            let ahead = token.eq_ignore_ascii_case(b"prefetch") || token.eq_ignore_ascii_case(b"prerender");
            self.flags.set(Flags::PREFETCH, ahead);
            self.flags.set(Flags::PREVIEW, token.eq_ignore_ascii_case(b"preview"));
        }
    }
}

impl<'a> Authority<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Missing => Self::One(value),
            Self::One(_) | Self::Many => Self::Many,
        };
    }
}

fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    // An absolute-form target reaches us whole: only its path is looked up.
    let path = if target.starts_with(b"/") { target } else { path_of_absolute(target) };
    let path = memchr::memchr(b'#', path).map_or(path, |at| &path[..at]);
    memchr::memchr(b'?', path).map_or((path, b""), |at| (&path[..at], &path[at + 1..]))
}

fn path_of_absolute(target: &[u8]) -> &[u8] {
    let Some(scheme_end) = memchr::memmem::find(target, b"://") else {
        return b"/";
    };
    let rest = &target[scheme_end + 3..];
    rest.iter().position(|&byte| matches!(byte, b'/' | b'?')).map_or(b"/", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).fold(
            HeaderMap::new(),
            |mut map, (name, value)| {
                map.append(name, value);
                map
            },
        )
    }

    fn head<'a>(target: &'a str, headers: &'a HeaderMap) -> Head<'a> {
        Head::read(&Method::GET, target.as_bytes(), Version::HTTP_11, headers)
    }

    #[test]
    fn target_splits_into_path_and_query() {
        let split = |target: &'static str| {
            let (path, query) = split_target(target.as_bytes());
            (std::str::from_utf8(path).unwrap(), std::str::from_utf8(query).unwrap())
        };
        assert_eq!(split("/spring"), ("/spring", ""));
        assert_eq!(split("/spring?a=1?b#c"), ("/spring", "a=1?b"));
        assert_eq!(split("http://go.brand.com/spring?a=1"), ("/spring", "a=1"));
        assert_eq!(split("http://go.brand.com"), ("/", ""));
        assert_eq!(split("http://go.brand.com?a"), ("", "a"));
        assert_eq!(split("*"), ("/", ""));
    }

    #[test]
    fn control_characters_in_the_query_are_seen_but_shared_texts_may_have_lines() {
        let host = headers(&[("Host", "a.b")]);
        let of = |target: &str| head(target, &host).has_control_in_query();
        for bad in ["/?a=%00", "/?%1b[31m", "/?a=b%7F", "/?a=%0b", "/?a=%0A%01"] {
            assert!(of(bad), "{bad}");
        }
        for good in ["/?a=1%0D%0A2%09", "/?100%", "/?a=%2", "/?a=%20%C3%A9", "/%00"] {
            assert!(!of(good), "{good}");
        }
    }

    #[test]
    fn a_host_is_asked_for_exactly_once() {
        let ok = headers(&[("Host", "go.brand.com")]);
        assert_eq!(head("/", &ok).host().unwrap().as_str(), "go.brand.com");
        let none = headers(&[]);
        assert!(head("/", &none).host().is_err());
        let two = headers(&[("Host", "go.brand.com"), ("Host", "go.brand.com")]);
        assert!(head("/", &two).host().is_err());
    }

    #[test]
    fn the_version_of_the_request_is_kept() {
        let none = headers(&[]);
        let of = |version| Head::read(&Method::GET, b"/", version, &none).protocol;
        let versions = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2];
        assert_eq!(versions.map(of), [Protocol::Http10, Protocol::Http11, Protocol::Http2]);
    }

    #[test]
    fn prefetch_preview_and_opt_out_are_seen() {
        let of = |name, value| {
            let headers = headers(&[("Host", "a.b"), (name, value)]);
            let request = head("/", &headers);
            let has = |flag| request.flags.has(flag);
            (has(Flags::PREFETCH), has(Flags::PREVIEW), has(Flags::OPTED_OUT))
        };
        assert_eq!(of("Sec-Purpose", "prefetch;prerender"), (true, false, false));
        assert_eq!(of("Purpose", "prefetch"), (true, false, false));
        assert_eq!(of("X-Moz", "prefetch"), (true, false, false));
        assert_eq!(of("X-Purpose", "preview"), (false, true, false));
        assert_eq!(of("Sec-GPC", "1"), (false, false, true));
        assert_eq!(of("DNT", "1"), (false, false, true));
        assert_eq!(of("DNT", "0"), (false, false, false));
        assert_eq!(of("Sec-Fetch-Mode", "navigate"), (false, false, false));
    }

    #[test]
    fn the_two_signals_of_an_opt_out_are_kept_apart() {
        let of = |sent: &[(&'static str, &'static str)]| {
            let headers = headers(&[&[("Host", "a.b")], sent].concat());
            let flags = head("/", &headers).flags;
            [Flags::OPTED_OUT, Flags::GPC, Flags::DNT].map(|flag| flags.has(flag))
        };
        assert_eq!(of(&[("Sec-GPC", "1")]), [true, true, false]);
        assert_eq!(of(&[("DNT", "1")]), [true, false, true]);
        assert_eq!(of(&[("DNT", "1"), ("Sec-GPC", "1")]), [true, true, true]);
        assert_eq!(of(&[("Sec-GPC", "1"), ("DNT", "0")]), [true, true, false]);
        assert_eq!(of(&[("DNT", "null")]), [false, false, false]);
    }

    #[test]
    fn what_browsers_send_is_seen() {
        let none = headers(&[("Host", "a.b")]);
        assert_eq!(head("/", &none).flags, Flags::default());
        let sent = [
            ("Host", "a.b"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "gzip"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-CH-UA-Full-Version-List", "full"),
            ("Sec-CH-UA", "short"),
            ("Sec-CH-UA-Mobile", "?1"),
            ("Sec-CH-UA-Platform", "\"Android\""),
            ("Sec-CH-UA-Platform-Version", "\"14\""),
            ("Sec-CH-UA-Form-Factors", "\"Tablet\""),
            ("X-Requested-With", "com.example.app"),
            ("Signature-Agent", "\"https://agent.example\""),
            ("Signature-Input", "sig=()"),
            ("Signature", "sig=::"),
            ("Signature-Other", "x"),
        ];
        let browser = headers(&sent);
        let request = head("/", &browser);
        for flag in [Flags::ACCEPT, Flags::ACCEPT_ENCODING, Flags::FETCH_METADATA, Flags::NAVIGATE, Flags::MOBILE] {
            assert!(request.flags.has(flag), "{flag:?}");
        }
        assert!(!request.flags.has(Flags::NOT_MOBILE) && !request.flags.has(Flags::HEAD));
        let Hints { brands, platform, platform_version, form_factors } = request.hints;
        assert_eq!((brands, platform), (&b"full"[..], &b"\"Android\""[..]));
        assert_eq!((platform_version, form_factors), (&b"\"14\""[..], &b"\"Tablet\""[..]));
        assert_eq!(request.requested_with, b"com.example.app");
        let Signature { agent, input, signature } = request.signature;
        assert_eq!((agent, input, signature), (&b"\"https://agent.example\""[..], &b"sig=()"[..], &b"sig=::"[..]));
    }
}
