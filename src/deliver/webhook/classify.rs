//! Classification of answers and failed requests: to a [`SinkError`].

use std::{error::Error, time::Duration};

use http::{HeaderMap, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};

use crate::deliver::error::{Details, SinkError};

/// Longest wait that a receiver may ask for. It also separates the requests to an endpoint that its owner disabled.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Characters of a `Location` that a message repeats.
const LONGEST_LOCATION: usize = 200;

/// The meaning of an answer. `Ok` for a status that acknowledges the request.
pub fn of_answer(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Result<(), SinkError> {
    if status.is_success() {
        return Ok(());
    }
    let details = Details {
        status: Some(status.as_u16()),
        code: status.canonical_reason().map(str::to_owned),
        request_id: text(headers, "x-request-id").map(|id| id.chars().take(LONGEST_LOCATION).collect()),
        remedy: Some(remedy(status).into()),
        retry_after: retry_after(headers, now),
        ..Details::new(summary(status, headers))
    };
    Err(match status.as_u16() {
        408 | 425 | 429 | 502..=504 => SinkError::slow_down(details),
        410 => SinkError::rejected(Details { retry_after: Some(LONGEST_WAIT), ..details }),
        300..=499 => SinkError::rejected(Details { retry_after: None, ..details }),
        _ => SinkError::retry(details),
    })
}

/// The meaning of a request without an answer.
pub fn of_failure(error: impl Into<Box<dyn Error + Send + Sync>>) -> SinkError {
    SinkError::retry(Details::new("no answer from the receiver").with_source(error))
}

fn summary(status: StatusCode, headers: &HeaderMap) -> String {
    let answered = format!("the receiver answered {status}");
    match status.as_u16() {
        410 => format!("{answered}: the endpoint was disabled by the receiver"),
        300..=399 => match text(headers, header::LOCATION.as_str()) {
            // A query may hold a token.
            Some(location) => {
                let place: String =
                    location.split('?').next().unwrap_or_default().chars().take(LONGEST_LOCATION).collect();
                format!("{answered} with the location {place}")
            }
            None => answered,
        },
        _ => answered,
    }
}

fn remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "set `url` of the feed's sink to the final address: redirects are not followed",
        401 | 403 => {
            "compare the secret in `secret_files` with that of the receiver, and the clocks of both (NTP); the receiver \
             must verify the body as it was sent"
        }
        404 | 405 => "correct `url` of the feed's sink",
        410 => "ask the receiver to enable the endpoint again, or remove the feed; one request an hour asks for it",
        413 => "lower `max_body_bytes` of the feed's sink, or raise the receiver's limit: one event is too large",
        408 | 425 | 429 | 500..=599 => "none needed: requests are retried until they succeed",
        _ => "look into the receiver's log: it rejects the request",
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER.as_str())?;
    let wait = if let Ok(secs) = value.parse() {
        Duration::from_secs(secs)
    } else {
        let at = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

/// A header whose value is visible ASCII.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T09:00:00Z".parse().unwrap()
    }

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Result<(), SinkError> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        of_answer(StatusCode::from_u16(status).unwrap(), &headers, now())
    }

    #[test]
    fn answers_are_classified_by_what_has_to_happen() {
        for status in [200, 201, 202, 204, 299] {
            assert!(answer(status, &[]).is_ok(), "{status}");
        }
        for (statuses, expected) in [
            (&[408, 425, 429, 502, 503, 504][..], "slow down"),
            (&[500, 501, 505, 507, 599], "retry"),
            (&[300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 451], "rejected"),
        ] {
            for status in statuses {
                let error = answer(*status, &[]).unwrap_err();
                let variant = match &error {
                    SinkError::SlowDown(_) => "slow down",
                    SinkError::Retry(_) => "retry",
                    SinkError::Rejected(_) => "rejected",
                    _ => "other",
                };
                assert_eq!(variant, expected, "{status}");
                assert_eq!(error.details().status, Some(*status));
                assert!(!error.remedy().contains("bucket"), "{status}: {}", error.remedy());
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        for (value, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999", Some(3_600)),
            ("18446744073709551616", None),
            ("-1", None),
            ("soon", None),
            ("Mon, 23 Nov 2026 09:05:00 GMT", Some(300)),
            ("Mon, 23 Nov 2026 08:05:00 GMT", Some(0)),
            ("Mon, 23 Nov 2037 08:05:00 GMT", Some(3_600)),
        ] {
            let error = answer(503, &[("retry-after", value)]).unwrap_err();
            assert_eq!(error.details().retry_after, expected.map(Duration::from_secs), "{value}");
        }
        let rejected = answer(400, &[("retry-after", "120")]).unwrap_err();
        assert_eq!(rejected.details().retry_after, None, "an operator who has acted does not wait for it");
        assert_eq!(answer(410, &[]).unwrap_err().details().retry_after, Some(LONGEST_WAIT));
    }

    #[test]
    fn a_redirect_is_shown_without_its_query() {
        let error = answer(308, &[("location", "https://b.example/hook?token=secret")]).unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with("with the location https://b.example/hook"), "{text}");
    }
}
