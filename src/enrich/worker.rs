//! One worker: from the rings to the spool.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ahash::RandomState;
use crossbeam::channel::Sender;
use hashbrown::HashMap;
use serde_json::value::RawValue;

use super::{
    Batch, MAX_EVENT, NAP, Shared,
    agent::{AgentCache, AgentFacts},
    bot::{self, Lists},
    geo::Locator,
    language, quality, query, referrer,
    session::Sessions,
};
use crate::{
    capture::{Facts, Flags, Inlet, Mark, RawClick},
    clock,
    event::{Agent, AgentType, Bot, ClickEvent, Client, Destination, Edge, Location, Route, SCHEMA, Session},
    fault,
    reloaded::View,
    telemetry::metrics::DropReason,
};

/// A batch is handed on when its text has grown to this many bytes, or when the rings are empty.
const BATCH_BYTES: usize = 128 * 1024;

/// A batch is handed on when it has been filling for this long.
const BATCH_AGE: Duration = Duration::from_millis(100);

const CACHED_AGENTS: usize = 4_096;
const CACHED_FRAGMENTS: usize = 8_192;

pub struct Worker {
    number: usize,
    shared: Arc<Shared>,
    journal: Sender<Batch>,
    enricher: Enricher,
    batch: Batch,
}

impl Worker {
    pub fn new(number: usize, shared: Arc<Shared>, journal: Sender<Batch>) -> Self {
        let enricher = Enricher::new(&shared);
        Self { number, shared, journal, enricher, batch: Batch::default() }
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
                self.take(&click, mark);
                self.batch.read(mark);
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
            // Keys are wiped in time even when nobody clicks.
            self.enricher.sessions.rotate(clock::unix_micros());
            std::thread::sleep(NAP);
        }
    }

    fn take(&mut self, click: &RawClick<'_>, mark: Mark) {
        let facts = click.facts();
        let feeds = self.shared.router.feeds(text(facts.texts.workspace));
        if feeds.is_empty() {
            return self.shared.metrics.click_dropped(DropReason::NoFeed);
        }
        let start = self.batch.text.len();
        let encoded = catch_unwind(AssertUnwindSafe(|| {
            self.enricher.encode(&facts, &mut self.batch.text).inspect(|()| fault::point("enriched"))
        }));
        if let Ok(Ok(())) = encoded
            && self.batch.text.len() - start > MAX_EVENT
        {
            self.batch.text.truncate(start);
            self.shared.metrics.click_dropped(DropReason::TooLarge);
            tracing::error!(id = %facts.id, limit = MAX_EVENT, "an event is too large, and is lost");
        } else if let Ok(Ok(())) = encoded {
            for &feed in feeds {
                self.shared.feeds[usize::from(feed)].routed.inc();
            }
            self.batch.add(facts.id, facts.micros, mark, start, feeds);
            self.shared.metrics.clicks_enriched.inc();
        } else {
            self.batch.text.truncate(start);
            self.shared.metrics.click_dropped(DropReason::WorkerFailed);
            tracing::error!(id = %facts.id, "a worker failed on a click, which is lost: please report this defect");
        }
    }

    fn flush(&mut self) {
        self.shared.metrics.sessions(self.number, self.enricher.sessions.len());
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

/// Turns facts into events, with everything that it remembers from click to click.
pub struct Enricher {
    pop: String,
    honour_opt_out: bool,
    agents: AgentCache,
    crawlers: View<Lists>,
    locator: Locator,
    sessions: Sessions,
    fragments: Fragments,
}

impl Enricher {
    #[allow(clippy::expect_used, reason = "a system without random bytes cannot keep the privacy promise")]
    pub fn new(shared: &Shared) -> Self {
        let config = &shared.config;
        let sessions = Sessions::new(config.session_idle_secs, config.session_visitors, clock::unix_micros());
        Self {
            pop: shared.pop.clone(),
            honour_opt_out: config.honour_opt_out,
            agents: AgentCache::new(CACHED_AGENTS),
            crawlers: shared.crawlers.view(),
            locator: Locator::new(Arc::clone(&shared.geo)),
            sessions: sessions.expect("the operating system gives random bytes"),
            fragments: Fragments::default(),
        }
    }

    /// Appends the click event as JSON.
    ///
    /// # Errors
    /// When the catalog's rendered JSON is broken: a defect.
    pub fn encode(&mut self, facts: &Facts<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let texts = &facts.texts;
        let opted_out = self.honour_opt_out && facts.flags.has(Flags::OPTED_OUT);
        let (mut id, mut timestamp, mut started) = ([0; 36], Timestamp::default(), Timestamp::default());
        self.agents.judge_by(self.crawlers.load());
        let known = self.agents.facts(texts.user_agent);
        let bot = bot::judge(&bot::Evidence { agent: known.bot.as_ref(), facts, network: None, behaviour: false });
        let bot = bot.as_ref();
        let session = (!opted_out && bot.is_none()).then(|| {
            let (visit, first) = self.sessions.click(facts.micros, texts.workspace, &facts.client, texts.user_agent);
            Session { started: started.render(visit.started), first }
        });
        let location = self.locator.locate(facts.client.ip());
        let coarse = location.filter(|_| opted_out).map(coarse);
        let language = language::preferred(texts.accept_language);
        let destination = text(texts.destination);
        let evidence = quality::Evidence {
            path: texts.path,
            query: texts.query,
            referer: texts.referer,
            agent: texts.user_agent,
        };
        let [creator, domain, tags, scripts] =
            self.fragments.parse([texts.creator_json, texts.domain_json, texts.tags_json, texts.scripts_json])?;
        let event = ClickEvent {
            id: facts.id.encode(&mut id),
            schema: SCHEMA,
            timestamp: timestamp.render(facts.micros),
            client: Client {
                language: language.as_ref().map(language::Language::as_str),
                location: if opted_out { coarse.as_ref() } else { location },
                agent: agent(&known, bot),
                session,
            },
            referral: referrer::referral(texts.referer, texts.query, text(texts.host)),
            route: Route {
                id: text(texts.link_id),
                slashtag: text(texts.slashtag),
                created_at: Some(text(texts.created_at)).filter(|time| !time.is_empty()),
                params: query::parse(texts.query),
                creator: creator.as_deref(),
                domain: domain.as_deref().unwrap_or(RawValue::NULL),
                tags: tags.as_deref(),
                scripts: scripts.as_deref().filter(|_| !opted_out),
                rule: None,
                status: facts.status,
                destination: split(destination),
            },
            quality: quality::judge(&evidence),
            edge: Edge { pop: &self.pop },
        };
        serde_json::to_writer(out, &event)
    }
}

fn agent<'a>(known: &'a AgentFacts, bot: Option<&'a Bot>) -> Agent<'a> {
    Agent {
        kind: if bot.is_some() { AgentType::Bot } else { AgentType::Human },
        bot,
        browser: known.browser.as_ref(),
        os: known.os.as_ref(),
        device: known.device,
    }
}

/// What remains of a location when the visitor opted out: country and region.
fn coarse(location: &Location) -> Location {
    Location { country: location.country.clone(), region: location.region.clone(), ..Location::default() }
}

/// Splits an absolute URL as the catalog writes it: `scheme://host[:port]/path[?query][#fragment]`.
fn split(raw: &str) -> Destination<'_> {
    let (protocol, rest) = raw.split_once("://").unwrap_or(("", raw));
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let hostname = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    Destination { raw, protocol, hostname, path, params: query::parse(query.as_bytes()) }
}

/// Text that is ours and therefore UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A time as RFC 3339 in UTC with microseconds.
#[derive(Default)]
struct Timestamp([u8; 27]);

impl Timestamp {
    fn render(&mut self, micros: u64) -> &str {
        let time = jiff::Timestamp::from_microsecond(micros as i64).unwrap_or_default();
        let time = jiff::tz::Offset::UTC.to_datetime(time);
        self.0 = *b"0000-00-00T00:00:00.000000Z";
        self.digits(0..4, time.year() as u32);
        for (at, part) in
            [(5, time.month()), (8, time.day()), (11, time.hour()), (14, time.minute()), (17, time.second())]
        {
            self.digits(at..at + 2, part as u32);
        }
        self.digits(20..26, (micros % 1_000_000) as u32);
        text(&self.0)
    }

    fn digits(&mut self, place: std::ops::Range<usize>, mut number: u32) {
        for digit in self.0[place].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// JSON that the catalog has rendered, checked once for each text and then shared.
#[derive(Default)]
struct Fragments(HashMap<Box<[u8]>, Arc<RawValue>, RandomState>);

impl Fragments {
    fn parse<const N: usize>(&mut self, texts: [&[u8]; N]) -> serde_json::Result<[Option<Arc<RawValue>>; N]> {
        let mut parsed = [const { None }; N];
        for (to, from) in parsed.iter_mut().zip(texts).filter(|(_, from)| !from.is_empty()) {
            if let Some(known) = self.0.get(from) {
                *to = Some(Arc::clone(known));
                continue;
            }
            let value: Arc<RawValue> = serde_json::from_slice::<Box<RawValue>>(from)?.into();
            if self.0.len() == CACHED_FRAGMENTS {
                self.0.clear();
            }
            self.0.insert(from.into(), Arc::clone(&value));
            *to = Some(value);
        }
        Ok(parsed)
    }
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
        assert_eq!(Timestamp::default().render(1_795_424_462_000_042), "2026-11-23T09:01:02.000042Z");
        assert_eq!(Timestamp::default().render(0), "1970-01-01T00:00:00.000000Z");
    }
}
