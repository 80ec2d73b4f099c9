//! Links and domains as the API shows them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::CatalogStore;
use crate::{
    catalog::{
        Catalog, Domain, Link,
        change::{BadCursor, Page, Shown},
        json, live,
    },
    link::Host,
};

impl CatalogStore {
    /// A link, by the host of its domain and its slashtag.
    pub fn show_link(&self, domain: &str, slashtag: &str) -> Option<Shown> {
        self.load().exact(domain, slashtag).map(|link| show(&link))
    }

    /// A domain, by its host or an alias.
    pub fn show_domain(&self, domain: &str) -> Option<Shown> {
        let host = Host::parse(domain.as_bytes()).ok()?;
        let catalog = self.load();
        let number = catalog.domains.named(host.as_str())?;
        Some(show_domain(&catalog.domains.all[number as usize]))
    }

    /// The links of a domain, by its host or an alias, page by page, and the cursor of the next page if there is one. A
    /// change between two pages may or may not be seen; other links are neither left out nor shown twice.
    ///
    /// # Errors
    /// When the cursor is of another snapshot, or none.
    pub fn list(&self, domain: &str, page: Page<'_>) -> Result<(Vec<Shown>, Option<String>), BadCursor> {
        self.load().list(domain, page)
    }
}

impl Catalog {
    fn list(&self, domain: &str, page: Page<'_>) -> Result<(Vec<Shown>, Option<String>), BadCursor> {
        let host = Host::parse(domain.as_bytes()).ok();
        let Some(number) = host.as_ref().and_then(|host| self.domains.named(host.as_str())) else {
            return Ok((Vec::new(), None));
        };
        let from = self.read_cursor(page.after)?;
        let base = self.base.places(self.base.links_from(number, from)).filter_map(|place| self.base_link(place));
        let base = base.map(|link| (self.base.hash(link.record().key), link));
        let base = base.filter(|(hash, link)| *hash >= from && self.is_current(link)).take(page.limit + 1);
        let changed = self.overlay.of_domain(number, from);
        let changed = changed.filter_map(|(hash, _, slot)| Some((hash, Link::at(self, slot.link.as_ref()?, 0)?)));
        let mut links: Vec<_> = base.chain(changed.take(page.limit + 1)).collect();
        links.sort_unstable_by_key(|(hash, _)| *hash);
        let next = links.get(page.limit).map(|(hash, _)| self.cursor(*hash));
        links.truncate(page.limit);
        Ok((links.iter().map(|(_, link)| show(link)).collect(), next))
    }

    /// The cursor of the page that begins with this hash. It says nothing of the slashtag, which may be another
    /// workspace's: the key of the hash is secret.
    fn cursor(&self, from: u64) -> String {
        URL_SAFE_NO_PAD.encode([&self.order()[..], &from.to_le_bytes()].concat())
    }

    /// The hash with which a page begins.
    fn read_cursor(&self, cursor: &str) -> Result<u64, BadCursor> {
        if cursor.is_empty() {
            return Ok(0);
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| BadCursor)?;
        let (order, from) = bytes.split_at_checked(4).ok_or(BadCursor)?;
        let from = <[u8; 8]>::try_from(from).map_err(|_| BadCursor)?;
        if *order == self.order() { Ok(u64::from_le_bytes(from)) } else { Err(BadCursor) }
    }

    /// Which order it is: snapshots with other keys have another one.
    fn order(&self) -> [u8; 4] {
        let hash = blake3::hash(&self.base.header().key);
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

fn show(link: &Link<'_>) -> Shown {
    Shown { json: json::of(link).to_string(), etag: link.hash().etag(), workspace: link.workspace().to_owned() }
}

fn show_domain(domain: &Domain) -> Shown {
    let json = domain
        .line
        .as_deref()
        .map_or_else(|| serde_json::json!({"kind": "domain", "fullName": domain.host()}).to_string(), str::to_owned);
    let workspace = domain.for_links.workspace.as_ref().map_or("", |(id, _)| id);
    Shown { json, etag: live::hash_of(domain).etag(), workspace: workspace.to_owned() }
}
