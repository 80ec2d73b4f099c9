//! One connection, from its first byte to its last.
//!
//! Requests are read, answered and sent in one poll, as many as there are. Between requests a connection holds no
//! buffer: those of a thread are shared by its connections.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use httparse::EMPTY_HEADER;
use pingora::{
    apps::{HttpServerApp, ReusedHttpStream},
    protocols::{SocketDigest, http::ServerSession, l4::socket::SocketAddr as DigestAddr, tls::SslDigest},
    server::ShutdownWatch,
};
use tokio::{net::TcpStream, time::Instant};

use super::{
    Front, Lane, Peer,
    admission::{Admitted, Places},
    buffer::{self, Input},
    challenge::{self, Looked, Reply},
    http2,
    metrics::{Ended, Limited, Open},
    named::{self, Named},
    socket::Settings,
    stream::{FrontStream, PREFACE, STALL, linger},
    timer::Deadline,
    tls_stream::TlsStream,
    transport::Transport,
};
use crate::{
    listener::request::{self, Body, Form, Found, Framing, HeadLimits, MAX_FIELDS, Malformed},
    tls::acme::challenge::Asked,
};

/// Fields for which there is always room. A header with more is read again, into more room.
const FEW_FIELDS: usize = 32;

/// Answers that wait for a client who sends faster than it reads: after so many bytes it must read.
const MAX_OUT: usize = 16 * 1024;

/// A connection that was let in.
pub struct Accepted {
    pub tcp: TcpStream,
    pub address: SocketAddr,
    pub admitted: Admitted,
    pub open: Open,
}

/// Answers all requests of a connection.
pub async fn serve<L: Lane, P: HttpServerApp + Send + Sync + 'static>(
    front: Arc<Front<L, P>>,
    settings: Arc<Settings>,
    Accepted { tcp, address, admitted, mut open }: Accepted,
    shutdown: ShutdownWatch,
) {
    open.ended = match Connection::open(&front, &settings, tcp, address, admitted).await {
        Ok(mut connection) => connection.run(shutdown).await,
        Err(ended) => ended,
    };
}

struct Connection<'f, L, P> {
    front: &'f Front<L, P>,
    settings: &'f Settings,
    /// `None` while it is on loan to the proxy.
    transport: Option<Transport>,
    peer: Peer,
    address: SocketAddr,
    /// `None` for a trusted proxy, which has no limit of its own.
    places: Option<Places>,
    _admitted: Admitted,
    deadline: Deadline,
    waiting: Waiting,
    /// What was read and not answered.
    input: Input,
    /// Bytes of it in which no end of a head was found.
    seen: usize,
    /// Answers that were not sent.
    output: Vec<u8>,
    sent: usize,
    requests: u32,
    looked: Looked,
    last: Last,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waiting {
    /// The rest of a head, or the first one.
    Head,
    /// The next request.
    Idle,
    /// The client to read.
    Sending,
}

/// Whether there is an answer after which the connection closes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Last {
    No,
    Answered,
    /// More of the request may follow.
    Rejected,
}

/// Where the requests of a connection lead.
enum Next {
    End(Ended),
    Linger,
    Proxy(Lent),
    Challenge(Asked),
}

/// A request for the proxy.
struct Lent {
    head: Vec<u8>,
    body: Body,
    /// It asks for another protocol, which follows it.
    upgrade: bool,
    keep_alive: bool,
}

/// What became of the bytes at hand.
enum Step {
    Incomplete,
    Answered,
    Proxy(Lent),
    Challenge(Asked),
}

impl<'f, L: Lane, P: HttpServerApp + Send + Sync + 'static> Connection<'f, L, P> {
    /// Begins a connection: the PROXY header, the TLS handshake.
    async fn open(
        front: &'f Front<L, P>,
        settings: &'f Settings,
        tcp: TcpStream,
        mut address: SocketAddr,
        mut admitted: Admitted,
    ) -> Result<Self, Ended> {
        let mut deadline = Deadline::at(Instant::now() + front.limits.handshake);
        if settings.proxy_protocol && front.is_trusted(address.ip()) {
            let read = super::proxy_header::read(&tcp);
            address = before(&mut deadline, read).await.ok_or(Ended::HandshakeTimeout)??.unwrap_or(address);
        }
        // After a PROXY header it is the visitor's connection, and counts as such.
        let places = (!front.is_trusted(address.ip())).then(|| front.places(address.ip()));
        if let Some(places) = places {
            admitted.count(places).map_err(Ended::from)?;
        }
        let transport = match &settings.tls {
            None => Transport::Plain(tcp),
            Some(configs) => {
                // In a box: the future is large, and the connection outlives it.
                let accepted = Box::pin(TlsStream::accept(tcp, configs, &front.challenges));
                let ended = |ended| front.metrics.handshake_ended(ended);
                let accepted = before(&mut deadline, accepted).await;
                let accepted = accepted.ok_or_else(|| ended(Ended::HandshakeTimeout))?;
                let tls = accepted.map_err(|error| ended(Ended::of_handshake(&error)))?;
                front.metrics.handshake(tls.connection());
                Transport::Tls(Box::new(tls))
            }
        };
        deadline.set(Instant::now(), front.limits.header);
        Ok(Self {
            front,
            settings,
            peer: Peer { ip: address.ip(), tls: transport.is_tls() },
            transport: Some(transport),
            address,
            places,
            _admitted: admitted,
            deadline,
            waiting: Waiting::Head,
            input: Input::default(),
            seen: 0,
            output: Vec::new(),
            sent: 0,
            requests: 0,
            looked: Looked::NotYet,
            last: Last::No,
        })
    }

    async fn run(&mut self, shutdown: ShutdownWatch) -> Ended {
        if self.transport.as_ref().is_some_and(Transport::is_http2) {
            let Some(mut stream) = self.lend(Vec::new(), None) else { return Ended::Closed };
            stream.reading = Some((Deadline::at(Instant::now() + self.front.limits.header), PREFACE));
            return Box::pin(http2::serve(self.front, stream, &shutdown)).await;
        }
        let front = self.front;
        let mut stop = pin!(front.stop.notified());
        // Registers this task, which is then woken for good.
        let mut registered = false;
        loop {
            let next = poll_fn(|cx| {
                if !registered {
                    registered = true;
                    _ = stop.as_mut().poll(cx);
                }
                self.poll(cx)
            });
            match next.await {
                Next::End(ended) => {
                    poll_fn(|cx| self.poll_close(cx)).await;
                    return ended;
                }
                Next::Linger => {
                    if let Some(transport) = &mut self.transport {
                        transport.close();
                        linger(transport).await;
                    }
                    return Ended::Closed;
                }
                Next::Challenge(asked) => {
                    self.looked = front.challenges.http(&asked).await.map_or(Looked::Unknown, Looked::Found);
                    // It is read again, and then counted.
                    self.requests -= 1;
                }
                Next::Proxy(lent) => {
                    if !self.proxied(lent, &shutdown).await {
                        return Ended::Closed;
                    }
                    self.wait(Waiting::Idle, Instant::now());
                }
            }
        }
    }

    /// Answers what is there, sends it, and waits for more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let (mut now, mut answered, mut more) = (None, false, false);
            while self.last == Last::No && !self.rest().is_empty() {
                more = self.output.len() >= MAX_OUT;
                if more {
                    break;
                }
                match self.step(*now.get_or_insert_with(Instant::now)) {
                    Step::Incomplete => break,
                    Step::Answered => answered = true,
                    Step::Proxy(lent) => return Poll::Ready(Next::Proxy(lent)),
                    Step::Challenge(asked) => return Poll::Ready(Next::Challenge(asked)),
                }
            }
            if self.poll_send(cx).is_pending() {
                return self.poll_late(cx, Waiting::Sending);
            }
            if more && self.last == Last::No {
                continue;
            }
            match self.last {
                Last::No => {}
                Last::Answered => return Poll::Ready(Next::End(Ended::Closed)),
                Last::Rejected => return Poll::Ready(Next::Linger),
            }
            let waiting = match self.waiting {
                Waiting::Head if self.requests == 0 => Waiting::Head,
                _ if self.rest().is_empty() => Waiting::Idle,
                _ => Waiting::Head,
            };
            // A request that arrives in pieces does not move its deadline.
            if let Some(now) = now
                && (answered || waiting != self.waiting)
            {
                self.wait(waiting, now);
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::End(Ended::Closed)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    // A request may be on its way: it is answered, and only then the connection closes.
                    if waiting == Waiting::Idle
                        && let Some(until) = self.front.idle_until()
                    {
                        self.deadline.shorten(until);
                    }
                    return self.poll_late(cx, waiting);
                }
            }
        }
    }

    /// Pending, unless the deadline has passed.
    fn poll_late(&mut self, cx: &mut Context<'_>, waiting: Waiting) -> Poll<Next> {
        if waiting != self.waiting {
            self.wait(waiting, Instant::now());
        }
        ready!(self.deadline.poll(cx));
        Poll::Ready(Next::End(match waiting {
            Waiting::Head if self.requests == 0 && self.rest().is_empty() => Ended::Idle,
            Waiting::Head => Ended::HeaderTimeout,
            Waiting::Idle => Ended::Idle,
            Waiting::Sending => Ended::SendTimeout,
        }))
    }

    fn wait(&mut self, waiting: Waiting, now: Instant) {
        self.waiting = waiting;
        let limits = &self.front.limits;
        self.deadline.set(
            now,
            match waiting {
                Waiting::Head => limits.header,
                Waiting::Idle => limits.idle,
                Waiting::Sending => STALL,
            },
        );
    }

    fn rest(&self) -> &[u8] {
        self.input.bytes()
    }

    /// Answers the first request of what is at hand.
    fn step(&mut self, now: Instant) -> Step {
        let limits = &self.front.limits.head;
        let rest = self.input.bytes();
        let (from, to) = match request::find(rest, &mut self.seen, limits) {
            Ok(Found::Incomplete) => return Step::Incomplete,
            Ok(Found::Head { from, to }) => (from, to),
            Err(malformed) => return self.reject(malformed),
        };
        self.seen = 0;
        self.requests = self.requests.saturating_add(1);
        let head = &rest[from..to];
        let (mut few, mut many);
        few = [EMPTY_HEADER; FEW_FIELDS];
        let parsed = match request::parse(head, &mut few[..limits.fields.min(FEW_FIELDS)], limits) {
            Err(Malformed::Fields) if limits.fields > FEW_FIELDS => {
                many = [EMPTY_HEADER; MAX_FIELDS];
                request::parse(head, &mut many[..limits.fields], limits)
            }
            parsed => parsed,
        };
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(malformed) => return self.reject(malformed),
        };
        if self.output.capacity() == 0 {
            self.output = buffer::output();
        }
        let form = match request::form(parsed.method, parsed.target) {
            Ok(form) => form,
            Err(malformed) => return self.reject(malformed),
        };
        let (front, is_head) = (self.front, parsed.method == "HEAD");
        if self.places.is_some_and(|places| !front.admission.allows_request(places, now.into_std())) {
            front.metrics.limited(Limited::Rate);
            front.lane.too_many(is_head, &mut self.output);
            self.last = Last::Rejected;
            return Step::Answered;
        }
        let Framing { body, upgrade, expect, .. } = parsed.framing;
        let limit = front.limits.requests_per_connection;
        let is_last = front.limits.idle.is_zero() || limit > 0 && self.requests >= limit || front.is_stopping();
        let keep_alive = parsed.framing.keep_alive && !is_last;
        // What is answered here is answered without its body, which then may not be taken for a request.
        let bare = keep_alive && body == Body::None;
        let (rewritten, mut fields);
        let request = match form {
            Form::Origin => parsed,
            Form::Asterisk => {
                front.lane.options(bare, &mut self.output);
                return self.done(to, bare, body);
            }
            Form::Authority => {
                front.lane.connect(&mut self.output);
                self.last = Last::Rejected;
                return Step::Answered;
            }
            Form::Rewrite => {
                rewritten = request::rewritten(&parsed);
                fields = [EMPTY_HEADER; MAX_FIELDS];
                // Encoded bytes are three.
                let limits = HeadLimits { target: 3 * limits.target, ..*limits };
                match request::parse(&rewritten, &mut fields[..limits.fields], &limits) {
                    Ok(parsed) => parsed,
                    Err(malformed) => return self.reject(malformed),
                }
            }
        };
        match challenge::reply(&request, &front.challenges, &mut self.looked) {
            None => {}
            Some(Reply::Look(asked)) => return Step::Challenge(asked),
            Some(Reply::Key(key)) => {
                front.lane.challenge(&key, is_head, bare, &mut self.output);
                return self.done(to, bare, body);
            }
        }
        if self.settings.redirect_to_https {
            return if front.lane.to_https(&request, bare, &mut self.output) {
                self.done(to, bare, body)
            } else {
                self.reject(Malformed::Syntax)
            };
        }
        if self.places.is_some()
            && let Some(Transport::Tls(tls)) = &self.transport
            && named::is_misdirected(&request, tls.connection(), &self.settings.certificates)
        {
            front.lane.misdirected(is_head, bare, &mut self.output);
            return self.done(to, bare, body);
        }
        let is_plain = front.fast_lane && request.minor == 1 && body == Body::None && !upgrade && !expect;
        if is_plain
            && let Some(answered) =
                front.lane.answer(&request, &self.peer, keep_alive, now.into_std(), &mut self.output)
        {
            return self.done(to, answered.keep_alive, body);
        }
        let head = match form {
            Form::Rewrite => request::rewritten(&request),
            _ => head.to_vec(),
        };
        self.input.skip(to);
        Step::Proxy(Lent { head, body, upgrade: upgrade && body == Body::None, keep_alive })
    }

    /// The request up to `to` has its answer.
    fn done(&mut self, to: usize, keep_alive: bool, body: Body) -> Step {
        self.input.skip(to);
        if !keep_alive {
            let more_follows = body != Body::None || !self.rest().is_empty();
            self.last = if more_follows { Last::Rejected } else { Last::Answered };
        }
        Step::Answered
    }

    fn reject(&mut self, malformed: Malformed) -> Step {
        if let Some(limit) = Limited::of(malformed) {
            self.front.metrics.limited(limit);
        }
        let is_head = self.rest().starts_with(b"HEAD ");
        self.front.lane.malformed(malformed, is_head, &mut self.output);
        self.last = Last::Rejected;
        Step::Answered
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(transport) = &mut self.transport else { return Poll::Ready(()) };
        if self.output.is_empty() {
            buffer::give_back(std::mem::take(&mut self.output));
            return Poll::Ready(());
        }
        while self.sent < self.output.len() {
            match ready!(transport.poll_write(cx, &self.output[self.sent..])) {
                Ok(0) | Err(_) => {
                    // The client is gone: nothing that is left to say arrives.
                    self.last = Last::Answered;
                    break;
                }
                Ok(sent) => self.sent += sent,
            }
        }
        if self.last == Last::Answered {
            transport.close();
        }
        if ready!(transport.poll_flush(cx)).is_err() {
            self.last = Last::Answered;
        }
        self.sent = 0;
        buffer::give_back(std::mem::take(&mut self.output));
        Poll::Ready(())
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        match &mut self.transport {
            Some(transport) => self.input.poll_fill(cx, transport),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// Has the proxy answer a request. Returns whether the connection goes on.
    async fn proxied(&mut self, lent: Lent, shutdown: &ShutdownWatch) -> bool {
        // In order: the answers before it first.
        let mut deadline = Deadline::at(Instant::now() + STALL);
        if before(&mut deadline, poll_fn(|cx| self.poll_send(cx))).await.is_none() || self.last != Last::No {
            return false;
        }
        let Lent { head: mut prefix, body, upgrade, keep_alive } = lent;
        let rest = self.input.bytes();
        let (here, left) = match body {
            Body::None if upgrade => (rest.len(), None),
            Body::None => (0, Some(0)),
            Body::Length(length) => {
                let here = rest.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                (here, Some(length - here as u64))
            }
            Body::Chunked => (rest.len(), None),
        };
        prefix.extend_from_slice(&rest[..here]);
        self.input.skip(here);
        let keep_alive = keep_alive && left.is_some();
        let Some(mut stream) = self.lend(prefix, left) else { return false };
        stream.reading = (!upgrade).then(|| (Deadline::at(Instant::now() + STALL), u64::MAX));
        let mut session = ServerSession::new_http1(Box::new(stream));
        session.set_keepalive(Some(self.front.limits.idle.as_secs()));
        // Unlike the time, Pingora does not take this from the request again.
        session.set_keepalive_reuses_remaining((!keep_alive).then_some(0));
        // In a box: the future is large, and a connection rarely has one.
        let reused = Box::pin(self.front.proxy.process_new_http(session, shutdown)).await;
        let Some((stream, _)) = reused.map(ReusedHttpStream::consume) else { return false };
        let Ok(stream) = stream.into_any().downcast::<FrontStream>() else { return false };
        if !keep_alive || stream.left != Some(0) || stream.taken < stream.prefix.len() {
            return false;
        }
        self.input.append(&stream.ahead);
        self.seen = 0;
        self.transport = Some(stream.transport);
        true
    }

    /// The connection as Pingora takes it.
    fn lend(&mut self, prefix: Vec<u8>, left: Option<u64>) -> Option<FrontStream> {
        let transport = self.transport.take()?;
        let socket = SocketDigest::from_raw_fd(transport.fd());
        _ = socket.peer_addr.set(Some(DigestAddr::Inet(self.address)));
        let tls = transport.is_tls().then(|| Arc::new(SslDigest::new("", "", None, None, Vec::new())));
        let named = match &transport {
            Transport::Tls(tls) if transport.is_http2() => {
                Named::digest(tls.connection(), &self.settings.certificates)
            }
            _ => None,
        };
        Some(FrontStream {
            transport,
            prefix,
            taken: 0,
            left,
            ahead: Vec::new(),
            reading: None,
            writing: None,
            socket: Arc::new(socket),
            tls,
            named,
        })
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(transport @ Transport::Tls(_)) = &mut self.transport {
            transport.close();
            // Not waited for: a client that does not read must not hold the connection.
            _ = transport.poll_flush(cx);
        }
        Poll::Ready(())
    }
}

/// The result of a future, unless the deadline comes first.
async fn before<F: Future>(deadline: &mut Deadline, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match Pin::new(&mut future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => deadline.poll(cx).map(|()| None),
    })
    .await
}
