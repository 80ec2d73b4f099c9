//! The kind of network that an address belongs to: hosting or anonymizer.
//!
//! Three sources, all optional, flattened into sorted ranges when they are loaded, so that an address costs at most two
//! binary searches for any number of networks:
//! - `enrich.asn_file`, a database of autonomous systems: the networks of those that `providers` names;
//! - `enrich.hosting_networks_file` and `enrich.anonymizer_networks_file`, the operator's own lists: one network
//!   (`192.0.2.0/24`, `2001:db8::/32`) or address a line, `#` begins a comment.
//!
//! Networks of one kind may overlap, and add up. An address of both kinds is an anonymizer's: it has humans behind it,
//! wherever the machine is hosted.
//!
//! Privacy: only networks are kept, from files. An address is only compared; nothing here shows or keeps one.

mod providers;
mod ranges;

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use maxminddb::{MaxMindDbError, WithinOptions};
use serde::Deserialize;

use self::ranges::Ranges;
use crate::{
    config,
    files::{
        list::{self, ListError},
        mmdb::{DatabaseError, DatabaseKind},
    },
    runtime::{Class, Classified},
};

const ASN: DatabaseKind = DatabaseKind { what: "ASN", types: &["ASN", "ISP"], needed: "an ASN or ISP database" };

/// Networks that few humans browse from directly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Network {
    /// A data centre, where servers are: hosting and cloud providers.
    Hosting,
    /// An anonymising network, with humans behind it: exits of Tor, VPN providers, public proxies.
    Anonymizer,
}

/// Why a file of networks was rejected.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// It is of the right type, and names no autonomous system.
    #[error("the ASN database {} has no `autonomous_system_number` in it; use one that has", .0.display())]
    NoNumbers(PathBuf),
}

impl Classified for NetworksError {
    fn class(&self) -> Class {
        match self {
            Self::List(error) => error.class(),
            Self::Database(error) => error.class(),
            Self::NoNumbers(_) => Class::Data,
        }
    }
}

/// The known networks.
#[derive(Default)]
pub struct Networks {
    anonymizer: Ranges,
    hosting: Ranges,
    asn_built_secs: u64,
}

/// The part of a record that is read.
#[derive(Deserialize)]
struct System {
    autonomous_system_number: Option<u32>,
}

impl Networks {
    /// Reads the files that are configured; without any, no network is known.
    ///
    /// # Errors
    /// See [`NetworksError`].
    pub fn read(config: &config::Enrich) -> Result<Self, NetworksError> {
        let mut hosting = list_of(config.hosting_networks_file.as_deref())?;
        let anonymizer = list_of(config.anonymizer_networks_file.as_deref())?;
        let mut asn_built_secs = 0;
        if let Some(file) = &config.asn_file {
            asn_built_secs = add_providers(file, &mut hosting)?;
        }
        Ok(Self { anonymizer: Ranges::new(anonymizer), hosting: Ranges::new(hosting), asn_built_secs })
    }

    /// The network of an address; `None` when it is neither hosting nor an anonymizer.
    pub fn of(&self, address: IpAddr) -> Option<Network> {
        let address = address.to_canonical();
        if self.anonymizer.contains(address) {
            Some(Network::Anonymizer)
        } else {
            self.hosting.contains(address).then_some(Network::Hosting)
        }
    }

    /// When the ASN database was built, in seconds since the Unix epoch; 0 without one.
    pub fn asn_built_secs(&self) -> u64 {
        self.asn_built_secs
    }

    /// The number of separate ranges.
    pub fn len(&self) -> usize {
        self.anonymizer.len() + self.hosting.len()
    }

    /// Whether no network is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn list_of(file: Option<&Path>) -> Result<Vec<IpNet>, ListError> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let network = |(line, text): (usize, &str)| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let Ok(network) = network else {
            let problem = format!("`{text}` is no network");
            return Err(ListError::line(file, line, problem, "write one a line, such as `192.0.2.0/24`"));
        };
        if network.prefix_len() == 0 {
            let problem = format!("`{text}` is every address");
            return Err(ListError::line(file, line, problem, "write a longer prefix, or remove the list"));
        }
        Ok(network)
    };
    list::lines(&list::read(file)?).map(network).collect()
}

/// Adds the networks of hosting providers, and returns when the database was built.
fn add_providers(file: &Path, hosting: &mut Vec<IpNet>) -> Result<u64, NetworksError> {
    let failed = |source| ASN.error(file, source);
    let reader = ASN.open(file)?;
    let built = reader.metadata().build_epoch;
    // By offset in the database: the networks of a provider share a record.
    let mut known: HashMap<usize, bool> = HashMap::new();
    let mut has_numbers = false;
    for found in reader.networks(WithinOptions::default()).map_err(failed)? {
        let found = found.map_err(failed)?;
        let Some(place) = found.offset() else { continue };
        let is_hosting = if let Some(&known) = known.get(&place) {
            known
        } else {
            let system: Option<System> = found.decode().map_err(failed)?;
            let number = system.and_then(|system| system.autonomous_system_number);
            has_numbers |= number.is_some();
            let is_hosting = number.is_some_and(providers::is_hosting);
            known.insert(place, is_hosting);
            is_hosting
        };
        if is_hosting {
            let network = found.network().map_err(failed)?;
            let network = IpNet::new(network.network(), network.prefix());
            let broken = |_| MaxMindDbError::invalid_database("a network has an impossible prefix");
            hosting.push(network.map_err(broken).map_err(failed)?);
        }
    }
    if !has_numbers {
        return Err(NetworksError::NoNumbers(file.to_owned()));
    }
    Ok(built)
}

#[cfg(test)]
mod tests;
