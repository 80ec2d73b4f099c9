//! The pipeline: from the configuration to running stages, and the order in which they stop.
//!
//! Stages start from the right, so that each finds the next one running, and stop from the left, so that each passes on
//! everything that it holds: the listeners first (not here), then the workers, the spool, the delivery.
//!
//! [`start`](Pipeline::start) wires the stages, with parts of the embedding program if there are any ([`Builder`]);
//! [`drain`](Pipeline::drain) stops them and returns the [`Account`]. A successor of a process that still runs begins
//! with its intake, and the predecessor ends with [`hand_over`](Pipeline::hand_over). [`Gauges`] render the metrics,
//! the [`Reloader`] takes up another configuration, and [`LiveFeeds`] change the feeds.

mod account;
mod builder;
mod drain;
pub mod files;
mod gauges;
pub mod live;
pub mod lookup;
pub mod preflight;
mod reload;
mod start;
pub mod status;

use std::{io, sync::Arc};

use http::HeaderMap;

pub use crate::{deliver::FeedRetries, enrich::tap};
pub use account::Account;
pub use builder::Builder;
pub use files::OperatorFiles;
pub use gauges::Gauges;
#[cfg(test)]
pub(crate) use gauges::exposition;
pub use live::LiveFeeds;
pub use preflight::PreflightError;
pub use reload::{
    Apply, LastReload, LivePart, MOST_NOTICES, NeedsRestart, Notice, PartError, ReloadError, Reloaded, Reloader,
};
#[cfg(feature = "server")]
pub(crate) use start::Intake;

use lookup::LiveLookup;
use tap::Tap;

use crate::{
    capture::{Capture, CaptureError},
    catalog::{CatalogStore, LocalChanges, change::Changes, tokens::TokenStore},
    deliver::Deliver,
    enrich::Enrich,
    files::Reloadable,
    fleet::Fleet,
    quality::QualityError,
    redirect::{Redirector, hook::HookError},
    runtime::{Class, Classified, PanicWatch},
    session::SessionError,
    spool::{Spool, SpoolError},
    stats::{StatsHandle, unknown::UnknownSlashtags},
    telemetry::metrics::Registry,
    tls::{CertificateStore, TicketsError},
    visitor::TablesError,
};

/// Why the pipeline did not start. The text names keys of the configuration, and files, with what to do about them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There are errors in the configuration, or the preflight found some in files or folders.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error(transparent)]
    Quality(#[from] QualityError),
    #[error(transparent)]
    Tables(#[from] TablesError),
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error("no secret for the variants of links: {0}")]
    Sticky(#[from] TicketsError),
    #[error(transparent)]
    Sessions(#[from] SessionError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The hook cannot be used.
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("client_address.header is not a header name")]
    Header(#[from] http::header::InvalidHeaderName),
    #[error("catalog.state_dir cannot be used: {0}")]
    Changes(io::Error),
    #[error("cannot start a stage: {0}")]
    Io(#[from] io::Error),
}

impl Classified for StartError {
    fn class(&self) -> Class {
        match self {
            Self::Preflight(error) => error.class(),
            Self::Quality(error) => error.class(),
            Self::Tables(error) => error.class(),
            Self::Capture(error) => error.class(),
            Self::Sticky(error) => error.class(),
            Self::Sessions(error) => error.class(),
            Self::Spool(error) => error.class(),
            Self::Header(_) | Self::Hook(_) => Class::Config,
            Self::Changes(error) => match error.kind() {
                io::ErrorKind::InvalidData => Class::Data,
                io::ErrorKind::ResourceBusy => Class::Unavailable,
                _ => Class::of_io(error),
            },
            Self::Io(error) => Class::of_io(error),
        }
    }
}

/// Everything between the listeners and the sinks, running on threads of its own. Its methods may be called from any
/// thread. Call [`drain`](Self::drain) before the process ends: what is not delivered by then waits for the next start.
pub struct Pipeline {
    redirector: Redirector,
    gauges: Gauges,
    reloader: Reloader,
    live: LiveFeeds,
    lookup: LiveLookup,
    tap: Arc<Tap>,
    catalog: Arc<CatalogStore>,
    tokens: Arc<TokenStore>,
    fleet: Option<Fleet>,
    counts: Option<StatsHandle>,
    unknown: Arc<UnknownSlashtags>,
    panics: PanicWatch,
    capture: Capture,
    enrich: Enrich,
    spool: Spool,
    deliver: Deliver,
}

impl Pipeline {
    /// The redirect stage, for a proxy's `request_filter`.
    pub fn redirector(&self) -> Redirector {
        self.redirector.clone()
    }

    /// The metrics.
    pub fn gauges(&self) -> Gauges {
        self.gauges.clone()
    }

    /// Where parts around the pipeline register metrics of their own.
    pub fn registry(&self) -> Registry {
        self.gauges.registry()
    }

    /// The HTTP headers with which metrics are exported.
    pub fn otlp_headers(&self) -> Arc<Reloadable<HeaderMap>> {
        self.gauges.otlp_headers()
    }

    /// Retries the deliveries of feeds on demand.
    pub fn retries(&self) -> FeedRetries {
        self.deliver.lanes().retries()
    }

    /// Reads the operator files again, and the configuration file if `clickedge serve` has read one.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// The rings.
    pub fn capture(&self) -> Capture {
        self.capture.clone()
    }

    /// Changes the feeds while the pipeline runs.
    pub fn live_feeds(&self) -> LiveFeeds {
        self.live.clone()
    }

    /// Shows events to those who watch.
    pub fn tap(&self) -> Arc<Tap> {
        Arc::clone(&self.tap)
    }

    /// Answers requests without clicks.
    pub fn lookup(&self) -> LiveLookup {
        self.lookup.clone()
    }

    /// The current catalog, and how it is replaced ([`CatalogStore::publish`]) or changed ([`CatalogStore::change`]).
    pub fn catalog(&self) -> Arc<CatalogStore> {
        Arc::clone(&self.catalog)
    }

    /// The tokens of the admin listener.
    pub fn tokens(&self) -> Arc<TokenStore> {
        Arc::clone(&self.tokens)
    }

    /// The certificate of the admin listener.
    pub fn admin_certificate(&self) -> Arc<CertificateStore> {
        Arc::clone(self.reloader.files().load().admin_certificate())
    }

    /// What takes changes of the catalog: this edge alone, or through the bucket of its fleet.
    pub fn changes(&self) -> Arc<dyn Changes> {
        match &self.fleet {
            Some(fleet) => Arc::new(fleet.changes()),
            None => Arc::new(LocalChanges::new(self.catalog())),
        }
    }

    /// The counts. `None` when clicks are not counted.
    pub fn counts(&self) -> Option<StatsHandle> {
        self.counts.clone()
    }

    /// Requests for unknown slashtags, of this process.
    pub fn unknown_slashtags(&self) -> Arc<UnknownSlashtags> {
        Arc::clone(&self.unknown)
    }

    /// Reports a thread that has panicked, which is an internal error. Clicks are still answered and captured until the
    /// rings are full; nothing is lost if another process takes over before.
    pub fn panics(&self) -> PanicWatch {
        self.panics.clone()
    }
}
