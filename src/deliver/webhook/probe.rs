//! The probe of a webhook.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use super::{
    WebhookSink, of_request,
    signature::{SecretStore, Secrets},
};
use crate::{
    config,
    deliver::{
        error::{Details, SinkError},
        metrics::ClockSkew,
        probe::error::ProbeError,
    },
    runtime::clock,
};

/// Probes the endpoint with the secrets that its files hold now. Sends a `HEAD`, whose answer only shows that a server
/// is there; with `dry_put` instead a signed request of the type `test` without events, which must be acknowledged.
pub async fn probe(feed: &str, config: &config::Webhook, dry_put: bool) -> Result<String, ProbeError> {
    let sink = WebhookSink::new(feed, config, read_secrets(config)?, ClockSkew::default());
    if dry_put {
        let body = format!("{{\"type\":\"test\",\"timestamp\":\"{:.3}\",\"data\":[]}}", clock::now());
        sink.post(body.into()).await.map_err(|error| error.with_context("POST of a test request"))?;
        return Ok("the receiver acknowledged a signed request of the type `test`".into());
    }
    let request = Request::builder().method(Method::HEAD).uri(&config.url).body(Full::new(Bytes::new()));
    let answer = sink.answer(request.map_err(of_request)?).await?;
    Ok(format!("the receiver is reachable ({} to a HEAD); no request was sent to it", answer.status()))
}

/// The secrets that the files of a webhook hold now.
///
/// # Errors
/// When one of them cannot be read or is malformed.
pub fn read_secrets(config: &config::Webhook) -> Result<Arc<SecretStore>, SinkError> {
    let secrets = Secrets::read(&config.secret_files).map_err(|error| {
        let remedy = "correct `secret_files` of the feed's sink";
        SinkError::rejected(Details::new(error.to_string()).with_remedy(remedy))
    })?;
    Ok(Arc::new(SecretStore::new(secrets)))
}
