//! What workers know from lists and databases of the operator: places, spam referrers, networks. Locations have a store
//! of their own, [`geo`](crate::visitor::geo).
//!
//! Each is read whole at the start, where a broken one keeps the edge from starting, and again at a reload, where it
//! leaves the old one in service.

use std::{fmt::Display, net::IpAddr};

use crate::{
    config,
    files::{Reloadable, list::ListError, mmdb::DatabaseError},
    telemetry::metrics::{Metrics, Reload},
    visitor::{
        network::{Network, Networks, NetworksError},
        referrer::{self, Places, Spammers},
    },
};

/// Why a list or a database was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Networks(#[from] NetworksError),
}

impl SourceError {
    /// Whether a file could not be read at all.
    pub fn is_unread(&self) -> bool {
        matches!(
            self,
            Self::List(ListError::Read { .. })
                | Self::Networks(
                    NetworksError::List(ListError::Read { .. }) | NetworksError::Database(DatabaseError::Read { .. })
                )
        )
    }
}

/// What is in service, and the way to put another in its place.
pub struct Sources {
    pub places: Reloadable<Places, ListError>,
    pub spammers: Reloadable<Spammers, ListError>,
    pub networks: Reloadable<Networks, NetworksError>,
    /// Of the three, those for which a file is configured.
    configured: [bool; 3],
}

impl Sources {
    /// Reads everything for the first time.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn open(config: &config::Enrich) -> Result<Self, SourceError> {
        let (for_places, for_spammers, for_networks) = (config.clone(), config.clone(), config.clone());
        Ok(Self {
            places: Reloadable::open(move || Places::read(&for_places))?,
            spammers: Reloadable::open(move || Spammers::read(for_spammers.spammers_file.as_deref()))?,
            networks: Reloadable::open(move || Networks::read(&for_networks))?,
            configured: configured(config),
        })
    }

    /// Everything that keeps [`Sources::open`] from it, for `clickedge check`.
    pub fn problems(config: &config::Enrich) -> Vec<SourceError> {
        let places = Places::read(config).err().map(SourceError::List);
        let spammers = Spammers::read(config.spammers_file.as_deref()).err().map(SourceError::List);
        let networks = Networks::read(config).err().map(SourceError::Networks);
        [places, spammers, networks].into_iter().flatten().collect()
    }

    /// The network of an address, for a thread that asks seldom.
    pub fn network(&self, address: IpAddr) -> Option<Network> {
        self.networks.peek().of(address)
    }

    /// Whether a `Referer` is a spammer's, for a thread that asks seldom.
    pub fn is_spam(&self, referer: &[u8]) -> bool {
        referrer::host(referer).is_some_and(|host| self.spammers.peek().is_spam(&host))
    }

    /// Reads everything again that is configured, and counts and tells what came of it.
    pub fn reload(&self, metrics: &Metrics) {
        let [places, spammers, networks] = self.configured;
        if places {
            tell(metrics, Reload::Referrers, &self.places.reload(), || self.places.load().len());
        }
        if spammers {
            tell(metrics, Reload::Spammers, &self.spammers.reload(), || self.spammers.load().len());
        }
        if networks {
            tell(metrics, Reload::Networks, &self.networks.reload(), || self.networks.load().len());
        }
    }
}

fn configured(config: &config::Enrich) -> [bool; 3] {
    [
        config.search_engines_file.is_some() || config.socials_file.is_some() || config.ai_assistants_file.is_some(),
        config.spammers_file.is_some(),
        config.asn_file.is_some()
            || config.hosting_networks_file.is_some()
            || config.anonymizer_networks_file.is_some(),
    ]
}

fn tell<E: Display>(metrics: &Metrics, what: Reload, result: &Result<(), E>, entries: impl FnOnce() -> usize) {
    metrics.reloaded(what, result.is_ok());
    match result {
        Ok(()) => tracing::info!(what = what.label(), entries = entries(), "reloaded"),
        Err(error) => tracing::error!(what = what.label(), %error, "not reloaded; the old one serves on"),
    }
}
