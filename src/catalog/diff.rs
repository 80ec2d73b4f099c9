//! What differs between two catalogs, whatever their order: each link of one is looked up in the other.

use std::io;

use super::{Catalog, Link, domain::Domain};

/// What differs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    Added,
    Changed,
    Removed,
}

/// A link or domain that is not the same in both.
#[derive(Debug)]
pub struct Difference {
    pub change: Change,
    pub is_domain: bool,
    /// JSON in the form of the catalog file, if it is there.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Gives `each` all differences: domains, then links that were changed or removed, then those that were added. `seen`
/// is called for each link of both.
///
/// # Errors
/// Those of `each`.
pub fn differences(
    before: &Catalog,
    after: &Catalog,
    seen: impl Fn(),
    mut each: impl FnMut(&Difference) -> io::Result<()>,
) -> io::Result<()> {
    for domain in described(before) {
        let other = find(after, domain.host());
        let removed = domain.line.as_deref();
        let line = other.and_then(|other| other.line.as_deref());
        if line != removed {
            each(&difference(true, removed.map(str::to_owned), line.map(str::to_owned)))?;
        }
    }
    for domain in described(after).filter(|domain| find(before, domain.host()).is_none()) {
        each(&difference(true, None, domain.line.as_deref().map(str::to_owned)))?;
    }
    for link in before.all_links() {
        seen();
        let other = counterpart(after, &link);
        if other.is_none_or(|other| other.hash() != link.hash()) {
            each(&difference(false, Some(link.to_json()), other.map(|other| other.to_json())))?;
        }
    }
    for link in after.all_links() {
        seen();
        if counterpart(before, &link).is_none() {
            each(&difference(false, None, Some(link.to_json())))?;
        }
    }
    Ok(())
}

fn difference(is_domain: bool, before: Option<String>, after: Option<String>) -> Difference {
    let change = match (&before, &after) {
        (None, _) => Change::Added,
        (Some(_), Some(_)) => Change::Changed,
        (Some(_), None) => Change::Removed,
    };
    Difference { change, is_domain, before, after }
}

fn counterpart<'c>(catalog: &'c Catalog, link: &Link<'_>) -> Option<Link<'c>> {
    let slashtag = std::str::from_utf8(link.slashtag()).ok()?;
    catalog.exact(link.host(), slashtag)
}

/// The domains that have a line.
fn described(catalog: &Catalog) -> impl Iterator<Item = &Domain> {
    catalog.domains.described()
}

fn find<'c>(catalog: &'c Catalog, host: &str) -> Option<&'c Domain> {
    let (_, domain) = catalog.domains.of_host(host)?;
    domain.line.is_some().then_some(&**domain)
}
