//! Answers requests as an edge with a configuration would, without being one: for `clickedge lookup`.
//!
//! The catalog, the databases and the lists are read as the edge reads them, and the request goes through the edge's
//! own parser and redirect. Nothing is captured or counted, and no file is changed. What only a running edge knows is
//! missing: who has clicked before, and which address enumerates links.
//!
//! [`LiveLookup`] does the same inside a running edge, with the catalog and the lists that it has in memory.

pub mod request;

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use arc_swap::ArcSwap;

use super::{OperatorFiles, StartError, gauges::Metrics, preflight::of_files};
use crate::{
    config::{Config, Secret},
    listener::request::HeadLimits,
    redirect::{
        self, Redirector, TrustedProxies,
        asker::Visitors,
        click_limits::{ClickLimits, UsedClicks},
        explain::Steps,
        password::Passwords,
    },
    runtime::clock,
    session::StickyKey,
    stats::unknown::UnknownSlashtags,
    tls, visitor,
};

pub use crate::redirect::explain::{Followed, Taken};

/// An address of documentation, which no client has: where the detectors note something, it concerns no visitor.
pub const NO_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// An edge that answers and does nothing else.
pub struct Lookup {
    redirector: Redirector,
    limits: HeadLimits,
    has_upstream: bool,
}

/// A request, as it would arrive.
pub struct Request<'a> {
    /// The head, with its empty line.
    pub head: &'a [u8],
    pub tls: bool,
    /// The client, or the proxy before it.
    pub peer: IpAddr,
    /// Microseconds since the Unix epoch.
    pub at: u64,
}

/// What a request would get.
#[derive(Clone, Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the request would go to the upstream; the answer is then unknown.
    pub is_passed_on: bool,
    /// `None` when no link was followed.
    pub followed: Option<Followed>,
    pub steps: Vec<Taken>,
}

impl Lookup {
    /// Reads the files of a configuration. Returns what of a running edge's state cannot be read, too.
    ///
    /// # Errors
    /// When a file is rejected that decides about answers.
    pub fn open(config: &Config) -> Result<(Self, Vec<String>), StartError> {
        let mut stateless = config.clone();
        stateless.catalog.forget_state();
        let files = OperatorFiles::new(&stateless)?;
        // Certificates and secrets are for the edge's own user.
        let is_relevant = |key: &str| {
            ["catalog.", "enrich.", "quality."].iter().any(|part| key.starts_with(part))
                && key != "enrich.session_key_file"
        };
        let mut loaded = files.load();
        loaded.errors.retain(|error| is_relevant(&error.key));
        of_files(loaded).into_result()?;
        visitor::warm_up()?;
        let mut unread = Vec::new();
        files.catalog.configure(&config.catalog);
        if let Err(error) = files.catalog.peek_log() {
            unread.push(format!("changes of links: {error}"));
        }
        let used = UsedClicks::read(&config.capture.dir, &config.spool.dir).unwrap_or_else(|error| {
            unread.push(format!("the counts of links with maxClicks cannot be read ({error}); they count as unused"));
            UsedClicks::default()
        });
        let secret =
            files.secret.first().or_else(|| tls::known_secret_of_this_machine(&config.capture.dir).map(Arc::new));
        let secret = secret.unwrap_or_else(|| {
            unread.push("the secret of variants cannot be read; the edge may choose another variant".into());
            Arc::new(Secret::placeholder())
        });
        let visitors = Arc::new(files.visitors(config, StickyKey::new(&secret)));
        Ok((Self::new(config, &files, visitors, used)?, unread))
    }

    fn new(
        config: &Config,
        files: &OperatorFiles,
        visitors: Arc<Visitors>,
        used: UsedClicks,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::new();
        let redirector = Redirector::new(
            &config.redirect,
            TrustedProxies::new(&config.client_address)?,
            &files.quality,
            redirect::Parts {
                catalog: Arc::clone(&files.catalog),
                capture: None,
                metrics: Arc::clone(&metrics.redirect),
                visitors,
                limits: Arc::new(ClickLimits::looked_at(used)),
                unknown: Arc::new(UnknownSlashtags::new(clock::unix_secs())),
                passwords: Passwords::start(1, 1)?,
                // It is for requests.
                hook: None,
            },
        );
        let limits = HeadLimits {
            target: config.limits.target_bytes,
            bytes: config.limits.header_bytes,
            fields: config.limits.header_fields,
        };
        Ok(Self { redirector, limits, has_upstream: config.upstream.is_some() })
    }

    /// What a request would get.
    pub fn answer(&self, request: &Request<'_>) -> Answered {
        let mut steps = Steps::default();
        let Request { head, tls, peer, at } = *request;
        let (answer, is_branded) =
            self.redirector.look_up(head, &self.limits, (peer, tls), (at, clock::monotonic()), &mut steps);
        let is_passed_on = !is_branded && self.has_upstream;
        let (status, body) = (answer.status, answer.body.to_vec());
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let mut headers = Vec::new();
        let Ok(()) = answer.each_header(|name, value| {
            headers.push((name.to_string(), text(value.as_bytes())));
            Ok::<(), Infallible>(())
        });
        Answered { status, headers, body, is_passed_on, followed: steps.followed, steps: steps.taken }
    }
}

/// Answers requests as the running edge does, without a click and without a trace. Cheap to clone.
#[derive(Clone)]
pub struct LiveLookup {
    files: Arc<ArcSwap<OperatorFiles>>,
    visitors: Arc<Visitors>,
}

impl LiveLookup {
    pub(super) fn new(files: Arc<ArcSwap<OperatorFiles>>, visitors: Arc<Visitors>) -> Self {
        Self { files, visitors }
    }

    /// What a browser would get that follows this URL now, from an address that is no client's ([`NO_CLIENT`]). Reads
    /// files: not for a thread that runs asynchronous tasks.
    ///
    /// # Errors
    /// A text for people: no client can send the URL, or the counts of clicks cannot be read.
    pub fn look_up(&self, url: &str) -> Result<Answered, String> {
        let raw = request::request(url, "GET", &[])?;
        let files = self.files.load_full();
        let config = files.config();
        let used = UsedClicks::read(&config.capture.dir, &config.spool.dir)
            .map_err(|error| format!("the counts of links with maxClicks cannot be read: {error}"))?;
        let lookup = Lookup::new(config, &files, Arc::clone(&self.visitors), used);
        let lookup = lookup.map_err(|error| error.to_string())?;
        let at = clock::unix_micros();
        Ok(lookup.answer(&Request { head: &raw.bytes, tls: raw.tls, peer: NO_CLIENT, at }))
    }
}

impl Answered {
    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}
