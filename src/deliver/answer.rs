//! What answered a request that no store answered, as far as an operator sees it: in the log and in `feed test`.

use std::fmt;

/// Characters of each part that are shown.
const SHOWN: usize = 100;

/// Bytes of a body that are read for that.
const READ: usize = 1024;

/// Parts of a request that carry secrets, in lower case. A server that repeats one may repeat the secret.
const SECRET: [&str; 5] = ["aws4-", "security-token", "authorization", "credential", "signature"];

/// The parts of an answer that show what answered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    pub content_type: Option<String>,
    /// Value of the header `Server`.
    pub server: Option<String>,
    /// The first printable characters of the body; those that might repeat the request's secrets are left out.
    pub body: String,
}

impl Answer {
    pub fn new(content_type: Option<&str>, server: Option<&str>, body: &[u8]) -> Self {
        let header = |value: Option<&str>| value.map(printable).filter(|value| !value.is_empty());
        let start = String::from_utf8_lossy(&body[..body.len().min(READ)]).to_lowercase();
        let body = if SECRET.iter().any(|part| start.contains(part)) {
            "(left out: it repeats the request)".to_owned()
        } else {
            printable(&String::from_utf8_lossy(&body[..body.len().min(READ)]))
        };
        Self { content_type: header(content_type), server: header(server), body }
    }

    /// Whether it is a page for a browser.
    pub fn is_html(&self) -> bool {
        let body = self.body.to_ascii_lowercase();
        body.starts_with("<!doctype html") || body.starts_with("<html") || self.has_html_type()
    }

    fn has_html_type(&self) -> bool {
        self.content_type.as_ref().is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
    }
}

/// Such as `text/html, server nginx: <!DOCTYPE html>`.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.content_type.as_deref().unwrap_or("no content type"))?;
        if let Some(server) = &self.server {
            write!(f, ", server {server}")?;
        }
        match self.body.as_str() {
            "" => Ok(()),
            body => write!(f, ": {body}"),
        }
    }
}

/// The first characters, with one space for each run of spaces and unprintable characters.
fn printable(text: &str) -> String {
    let unprintable = |c: char| c.is_whitespace() || c.is_control() || c == '\u{fffd}';
    let words: Vec<&str> = text.split(unprintable).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_printable_characters_are_shown() {
        let body = format!("\r\n<!DOCTYPE  html>\n\u{1b}[2J{}", "x".repeat(500));
        let answer = Answer::new(Some("text/html; charset=utf-8"), Some("nginx"), body.as_bytes());
        assert!(answer.is_html());
        assert_eq!((answer.body.chars().count(), &answer.body[..25]), (SHOWN, "<!DOCTYPE html> [2Jxxxxxx"));
        let text = answer.to_string();
        assert!(text.starts_with("text/html; charset=utf-8, server nginx: <!DOCTYPE html>"), "{text}");
        let nothing = Answer::new(None, None, b"");
        assert_eq!(nothing.to_string(), "no content type");
        assert!(!nothing.is_html());
        let binary = Answer::new(Some("text/plain"), None, b"\xff\xfe\x00a\x07b");
        assert_eq!(binary.to_string(), "text/plain: a b");
    }

    #[test]
    fn a_body_that_repeats_the_request_is_left_out() {
        for body in ["{\"X-Amz-Security-Token\": \"secret\"}", "authorization: secret", "AWS4-HMAC-SHA256 secret"] {
            let text = Answer::new(Some("application/json"), None, body.as_bytes()).to_string();
            assert!(!text.contains("secret") && text.contains("left out"), "{text}");
        }
    }
}
