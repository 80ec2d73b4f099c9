//! Classification of what fails between here and a stream: to a [`SinkError`].

use std::error::Error as _;

use async_nats::{
    ConnectError, ConnectErrorKind,
    jetstream::{
        self, ErrorCode,
        context::{PublishError, PublishErrorKind},
    },
};

use crate::{
    config,
    deliver::error::{Details, SinkError},
};

const CREDENTIALS: &str = "correct `credentials_file` of the feed's sink, or renew the user's credentials";

const AUTOMATIC: &str = "none needed: messages are sent again until the stream acknowledges them";

/// The meaning of a failure to connect.
pub fn of_connect(error: ConnectError) -> SinkError {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            let details = Details::new("the server rejects the user").with_source(error);
            SinkError::rejected(details.with_remedy(CREDENTIALS))
        }
        ConnectErrorKind::TimedOut => {
            SinkError::slow_down(Details::new("no connection to the server").with_source(error))
        }
        _ => SinkError::retry(Details::new("no connection to the server").with_source(error)),
    }
}

/// The meaning of an error that belongs to the connection.
pub fn of_server_error(message: &str) -> SinkError {
    let details = Details::new(format!("the server reported: {message}"));
    let lower = message.to_lowercase();
    if lower.contains("permissions violation") {
        return SinkError::rejected(details.with_remedy(
            "allow the feed's user to publish on `subject`, and to subscribe to `_INBOX.>` for acknowledgements",
        ));
    }
    if lower.contains("authorization") || lower.contains("authentication") || lower.contains("expired") {
        return SinkError::rejected(details.with_remedy(CREDENTIALS));
    }
    SinkError::retry(details.with_remedy(AUTOMATIC))
}

/// The meaning of a message that was not acknowledged.
pub fn of_publish(error: PublishError, config: &config::Nats) -> SinkError {
    let subject = &config.subject;
    match error.kind() {
        PublishErrorKind::StreamNotFound => SinkError::rejected(
            Details::new(format!("no stream takes messages on {subject}")).with_remedy(format!(
                "create a stream with the subject {subject}, or correct `subject` of the feed's sink; JetStream must be \
                 enabled for the account"
            )),
        ),
        PublishErrorKind::MaxPayloadExceeded => SinkError::rejected(
            Details::new("an event is larger than a message may be")
                .with_source(error)
                .with_remedy("raise `max_payload` of the servers"),
        ),
        PublishErrorKind::TimedOut => {
            SinkError::slow_down(Details::new("a message was not acknowledged in time").with_remedy(
                "look at the servers' load and at the stream's leader; raise `ack_timeout_secs` of the feed's sink",
            ))
        }
        _ => match error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()) {
            Some(answer) => of_answer(answer, config),
            None => SinkError::retry(Details::new("a message was not acknowledged").with_source(error)),
        },
    }
}

fn of_answer(answer: &jetstream::Error, config: &config::Nats) -> SinkError {
    let details = Details::new(format!("the stream answered: {answer}"));
    match answer.error_code() {
        ErrorCode::STREAM_NOT_MATCH => {
            let expected = config.stream.as_deref().unwrap_or_default();
            SinkError::rejected(details.with_remedy(format!(
                "correct `stream` of the feed's sink (now {expected:?}), or `subject`: it belongs to another stream"
            )))
        }
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
            SinkError::rejected(details.with_remedy("raise the stream's `max_msg_size`"))
        }
        ErrorCode::STREAM_SEALED => {
            SinkError::rejected(details.with_remedy("create a stream that is not sealed, with this subject"))
        }
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            SinkError::rejected(details.with_remedy("enable JetStream on the servers and for the account"))
        }
        // A stream with `discard = new` that is full; with it a server whose disk is.
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES => SinkError::slow_down(
            details.with_remedy("the stream or its server is full: consume messages, or raise the limits"),
        ),
        _ if answer.code() >= 500 => SinkError::retry(details.with_remedy(AUTOMATIC)),
        _ => SinkError::rejected(details.with_remedy("look at the stream's configuration: it rejects the message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> config::Nats {
        let json = serde_json::json!({"servers": ["nats://a"], "subject": "clicks", "stream": "CLICKS"});
        serde_json::from_value(json).unwrap()
    }

    fn variant(error: &SinkError) -> &'static str {
        match error {
            SinkError::Retry(_) => "retry",
            SinkError::SlowDown(_) => "slow down",
            SinkError::Rejected(_) => "rejected",
            _ => "other",
        }
    }

    #[test]
    fn answers_of_a_stream_are_classified_by_what_has_to_happen() {
        for (code, err_code, expected, remedy) in [
            (400, 10_060, "rejected", "correct `stream`"),
            (400, 10_054, "rejected", "max_msg_size"),
            (400, 10_109, "rejected", "sealed"),
            (503, 10_076, "rejected", "enable JetStream"),
            (503, 10_039, "rejected", "enable JetStream"),
            (503, 10_077, "slow down", "full"),
            (500, 10_047, "slow down", "full"),
            (503, 10_008, "retry", "none needed"),
            (400, 99_999, "rejected", "configuration"),
        ] {
            let json = serde_json::json!({"code": code, "err_code": err_code, "description": "said so"});
            let answer: jetstream::Error = serde_json::from_value(json).unwrap();
            let error = of_publish(PublishError::with_source(PublishErrorKind::Other, answer), &config());
            assert_eq!(variant(&error), expected, "{err_code}");
            assert!(error.remedy().contains(remedy), "{err_code}: {}", error.remedy());
            assert!(error.to_string().contains("said so"), "{error}");
        }
        for (kind, expected) in [
            (PublishErrorKind::StreamNotFound, "rejected"),
            (PublishErrorKind::MaxPayloadExceeded, "rejected"),
            (PublishErrorKind::TimedOut, "slow down"),
            (PublishErrorKind::BrokenPipe, "retry"),
        ] {
            assert_eq!(variant(&of_publish(PublishError::new(kind), &config())), expected, "{kind:?}");
        }
    }

    #[test]
    fn errors_of_a_connection_are_about_the_user_or_pass() {
        for (message, expected) in [
            ("Permissions Violation for Publish to \"clicks\"", "rejected"),
            ("User Authentication Expired", "rejected"),
            ("authorization violation", "rejected"),
            ("maximum connections exceeded", "retry"),
        ] {
            assert_eq!(variant(&of_server_error(message)), expected, "{message}");
        }
        for (kind, expected) in [
            (ConnectErrorKind::AuthorizationViolation, "rejected"),
            (ConnectErrorKind::TimedOut, "slow down"),
            (ConnectErrorKind::Io, "retry"),
            (ConnectErrorKind::Dns, "retry"),
        ] {
            assert_eq!(variant(&of_connect(ConnectError::new(kind))), expected, "{kind:?}");
        }
    }
}
