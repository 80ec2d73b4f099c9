//! The rules that types cannot express, checked all at once, so that an operator mends a file in one go.
//!
//! [`validate`] is pure: it looks at values, never at the machine. [`check_files`] looks at the files that a
//! configuration names. Neither knows where in the text a value stands: a [`Problem`] names its key, and
//! [`super::diagnostics`] finds the place.

mod feeds;
mod quality;
mod stats;

use std::{collections::BTreeMap, fmt::Display, fs::File, io, net::SocketAddr, ops::RangeInclusive, path::Path};

use super::{
    Config, Sink,
    secret::{LEAST, MOST, Secret, SecretError, is_open_to_all},
};
use crate::runtime::filesystem;

/// Upper bound of every thread count: more is a slip of the finger.
const MAX_THREADS: usize = 1024;
/// Longest time that a browser may keep a permanent redirect, in seconds.
const MAX_PERMANENT_SECS: u32 = 86_400;
/// Least spool, in bytes: below it every short outage of a bucket loses clicks.
const MIN_SPOOL_BYTES: u64 = 1 << 20;
/// Least and most bytes of a text that marks a person: a shorter one would stand in every agent string.
const MIN_NOT_CRAWLER: usize = 3;
const MAX_NOT_CRAWLER: usize = 256;
/// Least journal, in bytes: a few segments.
const MIN_JOURNAL_BYTES: u64 = 16 << 20;

/// Whether a problem keeps the edge from starting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is legal, and probably not what was meant.
    Warning,
}

/// Something wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Whether it keeps the edge from starting.
    pub severity: Severity,
    /// Path of the key, `feeds[1].sink.s3.bucket`. Parts that are no bare keys stand in double quotes.
    pub key: String,
    /// What is wrong, as the rest of a sentence that begins with the key: `must be between 1 and 9, is 0`.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Everything that is wrong with the values of a configuration, errors and warnings, in the order of its keys.
pub fn validate(config: &Config) -> Vec<Problem> {
    let mut findings = Findings::default();
    edge(config, &mut findings);
    listeners(config, &mut findings);
    catalog(config, &mut findings);
    answers(config, &mut findings);
    pipeline(config, &mut findings);
    stats::stats(config, &mut findings);
    quality::quality(&config.quality, &config.enrich, &mut findings);
    feeds::feeds(&config.feeds, &mut findings);
    operation(config, &mut findings);
    findings.0
}

/// Files that a configuration names and that are missing or cannot be read by this user. Paths must be resolved.
pub fn check_files(config: &Config) -> Vec<Problem> {
    let mut findings = Findings::default();
    for (key, path) in input_files(config) {
        if let Err(error) = open(path) {
            findings.unreadable(key, path, &error);
        }
    }
    quality::check_lists(&config.quality, &mut findings);
    for (key, path) in output_folders(config) {
        if path.exists() && !path.is_dir() {
            findings.error(key, format!("names {}, which is no folder", path.display()), "name a folder");
        }
    }
    let rings = config.capture.dir.as_path();
    if rings.is_dir() && filesystem::is_in_memory(rings).is_ok_and(|in_memory| !in_memory) {
        findings.error(
            "capture.dir",
            format!("names {}, which is not on a tmpfs: client addresses would reach a disk", rings.display()),
            "name a folder below /run or /dev/shm, such as /run/clickedge",
        );
    }
    session_key(config, &mut findings);
    findings.0
}

/// The secret of the sessions, where there is a file.
fn session_key(config: &Config, findings: &mut Findings) {
    let Some(path) = config.enrich.session_key_file.as_deref().filter(|path| open(path).is_ok()) else { return };
    let key = "enrich.session_key_file";
    if let Err(SecretError::Length { bytes, .. }) = Secret::read(path) {
        findings.error(
            key,
            format!("names {}, which must hold {LEAST} to {MOST} bytes, and has {bytes}", path.display()),
            "put a random secret there: `head -c 32 /dev/urandom | base64` makes one",
        );
    } else if is_open_to_all(path) {
        findings.warning(
            key,
            format!("names {}, which everybody on this machine may read", path.display()),
            "let this service alone read it: chmod 0600",
        );
    }
}

fn input_files(config: &Config) -> Vec<(String, &Path)> {
    let mut files = vec![("catalog.file".to_owned(), config.catalog.file.as_path())];
    for (i, listener) in config.listeners.iter().enumerate() {
        for (j, certificate) in listener.tls.iter().enumerate() {
            let key = format!("listeners[{i}].tls[{j}]");
            files.push((format!("{key}.certificate_file"), &certificate.certificate_file));
            files.push((format!("{key}.key_file"), &certificate.key_file));
        }
    }
    files.extend(enrich_files(config).map(|(key, path)| (key.to_owned(), path)));
    if let Some(path) = &config.enrich.session_key_file {
        files.push(("enrich.session_key_file".to_owned(), path));
    }
    if let Some(path) = &config.enrich.crawlers_file {
        files.push(("enrich.crawlers_file".to_owned(), path));
    }
    for (i, feed) in config.feeds.iter().enumerate() {
        if let Sink::S3(s3) = &feed.sink
            && let Some(path) = &s3.credentials_file
        {
            files.push((format!("feeds[{i}].sink.s3.credentials_file"), path));
        }
    }
    files
}

/// The files of `[enrich]` that are read while the edge runs.
fn enrich_files(config: &Config) -> impl Iterator<Item = (&'static str, &Path)> {
    let enrich = &config.enrich;
    let files = [
        ("enrich.geoip_file", &enrich.geoip_file),
        ("enrich.asn_file", &enrich.asn_file),
        ("enrich.hosting_networks_file", &enrich.hosting_networks_file),
        ("enrich.anonymizer_networks_file", &enrich.anonymizer_networks_file),
        ("enrich.search_engines_file", &enrich.search_engines_file),
        ("enrich.socials_file", &enrich.socials_file),
        ("enrich.ai_assistants_file", &enrich.ai_assistants_file),
        ("enrich.spammers_file", &enrich.spammers_file),
    ];
    files.into_iter().filter_map(|(key, path)| path.as_deref().map(|path| (key, path)))
}

fn output_folders(config: &Config) -> Vec<(String, &Path)> {
    let mut folders = vec![
        ("capture.dir".to_owned(), config.capture.dir.as_path()),
        ("spool.dir".to_owned(), config.spool.dir.as_path()),
    ];
    for (i, feed) in config.feeds.iter().enumerate() {
        if let Sink::Dir(dir) = &feed.sink {
            folders.push((format!("feeds[{i}].sink.dir.path"), &dir.path));
        }
    }
    folders
}

fn open(path: &Path) -> io::Result<()> {
    // Asked before it is opened: opening a pipe would wait for a writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    File::open(path).map(drop)
}

fn edge(config: &Config, findings: &mut Findings) {
    findings.name("edge.pop", &config.edge.pop, "ams1");
    findings.range("edge.threads", config.edge.threads, 0..=MAX_THREADS, "0 takes one for each processor");
}

fn listeners(config: &Config, findings: &mut Findings) {
    if config.listeners.is_empty() {
        findings.error(
            "listeners",
            "is empty, so nothing would answer clicks",
            "add a section `[[listeners]]` with `address = \"0.0.0.0:8080\"`",
        );
    }
    let mut taken: BTreeMap<SocketAddr, String> = BTreeMap::new();
    for (i, listener) in config.listeners.iter().enumerate() {
        let key = format!("listeners[{i}].address");
        findings.socket(&mut taken, key, listener.address);
        for (j, certificate) in listener.tls.iter().enumerate() {
            let key = format!("listeners[{i}].tls[{j}]");
            findings.path(format!("{key}.certificate_file"), &certificate.certificate_file);
            findings.path(format!("{key}.key_file"), &certificate.key_file);
        }
    }
    if let Some(upstream) = &config.upstream {
        if upstream.address.port() == 0 {
            findings.error("upstream.address", "has port 0, which nothing listens on", "name the port");
        } else if let Some(other) = taken.get(&upstream.address) {
            findings.error(
                "upstream.address",
                format!("is {}, the same as `{other}`: requests would go in circles", upstream.address),
                "name the server behind this edge",
            );
        }
        if upstream.server_name.is_some() && !upstream.tls {
            findings.warning(
                "upstream.server_name",
                "has no effect while `upstream.tls` is false",
                "set `tls = true`, or remove it",
            );
        }
        if upstream.server_name.as_deref().is_some_and(|name| !is_host_name(name)) {
            findings.error("upstream.server_name", "is no host name", "write it like `www.example.com`");
        }
    }
    findings.socket(&mut taken, "admin.address".into(), config.admin.address);
}

fn catalog(config: &Config, findings: &mut Findings) {
    findings.path("catalog.file", &config.catalog.file);
    findings.ratio("catalog.max_bad_ratio", config.catalog.max_bad_ratio);
    findings.ratio("catalog.max_shrink_ratio", config.catalog.max_shrink_ratio);
    let growth = config.catalog.max_growth_ratio;
    if growth.is_nan() || growth <= 0.0 {
        let remedy = "1 lets a reload double the catalog, 9 lets it grow tenfold";
        findings.error("catalog.max_growth_ratio", format!("must be more than 0, is {growth}"), remedy);
    }
    for host in config.catalog.domains.keys() {
        if !is_host_name(host) || host.chars().any(|c| c.is_ascii_uppercase()) {
            findings.error(
                format!("catalog.domains.\"{host}\""),
                "is no host name in lower case",
                "write the host alone, without scheme, port or path, such as `go.example.com`; \
                 international names in their `xn--` form",
            );
        }
    }
}

fn answers(config: &Config, findings: &mut Findings) {
    findings.range(
        "redirect.permanent_max_age_secs",
        config.redirect.permanent_max_age_secs,
        0..=MAX_PERMANENT_SECS,
        "browsers cannot be called back: keep it short, such as 90",
    );
    findings.range(
        "redirect.keepalive_secs",
        config.redirect.keepalive_secs,
        0..=3600,
        "say how many seconds an idle connection stays open, such as 60",
    );
    let header = &config.client_address.header;
    if !is_http_field_name(header) {
        findings.error(
            "client_address.header",
            format!("must be the name of an HTTP header, is {header:?}"),
            "write the name alone, such as `x-forwarded-for`",
        );
    }
    for (i, network) in config.client_address.trusted_proxies.iter().enumerate() {
        if network.prefix_len() == 0 {
            findings.warning(
                format!("client_address.trusted_proxies[{i}]"),
                "trusts every host, so that any visitor may claim any address",
                "name the networks of your load balancers only",
            );
        }
    }
}

fn pipeline(config: &Config, findings: &mut Findings) {
    findings.path("capture.dir", &config.capture.dir);
    findings.range(
        "capture.ring_bytes",
        config.capture.ring_bytes,
        1 << 20..=1 << 40,
        "134217728 (128 MiB) suits most edges",
    );
    findings.range("enrich.workers", config.enrich.workers, 0..=MAX_THREADS, "0 takes one for each two processors");
    for (key, path) in enrich_files(config) {
        findings.path(key, path);
    }
    if let Some(path) = &config.enrich.crawlers_file {
        findings.path("enrich.crawlers_file", path);
    }
    for (i, text) in config.enrich.not_crawlers.iter().enumerate() {
        if !(MIN_NOT_CRAWLER..=MAX_NOT_CRAWLER).contains(&text.len()) {
            findings.error(
                format!("enrich.not_crawlers[{i}]"),
                format!("must have {MIN_NOT_CRAWLER} to {MAX_NOT_CRAWLER} bytes, has {}", text.len()),
                "write the name as it stands in the agent string, such as `ExampleApp/`",
            );
        }
    }
    findings.range(
        "enrich.session_idle_secs",
        config.enrich.session_idle_secs,
        1..=86_400,
        "say how long a visit may pause, such as 1800",
    );
    findings.range(
        "enrich.session_visitors",
        config.enrich.session_visitors,
        1..=100_000_000,
        "say how many visitors are remembered, such as 1000000",
    );
    findings.range(
        "enrich.session_rotation_hour",
        config.enrich.session_rotation_hour,
        0..=23,
        "say at which hour, in UTC, few people click, such as 3",
    );
    if let Some(path) = &config.enrich.session_key_file {
        findings.path("enrich.session_key_file", path);
    }
    findings.path("spool.dir", &config.spool.dir);
    if config.spool.dir == config.capture.dir && !config.spool.dir.as_os_str().is_empty() {
        findings.error(
            "spool.dir",
            "is the same folder as `capture.dir`",
            "the spool lies on a disk and the rings in memory: give each a folder of its own",
        );
    }
    let spool = config.spool.max_bytes;
    let largest = config.feeds.iter().max_by_key(|feed| feed.max_bytes);
    if spool < MIN_SPOOL_BYTES {
        findings.error(
            "spool.max_bytes",
            format!("must be at least {MIN_SPOOL_BYTES} (1 MiB), is {spool}"),
            "give it room for the longest outage to bridge, such as 21474836480 (20 GiB)",
        );
    } else if let Some(feed) = largest.filter(|feed| feed.max_bytes > spool) {
        findings.error(
            "spool.max_bytes",
            format!("is {spool}, less than one object of feed {:?} ({})", feed.name, feed.max_bytes),
            "raise it, or lower `max_bytes` of that feed",
        );
    }
    findings.range(
        "spool.journal_max_bytes",
        config.spool.journal_max_bytes,
        MIN_JOURNAL_BYTES..=1 << 50,
        "give it room for the longest `hold_back_secs`, such as 4294967296 (4 GiB)",
    );
    findings.range(
        "spool.sync_interval_millis",
        config.spool.sync_interval_millis,
        1..=10_000,
        "say how much a loss of power may cost, such as 100",
    );
    findings.range(
        "spool.retain_secs",
        config.spool.retain_secs,
        0..=31_536_000,
        "say how long delivered objects are kept for a replay, such as 86400",
    );
}

fn operation(config: &Config, findings: &mut Findings) {
    findings.range(
        "shutdown.grace_secs",
        config.shutdown.grace_secs,
        0..=3600,
        "say how long requests under way may take, such as 1",
    );
    findings.range(
        "shutdown.drain_secs",
        config.shutdown.drain_secs,
        0..=3600,
        "say how long the last deliveries may take, such as 20",
    );
}

/// Collects problems; the methods are the rules that several keys share.
#[derive(Default)]
struct Findings(Vec<Problem>);

impl Findings {
    fn error(&mut self, key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Severity::Error, key.into(), message.into(), remedy.into());
    }

    fn warning(&mut self, key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Severity::Warning, key.into(), message.into(), remedy.into());
    }

    fn push(&mut self, severity: Severity, key: String, message: String, remedy: String) {
        self.0.push(Problem { severity, key, message, remedy });
    }

    fn range<T: Copy + Display + PartialOrd>(
        &mut self,
        key: impl Into<String>,
        value: T,
        range: RangeInclusive<T>,
        remedy: &str,
    ) {
        if !range.contains(&value) {
            let message = format!("must be between {} and {}, is {value}", range.start(), range.end());
            self.error(key, message, remedy);
        }
    }

    fn ratio(&mut self, key: &str, value: f64) {
        self.range(key, value, 0.0..=1.0, "write a share, such as 0.05 for five in a hundred");
    }

    fn name(&mut self, key: impl Into<String>, value: &str, example: &str) {
        if !is_name(value) {
            self.error(
                key,
                format!("must be 1 to 63 lower-case letters, digits and inner `-`, is {value:?}"),
                format!("write it like `{example}`"),
            );
        }
    }

    fn unreadable(&mut self, key: String, path: &Path, error: &io::Error) {
        self.error(
            key,
            format!("names {}, which cannot be read: {error}", path.display()),
            "put the file there, let this user read it, or correct the path",
        );
    }

    fn path(&mut self, key: impl Into<String>, path: &Path) {
        if path.as_os_str().is_empty() {
            self.error(key, "is empty", "name a path");
        }
    }

    fn socket(&mut self, taken: &mut BTreeMap<SocketAddr, String>, key: String, address: SocketAddr) {
        if address.port() == 0 {
            return self.error(key, "has port 0, which lets the system choose and tells nobody", "name the port");
        }
        match taken.get(&address) {
            Some(other) => self.error(
                key,
                format!("is {address}, which `{other}` takes already"),
                "give each socket an address or a port of its own",
            ),
            None => drop(taken.insert(address, key)),
        }
    }
}

/// Names that stand in object keys and metric labels.
fn is_name(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&value.len()) && value.bytes().all(inner) && !value.starts_with('-') && !value.ends_with('-')
}

fn is_host_name(value: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    value.len() <= 253 && value.split('.').all(label)
}

/// A token as RFC 9110 has it.
fn is_http_field_name(value: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !value.is_empty() && value.bytes().all(token)
}

#[cfg(test)]
mod tests;
