//! The configuration file, typed.
//!
//! Each section has a file with its type, defaults, rules and paths ([`Section`]). A key is documented at its field
//! and nowhere else: `clickedge generate config` prints these doc comments, and `conf/clickedge.toml` is that output (a
//! test holds them together). Unknown keys, wrong types and broken rules are reported together, with file, line, column
//! and caret ([`diagnostics`]). The file contains no secrets: it names the files that do.
//!
//! Relative paths are taken from the folder of the configuration file.
//!
//! A program that embeds the pipeline has three ways to a [`Config`]: [`load`] reads a file, [`parse`] a text, and code
//! begins with `Config::default()`. None of them demands listeners; [`diagnostics::inspect`] adds what
//! `clickedge serve` needs.

pub mod acme;
pub mod admin;
pub mod capture;
pub mod catalog;
mod changes;
pub mod client_address;
pub mod diagnostics;
pub mod edge;
pub mod enrich;
pub mod features;
pub mod feeds;
pub mod findings;
#[cfg(test)]
mod fixture;
pub mod fleet;
pub mod generate;
pub mod limits;
pub mod listeners;
pub mod quality;
pub mod redirect;
pub mod reload;
pub mod secret;
pub mod shutdown;
pub mod spool;
pub mod stats;
pub mod telemetry;
pub mod tls;
pub mod upstream;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use acme::{Acme, Challenge};
pub use admin::Admin;
pub use capture::Capture;
pub use catalog::{Catalog, Domain, Loops};
pub use changes::changed_keys;
pub use client_address::ClientAddress;
pub use diagnostics::{ConfigError, Diagnostic, load, parse};
pub use edge::Edge;
pub use enrich::{Enrich, Precision, Privacy};
pub use features::Features;
pub use feeds::{Compression, Custom, Dir, Encryption, Feed, Fields, Format, Nats, Only, S3, Shape, Sink, Webhook};
pub(crate) use findings::is_at_or_below;
pub use findings::{Findings, Problem, Severity};
pub use fleet::{Fleet, FleetNats};
pub use limits::Limits;
pub use listeners::{Alpn, Certificate, Listener};
pub use quality::Quality;
pub use redirect::{Cache, Redirect};
pub use reload::Reload;
pub use secret::{Secret, SecretError};
pub use shutdown::Shutdown;
pub use spool::Spool;
pub use stats::Stats;
pub use telemetry::{LogFormat, LogLevel, Otlp, Telemetry};
pub use tls::{KeyExchange, Tls};
pub use upstream::Upstream;

/// The settings of an edge.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This point of presence.
    pub edge: Edge,
    /// Sockets that answer clicks; at least one for `clickedge serve`. A program that embeds the pipeline has its own.
    pub listeners: Vec<Listener>,
    /// What is common to all TLS sockets.
    pub tls: Tls,
    /// Certificates that the edge obtains and renews by itself (ACME), for listeners with `acme = true`.
    pub acme: Option<Acme>,
    /// What one connection, one address and all of them may use.
    pub limits: Limits,
    /// The links that this edge knows.
    pub catalog: Catalog,
    /// How clicks are answered.
    pub redirect: Redirect,
    /// Which address counts as the client's. It is used for location and session, and never stored.
    pub client_address: ClientAddress,
    /// Where requests go whose host is not a branded domain. Without it they get 404.
    pub upstream: Option<Upstream>,
    /// The rings in memory between the redirect and the workers.
    pub capture: Capture,
    /// The workers that turn clicks into click events. The files named here are read again at a reload.
    pub enrich: Enrich,
    /// Detection of invalid traffic. The lists are read again at a reload.
    pub quality: Quality,
    /// Local durable storage between enrichment and delivery.
    pub spool: Spool,
    /// Counts of clicks, for the admin listener and for feeds with `rollups`.
    pub stats: Stats,
    /// Deliveries to customers: which workspaces, which format, which sink.
    pub feeds: Vec<Feed>,
    /// The listener for operators: metrics, health, readiness, counts. Do not expose it to the internet.
    pub admin: Admin,
    /// Logs, and the export of metrics.
    pub telemetry: Telemetry,
    /// When the configuration is taken up again: on SIGHUP and `POST /v1/reload`, and when it changes.
    pub reload: Reload,
    /// Shutdown timeouts.
    pub shutdown: Shutdown,
}

/// A section of the configuration: what its types cannot express.
pub trait Section {
    /// Adds what is wrong with the section's values. A rule that spans sections belongs to the section whose key it
    /// reports, and reads the others from `all`.
    fn rules(&self, all: &Config, findings: &mut Findings);

    /// The paths that are set, with their keys.
    fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        Vec::new()
    }
}

impl Config {
    /// Errors and warnings about the values, in the order of the sections. Looks at values only, never at the machine.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems_for(false, Vec::new())
    }

    /// [`Self::problems`] of a file in which the values of some keys could not be read, with those of `clickedge serve`.
    fn problems_for(&self, serve: bool, unread: Vec<String>) -> Vec<Problem> {
        let mut findings = Findings::without(unread);
        for (key, path) in self.clone().paths() {
            findings.path(key, path);
        }
        for section in self.sections() {
            section.rules(self, &mut findings);
        }
        Features::of_this_build().rules(self, &mut findings);
        if serve {
            self.rules_of_serve(&mut findings);
        }
        findings.into_problems()
    }

    /// Adds what keeps `clickedge serve` from a configuration that is right for a program which embeds the pipeline.
    fn rules_of_serve(&self, findings: &mut Findings) {
        if self.listeners.is_empty() {
            findings.error(
                "listeners",
                "is empty, so nothing would answer clicks",
                "add a section `[[listeners]]` with `address = \"0.0.0.0:8080\"`",
            );
        }
        for (i, feed) in self.feeds.iter().enumerate() {
            if let Sink::Custom(Custom { name, .. }) = &feed.sink {
                findings.error(
                    format!("feeds[{i}].sink.custom"),
                    format!("names the sink {name:?}, which only a program that embeds the pipeline can provide"),
                    "configure a sink of another kind, such as `sink.dir.path`",
                );
            }
        }
    }

    /// Makes every relative path absolute, from this folder. [`load`] and [`parse`] have done it already; a
    /// configuration that is made by code has relative paths from the working directory of the process otherwise.
    pub fn resolve_paths(&mut self, base: &Path) {
        for (_, path) in self.paths() {
            *path = base.join(&*path);
        }
    }

    /// Every path that is set, with its key.
    pub fn paths(&mut self) -> impl Iterator<Item = (String, &mut PathBuf)> {
        self.sections_mut().into_iter().flat_map(Section::paths)
    }

    /// Number of threads that answer clicks.
    pub fn listener_threads(&self) -> usize {
        match self.edge.threads {
            0 => processors(),
            threads => threads,
        }
    }

    /// Number of worker threads.
    pub fn workers(&self) -> usize {
        match self.enrich.workers {
            0 => processors().div_ceil(2),
            workers => workers,
        }
    }

    fn sections(&self) -> [&dyn Section; 19] {
        [
            &self.edge,
            &self.listeners,
            &self.tls,
            &self.acme,
            &self.limits,
            &self.catalog,
            &self.redirect,
            &self.client_address,
            &self.upstream,
            &self.capture,
            &self.enrich,
            &self.quality,
            &self.spool,
            &self.stats,
            &self.feeds,
            &self.admin,
            &self.telemetry,
            &self.reload,
            &self.shutdown,
        ]
    }

    fn sections_mut(&mut self) -> [&mut dyn Section; 19] {
        [
            &mut self.edge,
            &mut self.listeners,
            &mut self.tls,
            &mut self.acme,
            &mut self.limits,
            &mut self.catalog,
            &mut self.redirect,
            &mut self.client_address,
            &mut self.upstream,
            &mut self.capture,
            &mut self.enrich,
            &mut self.quality,
            &mut self.spool,
            &mut self.stats,
            &mut self.feeds,
            &mut self.admin,
            &mut self.telemetry,
            &mut self.reload,
            &mut self.shutdown,
        ]
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
