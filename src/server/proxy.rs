//! The edge's own proxy: the redirect stage, and an upstream for everything else.

use std::time::Duration;

use async_trait::async_trait;
use pingora::{
    apps::HttpServerOptions,
    modules::http::HttpModules,
    prelude::HttpPeer,
    protocols::http::v2::server::{H2Options, default_h2_options},
};
use pingora_proxy::{ProxyHttp, Session};

use crate::{
    config::{self, Config},
    redirect::Redirector,
};

/// Requests of one HTTP/2 connection at a time: a browser opens a link, and perhaps its favicon.
const STREAMS: u32 = 16;

/// Streams that a client may reset before the edge has looked at them (CVE-2023-44487 sends thousands).
const PENDING_RESETS: usize = 16;

/// What Pingora does with connections.
pub fn server_options(config: &Config) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(Duration::from_secs(config.redirect.keepalive_secs.max(1)));
    options
}

/// Bounds of an HTTP/2 connection.
pub fn h2_options(config: &Config) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_header_list_size(config.limits.header_bytes as u32)
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_send_buffer_size(64 * 1024);
    options
}

/// The proxy around the redirect stage: requests for other than branded domains go to the upstream.
pub struct EdgeProxy {
    pub redirector: Redirector,
    pub upstream: Option<config::Upstream>,
}

#[async_trait]
impl ProxyHttp for EdgeProxy {
    type CTX = ();

    fn new_ctx(&self) {}

    /// No modules: the default ones compress, which answers without a body do not need.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        if self.redirector.handle(session).await? {
            return Ok(true);
        }
        if self.upstream.is_none() {
            self.redirector.reject(session).await?;
            return Ok(true);
        }
        self.redirector.limit_idle(session);
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let Some(upstream) = &self.upstream else {
            return pingora::Error::e_explain(pingora::ErrorType::InternalError, "no upstream is configured");
        };
        let host = || {
            let host = session.req_header().headers.get(http::header::HOST)?.to_str().ok()?;
            Some(host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned())
        };
        let name = upstream.server_name.clone().or_else(host).unwrap_or_default();
        Ok(Box::new(HttpPeer::new(upstream.address, upstream.tls, name)))
    }

    /// Errors name the method only, because path and query come from the visitor.
    fn request_summary(&self, session: &Session, (): &()) -> String {
        session.req_header().method.to_string()
    }
}
