//! Decides what a request gets, without any input or output: the reference for every way to an answer.
//!
//! In two steps: [`look_up`] finds the link, and decides for those without a policy. [`apply`] decides for the others,
//! and may ask who the visitor is, through an [`Asker`].

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;

use super::{Head, forward::Additions, untracked::Untracked};
use crate::{
    catalog::{Catalog, Domain, Link, Lookup, State},
    click::{EventId, Flags},
    link::{
        Asker, Host, Policy, Target as Leads,
        page::{Card, File, Scripts},
        placeholder::{Address, Values},
        variant::Variant,
    },
};

/// What a request gets.
pub enum Decision<'a> {
    /// The link leads somewhere: a click.
    Click(Target<'a>),
    /// A page that shows where the link leads.
    Preview(Link<'a>),
    /// A page that asks for the link's password.
    Password(Link<'a>),
    /// A redirect to a fallback of the link or the domain: no click.
    Fallback {
        location: Bytes,
        /// The domain, if it has no such link; otherwise the link has expired or is used up.
        unknown_of: Option<&'a Domain>,
    },
    /// A file of the domain: no click.
    File(&'a File),
    /// The host is not a branded domain: the next filter or the upstream answers.
    Pass,
    /// 404: the domain has no such link, or it is switched off.
    NotFound(&'a Domain),
    /// 410: the link has expired, or is used up.
    Gone(&'a Domain),
    /// 405: only `GET` and `HEAD` are for this link.
    MethodNotAllowed,
    /// 400: the host is missing, ambiguous or invalid; or there is a control character in the target.
    BadRequest,
}

impl<'a> Decision<'a> {
    /// The link that it is about.
    pub fn link(&self) -> Option<Link<'a>> {
        match self {
            Self::Click(target) => Some(target.link),
            Self::Preview(link) | Self::Password(link) => Some(*link),
            _ => None,
        }
    }
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
    /// The page that the visitor gets in place of a redirect.
    pub page: Option<LinkPage<'a>>,
    /// The most clicks of the link, if this is one of a person.
    pub max_clicks: Option<u64>,
}

/// A page that leads to a link's destination.
#[derive(Clone, Copy)]
pub enum LinkPage<'a> {
    Scripts(&'a Scripts),
    Card(&'a Card),
}

/// What a look-up results in.
pub enum Step<'a> {
    Decided(Decision<'a>),
    /// The link has a policy, which decides.
    Policy(Found<'a>),
}

/// A link with a policy, as it was asked for.
pub struct Found<'a> {
    pub link: Link<'a>,
    pub policy: &'a Policy,
    host: Host,
    /// What the path has behind the slashtag.
    path: &'a [u8],
    /// Whether the visitor asks where the link leads.
    is_preview: bool,
}

/// What a policy may depend on besides the request and the visitor.
#[derive(Clone, Copy)]
pub struct Circumstances {
    /// The id of the click that the request is going to be.
    pub id: EventId,
    /// Whether the link has had all its clicks.
    pub is_used_up: bool,
    /// Whether the visitor knows the link's password.
    pub is_unlocked: bool,
}

/// Gets the steps of a decision.
pub trait Trace {
    /// Notes a step. Its result is only written if it is read.
    fn step(&mut self, name: &'static str, result: impl FnOnce() -> String);

    /// Notes where the link leads, whether by a page, and whether that is a click.
    fn leads(&mut self, target: &Target<'_>, by_page: bool, untracked: Option<Untracked>, head: &Head<'_>);
}

/// The trace of requests that are answered: nothing is noted, and nothing costs more than without it.
pub struct Untraced;

impl Trace for Untraced {
    #[inline]
    fn step(&mut self, _: &'static str, _: impl FnOnce() -> String) {}

    #[inline]
    fn leads(&mut self, _: &Target<'_>, _: bool, _: Option<Untracked>, _: &Head<'_>) {}
}

/// Looks up what a request asks for.
pub fn look_up<'a>(catalog: &'a Catalog, head: &Head<'a>, trace: &mut impl Trace) -> Step<'a> {
    let Ok(host) = head.host() else {
        trace.step("host", || "missing, ambiguous or invalid".into());
        return Step::Decided(Decision::BadRequest);
    };
    let (link, path, is_preview) = match catalog.find(&host, head.path) {
        Err(error) => {
            trace.step("slashtag", || error.to_string());
            return Step::Decided(Decision::BadRequest);
        }
        Ok(Lookup::NotBranded) => {
            trace.step("host", || format!("{} is not a branded domain", host.as_str()));
            return Step::Decided(Decision::Pass);
        }
        Ok(Lookup::Unknown(domain)) => {
            trace.step("host", || named(&host, domain));
            trace.step("slashtag", || "the domain has no such link".into());
            return Step::Decided(unknown(domain, head, &host));
        }
        Ok(Lookup::Preview(link)) => (link, &b""[..], true),
        Ok(Lookup::Found(link, path)) => (link, path, false),
    };
    trace.step("host", || named(&host, link.domain()));
    trace.step("slashtag", || {
        let [slashtag, path] = [link.slashtag(), path].map(String::from_utf8_lossy);
        let rest = if path.is_empty() { String::new() } else { format!(", with the path {path:?} behind it") };
        format!("{slashtag:?}{rest}{}", if is_preview { ", asked for a preview" } else { "" })
    });
    if head.has_control_in_query() {
        trace.step("query", || "it has a control character".into());
        return Step::Decided(Decision::BadRequest);
    }
    trace.step("status", || format!("{:?}", link.state()).to_ascii_lowercase());
    match link.state() {
        State::Active => {}
        State::Disabled => return Step::Decided(switched_off(&link, head, &host)),
        State::Expired => return Step::Decided(used_up(&link, head, &host)),
    }
    // Of the links, only one with that very slashtag comes before a file of the domain.
    if !path.is_empty()
        && link.slashtag().is_empty()
        && is_read(head.method)
        && let Some(file) = link.domain().policy().and_then(|policy| policy.files.at(head.path))
    {
        return Step::Decided(Decision::File(file));
    }
    if let Some(policy) = link.policy() {
        return Step::Policy(Found { link, policy, host, path, is_preview });
    }
    Step::Decided(if is_preview {
        preview(link, head)
    } else if is_read(head.method) || matches!(link.status(), 307 | 308) {
        let additions = Additions { query: head.query, forward: link.forward(), ..Additions::default() };
        let location = if additions.is_empty() {
            link.destination_bytes()
        } else {
            additions.location(link.destination(), || link.destination_bytes())
        };
        Decision::Click(Target { link, location, rule: "", variant: "", page: None, max_clicks: None })
    } else {
        Decision::MethodNotAllowed
    })
}

/// Decides by the policy of a link.
pub fn apply<'a>(
    found: &Found<'a>,
    head: &Head<'_>,
    asker: &mut impl Asker,
    circumstances: Circumstances,
    trace: &mut impl Trace,
) -> Decision<'a> {
    let &Found { link, policy, ref host, path, is_preview } = found;
    if let Some(from) = policy.active_from {
        trace.step("activeFrom", || when(from, asker.now()));
    }
    if policy.active_from.is_some_and(|from| asker.now().as_second() < from) {
        return switched_off(&link, head, host);
    }
    if let Some(until) = policy.active_until {
        trace.step("activeUntil", || when(until, asker.now()));
    }
    let is_over = policy.active_until.is_some_and(|until| asker.now().as_second() >= until);
    if is_over || circumstances.is_used_up {
        return used_up(&link, head, host);
    }
    if policy.password.is_some() && !circumstances.is_unlocked {
        trace.step("password", || "the link has one".into());
        let is_form = is_read(head.method) || *head.method == Method::POST;
        return if is_form { Decision::Password(link) } else { Decision::MethodNotAllowed };
    }
    if is_preview {
        return if circumstances.is_unlocked { Decision::Preview(link) } else { preview(link, head) };
    }
    if !is_read(head.method) && !matches!(link.status(), 307 | 308) && !circumstances.is_unlocked {
        return Decision::MethodNotAllowed;
    }
    let rule = policy.rules.walk(asker, |rule, failed| {
        trace.step("rule", || match failed {
            None => format!("{:?} holds", rule.name),
            Some(condition) => format!("{:?} does not hold: {condition}", rule.name),
        });
    });
    let (own, variants) = match rule.map(|rule| &rule.target) {
        Some(Leads::Destination(destination)) => (Some(&**destination), None),
        Some(Leads::Variants(variants)) => (None, Some(variants)),
        None => (None, policy.variants.as_ref()),
    };
    let variant: Option<&Variant> = variants.map(|variants| variants.pick(asker.visitor()));
    if let Some(variant) = variant {
        trace.step("variant", || format!("{:?}", variant.name));
    }
    let chosen = own.or(variant.map(|variant| &*variant.destination));
    let mut id = [0; 36];
    let click_id = policy.click_id_parameter.as_deref().map(|name| (name, circumstances.id.encode(&mut id)));
    let additions =
        Additions { path, query: head.query, forward: link.forward(), only: &policy.forward_only, click_id };
    let location = match chosen {
        Some(chosen) => additions.location(chosen, || Bytes::copy_from_slice(chosen.as_bytes())),
        None => additions.location(link.destination(), || link.destination_bytes()),
    };
    let page = if circumstances.is_unlocked { None } else { page(policy, head, asker) };
    let rule = rule.map_or("", |rule| &rule.name);
    let variant = variant.map_or("", |variant| &variant.name);
    let max_clicks = policy
        .max_clicks
        .filter(|_| (*head.method == Method::GET || circumstances.is_unlocked) && !is_ahead(head) && !asker.is_bot());
    Decision::Click(Target { link, location, rule, variant, page, max_clicks })
}

fn named(host: &Host, domain: &Domain) -> String {
    match (host.as_str(), domain.host()) {
        (host, domain) if host == domain => domain.into(),
        (host, domain) => format!("{host}, an alias of {domain}"),
    }
}

fn when(moment: i64, now: Timestamp) -> String {
    let is_past = if now.as_second() < moment { "not yet" } else { "past" };
    Timestamp::from_second(moment).map_or_else(|_| is_past.into(), |moment| format!("{moment}: {is_past}"))
}

/// The page in place of a redirect, if this visitor gets one. It answers a `GET` that is about to be shown.
fn page<'a>(policy: &'a Policy, head: &Head<'_>, asker: &mut impl Asker) -> Option<LinkPage<'a>> {
    if *head.method != Method::GET {
        return None;
    }
    if let Some(card) = &policy.card
        && asker.is_social_bot()
    {
        return Some(LinkPage::Card(card));
    }
    let scripts = policy.scripts.as_ref().filter(|_| !is_ahead(head) && !head.flags.has(Flags::OPTED_OUT))?;
    (!asker.is_bot()).then_some(LinkPage::Scripts(scripts))
}

/// For a link that leads nowhere any more.
pub fn used_up<'a>(link: &Link<'a>, head: &Head<'_>, host: &Host) -> Decision<'a> {
    let own = link.policy().and_then(|policy| policy.fallback.as_ref());
    match own.or_else(|| link.domain().policy()?.expired.as_ref()) {
        Some(address) if is_read(head.method) || is_form(link, head) => fallback(address, None, head, host),
        _ => Decision::Gone(link.domain()),
    }
}

impl<'a> Found<'a> {
    /// For a link whose last click is taken.
    pub fn used_up(&self, head: &Head<'_>) -> Decision<'a> {
        used_up(&self.link, head, &self.host)
    }
}

/// For a link that leads nowhere for now.
fn switched_off<'a>(link: &Link<'a>, head: &Head<'_>, host: &Host) -> Decision<'a> {
    let own = link.policy().and_then(|policy| policy.fallback.as_ref());
    match own.or_else(|| link.domain().policy()?.not_found.as_ref()) {
        Some(address) if is_read(head.method) || is_form(link, head) => {
            fallback(address, Some(link.domain()), head, host)
        }
        _ => not_found(link.domain(), head.method),
    }
}

fn unknown<'a>(domain: &'a Domain, head: &Head<'_>, host: &Host) -> Decision<'a> {
    let Some(policy) = domain.policy() else { return not_found(domain, head.method) };
    if !is_read(head.method) {
        return Decision::MethodNotAllowed;
    }
    if let Some(file) = policy.files.at(head.path) {
        return Decision::File(file);
    }
    if let Some(root) = policy.root.as_ref().filter(|_| matches!(head.path, b"" | b"/")) {
        return fallback(root, None, head, host);
    }
    match &policy.not_found {
        Some(address) => fallback(address, Some(domain), head, host),
        None => Decision::NotFound(domain),
    }
}

fn preview<'a>(link: Link<'a>, head: &Head<'_>) -> Decision<'a> {
    if is_read(head.method) { Decision::Preview(link) } else { Decision::MethodNotAllowed }
}

fn fallback<'a>(address: &Address, unknown_of: Option<&'a Domain>, head: &Head<'_>, host: &Host) -> Decision<'a> {
    let location = address.fill(Values { path: head.path, domain: host.as_str() });
    Decision::Fallback { location, unknown_of }
}

/// Whether it is a form that is sent to a link with a password: a browser follows its redirect with a `GET`.
fn is_form(link: &Link<'_>, head: &Head<'_>) -> bool {
    *head.method == Method::POST && link.policy().is_some_and(|policy| policy.password.is_some())
}

/// Whether no person looks at the answer now.
fn is_ahead(head: &Head<'_>) -> bool {
    head.flags.has(Flags::PREFETCH) || head.flags.has(Flags::PREVIEW)
}

/// Whether a method only reads.
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn not_found<'a>(domain: &'a Domain, method: &Method) -> Decision<'a> {
    if is_read(method) { Decision::NotFound(domain) } else { Decision::MethodNotAllowed }
}

#[cfg(test)]
mod tests;
