//! HTTP to a CA: over TLS only, with bounds of time and size. Remembers how long the CA says to wait.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;

use crate::{runtime::clock, tls::client};

/// Time for one request and its answer.
const REQUEST: Duration = Duration::from_secs(30);

/// Time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Time after which an unused connection is closed.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes of an answer: a certificate chain has some thousands.
const LONGEST_ANSWER: usize = 1 << 20;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("clickedge/", env!("CARGO_PKG_VERSION")));

/// A client of one CA. Cheap to clone.
#[derive(Clone)]
pub struct CaClient {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    /// Seconds that the CA has said to wait with its last error; 0 for none.
    wanted: Arc<AtomicU64>,
}

impl CaClient {
    /// Connects when it is asked.
    ///
    /// # Errors
    /// When there are no certificates to trust.
    pub fn new(root_file: Option<&Path>) -> io::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(client::config(root_file)?)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        let client =
            Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(https);
        Ok(Self { client, wanted: Arc::default() })
    }

    /// Takes how many seconds the CA has said to wait with its last error.
    pub fn take_wanted(&self) -> Option<u64> {
        Some(self.wanted.swap(0, Relaxed)).filter(|secs| *secs > 0)
    }

    async fn ask(self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        let answer = async {
            let (parts, body) =
                self.client.request(request).await.map_err(|error| Error::Other(error.into()))?.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(Error::Other)?;
            Ok::<_, Error>(Response::from_parts(parts, Full::new(body.to_bytes())))
        };
        let late = |_| Error::Other(io::Error::from(io::ErrorKind::TimedOut).into());
        let answer = timeout(REQUEST, answer).await.map_err(late)??;
        if answer.status().is_client_error() || answer.status().is_server_error() {
            self.wanted.store(retry_after(answer.headers(), clock::unix_secs()).unwrap_or(0), Relaxed);
        }
        Ok(BytesResponse::from(answer))
    }
}

impl HttpClient for CaClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().ask(request))
    }
}

/// Seconds to wait, from a number of them or a date.
fn retry_after(headers: &HeaderMap, now: u64) -> Option<u64> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    value.parse().ok().or_else(|| {
        let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_second();
        u64::try_from(date).ok()?.checked_sub(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_number_of_seconds_or_a_date() {
        let wait = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(value))]);
            retry_after(&headers, 784_111_717)
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:48:00 GMT"), None, "it is over");
        assert_eq!(wait("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }
}
