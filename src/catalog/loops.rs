//! Finds links that lead back to themselves, directly or by other links of the catalog. A browser gives up on them
//! after some twenty redirects.

use hashbrown::HashMap;

use super::{Catalog, Link, Lookup};
use crate::link::Host;

/// Loops that are reported each by itself.
pub const KEPT_LOOPS: usize = 20;

/// The loops of a catalog.
#[derive(Debug, Default)]
pub struct Loops {
    /// Places of all links that are part of a loop.
    pub places: Vec<u64>,
    /// The first [`KEPT_LOOPS`] loops: each link's short address, and the first again at the end.
    pub chains: Vec<Vec<String>>,
}

/// Finds the loops. Links that lead elsewhere cost the look-up of a host.
pub fn find(catalog: &Catalog) -> Loops {
    let mut next: HashMap<u64, Vec<u64>> = HashMap::new();
    for link in catalog.base_links() {
        let leads: Vec<u64> = leads(catalog, &link).collect();
        if !leads.is_empty() {
            next.insert(link.place(), leads);
        }
    }
    let (mut loops, mut seen) = (Loops::default(), HashMap::new());
    let mut starts: Vec<u64> = next.keys().copied().collect();
    starts.sort_unstable();
    for start in starts {
        walk(catalog, &next, start, &mut seen, &mut loops);
    }
    loops.chains.sort_unstable();
    loops.places.sort_unstable();
    loops.places.dedup();
    loops
}

/// Walks from a link, depth first. `seen` has `true` for links on the way, `false` for those that are finished.
fn walk(
    catalog: &Catalog,
    next: &HashMap<u64, Vec<u64>>,
    start: u64,
    seen: &mut HashMap<u64, bool>,
    loops: &mut Loops,
) {
    if seen.contains_key(&start) {
        return;
    }
    // Each link on the way, and which of its destinations is next.
    let mut way = vec![(start, 0)];
    seen.insert(start, true);
    while let Some((at, which)) = way.last_mut() {
        let Some(&to) = next.get(at).and_then(|leads| leads.get(*which)) else {
            seen.insert(*at, false);
            way.pop();
            continue;
        };
        *which += 1;
        match seen.get(&to) {
            None => {
                seen.insert(to, true);
                way.push((to, 0));
            }
            Some(true) => {
                let first = way.iter().position(|(link, _)| *link == to).unwrap_or_default();
                let members = way[first..].iter().map(|(link, _)| *link);
                if loops.chains.len() < KEPT_LOOPS {
                    loops.chains.push(chain(members.clone().map(|link| short(catalog, link)).collect()));
                }
                loops.places.extend(members);
            }
            Some(false) => {}
        }
    }
}

/// The links of the catalog to which a link leads.
fn leads<'a>(catalog: &'a Catalog, link: &Link<'a>) -> impl Iterator<Item = u64> {
    let policy = link.policy();
    let rules = policy.into_iter().flat_map(|policy| policy.rules.destinations());
    let variants = policy.and_then(|policy| policy.variants.as_ref());
    let variants = variants.into_iter().flat_map(|variants| variants.iter().map(|variant| &*variant.destination));
    [link.destination()].into_iter().chain(rules).chain(variants).filter_map(|url| target(catalog, url))
}

/// The link at a URL, if it is one of this catalog.
fn target(catalog: &Catalog, url: &str) -> Option<u64> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
    let host = Host::parse(host.as_bytes()).ok()?;
    match catalog.find(&host, path.as_bytes()).ok()? {
        Lookup::Found(link, _) => Some(link.place()),
        Lookup::NotBranded | Lookup::Unknown(_) | Lookup::Preview(_) => None,
    }
}

/// The links of a loop from the first by name, and that again at the end.
fn chain(mut names: Vec<String>) -> Vec<String> {
    let first = names.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(at, _)| at);
    names.rotate_left(first);
    names.extend(names.first().cloned());
    names
}

fn short(catalog: &Catalog, place: u64) -> String {
    catalog
        .base_link(place)
        .map_or_else(String::new, |link| format!("{}/{}", link.host(), String::from_utf8_lossy(link.slashtag())))
}
