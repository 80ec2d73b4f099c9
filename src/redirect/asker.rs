//! What rules and pages ask about the visitor of a request, each part worked out when it is asked for, and once.
//!
//! The functions are those of [`visitor`](crate::visitor) that the workers call later with the same facts, so rule and
//! event agree. What could have changed in between is the database of locations: the location that was found here goes
//! with the click ([`Visitor::found`]), and the worker does not look it up again. Whether the visitor is a bot is not
//! passed on: the worker knows more, how the visitor clicks, and may call a bot what a rule took for a human.
//!
//! The client address is asked for once, when the first part needs it, and stays in here.

use std::{
    cell::RefCell,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;

use super::Head;
use crate::{
    catalog::Link,
    click::{ClientAddr, EventId, Facts, Flags, Texts},
    config,
    event::{BotClass, Code, Device, Location, Named},
    files::Reloadable,
    link::asker::{Asker, Place, Referrer},
    session::{Sessions, StickyKey},
    visitor::{
        Sources,
        agent::{
            AgentCache, AgentFacts,
            hints::{HintCache, Hints},
        },
        bot::{self, BotEvidence, CrawlerStore},
        geo::{self, GeoStore},
        privacy::Policies,
        referrer,
        signature::SignatureVerifier,
    },
};

/// Agent strings that each thread caches.
const CACHED_AGENTS: usize = 2_048;

/// What is known of visitors: the operator's lists and databases, and who has clicked before.
pub struct Visitors {
    pub geo: Arc<GeoStore>,
    pub sources: Arc<Sources>,
    pub crawlers: Arc<CrawlerStore>,
    pub policies: Arc<Reloadable<Policies>>,
    sticky: Arc<StickyKey>,
    /// `redirect.sticky_variants`.
    is_sticky: AtomicBool,
    /// Empty until the pipeline has opened it: everyone is new then.
    sessions: OnceLock<Arc<Sessions>>,
}

impl Visitors {
    pub fn new(
        geo: &Arc<GeoStore>,
        sources: &Arc<Sources>,
        crawlers: &Arc<CrawlerStore>,
        policies: &Arc<Reloadable<Policies>>,
        sticky: &Arc<StickyKey>,
    ) -> Self {
        Self {
            geo: Arc::clone(geo),
            sources: Arc::clone(sources),
            crawlers: Arc::clone(crawlers),
            policies: Arc::clone(policies),
            sticky: Arc::clone(sticky),
            is_sticky: AtomicBool::new(true),
            sessions: OnceLock::new(),
        }
    }

    /// Takes the settings of a configuration.
    pub fn configure(&self, config: &config::Redirect) {
        self.is_sticky.store(config.sticky_variants, Ordering::Relaxed);
    }

    /// From now on it is known who has clicked before.
    pub fn connect(&self, sessions: &Arc<Sessions>) {
        _ = self.sessions.set(Arc::clone(sessions));
    }

    /// The visitor who requests this link, in microseconds since the Unix epoch. `flags` are those of the click:
    /// without TLS, and marked, when the peer is a trusted proxy. `client` reads the client address.
    pub fn of<'a>(
        &'a self,
        head: &'a Head<'a>,
        link: &Link<'a>,
        micros: u64,
        flags: Flags,
        client: &'a dyn Fn() -> ClientAddr,
    ) -> Visitor<'a> {
        self.of_names(head, (link.workspace(), link.host(), link.slashtag()), micros, flags, client)
    }

    /// As [`of`](Self::of), for a link of this workspace, host and slashtag.
    pub(crate) fn of_names<'a>(
        &'a self,
        head: &'a Head<'a>,
        (workspace, host, slashtag): (&'a str, &'a str, &'a [u8]),
        micros: u64,
        flags: Flags,
        client: &'a dyn Fn() -> ClientAddr,
    ) -> Visitor<'a> {
        Visitor {
            visitors: self,
            head,
            workspace,
            host,
            slashtag,
            micros,
            flags,
            read_client: client,
            client: None,
            agent: None,
            bot: None,
            location: None,
            referrer: None,
            random: None,
        }
    }
}

/// A part that is worked out when it is asked for: `None` before.
type Known<T> = Option<T>;

/// The visitor of one request.
pub struct Visitor<'a> {
    visitors: &'a Visitors,
    head: &'a Head<'a>,
    workspace: &'a str,
    host: &'a str,
    slashtag: &'a [u8],
    micros: u64,
    flags: Flags,
    read_client: &'a dyn Fn() -> ClientAddr,
    client: Option<ClientAddr>,
    agent: Option<Arc<AgentFacts>>,
    /// The class, if the visitor is a bot.
    bot: Known<Option<BotClass>>,
    location: Known<Option<Location>>,
    referrer: Known<Option<Origin>>,
    random: Option<u64>,
}

struct Origin {
    kind: &'static str,
    network: Option<Box<str>>,
    host: Box<str>,
}

/// What a thread keeps from request to request.
struct Caches {
    agents: AgentCache,
    hints: HintCache,
    signatures: SignatureVerifier,
}

thread_local! {
    static CACHES: RefCell<Caches> = RefCell::new(Caches {
        agents: AgentCache::new(CACHED_AGENTS),
        hints: HintCache::default(),
        signatures: SignatureVerifier::default(),
    });
}

impl Visitor<'_> {
    /// The location for the click's text of that name: empty when no rule has asked for it.
    pub fn found(&self) -> Vec<u8> {
        self.location.as_ref().map_or_else(Vec::new, |location| geo::found::encode(location.as_ref()))
    }

    /// Whether the visitor has opted out of tracking, where the workspace honours that.
    pub fn has_opted_out(&self) -> bool {
        let policies = &self.visitors.policies;
        self.flags.has(Flags::OPTED_OUT) && policies.peek().honours_opt_out(self.workspace.as_bytes())
    }

    fn client(&mut self) -> &ClientAddr {
        let read = self.read_client;
        self.client.get_or_insert_with(read)
    }

    fn agent(&mut self) -> &Arc<AgentFacts> {
        if self.agent.is_none() {
            let lists = self.visitors.crawlers.peek();
            let found = self.with_facts(|facts| {
                CACHES.with_borrow_mut(|caches| {
                    caches.agents.set_lists(&lists);
                    let known = caches.agents.facts(facts.texts.user_agent);
                    caches.hints.hinted(known, &Hints::of(facts))
                })
            });
            self.agent = Some(found);
        }
        self.agent.get_or_insert_with(Arc::default)
    }

    /// The facts that a click of this request has, as far as a visitor is classified by them.
    fn with_facts<T>(&mut self, read: impl FnOnce(&Facts<'_>) -> T) -> T {
        let head = self.head;
        let texts = Texts {
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
            workspace: self.workspace.as_bytes(),
            host: self.host.as_bytes(),
            signature_agent: head.signature.agent,
            signature_input: head.signature.input,
            signature: head.signature.signature,
            ..Texts::default()
        };
        let client = ClientAddr::from_ip(self.client().ip());
        read(&Facts {
            id: EventId::at(self.micros),
            micros: self.micros,
            client,
            status: 302,
            protocol: head.protocol,
            flags: self.flags,
            texts: texts.cut(),
        })
    }

    fn bot(&mut self) -> Option<BotClass> {
        if let Some(bot) = self.bot {
            return bot;
        }
        let agent = Arc::clone(self.agent());
        let network = self.visitors.sources.network(self.client().ip());
        let signed_agents = self.visitors.sources.signed_agents.peek();
        let bot = self.with_facts(|facts| {
            let signed =
                CACHES.with_borrow_mut(|caches| caches.signatures.verify(facts, &signed_agents)).and_then(Result::ok);
            let seen = BotEvidence { signed, agent: agent.bot.as_ref(), facts, network, behaviour: false };
            bot::classify(&seen).and_then(|bot| bot.class.or(Some(BotClass::Other)))
        });
        self.bot = Some(bot);
        bot
    }

    fn named(named: Option<&Named>) -> Option<&str> {
        named.map(|named| named.name.as_ref())
    }
}

impl Asker for Visitor<'_> {
    fn now(&mut self) -> Timestamp {
        Timestamp::from_microsecond(self.micros.cast_signed()).unwrap_or_default()
    }

    fn address(&mut self) -> Option<IpAddr> {
        Some(self.client().ip()).filter(|address| !address.is_unspecified())
    }

    fn query(&mut self) -> &[u8] {
        self.head.query
    }

    fn accept_language(&mut self) -> &[u8] {
        self.head.accept_language
    }

    fn referrer(&mut self) -> Option<Referrer<'_>> {
        let origin = self.referrer.get_or_insert_with(|| {
            let places = self.visitors.sources.places.peek();
            let referral = referrer::referral(self.head.referer, self.head.query, self.host, &places)?;
            let origin = referral.origin;
            Some(Origin {
                kind: origin.map_or("other", |origin| origin.kind.name()),
                network: origin.and_then(|origin| origin.name).map(Into::into),
                host: referral.hostname.as_ref().into(),
            })
        });
        let Origin { kind, network, host } = origin.as_ref()?;
        Some(Referrer { kind, network: network.as_deref(), host })
    }

    fn os(&mut self) -> Option<&str> {
        Self::named(self.agent().os.as_ref())
    }

    fn device(&mut self) -> Option<&str> {
        self.agent().device.map(Device::name)
    }

    fn browser(&mut self) -> Option<&str> {
        Self::named(self.agent().browser.as_ref())
    }

    fn is_bot(&mut self) -> bool {
        self.bot().is_some()
    }

    fn is_social_bot(&mut self) -> bool {
        self.bot() == Some(BotClass::SocialPreview)
    }

    fn place(&mut self) -> Place<'_> {
        if self.location.is_none() {
            let address = self.client().ip();
            self.location = Some(self.visitors.geo.locate(address));
        }
        let location = self.location.as_ref().and_then(Option::as_ref);
        location.map_or_else(Place::default, |location| Place {
            country: location.country.as_ref().map(Code::as_str),
            region: location.region.as_ref().map(Code::as_str),
            city: location.city.as_deref(),
        })
    }

    /// Bots and visitors who opted out are not remembered: they are new each time.
    fn is_returning(&mut self) -> bool {
        let Some(sessions) = self.visitors.sessions.get() else { return false };
        if self.has_opted_out() || self.is_bot() {
            return false;
        }
        let digest = self.agent().digest;
        let workspace = self.workspace.as_bytes();
        sessions.knows(workspace, self.client(), &digest)
    }

    fn visitor(&mut self) -> u64 {
        if !self.visitors.is_sticky.load(Ordering::Relaxed) || self.has_opted_out() {
            return *self.random.get_or_insert_with(|| fastrand::u64(..));
        }
        let digest = self.agent().digest;
        let link = [self.workspace.as_bytes(), self.host.as_bytes(), self.slashtag];
        let visitors = self.visitors;
        visitors.sticky.visitor(link, self.client(), &digest)
    }
}

#[cfg(test)]
mod tests;
