//! Announces moves of the head over NATS, and listens for those of other edges.
//!
//! A message has a line with the state that the head moved to, and may have the delta that led there. It is a hint: it
//! makes an edge look at the bucket, or saves it that look when the delta passes the same checks. So messages may be
//! lost, doubled, late or in any order. Nothing is stored: core NATS is enough, without a stream.

use std::{pin::Pin, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use futures_core::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::delta::Delta;
use crate::{catalog::change::Position, config, tls};

/// Most bytes of a delta that a message carries. Servers take messages of 1 MiB by default.
const MOST_CARRIED: usize = 512 << 10;

/// Longest wait between two tries to reach a server.
const LONGEST: Duration = Duration::from_secs(5);

/// Longest wait until the client takes a message: nothing waits for a server that is away.
const TAKEN: Duration = Duration::from_millis(100);

/// Messages that may wait for a connection, or for the edge.
const WAITING: usize = 256;

/// What a message says.
#[derive(Debug)]
pub struct Announcement {
    pub position: Position,
    /// The delta that led there, if the message carries it and it can be parsed.
    pub delta: Option<Delta>,
}

/// The first line of a message.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: Kind,
    position: Position,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    HeadMoved,
}

impl Announcement {
    fn to_bytes(position: Position, delta: &[u8]) -> Vec<u8> {
        // Numbers and digits always have a form in JSON.
        let mut bytes = serde_json::to_vec(&Line { kind: Kind::HeadMoved, position }).unwrap_or_default();
        bytes.push(b'\n');
        if delta.len() < MOST_CARRIED {
            bytes.extend_from_slice(delta);
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = memchr::memchr(b'\n', bytes)?;
        let Line { kind: Kind::HeadMoved, position } = serde_json::from_slice(&bytes[..end]).ok()?;
        let delta = Delta::parse("of a message", &bytes[end + 1..]).ok();
        Some(Self { position, delta })
    }
}

/// A connection, which comes back by itself.
pub struct Announcer {
    client: Client,
    subject: String,
}

impl Announcer {
    /// Connects in the background, and passes what other edges announce. An announcement that cannot be parsed is
    /// passed as `None`.
    ///
    /// # Errors
    /// When the configuration cannot be used: a file or an address.
    pub async fn start(config: &config::FleetNats) -> Result<(Self, mpsc::Receiver<Option<Announcement>>), String> {
        let client = connect(config, true).await?;
        let (pass, announced) = mpsc::channel(WAITING);
        let (listening, subject) = (client.clone(), config.subject.clone());
        tokio::spawn(async move {
            // It is known to the client before the connection is there, and renewed with each.
            let Ok(mut messages) = listening.subscribe(subject).await else { return };
            while let Some(message) = next(&mut messages).await {
                // When many wait already, the edge looks at the bucket anyway.
                _ = pass.try_send(Announcement::parse(&message));
            }
        });
        Ok((Self { client, subject: config.subject.clone() }, announced))
    }

    /// Announces that the head has moved.
    pub async fn announce(&self, position: Position, delta: &[u8]) {
        let message = Announcement::to_bytes(position, delta);
        // Whether it arrives does not matter.
        _ = tokio::time::timeout(TAKEN, self.client.publish(self.subject.clone(), message.into())).await;
    }
}

/// Connects once.
pub(super) async fn probe(config: &config::FleetNats) -> Result<String, String> {
    let client = connect(config, false).await?;
    client.flush().await.map_err(|error| format!("the server does not answer: {error}"))?;
    Ok("the server answers; no message was sent".into())
}

async fn next(messages: &mut async_nats::Subscriber) -> Option<Bytes> {
    std::future::poll_fn(|cx| Pin::new(&mut *messages).poll_next(cx)).await.map(|message| message.payload)
}

/// With `is_kept`, the first connection may be made later, and is made again.
async fn connect(config: &config::FleetNats, is_kept: bool) -> Result<Client, String> {
    let mut options = ConnectOptions::new()
        .name("clickedge catalog")
        .connection_timeout(Duration::from_secs(config.connect_timeout_secs))
        .client_capacity(WAITING)
        .subscription_capacity(WAITING)
        // What this edge announces, it has.
        .no_echo()
        .reconnect_delay_callback(|attempts| {
            let ceiling = Duration::from_millis(100 << attempts.min(6)).min(LONGEST);
            ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
        })
        .event_callback(|event| {
            match event {
                Event::Connected => tracing::info!("connected to NATS: changes of the catalog arrive at once"),
                Event::Disconnected => {
                    tracing::warn!("NATS is away: changes of the catalog arrive with the next look at the bucket");
                }
                Event::ServerError(error) => tracing::warn!(%error, "NATS rejects what the fleet sends"),
                _ => {}
            }
            std::future::ready(())
        });
    if is_kept {
        options = options.retry_on_initial_connect();
    }
    if let Some(file) = &config.credentials_file {
        let failed = |error| {
            format!("cannot use the credentials in {}: {error}; correct `catalog.fleet.nats`", file.display())
        };
        options = options.credentials_file(file).await.map_err(failed)?;
    }
    match tls::client::config(config.ca_file.as_deref()) {
        Ok(tls) => options = options.tls_client_config(tls),
        // Servers that require no TLS are reached all the same.
        Err(_) if config.ca_file.is_none() => {}
        Err(error) => return Err(format!("cannot prepare TLS: {error}; correct `catalog.fleet.nats.ca_file`")),
    }
    let servers: Result<Vec<ServerAddr>, _> = config.servers.iter().map(|server| server.parse()).collect();
    let servers = servers
        .map_err(|error| format!("a server's address is malformed: {error}; correct `catalog.fleet.nats.servers`"))?;
    options.connect(servers).await.map_err(|error| format!("cannot connect to NATS: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::fixture::delta;

    #[test]
    fn an_announcement_carries_a_delta_that_is_small_enough() {
        let delta = delta(3, 10, 2, None);
        let parsed = Announcement::parse(&Announcement::to_bytes(delta.to_position(), &delta.to_bytes())).unwrap();
        assert_eq!((parsed.position, parsed.delta), (delta.to_position(), Some(delta.clone())));
        let bytes = Announcement::to_bytes(delta.to_position(), &vec![b'\n'; MOST_CARRIED]);
        let parsed = Announcement::parse(&bytes).unwrap();
        assert_eq!((parsed.position, parsed.delta), (delta.to_position(), None));
    }

    proptest! {
        #[test]
        fn any_message_is_no_panic(bytes: Vec<u8>, cut in 0..600_usize) {
            Announcement::parse(&bytes);
            let delta = delta(3, 10, 2, None);
            let mut sound = Announcement::to_bytes(delta.to_position(), &delta.to_bytes());
            sound.truncate(cut % sound.len());
            prop_assert_eq!(Announcement::parse(&sound).and_then(|parsed| parsed.delta), None);
        }
    }
}
