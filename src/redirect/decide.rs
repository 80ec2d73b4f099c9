//! Decides what a request gets, without any input or output: the reference for every way to an answer.
//!
//! In two steps: the look-up, and then the policy of what was found. A link without a policy takes the short way.

use bytes::Bytes;
use http::Method;

use super::{Head, forward::Additions};
use crate::{
    catalog::{Catalog, Domain, Link, Lookup, State},
    click::EventId,
    link::{
        Host, Policy,
        placeholder::{Address, Values},
    },
};

/// What a request gets.
pub enum Decision<'a> {
    /// The link leads somewhere.
    Redirect(Target<'a>),
    /// A page that shows where the link leads.
    Preview(Link<'a>),
    /// A redirect to a fallback of the link or the domain: no click.
    Fallback {
        location: Bytes,
        /// Whether the link has expired or is used up; otherwise there is none.
        is_gone: bool,
    },
    /// The host is not a branded domain: the next filter or the upstream answers.
    Pass,
    /// 404: the domain has no such link, or it is switched off.
    NotFound,
    /// 410: the link has expired, or is used up.
    Gone,
    /// 405: only `GET` and `HEAD` are for this link.
    MethodNotAllowed,
    /// 400: the host is missing, ambiguous or invalid; or there is a control character in the target.
    BadRequest,
}

/// Where a link leads.
pub struct Target<'a> {
    pub link: Link<'a>,
    /// `Location`, ready to send.
    pub location: Bytes,
    /// The rule that chose it; empty for none.
    pub rule: &'a str,
    /// The variant that was chosen; empty for none.
    pub variant: &'a str,
}

/// What a decision may depend on besides the request.
pub trait Context {
    /// Seconds since the Unix epoch.
    fn now(&mut self) -> i64;

    /// The id of the click that the request is going to be.
    fn click_id(&mut self) -> EventId;
}

/// Decides what a request gets.
pub fn decide<'a>(catalog: &'a Catalog, head: &Head<'_>, context: &mut impl Context) -> Decision<'a> {
    let Ok(host) = head.host() else {
        return Decision::BadRequest;
    };
    let (link, path) = match catalog.find(&host, head.path) {
        Err(_) => return Decision::BadRequest,
        Ok(Lookup::NotBranded) => return Decision::Pass,
        Ok(Lookup::Unknown(domain)) => return unknown(domain, head, &host),
        Ok(Lookup::Preview(link)) => return preview(link, head, &host),
        Ok(Lookup::Found(link, path)) => (link, path),
    };
    if head.has_control_in_query() {
        return Decision::BadRequest;
    }
    match link.state() {
        State::Active => {}
        State::Disabled => return switched_off(&link, head, &host),
        State::Expired => return used_up(&link, head, &host),
    }
    if !is_read(head.method) && !matches!(link.status(), 307 | 308) {
        return Decision::MethodNotAllowed;
    }
    if let Some(policy) = link.policy() {
        return with_policy(link, policy, path, head, &host, context);
    }
    let additions = Additions { query: head.query, forward: link.forward(), ..Additions::default() };
    let location = additions.location(link.destination(), || link.destination_bytes());
    Decision::Redirect(Target { link, location, rule: "", variant: "" })
}

fn with_policy<'a>(
    link: Link<'a>,
    policy: &'a Policy,
    path: &[u8],
    head: &Head<'_>,
    host: &Host,
    context: &mut impl Context,
) -> Decision<'a> {
    if policy.active_from.is_some_and(|from| context.now() < from) {
        return switched_off(&link, head, host);
    }
    if policy.active_until.is_some_and(|until| context.now() >= until) {
        return used_up(&link, head, host);
    }
    let mut id = [0; 36];
    let click_id = policy.click_id_parameter.as_deref().map(|name| (name, context.click_id().encode(&mut id)));
    let additions = Additions {
        path,
        query: head.query,
        forward: link.forward(),
        only: &policy.forward_only,
        click_id: click_id.map(|(name, id)| (name, &*id)),
    };
    let location = additions.location(link.destination(), || link.destination_bytes());
    Decision::Redirect(Target { link, location, rule: "", variant: "" })
}

/// For a link that leads nowhere any more.
pub fn used_up<'a>(link: &Link<'_>, head: &Head<'_>, host: &Host) -> Decision<'a> {
    let own = link.policy().and_then(|policy| policy.fallback.as_ref());
    match own.or_else(|| link.domain_policy()?.expired.as_ref()) {
        Some(address) if is_read(head.method) => fallback(address, true, head, host),
        _ => Decision::Gone,
    }
}

/// For a link that leads nowhere for now.
fn switched_off<'a>(link: &Link<'_>, head: &Head<'_>, host: &Host) -> Decision<'a> {
    let own = link.policy().and_then(|policy| policy.fallback.as_ref());
    match own.or_else(|| link.domain_policy()?.not_found.as_ref()) {
        Some(address) if is_read(head.method) => fallback(address, false, head, host),
        _ => not_found(head.method),
    }
}

fn unknown<'a>(domain: &Domain, head: &Head<'_>, host: &Host) -> Decision<'a> {
    let Some(policy) = domain.policy() else { return not_found(head.method) };
    let is_root = matches!(head.path, b"" | b"/");
    let address =
        if is_root { policy.root.as_ref().or(policy.not_found.as_ref()) } else { policy.not_found.as_ref() };
    match address {
        Some(address) if is_read(head.method) => fallback(address, false, head, host),
        _ => not_found(head.method),
    }
}

fn preview<'a>(link: Link<'a>, head: &Head<'_>, host: &Host) -> Decision<'a> {
    match link.state() {
        State::Active if is_read(head.method) => Decision::Preview(link),
        State::Active => Decision::MethodNotAllowed,
        State::Disabled => switched_off(&link, head, host),
        State::Expired => used_up(&link, head, host),
    }
}

fn fallback<'a>(address: &Address, is_gone: bool, head: &Head<'_>, host: &Host) -> Decision<'a> {
    let location = address.fill(Values { path: head.path, domain: host.as_str() });
    Decision::Fallback { location, is_gone }
}

/// Whether a method only reads.
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn not_found<'a>(method: &Method) -> Decision<'a> {
    if is_read(method) { Decision::NotFound } else { Decision::MethodNotAllowed }
}
