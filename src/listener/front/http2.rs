//! An HTTP/2 connection. Pingora's codec speaks the protocol, and its proxy answers each stream; the streams are
//! accepted here, so that what ends before it reaches the proxy is counted.
//!
//! What the codec itself resets, such as a malformed header block, never has a head, and is counted with the
//! connection that it ends: a client has [`MAX_REJECTED`] requests that are rejected, and as many resets as the codec
//! allows.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use pingora::{
    apps::HttpServerApp,
    protocols::{
        Digest, GetProxyDigest, GetSocketDigest, Ssl,
        http::{
            ServerSession,
            v2::server::{self, H2Accept, H2Options, HttpSession, default_h2_options},
        },
    },
    server::ShutdownWatch,
};
use tokio::time::Instant;

use super::{Front, Lane, metrics::Ended, stream::FrontStream, timer::Deadline};
use crate::config;

/// Malformed requests of a connection, until it ends.
const MAX_REJECTED: u32 = 32;

/// Requests of one HTTP/2 connection at a time: a browser opens a link, and perhaps its favicon.
const STREAMS: u32 = 16;

/// Streams that a client may reset before the edge has looked at them (CVE-2023-44487 sends thousands).
const PENDING_RESETS: usize = 16;

/// Why a connection does not wait for the next stream.
enum Interrupt {
    Stop,
    /// Nothing is asked, and nothing is being answered.
    Idle,
}

/// Bounds of an HTTP/2 connection.
pub fn options(limits: &config::Limits) -> H2Options {
    let mut options = default_h2_options();
    options
        // What is a little beyond the limit is answered here, and counted.
        .max_header_list_size(2 * limits.header_bytes as u32)
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_send_buffer_size(64 * 1024);
    options
}

/// Answers all streams of a connection.
pub async fn serve<L: Lane, P: HttpServerApp + Send + Sync + 'static>(
    front: &Front<L, P>,
    stream: FrontStream,
    shutdown: &ShutdownWatch,
) -> Ended {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        socket_digest: stream.get_socket_digest(),
        proxy_digest: stream.get_proxy_digest(),
        ..Digest::default()
    });
    let mut connection = match server::handshake(Box::new(stream), Some(front.h2.clone())).await {
        Ok(connection) => connection,
        Err(error) => return ended(&error, Ended::HeaderTimeout),
    };
    // Pingora keeps an HTTP/2 connection for at least a second.
    let idle = front.limits.idle.max(Duration::from_secs(1));
    let mut deadline = Deadline::at(Instant::now() + idle);
    // Each stream that is being answered holds one.
    let streams = Arc::new(());
    let (mut stopping, mut requests, mut rejected) = (*shutdown.borrow(), 0_u32, 0);
    if stopping {
        connection.graceful_shutdown();
    }
    let mut stop = shutdown.clone();
    loop {
        let accepted = {
            let mut stop = pin!(stop.changed());
            let mut accept = pin!(HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)));
            poll_fn(|cx| {
                if !stopping && stop.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Interrupt::Stop));
                }
                if let Poll::Ready(accepted) = accept.as_mut().poll(cx) {
                    return Poll::Ready(Ok(accepted));
                }
                while deadline.poll(cx).is_ready() {
                    if Arc::strong_count(&streams) == 1 {
                        return Poll::Ready(Err(Interrupt::Idle));
                    }
                    deadline.set(Instant::now(), idle);
                }
                Poll::Pending
            })
            .await
        };
        match accepted {
            Err(Interrupt::Stop) => {
                // It says so to the client, and goes on until what was asked is answered.
                connection.graceful_shutdown();
                stopping = true;
            }
            Ok(Ok(Some(H2Accept::Session(session)))) => {
                deadline.set(Instant::now(), idle);
                requests = requests.saturating_add(1);
                if requests == front.limits.requests_per_connection {
                    connection.graceful_shutdown();
                }
                let (proxy, shutdown, stream) = (Arc::clone(&front.proxy), shutdown.clone(), Arc::clone(&streams));
                tokio::spawn(async move {
                    proxy.process_new_http(ServerSession::new_http2(session), &shutdown).await;
                    drop(stream);
                });
            }
            Ok(Ok(Some(H2Accept::Rejected))) => {
                front.lane.rejected();
                rejected += 1;
                if rejected >= MAX_REJECTED {
                    return Ended::Http2;
                }
            }
            Ok(Ok(None)) => return Ended::Closed,
            Ok(Err(error)) => return ended(&error, Ended::SendTimeout),
            Err(Interrupt::Idle) => return Ended::Idle,
        }
    }
}

/// How an error ends a connection. `late` is what its deadline was for.
fn ended(error: &pingora::Error, late: Ended) -> Ended {
    let Some(error) = error.root_cause().downcast_ref::<h2::Error>() else { return Ended::Http2 };
    match error.get_io().map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => late,
        None if error.is_library() => Ended::Http2,
        _ => Ended::Closed,
    }
}
