//! The request that a lookup makes: as a client would send it, byte for byte.

/// A request as it would arrive.
#[derive(Debug, Eq, PartialEq)]
pub struct RawRequest {
    /// The head, with its empty line.
    pub bytes: Vec<u8>,
    /// Whether it would come over TLS.
    pub tls: bool,
}

/// The request for a URL, or for a short link without its scheme.
///
/// # Errors
/// When no client could send it. Whatever a client could send is for the edge to answer.
pub fn request(url: &str, method: &str, headers: &[String]) -> Result<RawRequest, String> {
    let (tls, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        Some((scheme, _)) if !scheme.contains(['/', '?', '#']) => {
            return Err(format!("{url:?} is not http or https"));
        }
        // It may stand in a path or a query.
        _ => (true, url),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if host.is_empty() {
        return Err(format!("{url:?} has no host; write it like https://go.brand.com/spring"));
    }
    let mut bytes = Vec::new();
    let mut push = |part: &str| bytes.extend_from_slice(part.as_bytes());
    push(method);
    push(if target.starts_with('/') { " " } else { " /" });
    // A client encodes a space and what would end the line, and leaves the rest to the edge.
    for c in target.chars() {
        match c {
            ' ' | '\u{0}'..='\u{1f}' | '\u{7f}' => push(&format!("%{:02X}", u32::from(c))),
            c => push(c.encode_utf8(&mut [0; 4])),
        }
    }
    push(" HTTP/1.1\r\nHost: ");
    push(line(host, "the host")?);
    for header in headers {
        let is_field = header.split_once(':').is_some_and(|(name, _)| !name.trim().is_empty());
        if !is_field {
            return Err(format!("--header {header:?} has no name; write it like 'Accept-Language: de'"));
        }
        push("\r\n");
        push(line(header, "--header")?);
    }
    push("\r\n\r\n");
    Ok(RawRequest { bytes, tls })
}

fn line<'a>(text: &'a str, what: &str) -> Result<&'a str, String> {
    if text.contains(['\r', '\n']) { Err(format!("{what} {text:?} has a line end; remove it")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(url: &str, headers: &[&str]) -> Result<String, String> {
        let headers: Vec<_> = headers.iter().map(|header| (*header).to_owned()).collect();
        request(url, "GET", &headers).map(|request| String::from_utf8(request.bytes).unwrap())
    }

    #[test]
    fn a_url_becomes_the_request_of_a_client() {
        let head = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        for (url, target, host) in [
            ("https://go.brand.com/spring?x=1#top", "/spring?x=1", "go.brand.com"),
            ("HTTP://GO.brand.com:8080", "/", "GO.brand.com:8080"),
            ("go.brand.com/a b", "/a%20b", "go.brand.com"),
            ("go.brand.com?x", "/?x", "go.brand.com"),
            ("go.brand.com/caf\u{e9}?\"", "/caf\u{e9}?\"", "go.brand.com"),
            ("go.brand.com/x?to=https://a.example", "/x?to=https://a.example", "go.brand.com"),
            ("go.brand.com//x\u{7}", "//x%07", "go.brand.com"),
        ] {
            assert_eq!(text(url, &[]), Ok(head(target, host)), "{url}");
        }
        assert!(
            request("https://a.example", "GET", &[]).unwrap().tls && request("a.example", "GET", &[]).unwrap().tls
        );
        assert!(!request("http://a.example", "GET", &[]).unwrap().tls);
        assert!(text("a.example", &["A: b", "C:d"]).unwrap().ends_with("a.example\r\nA: b\r\nC:d\r\n\r\n"));
    }

    #[test]
    fn what_no_client_sends_is_an_error() {
        for (url, headers, message) in [
            ("ftp://a.example/", &[][..], "is not http or https"),
            ("https:///x", &[], "has no host"),
            ("", &[], "has no host"),
            ("a.example", &["Accept-Language"], "has no name"),
            ("a.example", &[": x"], "has no name"),
            ("a.example", &["A: b\r\nC: d"], "has a line end"),
            ("a.example\n", &[], "has a line end"),
        ] {
            let error = text(url, headers).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
