//! Export of the metrics to an OpenTelemetry collector, in a thread of its own. What is exported is what `/metrics`
//! has, every `telemetry.otlp.interval_secs` until a stop begins. Nothing waits for it, and nothing is kept: the next
//! export has everything.

use std::{io, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use prometheus::IntCounter;
use tokio::{sync::watch, time::timeout};
use url::Url;

use super::shutdown::Stop;
use crate::{
    config::{Config, Otlp},
    files::Reloadable,
    pipeline::{Gauges, Pipeline},
    runtime::clock,
    telemetry::{metrics::Registry, otlp::Exporting},
    tls::client,
};

/// Bytes of an answer that are read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Characters of an answer that are logged.
const SHOWN: usize = 200;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("clickedge/", env!("CARGO_PKG_VERSION")));

/// Metrics of the export.
#[derive(Clone)]
pub struct OtlpMetrics {
    sent: IntCounter,
    failed: IntCounter,
}

impl OtlpMetrics {
    /// Registers the metrics, at zero.
    pub fn new(registry: &Registry) -> Self {
        let help = "Exports of the metrics to an OpenTelemetry collector, by result.";
        let exports = registry.counters("otlp_exports_total", help, &["result"]);
        Self { sent: exports.with_label_values(&["sent"]), failed: exports.with_label_values(&["failed"]) }
    }
}

/// Exports the metrics until the process stops, if that is configured.
///
/// # Errors
/// When the system provides no thread.
pub(super) fn start(config: &Config, pipeline: &Pipeline, stop: watch::Receiver<Option<Stop>>) -> io::Result<()> {
    let metrics = OtlpMetrics::new(&pipeline.registry());
    let Some(otlp) = config.telemetry.otlp.clone() else { return Ok(()) };
    let exporter = Exporter {
        config: otlp,
        pop: config.edge.pop.clone(),
        gauges: pipeline.gauges(),
        headers: pipeline.otlp_headers(),
        metrics,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("otlp".into()).spawn(move || runtime.block_on(exporter.run(stop)))?;
    Ok(())
}

/// What an export needs.
struct Exporter {
    config: Otlp,
    pop: String,
    gauges: Gauges,
    headers: Arc<Reloadable<HeaderMap>>,
    metrics: OtlpMetrics,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl Exporter {
    async fn run(self, mut stop: watch::Receiver<Option<Stop>>) {
        let exporting = Exporting { pop: self.pop.clone(), started_at: nanos() };
        let interval = Duration::from_secs(self.config.interval_secs);
        let mut connected = None;
        let mut is_failing = false;
        // After a hand-over, the metrics under the name of this edge are those of the other process.
        while timeout(interval, stop.wait_for(Option::is_some)).await.is_err() {
            let limit = Duration::from_secs(self.config.timeout_secs);
            let client = connected.take().map_or_else(|| self.connect(), Ok);
            let result = match client {
                Ok(client) => match timeout(limit, self.export(&client, &exporting)).await {
                    Ok(Ok(())) => {
                        connected = Some(client);
                        Ok(())
                    }
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(format!("no answer within {limit:?}")),
                },
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {
                    self.metrics.sent.inc();
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("metrics are exported again");
                    }
                }
                Err(error) => {
                    self.metrics.failed.inc();
                    if !std::mem::replace(&mut is_failing, true) {
                        let (endpoint, remedy) =
                            (shown(&self.config.endpoint), "check `telemetry.otlp` and the collector");
                        tracing::warn!(
                            endpoint,
                            error,
                            remedy,
                            "metrics not exported; the next export has everything"
                        );
                    }
                }
            }
        }
    }

    fn connect(&self) -> Result<HttpClient, String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let tls = client::config(self.config.ca_file.as_deref()).map_err(|error| match &self.config.ca_file {
            Some(file) => format!("cannot use {}: {error}", file.display()),
            None => error.to_string(),
        })?;
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https))
    }

    async fn export(&self, client: &HttpClient, exporting: &Exporting) -> Result<(), String> {
        let body = exporting.body(&self.gauges.families(), nanos()).map_err(|error| error.to_string())?;
        let request = Request::builder().method(Method::POST).uri(&self.config.endpoint);
        let mut request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
        *request.headers_mut() = (*self.headers.load()).clone();
        for (name, value) in [
            (header::USER_AGENT, USER_AGENT),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        ] {
            request.headers_mut().insert(name, value);
        }
        let answer = client.request(request).await.map_err(|error| causes(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        if status.is_success() {
            rejected_points(&body).map_or(Ok(()), Err)
        } else {
            Err(rejection(status.as_u16(), &body))
        }
    }
}

/// An endpoint as it may be logged: a key may be in its query or its user name.
fn shown(endpoint: &str) -> String {
    let Ok(mut url) = Url::parse(endpoint) else { return "(not a URL)".into() };
    // Neither fails on a URL with a host.
    _ = url.set_username("");
    _ = url.set_password(None);
    if url.query().is_some() {
        url.set_query(Some("..."));
    }
    url.set_fragment(None);
    url.into()
}

fn rejection(status: u16, body: &[u8]) -> String {
    let said: String = String::from_utf8_lossy(body).chars().take(SHOWN).collect();
    format!("the collector answered {status}: {}", said.escape_debug())
}

/// What a collector says that took only a part.
fn rejected_points(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = answer.get("partialSuccess")?;
    let rejected = match partial.get("rejectedDataPoints")? {
        serde_json::Value::String(number) => number.parse().ok()?,
        number => number.as_u64()?,
    };
    let why: String = partial
        .get("errorMessage")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default()
        .chars()
        .take(SHOWN)
        .collect();
    (rejected > 0).then(|| format!("the collector rejected {rejected} data points: {}", why.escape_debug()))
}

/// An error with what is behind it: the client's own says little.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn nanos() -> u64 {
    clock::unix_micros() * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_endpoint_is_not_logged() {
        assert_eq!(shown("http://127.0.0.1:4318/v1/metrics"), "http://127.0.0.1:4318/v1/metrics");
        assert_eq!(
            shown("https://secret:secret@a.example/v1/metrics?key=secret#secret"),
            "https://a.example/v1/metrics?..."
        );
    }

    #[test]
    fn a_collector_that_takes_a_part_is_a_failure() {
        let of = |body: &str| rejected_points(body.as_bytes());
        for accepted in
            ["", "{}", "ok", r#"{"partialSuccess":{}}"#, r#"{"partialSuccess":{"rejectedDataPoints":"0"}}"#]
        {
            assert_eq!(of(accepted), None, "{accepted}");
        }
        for rejected in ["7", "\"7\""] {
            let body =
                format!(r#"{{"partialSuccess":{{"rejectedDataPoints":{rejected},"errorMessage":"too old"}}}}"#);
            assert_eq!(of(&body).unwrap(), "the collector rejected 7 data points: too old");
        }
    }
}
