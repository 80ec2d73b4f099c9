//! Errors as problem details (RFC 9457).

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::catalog::change::{Refused, Unavailable};

/// Content type of every error.
const MEDIA_TYPE: &str = "application/problem+json";

/// After how many seconds a client tries again that was answered with 503.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Kinds of errors. Their URNs are part of the API: they do not change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    BadRequest,
    Unauthorized,
    /// The edge has no tokens.
    Off,
    /// The edge is not configured to take changes.
    NoChanges,
    /// The request names another host.
    Misdirected,
    /// The request comes from the web page of another site.
    WebPage,
    ReadOnly,
    OutsideScope,
    NotFound,
    MethodNotAllowed,
    Timeout,
    Conflict,
    ConditionFailed,
    TooLarge,
    MediaType,
    Invalid,
    Unavailable,
}

impl Kind {
    #[cfg(test)]
    pub const ALL: [Self; 17] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Off,
        Self::NoChanges,
        Self::Misdirected,
        Self::WebPage,
        Self::ReadOnly,
        Self::OutsideScope,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::Conflict,
        Self::ConditionFailed,
        Self::TooLarge,
        Self::MediaType,
        Self::Invalid,
        Self::Unavailable,
    ];

    /// Status, URN and title.
    pub const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => {
                (StatusCode::BAD_REQUEST, "urn:clickedge:problem:bad-request", "the request is malformed")
            }
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "urn:clickedge:problem:unauthorized", "the token is missing or unknown")
            }
            Self::Off => (StatusCode::FORBIDDEN, "urn:clickedge:problem:off", "the edge has no tokens"),
            Self::NoChanges => {
                (StatusCode::FORBIDDEN, "urn:clickedge:problem:no-changes", "the edge takes no changes")
            }
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "urn:clickedge:problem:misdirected",
                "the listener does not answer for this host",
            ),
            Self::WebPage => (
                StatusCode::FORBIDDEN,
                "urn:clickedge:problem:web-page",
                "requests of pages of other sites are blocked",
            ),
            Self::ReadOnly => (StatusCode::FORBIDDEN, "urn:clickedge:problem:read-only", "the token changes nothing"),
            Self::OutsideScope => (
                StatusCode::FORBIDDEN,
                "urn:clickedge:problem:outside-scope",
                "the request is outside the scope of the token",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "urn:clickedge:problem:not-found", "not found"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "urn:clickedge:problem:method-not-allowed",
                "the method is not allowed here",
            ),
            Self::Timeout => {
                (StatusCode::REQUEST_TIMEOUT, "urn:clickedge:problem:timeout", "the body did not arrive in time")
            }
            Self::Conflict => {
                (StatusCode::CONFLICT, "urn:clickedge:problem:conflict", "the change contradicts the catalog")
            }
            Self::ConditionFailed => (
                StatusCode::PRECONDITION_FAILED,
                "urn:clickedge:problem:condition-failed",
                "the condition does not hold",
            ),
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "urn:clickedge:problem:too-large", "the body is too large")
            }
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "urn:clickedge:problem:media-type",
                "the content type is not supported",
            ),
            Self::Invalid => {
                (StatusCode::UNPROCESSABLE_ENTITY, "urn:clickedge:problem:invalid", "the link or domain is invalid")
            }
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:clickedge:problem:unavailable",
                "the change cannot be made or answered at the moment",
            ),
        }
    }
}

/// An error as the client gets it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    pub kind: Kind,
    /// What is wrong with this request, and the remedy.
    pub detail: String,
    /// The field that is to blame.
    pub field: Option<String>,
    /// The current entity tag, where it is not the one that was expected.
    pub etag: Option<String>,
    /// Value of `Allow` or `WWW-Authenticate`.
    header: Option<&'static str>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), field: None, etag: None, header: None }
    }

    /// A value that is invalid.
    pub fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, detail).of_field(field)
    }

    /// With the name of the field that is to blame.
    pub fn of_field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// With the value of the header that the status requires: `Allow` of 405, `WWW-Authenticate` of 401.
    pub fn with_header(self, header: &'static str) -> Self {
        Self { header: Some(header), ..self }
    }

    /// The answer of a request.
    pub fn response(&self) -> Response<Vec<u8>> {
        let body = serde_json::to_string(&self.json(None)).unwrap_or_default() + "\n";
        let mut response = Response::new(body.into_bytes());
        *response.status_mut() = self.kind.parts().0;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        let name = if self.kind == Kind::Unauthorized { header::WWW_AUTHENTICATE } else { header::ALLOW };
        if let Some(value) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(etag) = self.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(header::ETAG, etag);
        }
        if self.kind == Kind::Unavailable {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }

    /// The problem as JSON, with its line in a batch, counted from 1.
    pub fn json(&self, line: Option<u64>) -> ProblemJson<'_> {
        let (status, urn, title) = self.kind.parts();
        let Self { detail, field, etag, .. } = self;
        ProblemJson {
            urn,
            title,
            status: status.as_u16(),
            detail,
            field: field.as_deref(),
            line,
            etag: etag.as_deref(),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::NotFound { .. } => Self::new(Kind::NotFound, detail),
            Refused::ConditionFailed { etag } => Self {
                etag,
                ..Self::new(
                    Kind::ConditionFailed,
                    detail + "; read it again, and repeat the change on what it is now",
                )
            },
            Refused::Invalid { field, .. } => Self { field, ..Self::new(Kind::Invalid, detail) },
            Refused::Conflict { .. } => Self::new(Kind::Conflict, detail),
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        let kind = if matches!(unavailable, Unavailable::Off(_)) { Kind::NoChanges } else { Kind::Unavailable };
        Self::new(kind, unavailable.to_string())
    }
}

/// The members of a problem.
#[derive(Serialize)]
pub struct ProblemJson<'p> {
    #[serde(rename = "type")]
    urn: &'static str,
    title: &'static str,
    status: u16,
    detail: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<&'p str>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_an_urn_of_its_own() {
        let urns: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.parts().1).collect();
        assert_eq!(urns.len(), Kind::ALL.len());
    }

    #[test]
    fn an_answer_has_what_its_status_requires() {
        let refused = Refused::ConditionFailed { etag: Some("\"1\"".into()) };
        let response = Problem::from(refused).response();
        assert_eq!((response.status().as_u16(), response.headers()[header::ETAG].to_str().unwrap()), (412, "\"1\""));
        let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(json["type"], "urn:clickedge:problem:condition-failed");
        assert_eq!((json["status"].as_u64(), json["etag"].as_str()), (Some(412), Some("\"1\"")));
        let response = Problem::from(Unavailable::Bucket("timeout".into())).response();
        assert_eq!((response.status().as_u16(), &response.headers()[header::RETRY_AFTER]), (503, &RETRY_AFTER));
        let off = Problem::from(Unavailable::Off("set `catalog.state_dir`")).response();
        assert_eq!(
            (off.status().as_u16(), off.headers().get(header::RETRY_AFTER)),
            (403, None),
            "later is no better"
        );
        let response = Problem::new(Kind::Unauthorized, "").with_header("Bearer").response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let response = Problem::new(Kind::MethodNotAllowed, "").with_header("GET").response();
        assert_eq!(response.headers()[header::ALLOW], "GET");
    }

    #[test]
    fn an_answer_says_what_is_known_of_the_change() {
        for (unavailable, is_unchanged, is_unknown) in [
            (Unavailable::Bucket("timeout".into()), true, false),
            (Unavailable::Unknown("timeout".into()), false, true),
            (Unavailable::Ahead("the disk is full".into()), false, false),
            (Unavailable::Log(std::io::ErrorKind::StorageFull.into()), true, false),
        ] {
            let detail = Problem::from(unavailable).detail;
            assert_eq!(detail.matches("nothing has changed").count(), usize::from(is_unchanged), "{detail}");
            assert_eq!(detail.contains("not known"), is_unknown, "{detail}");
        }
    }

    #[test]
    fn an_invalid_field_is_named() {
        let refused = Refused::Invalid { field: Some("destination".into()), reason: "is no URL".into() };
        let problem = Problem::from(refused);
        let json = serde_json::to_value(problem.json(None)).unwrap();
        assert_eq!((json["field"].as_str(), json["detail"].as_str()), (Some("destination"), Some("is no URL")));
        assert_eq!(json.get("line"), None);
    }
}
