//! Announces moves of the head over NATS, and listens for those of other edges.
//!
//! A message has a line with the state that the head moved to, and may have the delta that led there. It is a hint: it
//! makes an edge look at the bucket, or saves it that look when the delta passes the same checks. So messages may be
//! lost, doubled, late or in any order. Nothing is stored: core NATS is enough, without a stream.

use std::{pin::Pin, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;

use super::announcement::Announcement;
use crate::{catalog::change::Position, config, tls};

/// Longest wait between two tries to reach a server.
const LONGEST: Duration = Duration::from_secs(5);

/// Longest wait until the client takes a message: nothing waits for a server that is away.
const TAKEN: Duration = Duration::from_millis(100);

/// Messages that may wait for a connection, or for the edge.
const WAITING: usize = 256;

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
#[cfg(feature = "server")]
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
