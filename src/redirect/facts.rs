//! What is captured of a click.

use std::net::IpAddr;

use super::{Head, Request, Settings, Signature, Target};
use crate::{
    click::{ClientAddr, EventId, Facts, Flags, Protocol, Texts},
    runtime::clock,
};

/// When a click is answered, and its id; read from the clock when they are first asked for.
#[derive(Default)]
pub(super) struct Moment(pub Option<(u64, EventId)>);

impl Moment {
    pub fn get(&mut self) -> (u64, EventId) {
        *self.0.get_or_insert_with(|| {
            let micros = clock::unix_micros();
            (micros, EventId::at(micros))
        })
    }
}

impl Settings {
    pub(super) fn facts<'a>(
        &self,
        request: &Request<'a, '_>,
        target: &'a Target<'_>,
        moment: &mut Moment,
        texts: (&'a [u8], &'a [u8]),
    ) -> Facts<'a> {
        let Request { head, peer, now, .. } = *request;
        let client = self.trusted.client(peer, &head.forwarded);
        let (protocol, mut flags) = self.seen(head, peer);
        let is_enumerating = self.enumeration.as_ref().is_some_and(|table| table.is_enumerating(&client, now));
        flags.set(Flags::ENUMERATION, is_enumerating);
        facts(moment.get(), client, (protocol, flags), head, target, texts)
    }

    /// What the connection shows of the visitor: behind a trusted proxy, nothing.
    pub(super) fn seen(&self, head: &Head<'_>, peer: Option<IpAddr>) -> (Protocol, Flags) {
        let mut flags = head.flags;
        if !flags.has(Flags::PROXIED) && !self.trusted.is_proxy(peer) {
            return (head.protocol, flags);
        }
        flags.set(Flags::PROXIED, true);
        flags.clear(Flags::TLS);
        (Protocol::Unknown, flags)
    }
}

fn facts<'a>(
    (micros, id): (u64, EventId),
    client: ClientAddr,
    (protocol, flags): (Protocol, Flags),
    head: &Head<'a>,
    target: &'a Target<'_>,
    (created_at, place): (&'a [u8], &'a [u8]),
) -> Facts<'a> {
    let Target { link, location, rule, variant, .. } = target;
    // Of use to no one without the name of the bot.
    let signature = if head.signature.agent.is_empty() { Signature::default() } else { head.signature };
    Facts {
        id,
        micros,
        client,
        status: link.status(),
        protocol,
        flags,
        texts: Texts {
            user_agent: head.user_agent,
            referer: head.referer,
            accept_language: head.accept_language,
            hint_brands: head.hints.brands,
            hint_platform: head.hints.platform,
            hint_platform_version: head.hints.platform_version,
            hint_form_factors: head.hints.form_factors,
            requested_with: head.requested_with,
            query: head.query,
            path: head.path,
            destination: location,
            link_id: link.id(),
            slashtag: link.slashtag(),
            created_at,
            workspace: link.workspace_bytes(),
            host: link.host().as_bytes(),
            creator_json: link.creator_json(),
            domain_json: link.domain_json().as_bytes(),
            tags_json: link.tags_json(),
            scripts_json: link.scripts_json(),
            rule: rule.as_bytes(),
            variant: variant.as_bytes(),
            location: place,
            signature_agent: signature.agent,
            signature_input: signature.input,
            signature: signature.signature,
        },
    }
}
