//! What the events of a workspace may reveal of its visitors: `enrich.location`, `enrich.honour_opt_out`, and the
//! exceptions in `enrich.workspaces`.
//!
//! The configuration is resolved once, so that a click costs one lookup of its workspace, and none while no workspace
//! has an exception. Invariant: the stricter of what a visitor asks for ([`OPTED_OUT`]) and what a workspace allows
//! holds.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::{
    config::{self, Precision},
    event::Location,
};

/// Most precise location in the event of a visitor who opted out, when that is honoured.
pub const OPTED_OUT: Precision = Precision::Region;

/// What the events of one workspace may reveal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Most precise location.
    pub location: Precision,
    /// Whether `Sec-GPC: 1` and `DNT: 1` keep session and location detail out of events.
    pub honour_opt_out: bool,
}

impl Policy {
    /// Precision of the location in an event.
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
    /// Resolves the configuration: what a workspace does not set is common to all.
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

    /// Whether a visitor's opt-out is honoured in this workspace.
    pub fn honours_opt_out(&self, workspace: &[u8]) -> bool {
        self.of(workspace).honour_opt_out
    }
}

/// The location with this precision; `None` when nothing of it remains. [`Precision::Coordinates`] keeps all.
pub fn limited(location: &Location, precision: Precision) -> Option<Location> {
    let upto = |least| precision >= least;
    let limited = Location {
        country: location.country,
        region: location.region.filter(|_| upto(Precision::Region)),
        city: location.city.clone().filter(|_| upto(Precision::City)),
        latitude: location.latitude.filter(|_| upto(Precision::Coordinates)),
        longitude: location.longitude.filter(|_| upto(Precision::Coordinates)),
    };
    (limited != Location::default()).then_some(limited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Code;

    fn policies(text: &str) -> Policies {
        Policies::new(&toml::from_str(text).unwrap())
    }

    #[test]
    fn without_exceptions_all_workspaces_have_the_common_policy() {
        let policies = policies("location = \"city\"\nhonour_opt_out = false");
        let common = Policy { location: Precision::City, honour_opt_out: false };
        assert_eq!((policies.of(b"w-1"), policies.of(b"")), (common, common));
        assert!(policies.exceptions.is_empty() && !policies.honours_opt_out(b"w-1"));
    }

    #[test]
    fn an_exception_changes_only_what_it_sets() {
        let policies = policies(
            "location = \"region\"\n[workspaces.\"w-1\"]\nlocation = \"coordinates\"\n[workspaces.\"w-2\"]\nhonour_opt_out = false",
        );
        assert_eq!(policies.of(b"w-1"), Policy { location: Precision::Coordinates, honour_opt_out: true });
        assert_eq!(policies.of(b"w-2"), Policy { location: Precision::Region, honour_opt_out: false });
        assert_eq!(policies.of(b"w-11"), Policy { location: Precision::Region, honour_opt_out: true });
        assert!(policies.honours_opt_out(b"w-1") && !policies.honours_opt_out(b"w-2"));
    }

    #[test]
    fn an_opt_out_never_makes_a_location_more_precise() {
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
