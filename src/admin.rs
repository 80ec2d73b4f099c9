//! The second listener, for operators. Keep it off the open internet.
//!
//! | route | answer |
//! |---|---|
//! | `GET /livez` | 200 as long as the process answers at all |
//! | `GET /readyz` | 200 while clicks are to be sent here, 503 before; from the start of a stop this listener is closed |
//! | `GET /metrics` | all numbers in the Prometheus text format |

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use http::{Method, Response, header};
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};

use crate::pipeline::Monitor;

/// Whether clicks are to be sent here. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The admin application.
pub struct Admin {
    monitor: Monitor,
    readiness: Readiness,
}

impl Admin {
    pub fn new(monitor: Monitor, readiness: Readiness) -> Self {
        Self { monitor, readiness }
    }

    fn answer(&self, method: &Method, path: &str) -> (u16, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        if !matches!(*method, Method::GET | Method::HEAD) {
            return (405, TEXT, "GET and HEAD only\n".into());
        }
        match path {
            "/livez" => (200, TEXT, "alive\n".into()),
            "/readyz" if self.readiness.is_ready() => (200, TEXT, "ready\n".into()),
            "/readyz" => (503, TEXT, "not ready\n".into()),
            "/metrics" => (200, prometheus::TEXT_FORMAT, self.monitor.metrics()),
            _ => (404, TEXT, "routes: /livez /readyz /metrics\n".into()),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let (status, kind, body) = self.answer(&request.method, request.uri.path());
        let head = request.method == Method::HEAD;
        let mut response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_LENGTH, body.len());
        if status == 405 {
            response = response.header(header::ALLOW, "GET, HEAD");
        }
        response.body(if head { Vec::new() } else { body.into_bytes() }).unwrap_or_default()
    }
}
