//! The adapter to [lookups](crate::pipeline::lookup): from the bytes of a request to its answer, with all steps, and
//! without a connection.

use std::{net::IpAddr, time::Instant};

use http::Method;
use httparse::EMPTY_HEADER;

use super::{Answer, Head, Moment, Redirector, decide::Trace, explain::Steps};
use crate::{
    click::{EventId, Flags, Protocol},
    listener::request::{self, Form, Found, HeadLimits, MAX_FIELDS, Malformed},
};

impl Redirector {
    /// The answer to a request from `peer`, which may come over TLS, at a time of day in microseconds; and whether the
    /// host is a branded domain.
    pub(crate) fn look_up(
        &self,
        bytes: &[u8],
        limits: &HeadLimits,
        (peer, tls): (IpAddr, bool),
        (at, now): (u64, Instant),
        steps: &mut Steps,
    ) -> (Answer, bool) {
        let looked_up = self.try_look_up(bytes, limits, (peer, tls), (at, now), steps);
        looked_up.unwrap_or_else(|malformed| {
            steps.step("request", || "malformed, or beyond a limit".into());
            let answer = self.settings().answers.malformed(malformed.status());
            (if bytes.starts_with(b"HEAD ") { answer.without_body() } else { answer }, true)
        })
    }

    fn try_look_up(
        &self,
        bytes: &[u8],
        limits: &HeadLimits,
        (peer, tls): (IpAddr, bool),
        (at, now): (u64, Instant),
        steps: &mut Steps,
    ) -> Result<(Answer, bool), Malformed> {
        let Found::Head { from, to } = request::find(bytes, &mut 0, limits)? else { return Err(Malformed::Syntax) };
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let parsed = request::parse(&bytes[from..to], &mut fields[..limits.fields], limits)?;
        let settings = self.settings();
        let (rewritten, mut fields);
        let request = match request::form(parsed.method, parsed.target)? {
            Form::Origin => parsed,
            Form::Asterisk => return Ok((settings.answers.options(), true)),
            Form::Authority => return Ok((settings.answers.method_not_allowed(), true)),
            Form::Rewrite => {
                rewritten = request::rewritten(&parsed);
                fields = [EMPTY_HEADER; MAX_FIELDS];
                // Encoded bytes are three.
                let limits = HeadLimits { target: 3 * limits.target, ..*limits };
                request::parse(&rewritten, &mut fields[..limits.fields], &limits)?
            }
        };
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| Malformed::Syntax)?;
        let mut head = Head::new(&method, request.target, Protocol::Http11);
        for field in request.headers {
            head.read_field(field.name.as_bytes(), field.value);
        }
        head.flags.set(Flags::TLS, tls);
        if settings.trusted.is_proxy(Some(peer)) {
            let name = settings.trusted.header().as_str();
            let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            head.forwarded = named.map(|field| field.value).collect();
        }
        let moment = Moment(Some((at, EventId::at(at))));
        let answer = self.answer_at(&settings, &head, Some(peer), (moment, now), steps);
        Ok(answer.map_or_else(|| (self.unclaimed(&head), false), |answer| (answer, true)))
    }
}
