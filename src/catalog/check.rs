//! Holds a snapshot to what its header says: every link can be read and found, and all of them add up.

use super::{Catalog, record::State, state_hash::StateHash};

/// How a snapshot contradicts itself.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum Damage {
    #[error("the link at byte {place} of its records cannot be read")]
    Unreadable { place: u64 },
    #[error("the link {address} is in it, and a look-up does not find it")]
    NotFound { address: String },
    #[error("it has {found} {what}, and its header says {expected}")]
    Count { what: &'static str, expected: u64, found: u64 },
    #[error("its links and domains have the hash {found}, and its header says {expected}")]
    Hash { expected: StateHash, found: StateHash },
}

impl Catalog {
    /// Reads and looks up every link of the snapshot, without changes. `each` is called for each.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self, each: impl Fn()) -> Result<(), Damage> {
        let header = self.base.header();
        let (mut links, mut active, mut end) = (0, 0, 0);
        let mut hash = StateHash::default();
        for domain in self.domains.described() {
            domain.hash().into_iter().for_each(|domain| hash.add(domain));
        }
        for place in self.base.places(self.base.all()) {
            each();
            let link = self.base_link(place).ok_or(Damage::Unreadable { place })?;
            if self.base.find(link.profile().domain, link.record().key) != Some(place) {
                let slashtag = String::from_utf8_lossy(link.slashtag());
                return Err(Damage::NotFound { address: format!("{}/{slashtag}", link.host()) });
            }
            links += 1;
            active += u64::from(link.record().flags.state() == State::Active);
            hash.add(link.hash());
            end = place;
        }
        let counts = [("links", header.links, links), ("active links", header.active, active)];
        for (what, expected, found) in counts {
            if expected != found {
                return Err(if found < expected {
                    Damage::Unreadable { place: end }
                } else {
                    Damage::Count { what, expected, found }
                });
            }
        }
        if hash == header.position.hash {
            return Ok(());
        }
        Err(Damage::Hash { expected: header.position.hash, found: hash })
    }
}
