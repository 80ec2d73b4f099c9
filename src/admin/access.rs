//! Who may ask for what: the tokens of requests.

use std::sync::Arc;

use http::{HeaderMap, header};

use super::problem::{Kind, Problem};
use crate::catalog::tokens::{Grant, TokenStore};

/// Checks requests before a handler gets them.
pub struct Access {
    tokens: Arc<TokenStore>,
}

impl Access {
    pub fn new(tokens: Arc<TokenStore>) -> Self {
        Self { tokens }
    }

    /// What the token of a request may do.
    ///
    /// # Errors
    /// When the edge has no tokens, or the request none that it knows.
    pub fn grant(&self, headers: &HeaderMap) -> Result<Arc<Grant>, Problem> {
        let tokens = self.tokens.load();
        let Some(tokens) = &*tokens else {
            let detail = "set `admin.tokens_file` to a file with the line that `clickedge catalog token NAME` prints, \
                          and reload";
            return Err(Problem::new(Kind::Off, detail));
        };
        let Some(token) = bearer(headers) else {
            let problem = Problem::new(Kind::Unauthorized, "send `Authorization: Bearer` with a token");
            return Err(problem.with_header("Bearer realm=\"clickedge\""));
        };
        tokens.find(token).ok_or_else(|| {
            let detail =
                "the token is unknown: it may have been removed; make one with `clickedge catalog token NAME`";
            let challenge = "Bearer realm=\"clickedge\", error=\"invalid_token\"";
            Problem::new(Kind::Unauthorized, detail).with_header(challenge)
        })
    }
}

/// The token of a request: RFC 6750, 2.1. The scheme's name has no case.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then(|| token.trim_ascii())
}
