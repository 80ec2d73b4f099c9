//! The probe of a stream.

use async_nats::jetstream::{context::PublishErrorKind, message::PublishMessage};

use super::{Session, classify};
use crate::{
    config,
    deliver::{
        error::SinkError,
        probe::error::{ProbeError, TIMEOUT},
    },
};

/// Connects and asks for the stream. With `dry_put`, sends a message that the stream must reject, as no stream has its
/// sequence number: the rejection shows that the stream takes messages from this user, and stores nothing.
pub async fn probe(feed: &str, config: &config::Nats, dry_put: bool) -> Result<String, ProbeError> {
    let (limit, mut config) = (TIMEOUT.as_secs(), config.clone());
    config.connect_timeout_secs = limit.min(config.connect_timeout_secs);
    config.ack_timeout_secs = limit.min(config.ack_timeout_secs);
    let session = Session::connect(feed, &config).await?;
    let stream = match session.stream(&config).await {
        Ok((name, window)) => {
            format!("stream {name} with a duplicate window of {} seconds", window.as_secs())
        }
        Err(error) => format!("configuration of the stream is not readable: {error}"),
    };
    if !dry_put {
        return Ok(format!("the server is reachable; {stream}; no message was sent"));
    }
    let mut message = PublishMessage::build().payload("{}".into()).expected_last_sequence(u64::MAX);
    if let Some(stream) = &config.stream {
        message = message.expected_stream(stream);
    }
    let sent = session.publish(message, &config).await?;
    let answer = tokio::select! {
        biased;
        answer = sent.into_future() => answer,
        error = session.failed() => return Err(error.into()),
    };
    match answer {
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
            Ok(format!("the stream takes messages; {stream}; nothing was stored"))
        }
        Err(error) => Err(classify::of_publish(error, &config).into()),
        Ok(_) => Err(SinkError::rejected("the stream stored a message that it should have rejected").into()),
    }
}
