//! The one configuration file, typed.
//!
//! Every key is documented where it is defined, and nowhere else: the doc comments below are what
//! `clickedge generate config` prints, and `conf/clickedge.toml` is that output (a test holds them together).
//! Unknown keys and wrong types are refused with file, line, column and caret; rules that span keys are checked by
//! [`validate`] and reported all at once. Secrets never stand in this file: it names the files that hold them.
//!
//! Relative paths are taken from the folder of the configuration file.

pub mod diagnostics;
pub mod enrich;
pub mod feeds;
pub mod generate;
pub mod quality;
pub mod secret;
pub mod stats;
pub mod validate;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::link::{Case, Forward};

pub use diagnostics::{ConfigError, load};
pub use enrich::{Enrich, Precision, Privacy};
pub use feeds::{Compression, Dir, Encryption, Feed, Format, S3, Sink};
pub use quality::Quality;
pub use secret::{Secret, SecretError};
pub use stats::Stats;

/// Everything an edge needs to know.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This point of presence.
    pub edge: Edge,
    /// Sockets that answer clicks. At least one.
    pub listeners: Vec<Listener>,
    /// The links that this edge knows.
    pub catalog: Catalog,
    /// How clicks are answered.
    pub redirect: Redirect,
    /// Which address counts as the client's. It is used for the location and the session, and never kept.
    pub client_address: ClientAddress,
    /// Where requests go whose host is no branded domain. Without it they get 404.
    pub upstream: Option<Upstream>,
    /// The rings in memory between the redirect and the workers.
    pub capture: Capture,
    /// The workers that turn raw clicks into click events.
    pub enrich: Enrich,
    /// What becomes of clicks that are not what they claim to be.
    pub quality: Quality,
    /// Local durable storage between enrichment and delivery.
    pub spool: Spool,
    /// Counts of clicks, for the admin listener and for feeds with `rollups`.
    pub stats: Stats,
    /// Deliveries to customers: which workspaces, which format, which sink.
    pub feeds: Vec<Feed>,
    /// The second listener: metrics, health, readiness. Keep it off the open internet.
    pub admin: Admin,
    /// Logs.
    pub telemetry: Telemetry,
    /// What a stop may take.
    pub shutdown: Shutdown,
}

/// This point of presence.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edge {
    /// Name of this point of presence: lower-case letters, digits and `-`. It stands in every event (`edge.pop`)
    /// and in every object's key, so it must differ between edges that write into the same bucket.
    pub pop: String,
    /// Threads that answer clicks. 0 means one for each processor.
    pub threads: usize,
}

impl Default for Edge {
    fn default() -> Self {
        Self { pop: "local".into(), threads: 0 }
    }
}

/// A socket that answers clicks.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port, `0.0.0.0:80` or `[::]:443`.
    pub address: SocketAddr,
    /// Certificates; with them the socket speaks TLS and picks the certificate by server name (SNI).
    /// The first one answers clients that name none.
    #[serde(default)]
    pub tls: Vec<Certificate>,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// File with the chain, leaf first.
    pub certificate_file: PathBuf,
    /// File with the private key: PKCS #8, SEC 1 or PKCS #1. Keep it readable by this service only.
    pub key_file: PathBuf,
}

/// The links that this edge knows.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// NDJSON file, one link a line, read at start and again on SIGHUP.
    pub file: PathBuf,
    /// Share of lines that may be bad (reported and skipped) before the whole file is refused, 0 to 1.
    pub max_bad_ratio: f64,
    /// Share by which a reload may shrink the catalog before the new file is rejected as truncated, 0 to 1. It counts
    /// against the largest catalog of the last 24 hours. 1 accepts any shrinking.
    pub max_shrink_ratio: f64,
    /// Share by which a reload may enlarge the catalog before the new file is rejected as suspicious, more than 0:
    /// 1 lets it double. It counts against the current catalog; one of less than 1,000 links may grow without limit.
    pub max_growth_ratio: f64,
    /// What happens to the query of the short link when the link itself does not say.
    pub forward_parameters: Forward,
    /// Settings for one branded domain, keyed by its host name.
    pub domains: BTreeMap<String, Domain>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            file: "links.ndjson".into(),
            max_bad_ratio: 0.01,
            max_shrink_ratio: 0.1,
            max_growth_ratio: 1.0,
            forward_parameters: Forward::Off,
            domains: BTreeMap::new(),
        }
    }
}

/// Settings for one branded domain.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Domain {
    /// Whether `/Spring` and `/spring` are the same link.
    pub case: Case,
}

/// How clicks are answered.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redirect {
    /// `max-age` in seconds of 301 and 308 answers, which browsers would otherwise keep for ever. At most 86400.
    /// 302 and 307 are never stored.
    pub permanent_max_age_secs: u32,
    /// Seconds that an idle keep-alive connection stays open. 0 closes after each answer.
    pub keepalive_secs: u64,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { permanent_max_age_secs: 90, keepalive_secs: 60 }
    }
}

/// Which address counts as the client's.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAddress {
    /// Networks whose hosts are trusted to name the client: the load balancers in front of this edge.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Header in which they name it; read from the right, the first untrusted address is the client.
    pub header: String,
}

impl Default for ClientAddress {
    fn default() -> Self {
        Self { trusted_proxies: Vec::new(), header: "x-forwarded-for".into() }
    }
}

/// Where requests go whose host is no branded domain.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Address and port.
    pub address: SocketAddr,
    /// Speak TLS to it.
    #[serde(default)]
    pub tls: bool,
    /// Server name for TLS. Defaults to the request's host.
    #[serde(default)]
    pub server_name: Option<String>,
}

/// The rings in memory between the redirect and the workers.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Folder of the rings, on a tmpfs: memory that outlives this process, but never reaches a disk. A click whose
    /// redirect was answered survives the death of the process there. Created with mode 0700.
    pub dir: PathBuf,
    /// Bytes of all rings together, taken at the start; a click needs about 1 kB until it is in the journal. Each
    /// pair of a listener thread and a worker has a ring of at least 1 MiB. When a ring is full the redirect is
    /// answered all the same and the click is counted as dropped (`ring_full`).
    pub ring_bytes: u64,
}

impl Default for Capture {
    fn default() -> Self {
        Self { dir: "/run/clickedge".into(), ring_bytes: 128 << 20 }
    }
}

/// Local durable storage between enrichment and delivery.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// Folder of the spool, on a disk that survives a restart. Created with mode 0700.
    pub dir: PathBuf,
    /// Bytes of finished objects that may wait here. Beyond it a feed that has more than its equal share waiting
    /// loses new events, which are counted (`spool_quota`); the others do not.
    pub max_bytes: u64,
    /// Bytes of the journal, in which events wait until every feed has packed its part. When it is full the workers
    /// wait, and the rings fill up.
    pub journal_max_bytes: u64,
    /// Milliseconds between two fsyncs of the journal: what a loss of power may cost. A crash of the process costs
    /// nothing.
    pub sync_interval_millis: u64,
    /// Seconds that delivered objects are kept for `clickedge spool replay`. They make way when the spool needs the
    /// room. 0 keeps none.
    pub retain_secs: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            dir: "/var/lib/clickedge/spool".into(),
            max_bytes: 20 << 30,
            journal_max_bytes: 4 << 30,
            sync_interval_millis: 100,
            retain_secs: 86_400,
        }
    }
}

/// The second listener.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port of `/metrics`, `/livez`, `/readyz` and `/v1/stats/`.
    pub address: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 9180)) }
    }
}

/// Logs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// `json`, one object a line on standard error, or `pretty` for people.
    pub log_format: LogFormat,
    /// Least level that is logged. ERROR means that data was lost or that an operator must act.
    pub log_level: LogLevel,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Coloured text on a terminal.
    Pretty,
}

/// Least level that is logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Data was lost, or an operator must act.
    Error,
    /// Something is odd, and is being dealt with.
    Warn,
    /// Starts, stops, reloads.
    #[default]
    Info,
    /// Each object.
    Debug,
    /// Everything.
    Trace,
}

/// What a stop may take.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Seconds for requests that are under way to finish after the listeners closed.
    pub grace_secs: u64,
    /// Seconds for the queues to drain and the last objects to be delivered. What is not delivered by then stays in
    /// the outbox and goes out at the next start.
    pub drain_secs: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace_secs: 1, drain_secs: 20 }
    }
}

impl Config {
    /// Makes every relative path absolute, from the folder of the configuration file.
    pub fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        resolve(&mut self.catalog.file);
        self.enrich.files().into_iter().flatten().for_each(resolve);
        self.quality.files().into_iter().flatten().for_each(resolve);
        resolve(&mut self.capture.dir);
        resolve(&mut self.spool.dir);
        for certificate in self.listeners.iter_mut().flat_map(|listener| &mut listener.tls) {
            resolve(&mut certificate.certificate_file);
            resolve(&mut certificate.key_file);
        }
        for feed in &mut self.feeds {
            match &mut feed.sink {
                Sink::Dir(dir) => resolve(&mut dir.path),
                Sink::S3(s3) => {
                    s3.credentials_file.as_mut().map(resolve);
                }
            }
        }
    }

    /// Threads that answer clicks.
    pub fn listener_threads(&self) -> usize {
        match self.edge.threads {
            0 => processors(),
            threads => threads,
        }
    }

    /// Worker threads.
    pub fn workers(&self) -> usize {
        match self.enrich.workers {
            0 => processors().div_ceil(2),
            workers => workers,
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
