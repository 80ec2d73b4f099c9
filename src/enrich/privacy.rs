//! What the events of a workspace may tell of its visitors: `enrich.location`, `enrich.honour_opt_out`, and the
//! exceptions in `enrich.workspaces`.
//!
//! A leaf of the enrich stage. The configuration is resolved once, so that a click costs one look-up of its workspace,
//! and none at all while no workspace has an exception. Invariant: what a visitor asks for ([`OPTED_OUT`]) and what a
//! workspace is allowed add up; the stricter of both holds.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::{
    config::{self, Precision},
    event::Location,
};

/// Most that an event tells of where a visitor is who opted out, when that is honoured.
pub const OPTED_OUT: Precision = Precision::Region;

/// What the events of one workspace may tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Most that events tell of where a visitor is.
    pub location: Precision,
    /// Whether `Sec-GPC: 1` and `DNT: 1` keep session and location detail out of events.
    pub honour_opt_out: bool,
}

impl Policy {
    /// How much of a location an event may tell.
    pub fn precision(&self, opted_out: bool) -> Precision {
        if opted_out && self.honour_opt_out { self.location.min(OPTED_OUT) } else { self.location }
    }
}

/// The policies of all workspaces.
pub struct Policies {
    common: Policy,
    exceptions: HashMap<Box<[u8]>, Policy, RandomState>,
}

impl Policies {
    /// Resolves the configuration: what a workspace does not set is as for all.
    pub fn new(config: &config::Enrich) -> Self {
        let common = Policy { location: config.location, honour_opt_out: config.honour_opt_out };
        let resolve = |own: &config::Privacy| Policy {
            location: own.location.unwrap_or(common.location),
            honour_opt_out: own.honour_opt_out.unwrap_or(common.honour_opt_out),
        };
        let exceptions = config.workspaces.iter().map(|(id, own)| (id.as_bytes().into(), resolve(own)));
        Self { common, exceptions: exceptions.collect() }
    }

    /// The policy of a workspace, by its id.
    pub fn of(&self, workspace: &[u8]) -> Policy {
        // An empty map answers without hashing.
        self.exceptions.get(workspace).copied().unwrap_or(self.common)
    }

    /// Whether a visitor's wish not to be tracked is honoured in this workspace.
    pub fn honours_opt_out(&self, workspace: &[u8]) -> bool {
        self.of(workspace).honour_opt_out
    }
}

/// What of a location may be told; `None` when nothing is left. [`Precision::Coordinates`] keeps all.
pub fn limited(location: &Location, precision: Precision) -> Option<Location> {
    let upto = |least| precision >= least;
    let told = Location {
        country: location.country,
        region: location.region.filter(|_| upto(Precision::Region)),
        city: location.city.clone().filter(|_| upto(Precision::City)),
        latitude: location.latitude.filter(|_| upto(Precision::Coordinates)),
        longitude: location.longitude.filter(|_| upto(Precision::Coordinates)),
    };
    (told != Location::default()).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Code;

    fn policies(text: &str) -> Policies {
        Policies::new(&toml::from_str(text).unwrap())
    }

    #[test]
    fn without_exceptions_all_workspaces_are_alike() {
        let policies = policies("location = \"city\"\nhonour_opt_out = false");
        let common = Policy { location: Precision::City, honour_opt_out: false };
        assert_eq!((policies.of(b"w-1"), policies.of(b"")), (common, common));
        assert!(policies.exceptions.is_empty() && !policies.honours_opt_out(b"w-1"));
    }

    #[test]
    fn a_workspace_differs_in_what_it_sets_and_only_there() {
        let policies = policies(
            "location = \"region\"\n[workspaces.\"w-1\"]\nlocation = \"coordinates\"\n[workspaces.\"w-2\"]\nhonour_opt_out = false",
        );
        assert_eq!(policies.of(b"w-1"), Policy { location: Precision::Coordinates, honour_opt_out: true });
        assert_eq!(policies.of(b"w-2"), Policy { location: Precision::Region, honour_opt_out: false });
        assert_eq!(policies.of(b"w-11"), Policy { location: Precision::Region, honour_opt_out: true });
        assert!(policies.honours_opt_out(b"w-1") && !policies.honours_opt_out(b"w-2"));
    }

    #[test]
    fn an_opt_out_never_widens_what_a_workspace_tells() {
        let policy = |location, honour_opt_out| Policy { location, honour_opt_out };
        assert_eq!(policy(Precision::Coordinates, true).precision(true), Precision::Region);
        assert_eq!(policy(Precision::Country, true).precision(true), Precision::Country);
        assert_eq!(policy(Precision::Coordinates, true).precision(false), Precision::Coordinates);
        assert_eq!(policy(Precision::City, false).precision(true), Precision::City);
    }

    #[test]
    fn a_location_keeps_what_its_precision_allows() {
        let full = Location {
            country: Code::read(b"jp"),
            region: Code::read(b"13"),
            city: Some("Tokyo".to_owned()),
            latitude: Some(35.7),
            longitude: Some(139.7),
        };
        assert_eq!(limited(&full, Precision::Coordinates), Some(full.clone()));
        let city = Location { latitude: None, longitude: None, ..full.clone() };
        assert_eq!(limited(&full, Precision::City), Some(city.clone()));
        let region = Location { city: None, ..city };
        assert_eq!(limited(&full, Precision::Region), Some(region.clone()));
        assert_eq!(limited(&full, Precision::Country), Some(Location { region: None, ..region }));
        let nowhere = Location { country: None, region: None, ..full };
        assert_eq!(limited(&nowhere, Precision::Region), None);
    }
}
