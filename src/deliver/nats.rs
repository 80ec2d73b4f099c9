//! A stream of NATS JetStream as a sink: each event is a message.
//!
//! A message has the event's id as its `Nats-Msg-Id`, so that the server recognises one that is sent again, within the
//! stream's duplicate window. An object is acknowledged when the stream has acknowledged each of its messages. They are
//! sent in the order of the object, a batch at a time, and the next batch follows when the one before is acknowledged:
//! so messages that wait are bounded in number and bytes.
//!
//! **A connection is used until the first failure.** The library's own reconnecting would keep messages of an attempt
//! that has failed long ago, and send them some day; a new connection has nothing to remember. When to connect again is
//! up to [`super::pace`], like every retry.

pub mod classify;
#[cfg(feature = "server")]
pub mod probe;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event, ServerAddr,
    jetstream::{Context, ContextBuilder, context::PublishAckFuture, message::PublishMessage, publish::PublishAck},
};
use async_trait::async_trait;
use tokio::sync::{Mutex, watch};

use super::{
    batch::{self, Batches, Limits},
    error::{Details, SinkError},
    progress::Progress,
    sink::{Sink, Stored},
};
use crate::{
    config,
    object::{
        Object,
        key::{REPLAYS, below},
    },
    runtime::failpoint::fail_point,
    tls,
};

/// Most bytes of the events of a batch.
const BATCH_BYTES: usize = 4 << 20;

/// Twice the longest wait between two attempts of a feed: a shorter duplicate window lets repeated messages through
/// after any outage.
const SHORTEST_WINDOW: Duration = Duration::from_secs(600);

/// A stream.
pub struct NatsSink {
    feed: String,
    config: config::Nats,
    session: Mutex<Option<Arc<Session>>>,
    progress: Progress,
    /// Set when the stream's duplicate window was compared.
    compared: AtomicBool,
}

/// A connection.
struct Session {
    context: Context,
    trouble: watch::Receiver<Option<Trouble>>,
}

/// What happened to a connection.
#[derive(Clone, Debug)]
enum Trouble {
    Disconnected,
    /// An error that the server sent, which belongs to no single message.
    Server(String),
}

impl NatsSink {
    /// Sends nothing.
    pub fn new(feed: &str, config: &config::Nats) -> Self {
        Self {
            feed: feed.to_owned(),
            config: config.clone(),
            session: Mutex::default(),
            progress: Progress::default(),
            compared: AtomicBool::new(false),
        }
    }

    async fn session(&self) -> Result<Arc<Session>, SinkError> {
        let mut current = self.session.lock().await;
        if let Some(session) = &*current {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::connect(&self.feed, &self.config).await?);
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    async fn send(&self, session: &Session, object: &Object) -> Result<Stored, SinkError> {
        let limits = Limits { events: self.config.max_in_flight, bytes: BATCH_BYTES };
        let mut batches = Batches::open(object, limits).await?;
        let mut sent = self.progress.of(&object.key);
        // A replay is wanted once more, however short its events lie back.
        let replay = below(REPLAYS, &object.key).and_then(|rest| rest.split('/').next());
        let mut stored = Stored::Before;
        while let Some(batch) = batches.next().await? {
            let skip = sent.saturating_sub(batch.offset).min(batch.events.len() as u64);
            let mut waiting = Vec::with_capacity(batch.events.len());
            for event in batch.events.into_iter().skip(skip as usize) {
                waiting.push(session.publish(self.message(event, replay), &self.config).await?);
            }
            fail_point("put_sent");
            for (acknowledgement, end) in waiting.into_iter().zip(batch.offset + skip + 1..) {
                if !session.acknowledged(acknowledgement, &self.config).await?.duplicate {
                    stored = Stored::Now;
                }
                sent = end;
                self.progress.note(&object.key, sent);
            }
        }
        Ok(stored)
    }

    fn message(&self, event: batch::Event, replay: Option<&str>) -> PublishMessage {
        let id = replay.map_or_else(|| event.id.clone(), |replay| format!("{replay}:{}", event.id));
        let message = PublishMessage::build().payload(event.text).message_id(id);
        match &self.config.stream {
            Some(stream) => message.expected_stream(stream),
            None => message,
        }
    }

    /// Warns, once, about a stream that would forget messages before they are sent again.
    async fn compare_window(&self, session: &Session) {
        if self.compared.swap(true, Ordering::Relaxed) {
            return;
        }
        match session.stream(&self.config).await {
            Ok((stream, window)) if window < SHORTEST_WINDOW => tracing::warn!(
                feed = self.feed,
                stream,
                window_secs = window.as_secs(),
                remedy = "raise the stream's duplicate window to the longest outage that must not cause duplicates, \
                          at least 10 minutes: `nats stream edit STREAM --dupe-window 1h`",
                "the stream forgets message ids early; after an outage it may hold events twice"
            ),
            Ok(_) => {}
            Err(error) => tracing::debug!(feed = self.feed, %error, "cannot read the stream's duplicate window"),
        }
    }
}

#[async_trait]
impl Sink for NatsSink {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        if object.kind.is_companion() {
            // Made for another sink, before the configuration changed.
            tracing::info!(feed = self.feed, key = object.key, "streams take events only; object not sent");
            return Ok(Stored::Before);
        }
        let session = self.session().await?;
        self.compare_window(&session).await;
        let sent = self.progress.of_attempt(&object.key, self.send(&session, object)).await;
        if sent.as_ref().is_err_and(|error| !error.is_about_object()) {
            *self.session.lock().await = None;
        }
        sent
    }
}

impl Session {
    async fn connect(feed: &str, config: &config::Nats) -> Result<Self, SinkError> {
        let (report, trouble) = watch::channel(None);
        let ack = Duration::from_secs(config.ack_timeout_secs);
        let mut options = ConnectOptions::new()
            .name(format!("clickedge {feed}"))
            .connection_timeout(Duration::from_secs(config.connect_timeout_secs))
            .request_timeout(Some(ack))
            .client_capacity(config.max_in_flight)
            // For the first connection, which tries each server once.
            .max_reconnects(config.servers.len())
            .reconnect_delay_callback(|_| Duration::ZERO)
            .event_callback(move |event| {
                match event {
                    Event::Disconnected | Event::Closed => report.send_replace(Some(Trouble::Disconnected)),
                    // A user may lack the permission to read the stream's configuration.
                    Event::ServerError(error) if !error.to_string().contains("$JS.API") => {
                        report.send_replace(Some(Trouble::Server(error.to_string())))
                    }
                    _ => None,
                };
                std::future::ready(())
            });
        if let Some(file) = &config.credentials_file {
            options = options.credentials_file(file).await.map_err(|error| {
                let details = Details::new(format!("cannot use the credentials in {}", file.display()));
                let details = details.with_source(error).with_remedy("correct `credentials_file` of the feed's sink");
                SinkError::rejected(details)
            })?;
        }
        match tls::client::config(config.ca_file.as_deref()) {
            Ok(tls) => options = options.tls_client_config(tls),
            // Servers that require no TLS are reached all the same.
            Err(_) if config.ca_file.is_none() => {}
            Err(error) => {
                let details = Details::new("cannot prepare TLS").with_source(error);
                return Err(SinkError::rejected(details.with_remedy("correct `ca_file` of the feed's sink")));
            }
        }
        let servers: Result<Vec<ServerAddr>, _> = config.servers.iter().map(|server| server.parse()).collect();
        let servers = servers.map_err(|error| {
            let details = Details::new("a server's address is malformed").with_source(error);
            SinkError::rejected(details.with_remedy("correct `servers` of the feed's sink"))
        })?;
        let client: Client = options.connect(servers).await.map_err(classify::of_connect)?;
        let context = ContextBuilder::new().timeout(ack).max_ack_inflight(config.max_in_flight).build(client);
        Ok(Self { context, trouble })
    }

    async fn publish(&self, message: PublishMessage, config: &config::Nats) -> Result<PublishAckFuture, SinkError> {
        let sending = self.context.send_publish(config.subject.clone(), message);
        tokio::select! {
            biased;
            error = self.failed() => Err(error),
            sent = sending => sent.map_err(|error| classify::of_publish(error, config)),
        }
    }

    async fn acknowledged(&self, ack: PublishAckFuture, config: &config::Nats) -> Result<PublishAck, SinkError> {
        tokio::select! {
            biased;
            answer = ack.into_future() => answer.map_err(|error| classify::of_publish(error, config)),
            error = self.failed() => Err(error),
        }
    }

    /// Returns when something has happened to the connection.
    async fn failed(&self) -> SinkError {
        let mut trouble = self.trouble.clone();
        let happened = match trouble.wait_for(Option::is_some).await {
            Ok(happened) => happened.clone(),
            Err(_) => None,
        };
        match happened {
            Some(Trouble::Server(message)) => classify::of_server_error(&message),
            Some(Trouble::Disconnected) | None => SinkError::retry("the connection to the server was lost"),
        }
    }

    /// Name and duplicate window of the stream that takes the messages.
    async fn stream(&self, config: &config::Nats) -> Result<(String, Duration), String> {
        let name = if let Some(name) = &config.stream {
            name.clone()
        } else {
            let found = self.context.stream_by_subject(config.subject.as_str()).await;
            found.map_err(|error| error.to_string())?
        };
        let stream = self.context.get_stream(&name).await.map_err(|error| error.to_string())?;
        Ok((name, stream.cached_info().config.duplicate_window))
    }
}
