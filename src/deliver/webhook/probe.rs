//! The probe of a webhook.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use super::{WebhookSink, of_request};
use crate::{
    config,
    deliver::{
        metrics::ClockSkew,
        probe::error::{ProbeError, TIMEOUT},
        secrets::read_secrets,
    },
    runtime::clock,
};

/// Probes the endpoint with the secrets that its files hold now. Sends a `HEAD`, whose answer only shows that a server
/// is there; with `dry_put` instead a signed request of the type `test` without events, which must be acknowledged.
pub async fn probe(feed: &str, config: &config::Webhook, dry_put: bool) -> Result<String, ProbeError> {
    let (limit, mut config) = (TIMEOUT.as_secs(), config.clone());
    config.connect_timeout_secs = limit.min(config.connect_timeout_secs);
    config.request_timeout_secs = limit.min(config.request_timeout_secs);
    let sink = WebhookSink::new(feed, &config, read_secrets(&config)?, ClockSkew::default());
    if dry_put {
        let body = format!("{{\"type\":\"test\",\"timestamp\":\"{:.3}\",\"data\":[]}}", clock::now());
        sink.post(body.into()).await.map_err(|error| error.with_context("POST of a test request"))?;
        return Ok("the receiver acknowledged a signed request of the type `test`".into());
    }
    let request = Request::builder().method(Method::HEAD).uri(&config.url).body(Full::new(Bytes::new()));
    let answer = sink.answer(request.map_err(of_request)?).await?;
    Ok(format!("the receiver is reachable ({} to a HEAD); no request was sent to it", answer.status()))
}
