//! The adapter to the [front](crate::listener::front): from the bytes of a request to the bytes of its answer, in one
//! call, which waits for nothing.
//!
//! The answer is the one that Pingora writes ([`super::proxy`]), byte for byte: names in the same letters and the same
//! order, `Date` and `Connection` at the end. `tests/front.rs` compares the two.

use std::{cell::RefCell, convert::Infallible, time::Instant};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::{Answer, Head, Redirector, metrics::Outcome};
use crate::{
    click::{Flags, Protocol},
    link::Host,
    listener::{
        front::{Answered, Lane, Peer},
        request::{Malformed, Request},
    },
    runtime::clock,
};

impl Lane for Redirector {
    fn answer(
        &self,
        request: &Request<'_, '_>,
        peer: &Peer,
        keep_alive: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<Answered> {
        let method = match request.method {
            "GET" => &Method::GET,
            "HEAD" => &Method::HEAD,
            _ => return None,
        };
        let mut head = Head::new(method, request.target, Protocol::Http11);
        for field in request.headers {
            head.read_field(field.name.as_bytes(), field.value);
        }
        head.flags.set(Flags::TLS, peer.tls);
        let settings = self.settings();
        if settings.trusted.is_proxy(Some(peer.ip)) {
            let name = settings.trusted.header().as_str();
            let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            head.forwarded = named.map(|field| field.value).collect();
        }
        let answer = self.answer_with(&settings, &head, Some(peer.ip), now)?;
        Some(Answered { keep_alive: self.respond(answer, keep_alive, Some(now), out) })
    }

    fn to_https(&self, request: &Request<'_, '_>, keep_alive: bool, out: &mut Vec<u8>) -> bool {
        let Some(host) = request.host().and_then(|host| Host::parse(host).ok()) else { return false };
        let location = [b"https://", host.as_str().as_bytes(), request.target].concat();
        let Some(answer) = self.settings().answers.https(location.into()) else { return false };
        self.respond(answer, keep_alive, None, out);
        true
    }

    fn challenge(&self, key_authorization: &str, is_head: bool, keep_alive: bool, out: &mut Vec<u8>) {
        let length = key_authorization.len().to_string();
        let head: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nCache-Control: no-store\r\n";
        append(out, &[head, b"Content-Length: ", length.as_bytes()]);
        end(if is_head { b"" } else { key_authorization.as_bytes() }, keep_alive, out);
    }

    fn options(&self, keep_alive: bool, out: &mut Vec<u8>) {
        self.respond(self.settings().answers.options(), keep_alive, None, out);
    }

    fn malformed(&self, why: Malformed, is_head: bool, out: &mut Vec<u8>) {
        let answer = self.settings().answers.malformed(why.status());
        self.respond(if is_head { answer.without_body() } else { answer }, false, None, out);
    }

    fn report(&self) {
        self.metrics.report();
    }

    fn rejected(&self) {
        self.metrics.request(Outcome::BadRequest);
    }

    fn connect(&self, out: &mut Vec<u8>) {
        self.respond(self.settings().answers.method_not_allowed(), false, None, out);
    }

    fn misdirected(&self, is_head: bool, keep_alive: bool, out: &mut Vec<u8>) {
        let answer = self.settings().answers.misdirected();
        self.respond(if is_head { answer.without_body() } else { answer }, keep_alive, None, out);
    }

    fn too_many(&self, is_head: bool, out: &mut Vec<u8>) {
        let answer = self.settings().answers.too_many();
        self.respond(if is_head { answer.without_body() } else { answer }, false, None, out);
    }
}

impl Redirector {
    /// Appends an answer, and counts it. Returns whether the connection stays open.
    fn respond(&self, answer: Answer, keep_alive: bool, since: Option<Instant>, out: &mut Vec<u8>) -> bool {
        let (outcome, keep_alive) = (answer.outcome, keep_alive && !answer.close);
        write(answer, keep_alive, out);
        match since {
            Some(since) => self.metrics.answered(outcome, since.elapsed()),
            None => self.metrics.request(outcome),
        }
        keep_alive
    }
}

fn write(answer: Answer, keep_alive: bool, out: &mut Vec<u8>) {
    let (status, body) = (StatusCode::from_u16(answer.status).unwrap_or_default(), answer.body.clone());
    let line: &[&[u8]] =
        &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", status.canonical_reason().unwrap_or_default().as_bytes()];
    append(out, line);
    let Ok(()) = answer.each_header(|name, value| {
        append(out, &[b"\r\n", spelled(&name), b": ", HeaderValue::as_bytes(&value)]);
        Ok::<(), Infallible>(())
    });
    end(&body, keep_alive, out);
}

/// What every answer ends with, and its body.
fn end(body: &[u8], keep_alive: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\nDate: ");
    DATE.with_borrow_mut(|date| out.extend_from_slice(date.now()));
    out.extend_from_slice(if keep_alive { b"\r\nConnection: keep-alive" } else { b"\r\nConnection: close" });
    append(out, &[b"\r\n\r\n", body]);
}

fn append(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// A header's name in the letters in which Pingora writes it.
fn spelled(name: &HeaderName) -> &[u8] {
    match *name {
        header::CACHE_CONTROL => b"Cache-Control",
        header::CONTENT_LENGTH => b"Content-Length",
        header::CONTENT_TYPE => b"Content-Type",
        _ => name.as_str().as_bytes(),
    }
}

thread_local! {
    static DATE: RefCell<Date> = const { RefCell::new(Date { second: 0, text: Vec::new() }) };
}

/// The value of `Date`, written once a second.
struct Date {
    second: u64,
    text: Vec<u8>,
}

impl Date {
    fn now(&mut self) -> &[u8] {
        let second = clock::coarse_secs();
        if second != self.second || self.text.is_empty() {
            self.second = second;
            let time = jiff::Timestamp::from_second(second as i64).unwrap_or_default();
            self.text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string().into_bytes();
        }
        &self.text
    }
}
