//! Turns the facts of a click into its event and its tally.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    Shared,
    fragments::{self, Fragments},
    metrics::EnrichMetrics,
    route::Traffic,
    text,
};
use crate::{
    click::{Facts, Flags, Texts, Visit},
    config::Precision,
    event::{
        Agent, AgentType, Bot, ClickEvent, Client, Code, Destination, Device, Edge, Named, OptOut, Route, SCHEMA,
        Session, Timestamp, query,
    },
    files::Cached,
    quality::{self, velocity::VelocityTracker},
    session::Sessions,
    stats::tally::{Ids, Tally},
    visitor::{
        agent::{
            AgentCache, AgentFacts, DEFAULT_CACHE_ENTRIES,
            hints::{HintCache, Hints},
        },
        bot::{self, CrawlerLists},
        geo::{self, Locator},
        language,
        network::{Network, Networks},
        privacy::{self, Policies},
        referrer::{self, Places, Spammers},
        signature::{SignatureResult, SignatureVerifier, SignedAgents},
    },
};

/// What encoding a click has produced.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    /// Where the event begins.
    pub event: usize,
    /// The visit that the click belongs to, if any.
    pub visit: Option<Visit>,
}

/// Turns facts into events, and keeps what is needed from click to click.
pub struct Enricher {
    pop: String,
    policies: Arc<Policies>,
    agents: AgentCache,
    hints: HintCache,
    crawlers: Cached<CrawlerLists>,
    locator: Locator,
    places: Cached<Places>,
    spammers: Cached<Spammers>,
    networks: Cached<Networks>,
    signed_agents: Cached<SignedAgents>,
    signatures: SignatureVerifier,
    metrics: Arc<EnrichMetrics>,
    sessions: Arc<Sessions>,
    domains: Fragments,
    creators: Fragments,
    tags: Fragments,
    scripts: Fragments,
    quality: Arc<quality::State>,
    velocity: VelocityTracker,
    timestamp: Timestamp,
}

impl Enricher {
    pub fn new(shared: &Shared) -> Self {
        Self {
            pop: shared.pop.clone(),
            policies: Arc::clone(&shared.routing.peek().policies),
            agents: AgentCache::new(DEFAULT_CACHE_ENTRIES),
            hints: HintCache::default(),
            crawlers: shared.crawlers.cached(),
            locator: Locator::new(Arc::clone(&shared.geo)),
            places: shared.sources.places.cached(),
            spammers: shared.sources.spammers.cached(),
            networks: shared.sources.networks.cached(),
            signed_agents: shared.sources.signed_agents.cached(),
            signatures: SignatureVerifier::default(),
            metrics: Arc::clone(&shared.metrics),
            sessions: Arc::clone(&shared.sessions),
            domains: Fragments::new(fragments::domain),
            creators: Fragments::new(fragments::creator),
            tags: Fragments::new(fragments::named),
            scripts: Fragments::new(fragments::named),
            quality: Arc::clone(&shared.quality),
            velocity: VelocityTracker::new(Arc::clone(&shared.quality)),
            timestamp: Timestamp::ZERO,
        }
    }

    /// From now on events reveal what these policies allow.
    pub fn set_policies(&mut self, policies: &Arc<Policies>) {
        self.policies = Arc::clone(policies);
    }

    /// Appends the click's tally, if clicks are counted (`tally`), and the click event as JSON, if a feed takes such
    /// traffic (`takes`). `visit` is the visit that an earlier process has recorded for the click.
    ///
    /// # Errors
    /// When the JSON that the catalog has rendered is invalid: an internal error.
    pub fn encode(
        &mut self,
        facts: &Facts<'_>,
        tally: bool,
        takes: impl FnOnce(Traffic) -> bool,
        visit: Option<Visit>,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<Encoded> {
        let texts = &facts.texts;
        let policy = self.policies.of(texts.workspace);
        let opted_out = policy.honour_opt_out && facts.flags.has(Flags::OPTED_OUT);
        let (mut id, mut started) = ([0; 36], Timestamp::ZERO);
        self.agents.set_lists(self.crawlers.load());
        let known = self.hints.hinted(self.agents.facts(texts.user_agent), &Hints::of(facts));
        let network = self.networks.load().of(facts.client.ip());
        let velocity = self.velocity.click(facts);
        let signed = self.signed(facts);
        let seen = bot::BotEvidence { signed, agent: known.bot.as_ref(), facts, network, behaviour: velocity.bot };
        let bot = bot::classify(&seen);
        let bot = bot.as_ref();
        let visit = (!opted_out && bot.is_none()).then(|| self.sessions.click(facts, &known.digest, visit));
        let session = visit.map(|visit| Session { started: started.render(visit.started), first: visit.first });
        // What a rule has decided by is what the event says, whichever database is the current one by now.
        let found = geo::found::decode(texts.location);
        let location = match &found {
            Some(found) => found.as_ref(),
            None => self.locator.locate(facts.client.ip()),
        };
        let precision = policy.precision(opted_out);
        let is_limited = precision < Precision::Coordinates;
        let limited = location.filter(|_| is_limited).and_then(|location| privacy::limited(location, precision));
        let language = language::preferred(texts.accept_language);
        let destination = text(texts.destination);
        let referral = referrer::referral(texts.referer, texts.query, text(texts.host), self.places.load());
        let spammers = self.spammers.load();
        let spam_referrer = referral.as_ref().is_some_and(|referral| spammers.is_spam(&referral.hostname));
        let evidence = quality::Evidence {
            flood: velocity.flood,
            blocked_destination: self.quality.destinations.block(texts.destination),
            hosting_network: network == Some(Network::Hosting),
            anonymizer_network: network == Some(Network::Anonymizer),
            spam_referrer,
            ..facts.evidence(known.claims)
        };
        let mut quality = quality::classify(&evidence);
        // Several reasons: the graver class.
        let invalid = |bot: &Bot| bot.reason.invalid(bot.verified || known.bot.is_some());
        quality.invalid = quality.invalid.max(bot.map(invalid));
        let (creator, tags) = (self.creators.place(texts.creator_json)?, self.tags.place(texts.tags_json)?);
        let (domain, scripts) = (self.domains.place(texts.domain_json)?, self.scripts.place(texts.scripts_json)?);
        let event = ClickEvent {
            id: facts.id.encode(&mut id),
            schema: SCHEMA,
            timestamp: self.timestamp.render(facts.micros),
            client: Client {
                language: language.as_ref().map(Code::as_str),
                location: if is_limited { limited.as_ref() } else { location },
                agent: agent(&known, bot),
                opt_out: opt_out(facts.flags),
                session,
            },
            referral,
            route: Route {
                id: text(texts.link_id),
                slashtag: text(texts.slashtag),
                created_at: Some(text(texts.created_at)).filter(|time| !time.is_empty()),
                params: query::parse(texts.query),
                creator: self.creators.json(creator),
                domain: self.domains.json(domain).unwrap_or(RawValue::NULL),
                tags: self.tags.json(tags),
                scripts: self.scripts.json(scripts).filter(|_| !opted_out),
                rule: Some(text(texts.rule)).filter(|rule| !rule.is_empty()),
                variant: Some(text(texts.variant)).filter(|variant| !variant.is_empty()),
                status: facts.status,
                destination: Destination::split(destination),
            },
            quality,
            edge: Edge { pop: &self.pop },
        };
        if tally {
            tally_of(&event, texts, self.creators.ids(creator), self.tags.ids(tags)).encode(out);
        }
        let start = out.len();
        if takes(Traffic { is_bot: bot.is_some(), is_invalid: event.quality.invalid.is_some() }) {
            event.write(out);
        }
        Ok(Encoded { event: start, visit })
    }

    /// The bot that has signed the click, if its signature is verified.
    fn signed(&mut self, facts: &Facts<'_>) -> Option<Bot> {
        let result = self.signatures.verify(facts, self.signed_agents.load())?;
        self.metrics.signature(result.as_ref().err().copied().unwrap_or(SignatureResult::Verified));
        result.ok()
    }
}

/// The tally of an event: what it counts for.
fn tally_of<'a>(event: &'a ClickEvent<'_>, texts: &Texts<'a>, creator: Ids<'a>, tags: Ids<'a>) -> Tally<'a> {
    let ClickEvent { client: Client { agent, location, session, .. }, referral, .. } = event;
    let name = |named: Option<&'a Named>| named.map_or("", |named| named.name.as_ref());
    Tally {
        human: agent.kind == AgentType::Human,
        session: session.as_ref().is_some_and(|session| session.first),
        domain: text(texts.host),
        slashtag: event.route.slashtag,
        workspace: text(texts.workspace),
        creator: creator.iter().next().unwrap_or_default(),
        country: location.and_then(|location| location.country.as_ref().map(Code::as_str)).unwrap_or_default(),
        referrer: referral.as_ref().map_or("", |referral| referral.hostname.as_ref()),
        device: agent.device.map_or("", Device::name),
        browser: name(agent.browser),
        os: name(agent.os),
        tags,
    }
}

/// The signal that the visitor sent, whatever the policy does with it.
fn opt_out(flags: Flags) -> Option<OptOut> {
    if !flags.has(Flags::OPTED_OUT) {
        return None;
    }
    // Clicks that the previous release captured do not say which it was: then the one with legal force.
    Some(if flags.has(Flags::DNT) && !flags.has(Flags::GPC) { OptOut::Dnt } else { OptOut::Gpc })
}

fn agent<'a>(known: &'a AgentFacts, bot: Option<&'a Bot>) -> Agent<'a> {
    Agent {
        kind: if bot.is_some() { AgentType::Bot } else { AgentType::Human },
        bot,
        browser: known.browser.as_ref(),
        os: known.os.as_ref(),
        device: known.device,
        text: Some(&known.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        click::{ClientAddr, EventId, Protocol},
        config,
        enrich::Routing,
        files::Reloadable,
        link::asker::Asker,
        redirect::{Head, asker::Visitors},
        session::StickyKey,
        stats::metrics::StatsMetrics,
        telemetry::{drops::Drops, metrics::Registry},
        visitor::geo::{Database, GeoStore},
    };

    fn enricher(dir: &std::path::Path) -> Enricher {
        enricher_with(dir, Arc::default())
    }

    fn enricher_with(dir: &std::path::Path, geo: Arc<GeoStore>) -> Enricher {
        let (config, registry) = (config::Enrich::default(), Registry::new());
        Enricher::new(&Shared {
            geo,
            sources: Arc::default(),
            sessions: Arc::new(Sessions::open(dir, &config, None, 0).unwrap()),
            crawlers: Arc::default(),
            routing: Arc::new(Reloadable::new(Routing::nowhere(&config))),
            pop: "test".into(),
            metrics: Arc::new(EnrichMetrics::new(&registry, Drops::of_clicks(&registry))),
            stats: Arc::new(StatsMetrics::new(&registry)),
            quality: Arc::new(quality::State::new(&config::Quality::default()).unwrap()),
            counts: true,
            tap: Arc::default(),
        })
    }

    #[test]
    fn a_click_that_no_feed_takes_is_counted_and_makes_no_event() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut enricher = enricher(dir.path());
        let mut of = |user_agent: &'static str, tally: bool, takes: fn(Traffic) -> bool| {
            let texts = Texts {
                user_agent: user_agent.as_bytes(),
                slashtag: b"spring",
                destination: b"https://www.example.com/",
                ..Texts::default()
            };
            let (client, flags) = (ClientAddr::from_ip([192, 0, 2, 1].into()), Flags::default());
            let (id, protocol) = (EventId::at(0), Protocol::Http11);
            let facts = Facts { id, micros: 1, client, status: 302, protocol, flags, texts };
            let mut out = Vec::new();
            let encoded = enricher.encode(&facts, tally, takes, None, &mut out).unwrap();
            (encoded.event > 0, out.len() > encoded.event)
        };
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0";
        assert_eq!(of("curl/8.5.0", true, |traffic| traffic.is_bot && traffic.is_invalid), (true, true));
        assert_eq!(of("curl/8.5.0", true, |traffic| !traffic.is_bot), (true, false));
        assert_eq!(of("curl/8.5.0", false, |_| false), (false, false));
        // A browser without the headers that all browsers send is a bot, too.
        assert_eq!(of(firefox, false, |traffic| traffic.is_bot), (false, true));
    }

    /// A database in which all addresses of a network are in one country.
    fn database(dir: &std::path::Path, country: &str) -> Database {
        let mut writer = mmdb_writer::Writer::builder("GeoLite2-Country").description(&[("en", "Test")]).build();
        let record = serde_json::json!({"country": {"iso_code": country}});
        writer.insert("192.0.2.0/24".parse::<ipnet::IpNet>().unwrap(), &record).unwrap();
        let file = dir.join(country);
        std::fs::write(&file, writer.to_bytes().unwrap()).unwrap();
        Database::read(&file).unwrap()
    }

    #[test]
    fn the_event_has_the_place_that_a_rule_has_used_though_the_database_was_swapped_in_between() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let geo = Arc::<GeoStore>::default();
        geo.publish(database(dir.path(), "FR"));
        std::fs::write(dir.path().join("secret"), [7; 32]).unwrap();
        let sticky = StickyKey::new(&config::Secret::read(&dir.path().join("secret")).unwrap());
        let policies = Arc::new(Reloadable::new(Policies::new(&config::Enrich::default())));
        let visitors = Visitors::new(&geo, &Arc::default(), &Arc::default(), &policies, &Arc::new(sticky));
        let head = Head::new(&http::Method::GET, b"/spring", Protocol::Http11);
        let mut enricher = enricher_with(dir.path(), Arc::clone(&geo));
        let mut country = |address: [u8; 4], asks: bool| {
            geo.publish(database(dir.path(), "FR"));
            let client = || ClientAddr::from_ip(address.into());
            let link = ("w", "go.brand.com", &b"spring"[..]);
            let mut visitor = visitors.of_names(&head, link, 1, Flags::default(), &client);
            if asks {
                visitor.place();
            }
            let found = visitor.found();
            geo.publish(database(dir.path(), "DE"));
            let texts = Texts { destination: b"https://www.example.com/", location: &found, ..Texts::default() };
            let (id, protocol, flags) = (EventId::at(0), Protocol::Http11, Flags::default());
            let facts = Facts { id, micros: 1, client: client(), status: 302, protocol, flags, texts };
            let mut out = Vec::new();
            enricher.encode(&facts, false, |_| true, None, &mut out).unwrap();
            let event: serde_json::Value = serde_json::from_slice(&out).unwrap();
            event["client"]["location"]["country"].as_str().map(str::to_owned)
        };
        assert_eq!(country([192, 0, 2, 1], true).as_deref(), Some("fr"));
        assert_eq!(country([192, 0, 2, 1], false).as_deref(), Some("de"));
        assert_eq!(country([198, 51, 100, 1], true), None);
    }
}
