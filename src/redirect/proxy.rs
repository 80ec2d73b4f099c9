//! The adapter to Pingora: reads the head of a [`Session`], asks the [`Redirector`], writes the answer.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use pingora::{
    http::{RequestHeader, ResponseHeader},
    protocols::http::HttpTask,
};
use pingora_proxy::Session;

use zeroize::Zeroizing;

use super::{
    Answer, Client, Head, Redirector, Settings,
    answer::MAX_HEADERS,
    metrics::Outcome,
    password::{Verdict, Who},
};
use crate::{
    click::Flags,
    link::page::{self, FormError},
    runtime::clock,
};

/// How long an answer over HTTP/2 waits for the rest of its request.
const BODY: Duration = Duration::from_secs(1);

/// How long a form with a password may take to arrive.
const FORM: Duration = Duration::from_secs(10);

impl Redirector {
    /// Answers the request if it is for a branded domain, or if it is malformed. Returns whether it did; when not,
    /// the request is untouched. The click is captured before the answer is written.
    ///
    /// The client is the peer of the connection, or the one that a proxy of `client_address.trusted_proxies` names.
    /// Waits for nothing but the body of a form with a password, the hash of that password, and the client.
    ///
    /// # Errors
    /// Only when the answer cannot be written because the client is gone.
    pub async fn handle(&self, session: &mut Session) -> pingora::Result<bool> {
        self.handle_of(session, None).await
    }

    /// Like [`handle`](Self::handle), for a request whose client the program knows: `client_address` is ignored for it.
    ///
    /// # Errors
    /// Only when the answer cannot be written because the client is gone.
    pub async fn handle_from(&self, session: &mut Session, client: &Client) -> pingora::Result<bool> {
        self.handle_of(session, Some(client)).await
    }

    async fn handle_of(&self, session: &mut Session, client: Option<&Client>) -> pingora::Result<bool> {
        let started = clock::monotonic();
        let answer = match self.form(session, client).await? {
            Some(answer) => Some(answer),
            // The head borrows from the session, and so must not live across an await.
            None => self
                .with_head(session, client, |settings, head, peer| self.answer_with(settings, head, peer, started)),
        };
        let Some(answer) = answer else {
            self.metrics.request(Outcome::Passed);
            return Ok(false);
        };
        let outcome = answer.outcome;
        self.write(session, answer).await?;
        self.metrics.answered(outcome, started.elapsed());
        Ok(true)
    }

    /// The answer to a form that is sent to a link with a password; `None` for all other requests.
    async fn form(&self, session: &mut Session, client: Option<&Client>) -> pingora::Result<Option<Answer>> {
        if session.req_header().method != http::Method::POST {
            return Ok(None);
        }
        let lock = self.with_head(session, client, |settings, head, peer| self.lock(settings, head, peer));
        let Some(lock) = lock else {
            return Ok(None);
        };
        let Ok(body) = read_form(session).await else {
            return Ok(Some(self.settings().answers.bad_request()));
        };
        let word = body.as_ref().and_then(|body| page::form::password(body));
        let result = match word {
            None => Err(FormError::Wrong),
            Some(word) => {
                let who = Who { client: &lock.client, host: lock.host.as_bytes(), link: &lock.link };
                match self.passwords.check(&lock.hash, word, &who).await {
                    Verdict::Right => Ok(&lock.hash),
                    Verdict::Wrong => Err(FormError::Wrong),
                    Verdict::TooMany { retry_after } => Err(FormError::TooMany { retry_after }),
                    Verdict::Busy => Err(FormError::Busy),
                }
            }
        };
        let answer =
            self.with_head(session, client, |settings, head, peer| self.answer_form(settings, head, peer, result));
        // A reload may have taken the link away: what is left of its form is for no upstream.
        let mut answer = answer.unwrap_or_else(|| self.settings().answers.not_found());
        // What is left of a body that is too long would be read as a request.
        answer.close |= body.is_none();
        Ok(Some(answer))
    }

    fn with_head<T>(
        &self,
        session: &Session,
        client: Option<&Client>,
        read_with: impl FnOnce(&Settings, &Head<'_>, Option<IpAddr>) -> T,
    ) -> T {
        let peer = client.map_or_else(|| peer(session), |client| Some(client.ip()));
        let mut head = read(session.req_header());
        head.flags.set(Flags::TLS, session.digest().is_some_and(|digest| digest.ssl_digest.is_some()));
        let settings = self.settings();
        if let Some(client) = client {
            head.flags.set(Flags::PROXIED, client.is_proxied);
        } else if settings.trusted.is_proxy(peer) {
            let values = session.req_header().headers.get_all(settings.trusted.header());
            head.forwarded = values.iter().map(http::HeaderValue::as_bytes).collect();
        }
        read_with(&settings, &head, peer)
    }

    /// Answers a request that has no other taker: 404.
    ///
    /// # Errors
    /// Only when the answer cannot be written because the client is gone.
    pub async fn reject(&self, session: &mut Session) -> pingora::Result<()> {
        let answer = self.unclaimed(&read(session.req_header()));
        self.write(session, answer).await
    }

    /// Answers a request that is beyond a limit, on the wrong connection, or for another kind of server.
    ///
    /// # Errors
    /// Only when the answer cannot be written because the client is gone.
    pub async fn reject_with(&self, session: &mut Session, status: u16) -> pingora::Result<()> {
        let answers = &self.settings.load_full().answers;
        let answer = match status {
            405 => answers.method_not_allowed(),
            421 => answers.misdirected(),
            429 => answers.too_many(),
            _ => answers.malformed(status),
        };
        self.metrics.request(answer.outcome);
        let is_head = session.req_header().method == http::Method::HEAD;
        self.write(session, if is_head { answer.without_body() } else { answer }).await
    }

    /// Limits how long the connection of a request that goes elsewhere may idle afterwards, as for those that are
    /// answered here. Pingora's default keeps an idle connection open for ever. A client that asked to close stays
    /// closed.
    pub fn limit_idle(&self, session: &mut Session) {
        let downstream = session.as_downstream_mut();
        if downstream.get_keepalive().is_some() {
            downstream.set_keepalive(self.settings().keepalive_secs);
            downstream.set_pipelining_enabled(true);
        }
    }

    async fn write(&self, session: &mut Session, answer: Answer) -> pingora::Result<()> {
        read_body(session).await?;
        if answer.close {
            session.as_downstream_mut().set_keepalive(None);
        } else {
            self.limit_idle(session);
        }
        let body = answer.body.clone();
        // The server adds `Date` and `Connection`.
        let mut header = Box::new(ResponseHeader::build_no_case(answer.status, Some(MAX_HEADERS + 2))?);
        // Appended: a hook may set one name several times.
        answer.each_header(|name, value| header.append_header(name, value).map(drop))?;
        if body.is_empty() && session.as_downstream().is_http2() {
            // The header ends the stream, without an empty frame after it.
            session.write_response_tasks(vec![HttpTask::Header(header, true)]).await?;
            return Ok(());
        }
        session.write_response_header(header, body.is_empty()).await?;
        if !body.is_empty() {
            session.write_response_body(Some(body), true).await?;
        }
        Ok(())
    }
}

/// Reads what an HTTP/2 request still has, for a while. Its length may be wrong, and then the stream gets an error and
/// no answer (RFC 9113, 8.1.1); and an answer before its end would be followed by a reset, with which some clients lose
/// the answer.
async fn read_body(session: &mut Session) -> pingora::Result<()> {
    let downstream = session.as_downstream_mut();
    if !downstream.is_http2() || downstream.is_body_done() {
        return Ok(());
    }
    downstream.set_total_drain_timeout(Some(BODY));
    match downstream.drain_request_body().await {
        Err(error) if *error.etype() != pingora::ErrorType::ReadTimedout => Err(error.into_down()),
        _ => Ok(()),
    }
}

/// The body of a form; `None` when it is too long, or does not arrive in time.
async fn read_form(session: &mut Session) -> pingora::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut body = Zeroizing::new(Vec::with_capacity(page::form::MAX_BODY));
    let read = async {
        while let Some(part) = session.as_downstream_mut().read_request_body().await? {
            if body.len() + part.len() > page::form::MAX_BODY {
                return pingora::Result::<bool>::Ok(false);
            }
            body.extend_from_slice(&part);
        }
        Ok(true)
    };
    let is_whole = tokio::time::timeout(FORM, read).await.unwrap_or(Ok(false))?;
    Ok(is_whole.then_some(body))
}

fn read(header: &RequestHeader) -> Head<'_> {
    let mut head = Head::read(&header.method, header.raw_path(), header.version, &header.headers);
    // HTTP/2, or an absolute HTTP/1.1 target, of which Pingora has checked that `Host` is the same.
    if let Some(authority) = header.uri.authority() {
        head.set_authority(authority.as_str().as_bytes());
    }
    head
}

fn peer(session: &Session) -> Option<IpAddr> {
    session.client_addr().and_then(|address| address.as_inet()).map(SocketAddr::ip)
}
