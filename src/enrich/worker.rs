//! One worker: from the rings to the spool.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam::channel::Sender;
use hashbrown::HashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Batch, NAP, Shared,
    privacy::{self, Policies},
};
use crate::{
    capture::{Inlet, Mark},
    click::{Facts, Flags, RawClick, Texts, Visit},
    config::Precision,
    event::{
        Agent, AgentType, Bot, ClickEvent, Client, Code, Destination, Device, Edge, MAX_EVENT, Named, Route, SCHEMA,
        Session, query,
    },
    files::Cached,
    quality::{self, velocity::VelocityTracker},
    runtime::{clock, failpoint::fail_point},
    session::Sessions,
    stats::tally::{IdList, Ids, Tally},
    telemetry::metrics::DropReason,
    visitor::{
        agent::{
            AgentCache, AgentFacts, DEFAULT_CACHE_ENTRIES,
            hints::{HintCache, Hints},
        },
        bot::{self, Lists},
        geo::Locator,
        language,
        network::{Network, Networks},
        referrer::{self, Places, Spammers},
    },
};

/// A batch is handed on when its text has grown to this many bytes, or when the rings are empty.
const BATCH_BYTES: usize = 128 * 1024;

/// A batch is handed on when it has been filling for this long.
const BATCH_AGE: Duration = Duration::from_millis(100);

const CACHED_FRAGMENTS: usize = 8_192;
/// Most texts of one kind in a click.
const PER_CLICK: usize = 2;

pub struct Worker {
    shared: Arc<Shared>,
    journal: Sender<Batch>,
    enricher: Enricher,
    batch: Batch,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, journal: Sender<Batch>) -> Self {
        let enricher = Enricher::new(&shared);
        Self { shared, journal, enricher, batch: Batch::default() }
    }

    /// Works until `stopping` is set and the rings are empty.
    pub fn run(mut self, mut inlet: Inlet, stopping: &AtomicBool) {
        let mut batch_began = Instant::now();
        loop {
            // Read before the rings: what is pushed before the flag is set is then always seen.
            let last_round = stopping.load(Ordering::Acquire);
            while let Some((click, mark)) = inlet.pop() {
                if self.batch.is_empty() {
                    batch_began = Instant::now();
                }
                let visit = self.take(&click, mark);
                self.batch.read(mark);
                if let Some(visit) = visit {
                    inlet.note(mark, visit);
                }
                if self.batch.text.len() >= BATCH_BYTES || batch_began.elapsed() >= BATCH_AGE {
                    self.flush();
                }
            }
            self.flush();
            for _ in 0..inlet.take_damaged() {
                self.shared.metrics.click_dropped(DropReason::Damaged);
            }
            if last_round {
                return;
            }
            std::thread::sleep(NAP);
        }
    }

    /// Makes an event of a click. Tells the visit that it belongs to, if it is one of a visit.
    fn take(&mut self, click: &RawClick<'_>, mark: Mark) -> Option<Visit> {
        let facts = click.facts();
        let feeds = self.shared.router.feeds(text(facts.texts.workspace));
        let wanted = Wanted { tally: self.shared.counts, event: !feeds.is_empty() };
        if !wanted.tally && !wanted.event {
            self.shared.metrics.click_dropped(DropReason::NoFeed);
            return None;
        }
        let start = self.batch.text.len();
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            let encoded = self.enricher.encode(&facts, wanted, click.visit(), &mut self.batch.text)?;
            #[cfg(debug_assertions)]
            super::leak::spill(&facts.client, &mut self.batch.text, &self.shared.metrics);
            fail_point("enriched");
            serde_json::Result::Ok(encoded)
        }));
        if let Ok(Ok(Encoded { event, .. })) = encoded
            && self.batch.text.len() - event > MAX_EVENT
        {
            self.batch.text.truncate(start);
            self.shared.metrics.click_dropped(DropReason::TooLarge);
            tracing::error!(id = %facts.id, limit = MAX_EVENT, "an event is too large, and is lost");
        } else if let Ok(Ok(Encoded { event, .. })) = encoded {
            for &feed in feeds {
                self.shared.feeds[usize::from(feed)].routed.inc();
            }
            self.batch.add(facts.id, facts.micros, mark, (start, event), feeds);
            let metrics = &self.shared.metrics;
            metrics.clicks_enriched.inc();
            metrics.clicks_unfed.inc_by(feeds.is_empty().into());
            metrics.stats.tallied.inc_by(wanted.tally.into());
        } else {
            self.batch.text.truncate(start);
            self.shared.metrics.click_dropped(DropReason::WorkerFailed);
            tracing::error!(id = %facts.id, "a worker failed on a click, which is lost: please report this defect");
        }
        encoded.ok()?.ok()?.visit
    }

    fn flush(&mut self) {
        // Keys are wiped in time even when nobody clicks.
        self.shared.sessions.tick(clock::unix_micros());
        if self.batch.is_empty() {
            return;
        }
        let next = Batch { text: Vec::with_capacity(BATCH_BYTES + 8_192), ..Batch::default() };
        // The journal outlives its workers; it takes batches even when it cannot write any more.
        if self.journal.send(std::mem::replace(&mut self.batch, next)).is_err() {
            tracing::error!("the journal is gone; its clicks wait in memory for the next start");
        }
    }
}

/// What is written down of a click.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What it counts for.
    pub tally: bool,
    /// The event.
    pub event: bool,
}

/// What was made of a click.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    /// Where its event begins.
    pub event: usize,
    /// The visit that it belongs to, if it is one of a visit.
    pub visit: Option<Visit>,
}

/// Turns facts into events, with everything that it remembers from click to click.
pub struct Enricher {
    pop: String,
    policies: Policies,
    agents: AgentCache,
    hints: HintCache,
    crawlers: Cached<Lists>,
    locator: Locator,
    places: Cached<Places>,
    spammers: Cached<Spammers>,
    networks: Cached<Networks>,
    sessions: Arc<Sessions>,
    fragments: Fragments,
    creators: Fragments,
    tags: Fragments,
    quality: Arc<quality::State>,
    velocity: VelocityTracker,
    timestamp: Timestamp,
}

impl Enricher {
    pub fn new(shared: &Shared) -> Self {
        Self {
            pop: shared.pop.clone(),
            policies: Policies::new(&shared.config),
            agents: AgentCache::new(DEFAULT_CACHE_ENTRIES),
            hints: HintCache::default(),
            crawlers: shared.crawlers.cached(),
            locator: Locator::new(Arc::clone(&shared.geo)),
            places: shared.sources.places.cached(),
            spammers: shared.sources.spammers.cached(),
            networks: shared.sources.networks.cached(),
            sessions: Arc::clone(&shared.sessions),
            fragments: Fragments::new(|_| Ok(IdList::default())),
            creators: Fragments::new(id_of_creator),
            tags: Fragments::new(ids_of_tags),
            quality: Arc::clone(&shared.quality),
            velocity: VelocityTracker::new(Arc::clone(&shared.quality)),
            timestamp: Timestamp::ZERO,
        }
    }

    /// Appends the click's tally and the click event as JSON, as far as they are wanted. `visit` is what was found when
    /// the click was seen before.
    ///
    /// # Errors
    /// When the catalog's rendered JSON is broken: a defect.
    pub fn encode(
        &mut self,
        facts: &Facts<'_>,
        wanted: Wanted,
        visit: Option<Visit>,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<Encoded> {
        let texts = &facts.texts;
        let policy = self.policies.of(texts.workspace);
        let opted_out = policy.honour_opt_out && facts.flags.has(Flags::OPTED_OUT);
        let (mut id, mut started) = ([0; 36], Timestamp::ZERO);
        self.agents.judge_by(self.crawlers.load());
        let known = self.hints.told(self.agents.facts(texts.user_agent), &Hints::of(facts));
        let network = self.networks.load().of(facts.client.ip());
        let velocity = self.velocity.click(facts);
        let seen = bot::Evidence { agent: known.bot.as_ref(), facts, network, behaviour: velocity.bot };
        let bot = bot::judge(&seen);
        let bot = bot.as_ref();
        let visit = (!opted_out && bot.is_none()).then(|| self.sessions.click(facts, &known.digest, visit));
        let session = visit.map(|visit| Session { started: started.render(visit.started), first: visit.first });
        let location = self.locator.locate(facts.client.ip());
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
        for fragments in [&mut self.creators, &mut self.tags, &mut self.fragments] {
            fragments.begin();
        }
        let (creator, tags) = (self.creators.place(texts.creator_json)?, self.tags.place(texts.tags_json)?);
        let (domain, scripts) = (self.fragments.place(texts.domain_json)?, self.fragments.place(texts.scripts_json)?);
        let event = ClickEvent {
            id: facts.id.encode(&mut id),
            schema: SCHEMA,
            timestamp: self.timestamp.render(facts.micros),
            client: Client {
                language: language.as_ref().map(Code::as_str),
                location: if is_limited { limited.as_ref() } else { location },
                agent: agent(&known, bot),
                session,
            },
            referral,
            route: Route {
                id: text(texts.link_id),
                slashtag: text(texts.slashtag),
                created_at: Some(text(texts.created_at)).filter(|time| !time.is_empty()),
                params: query::parse(texts.query),
                creator: self.creators.json(creator),
                domain: self.fragments.json(domain).unwrap_or(RawValue::NULL),
                tags: self.tags.json(tags),
                scripts: self.fragments.json(scripts).filter(|_| !opted_out),
                rule: None,
                status: facts.status,
                destination: split(destination),
            },
            quality: quality::classify(&evidence),
            edge: Edge { pop: &self.pop },
        };
        if wanted.tally {
            tally(&event, texts, self.creators.ids(creator), self.tags.ids(tags)).encode(out);
        }
        let start = out.len();
        if wanted.event {
            event.write(out);
        }
        Ok(Encoded { event: start, visit })
    }
}

/// What an event counts for.
fn tally<'a>(event: &'a ClickEvent<'_>, texts: &Texts<'a>, creator: Ids<'a>, tags: Ids<'a>) -> Tally<'a> {
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

/// Splits an absolute URL as the catalog writes it: `scheme://host[:port]/path[?query][#fragment]`.
fn split(raw: &str) -> Destination<'_> {
    let (protocol, rest) = raw.split_at(raw.bytes().position(|byte| byte == b':').unwrap_or(0));
    let (protocol, rest) = rest.strip_prefix("://").map_or(("", raw), |rest| (protocol, rest));
    let (rest, _fragment) = cut(rest, b'#');
    let (address, query) = cut(rest, b'?');
    let (host, path) = address.split_at(address.bytes().position(|byte| byte == b'/').unwrap_or(address.len()));
    let port = host.bytes().rev().take_while(u8::is_ascii_digit).count();
    let hostname = host[..host.len() - port].strip_suffix(':').unwrap_or(host);
    Destination { raw, protocol, hostname, path, params: query::parse(query.as_bytes()) }
}

/// What stands before the first such byte of ASCII, and behind it.
fn cut(text: &str, at: u8) -> (&str, &str) {
    memchr::memchr(at, text.as_bytes()).map_or((text, ""), |found| (&text[..found], &text[found + 1..]))
}

/// Text that is ours and therefore UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A time as RFC 3339 in UTC with microseconds. Many clicks are of the same second: it is kept.
struct Timestamp {
    text: [u8; 27],
    second: Option<u64>,
}

impl Timestamp {
    const ZERO: Self = Self { text: *b"0000-00-00T00:00:00.000000Z", second: None };

    fn render(&mut self, micros: u64) -> &str {
        let second = micros / 1_000_000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.render_second(second);
        }
        self.digits(20..26, (micros % 1_000_000) as u32);
        text(&self.text)
    }

    fn render_second(&mut self, second: u64) {
        let time = jiff::Timestamp::from_second(second as i64).unwrap_or_default();
        let time = jiff::tz::Offset::UTC.to_datetime(time);
        self.digits(0..4, time.year() as u32);
        for (at, part) in
            [(5, time.month()), (8, time.day()), (11, time.hour()), (14, time.minute()), (17, time.second())]
        {
            self.digits(at..at + 2, part as u32);
        }
    }

    fn digits(&mut self, place: std::ops::Range<usize>, mut number: u32) {
        for digit in self.text[place].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// JSON that the catalog has rendered, checked once for each text.
struct Fragments {
    /// The catalog's texts: nobody outside aims at a bucket.
    known: HashMap<Box<[u8]>, usize>,
    all: Vec<Fragment>,
    /// Finds the ids in a text.
    ids: fn(&str) -> serde_json::Result<IdList>,
}

struct Fragment {
    json: Box<RawValue>,
    /// The ids in it that are counted.
    ids: IdList,
}

impl Fragments {
    fn new(ids: fn(&str) -> serde_json::Result<IdList>) -> Self {
        Self { known: HashMap::default(), all: Vec::new(), ids }
    }

    /// Sees to it that there is room for a click's. Places that were given before mean nothing any more.
    fn begin(&mut self) {
        if self.all.len() + PER_CLICK > CACHED_FRAGMENTS {
            self.known.clear();
            self.all.clear();
        }
    }

    /// The place of a text; `None` for an empty one.
    fn place(&mut self, text: &[u8]) -> serde_json::Result<Option<usize>> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(place) = self.known.get(text) {
            return Ok(Some(*place));
        }
        let json: Box<RawValue> = serde_json::from_slice(text)?;
        self.all.push(Fragment { ids: (self.ids)(json.get())?, json });
        self.known.insert(text.into(), self.all.len() - 1);
        Ok(Some(self.all.len() - 1))
    }

    fn json(&self, place: Option<usize>) -> Option<&RawValue> {
        Some(&*self.all.get(place?)?.json)
    }

    fn ids(&self, place: Option<usize>) -> Ids<'_> {
        place.and_then(|place| self.all.get(place)).map(|known| known.ids.ids()).unwrap_or_default()
    }
}

/// The id in the event's `route.creator`, if it has one.
fn id_of_creator(json: &str) -> serde_json::Result<IdList> {
    #[derive(Deserialize)]
    struct Creator {
        id: Option<String>,
    }
    Ok(IdList::new(serde_json::from_str::<Creator>(json)?.id.as_deref()))
}

/// The ids in the event's `route.tags`: its keys.
fn ids_of_tags(json: &str) -> serde_json::Result<IdList> {
    let tags: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
    Ok(IdList::new(tags.keys().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_splits_into_its_parts() {
        let of = |raw| {
            let Destination { protocol, hostname, path, params, .. } = split(raw);
            (protocol, hostname, path, params.map_or(0, |params| params.query.0.len()))
        };
        assert_eq!(of("https://a.example/p/q?x=1&y=2#z"), ("https", "a.example", "/p/q", 2));
        assert_eq!(of("http://a.example:8080/"), ("http", "a.example", "/", 0));
        assert_eq!(of("https://[2001:db8::1]/p"), ("https", "[2001:db8::1]", "/p", 0));
        assert_eq!(of("https://[2001:db8::1]:81/p"), ("https", "[2001:db8::1]", "/p", 0));
        assert_eq!(of("https://a.example/#a?b"), ("https", "a.example", "/", 0));
    }

    #[test]
    fn a_time_is_rfc_3339_with_microseconds() {
        let mut time = Timestamp::ZERO;
        assert_eq!(time.render(1_795_424_462_000_042), "2026-11-23T09:01:02.000042Z");
        assert_eq!(time.render(1_795_424_462_999_999), "2026-11-23T09:01:02.999999Z");
        assert_eq!(time.render(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time.render(1_795_424_463_000_001), "2026-11-23T09:01:03.000001Z");
    }
}
