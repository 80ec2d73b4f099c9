//! Reads HTTP headers that an operator wants sent: `Name: value`, a line each.
//!
//! They may hold tokens, so no error shows a value. A line that begins with `#` is a comment.

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{ListError, list};

const REMEDY: &str = "write `Name: value`, such as `Authorization: Bearer ...`";

/// Headers that say how a request is sent (RFC 9110, 7.6.1): another value would break it.
const OF_CONNECTION: [HeaderName; 11] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Reads a file. The values are marked as sensitive.
///
/// # Errors
/// When it cannot be read, or a line is wrong.
pub fn read(file: &Path) -> Result<HeaderMap, ListError> {
    parse(file, &list::read(file)?)
}

fn parse(file: &Path, text: &str) -> Result<HeaderMap, ListError> {
    let mut headers = HeaderMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let rejected = |problem: &str| ListError::line(file, number, problem, REMEDY);
        let (name, value) = line.split_once(':').ok_or_else(|| rejected("it has no colon"))?;
        let name: HeaderName =
            name.trim().parse().map_err(|_| rejected("it does not begin with the name of a header"))?;
        if OF_CONNECTION.contains(&name) {
            let problem = "the header belongs to the connection or to the body, which clickedge makes";
            return Err(ListError::line(file, number, problem, "remove the line"));
        }
        let mut value: HeaderValue =
            value.trim().parse().map_err(|_| rejected("its value has characters that no header may have"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_no_error_shows_a_value() {
        let file = Path::new("/etc/clickedge/otlp-headers");
        let text = "# of the collector\n\nAuthorization: Bearer a#b:c\nX-Scope-OrgID:  edge \n";
        let headers = parse(file, text).unwrap();
        assert_eq!(
            (headers["authorization"].to_str().unwrap(), headers["x-scope-orgid"].to_str().unwrap()),
            ("Bearer a#b:c", "edge")
        );
        assert!(!format!("{headers:?}").contains("Bearer"));
        for (text, problem) in [
            ("secret", "line 1: it has no colon"),
            ("A: b\nsecret name: c", "line 2: it does not begin with the name of a header"),
            ("Content-Length: 5", "line 1: the header belongs to the connection"),
            ("A: b\nproxy-connection: secret", "line 2: the header belongs to the connection"),
            ("A: secret\u{1}", "line 1: its value has characters that no header may have"),
        ] {
            let error = parse(file, text).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("secret"), "{error}");
        }
        assert!(parse(file, "").unwrap().is_empty());
    }
}
