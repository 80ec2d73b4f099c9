//! A webhook as a sink: signed batches of events, after the Standard Webhooks specification.
//!
//! **An object is sent in parts**, each a request of at most `max_events` events and `max_body_bytes` bytes. Where a
//! part ends, its bytes and its `webhook-id` follow from the object ([`body`]): a part that is sent again, because an
//! answer was lost or the process died, is the same request, and the receiver recognises it by its id. The object is
//! acknowledged when each of its parts was answered with 2xx. After a failure, parts that were answered are not sent
//! again by the same process.
//!
//! A part that is too large for the receiver (413) is split into halves, in the same place each time. Only a receiver
//! that accepts more than before, while an object is partly sent and the process ends, gets events under a second id.
//! Redirects are not followed. Answers' bodies are read up to a bound, so that connections can be used again, and
//! otherwise ignored. Manifests and rollups are not sent: each body names its object, with what a receiver needs to see
//! that nothing is missing.

pub mod body;
pub mod classify;
#[cfg(feature = "server")]
pub mod probe;
mod signature;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    batch::{Batches, Limits},
    error::{Details, SinkError},
    metrics::ClockSkew,
    progress::Progress,
    secrets::SecretStore,
    sink::{Sink, Stored},
};
use crate::{
    config,
    object::Object,
    runtime::{clock, failpoint::fail_point},
    tls,
};
use body::Envelope;

/// Bytes of an answer's body that are read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Time for the body of an answer.
const ANSWER_BODY: Duration = Duration::from_secs(1);

/// Time after which an unused connection is closed.
const IDLE: Duration = Duration::from_secs(30);

const USER_AGENT: &str = concat!("clickedge/", env!("CARGO_PKG_VERSION"));

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An endpoint.
pub struct WebhookSink {
    feed: String,
    config: config::Webhook,
    secrets: Arc<SecretStore>,
    /// Made with the first request, and again after failures without an answer, as `ca_file` may have changed.
    client: ArcSwapOption<HttpClient>,
    progress: Progress,
    clock: ClockSkew,
}

impl WebhookSink {
    /// Sends nothing.
    pub fn new(feed: &str, config: &config::Webhook, secrets: Arc<SecretStore>, clock: ClockSkew) -> Self {
        Self {
            feed: feed.to_owned(),
            config: config.clone(),
            secrets,
            client: ArcSwapOption::empty(),
            progress: Progress::default(),
            clock,
        }
    }

    async fn send(&self, object: &Object) -> Result<(), SinkError> {
        let envelope = Envelope::new(&self.feed, object);
        let bytes = self.config.max_body_bytes.saturating_sub(envelope.overhead());
        let limits = Limits { events: self.config.max_events, bytes };
        let mut batches = Batches::open(object, limits).await?;
        let mut sent = self.progress.of(&object.key);
        while let Some(batch) = batches.next().await? {
            // Parts that are still to be sent, in order.
            let mut parts = VecDeque::from([(batch.offset, &batch.events[..])]);
            while let Some((offset, events)) = parts.pop_front() {
                let end = offset + events.len() as u64;
                if end <= sent {
                    continue;
                }
                // Sent to some event within it: it was split.
                let was_split = offset < sent;
                if !was_split {
                    match self.post(envelope.body(events, offset)).await {
                        Ok(()) => {
                            sent = end;
                            self.progress.note(&object.key, sent);
                            continue;
                        }
                        Err(error) if error.details().status == Some(413) && events.len() > 1 => {
                            tracing::debug!(
                                feed = self.feed,
                                key = object.key,
                                events = events.len(),
                                "request is too large for the receiver; sent in halves"
                            );
                        }
                        Err(error) => return Err(error),
                    }
                }
                let (left, right) = events.split_at(events.len() / 2);
                parts.push_front((offset + left.len() as u64, right));
                parts.push_front((offset, left));
            }
        }
        Ok(())
    }

    async fn post(&self, body: Bytes) -> Result<(), SinkError> {
        let id = body::id(&body);
        let secrets = self.secrets.load();
        if secrets.is_empty() {
            return Err(SinkError::retry("the webhook's secrets are not loaded"));
        }
        let timestamp = clock::unix_secs();
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.config.url)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", secrets.sign(&id, timestamp, &body))
            .body(Full::new(body));
        let answer = self.answer(request.map_err(of_request)?).await?;
        fail_point("put_sent");
        let (head, body) = answer.into_parts();
        self.clock.note(head.headers.get(header::DATE).and_then(|date| date.to_str().ok()));
        // Read for the sake of the connection alone: the status is what counts.
        let _ = tokio::time::timeout(ANSWER_BODY, Limited::new(body, LONGEST_ANSWER).collect()).await;
        classify::of_answer(head.status, &head.headers, clock::now())
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SinkError> {
        let client = match self.client.load_full() {
            Some(client) => client,
            None => self.connect()?,
        };
        let timeout = Duration::from_secs(self.config.request_timeout_secs);
        let failure = match tokio::time::timeout(timeout, client.request(request)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => classify::of_failure(error),
            Err(_) => SinkError::slow_down(format!("the receiver did not answer within {timeout:?}")),
        };
        self.client.store(None);
        Err(failure)
    }

    fn connect(&self) -> Result<Arc<HttpClient>, SinkError> {
        let client = Arc::new(http_client(&self.config).map_err(|error| {
            let details = Details::new("cannot prepare TLS").with_source(error);
            SinkError::rejected(details.with_remedy(
                "correct `ca_file` of the feed's sink, or install the root certificates of this machine",
            ))
        })?);
        self.client.store(Some(Arc::clone(&client)));
        Ok(client)
    }
}

#[async_trait]
impl Sink for WebhookSink {
    async fn put(&self, object: &Object) -> Result<Stored, SinkError> {
        if object.kind.is_companion() {
            // Made for another sink, before the configuration changed.
            tracing::info!(feed = self.feed, key = object.key, "webhooks take events only; object not sent");
            return Ok(Stored::Before);
        }
        self.progress.of_attempt(&object.key, self.send(object)).await.map(|()| Stored::Now)
    }
}

fn http_client(config: &config::Webhook) -> io::Result<HttpClient> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(Duration::from_secs(config.connect_timeout_secs)));
    let tls = tls::client::config(config.ca_file.as_deref())?;
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(config.uploads)
        .build(https))
}

/// A request that cannot be built: `check` accepts URLs that only the client rejects.
fn of_request(error: http::Error) -> SinkError {
    let details = Details::new("the request cannot be built").with_source(error);
    SinkError::rejected(details.with_remedy("correct `url` of the feed's sink"))
}
