//! Appends a visitor's path to that of a destination. The result never leaves the destination's path, whatever the
//! visitor sends.

use percent_encoding::percent_decode;

/// Appends the segments of `rest`, a raw request path, to the path of `url`, before its query and fragment. Dot
/// segments go, as they go in a browser, but never further up than the end of the destination's path; so do empty
/// segments.
pub fn append(url: &str, rest: &[u8], out: &mut Vec<u8>) {
    let (path, tail) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    out.extend_from_slice(path.as_bytes());
    let mut clean = Vec::with_capacity(rest.len());
    segments(rest, &mut clean);
    if !clean.is_empty() && out.last() != Some(&b'/') {
        out.push(b'/');
    }
    out.extend_from_slice(&clean);
    out.extend_from_slice(tail.as_bytes());
}

/// Writes the segments of a raw path one after the other, without a slash at the start.
pub fn segments(raw: &[u8], out: &mut Vec<u8>) {
    let mut starts = Vec::new();
    let mut ends_in_slash = false;
    for segment in raw.split(|&byte| byte == b'/') {
        ends_in_slash = false;
        match Kind::of(segment) {
            Kind::Name => {
                starts.push(out.len());
                escape(segment, out);
                out.push(b'/');
                continue;
            }
            Kind::Parent => out.truncate(starts.pop().unwrap_or(out.len())),
            Kind::Empty | Kind::Same => {}
        }
        ends_in_slash = true;
    }
    if !ends_in_slash && out.last() == Some(&b'/') {
        out.pop();
    }
}

enum Kind {
    Empty,
    /// `.`
    Same,
    /// `..`
    Parent,
    Name,
}

impl Kind {
    /// A browser takes encoded dots for dots.
    fn of(segment: &[u8]) -> Self {
        if segment.is_empty() {
            return Self::Empty;
        }
        // `%2e%2e` is the longest way to write one.
        if segment.len() > 6 || !matches!(segment[0], b'.' | b'%') {
            return Self::Name;
        }
        let mut decoded = percent_decode(segment);
        match (decoded.next(), decoded.next(), decoded.next()) {
            (Some(b'.'), None, None) => Self::Same,
            (Some(b'.'), Some(b'.'), None) => Self::Parent,
            _ => Self::Name,
        }
    }
}

/// Copies a segment, percent-encoding what may not stand in a path, and a backslash, which browsers take for a slash.
fn escape(segment: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in segment {
        if byte.is_ascii_graphic()
            && !matches!(byte, b'"' | b'<' | b'>' | b'#' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn appended(url: &str, rest: &[u8]) -> String {
        let mut out = Vec::new();
        append(url, rest, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_path_comes_before_query_and_fragment() {
        let url = "https://www.example.com/foo/bar?some=thing#top";
        assert_eq!(
            appended(url, b"something/else-baz"),
            "https://www.example.com/foo/bar/something/else-baz?some=thing#top"
        );
        assert_eq!(appended("https://a.example/", b"x/"), "https://a.example/x/");
        assert_eq!(appended("https://a.example/p/", b"/x"), "https://a.example/p/x");
        assert_eq!(appended("https://a.example/p", b""), "https://a.example/p");
        assert_eq!(appended("https://a.example/p", b"a%2Fb/caf\xc3\xa9"), "https://a.example/p/a%2Fb/caf%C3%A9");
    }

    #[test]
    fn no_path_leaves_the_destinations() {
        for (rest, right) in [
            (&b"../../x"[..], "/p/x"),
            (b"%2e%2e/x", "/p/x"),
            (b".%2E/%2e/x", "/p/x"),
            (b"a/../x", "/p/x"),
            (b"a/../../../x/", "/p/x/"),
            (b"/evil.example", "/p/evil.example"),
            (b"//evil.example//x", "/p/evil.example/x"),
            (b"..\\..\\x", "/p/..%5C..%5Cx"),
            (b"\\evil.example", "/p/%5Cevil.example"),
            (b"..", "/p"),
            (b"...", "/p/..."),
            (b"a?b#c", "/p/a%3Fb%23c"),
        ] {
            assert_eq!(appended("https://a.example/p", rest), format!("https://a.example{right}"), "{rest:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_appended_the_url_stays_below_the_destination(
            rest in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                "([./\\\\a%2eE5cC@:?#]|%2e|%2F|\\.\\.){0,30}".prop_map(String::into_bytes),
            ],
        ) {
            let text = appended("https://a.example/base/p?own=1#end", &rest);
            let url = url::Url::parse(&text).unwrap();
            prop_assert_eq!(url.as_str(), &text, "a browser changes nothing");
            prop_assert_eq!((url.host_str(), url.query(), url.fragment()), (Some("a.example"), Some("own=1"), Some("end")));
            prop_assert!(url.path() == "/base/p" || url.path().starts_with("/base/p/"), "{}", url.path());
        }
    }
}
