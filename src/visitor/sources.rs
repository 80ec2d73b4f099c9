//! The operator's lists and databases on visitors: places, spam referrers, networks. Locations have a store of their
//! own, [`geo`](crate::visitor::geo).
//!
//! Each file is read as a whole. At the start a broken one is an error; at a reload the previous value stays current.

use std::net::IpAddr;

use crate::{
    config,
    files::{Reloadable, list::ListError},
    runtime::{Class, Classified},
    visitor::{
        self,
        network::{Network, Networks, NetworksError},
        referrer::{self, Places, Spammers},
    },
};

/// Why a list or a database was rejected.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Networks(#[from] NetworksError),
    /// The built-in tables do not compile.
    #[error("internal error: cannot compile the tables of agent strings: {0}; please report this bug")]
    Tables(#[from] aho_corasick::BuildError),
}

impl Classified for SourceError {
    fn class(&self) -> Class {
        match self {
            Self::List(error) => error.class(),
            Self::Networks(error) => error.class(),
            Self::Tables(_) => Class::Internal,
        }
    }
}

/// The current lists and databases.
pub struct Sources {
    pub places: Reloadable<Places, ListError>,
    pub spammers: Reloadable<Spammers, ListError>,
    pub networks: Reloadable<Networks, NetworksError>,
    /// Of the three, those for which a file is configured.
    configured: [bool; 3],
}

impl Sources {
    /// Reads everything for the first time, and compiles the built-in tables.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn open(config: &config::Enrich) -> Result<Self, SourceError> {
        visitor::warm_up()?;
        let (for_places, for_spammers, for_networks) = (config.clone(), config.clone(), config.clone());
        Ok(Self {
            places: Reloadable::open(move || Places::read(&for_places))?,
            spammers: Reloadable::open(move || Spammers::read(for_spammers.spammers_file.as_deref()))?,
            networks: Reloadable::open(move || Networks::read(&for_networks))?,
            configured: configured(config),
        })
    }

    /// Every error that [`Sources::open`] would meet, for `clickedge check`.
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

    /// Reads the places again, and returns how many there are; `None` when no list is configured.
    pub fn reload_places(&self) -> Option<Result<usize, ListError>> {
        self.configured[0].then(|| self.places.reload().map(|()| self.places.peek().len()))
    }

    /// Reads the spam referrers again, and returns how many there are; `None` when no list is configured.
    pub fn reload_spammers(&self) -> Option<Result<usize, ListError>> {
        self.configured[1].then(|| self.spammers.reload().map(|()| self.spammers.peek().len()))
    }

    /// Reads the networks again, and returns how many ranges there are; `None` when no file is configured.
    pub fn reload_networks(&self) -> Option<Result<usize, NetworksError>> {
        self.configured[2].then(|| self.networks.reload().map(|()| self.networks.peek().len()))
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
