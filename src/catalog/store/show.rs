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

    /// A domain, by its host.
    pub fn show_domain(&self, domain: &str) -> Option<Shown> {
        let host = Host::parse(domain.as_bytes()).ok()?;
        let catalog = self.load();
        catalog.domains.of_host(host.as_str()).map(|(_, domain)| show_domain(domain))
    }

    /// The links of a domain, page by page, and the cursor of the next page if there is one. A change between two pages
    /// may or may not be seen; other links are neither left out nor shown twice.
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
        let Some((number, _)) = host.as_ref().and_then(|host| self.domains.of_host(host.as_str())) else {
            return Ok((Vec::new(), None));
        };
        let after = self.read_cursor(page.after)?;
        let from = after.as_ref().map_or(0, |(hash, _)| *hash);
        let is_next = |hash: u64, key: &[u8]| after.as_ref().is_none_or(|(h, k)| (hash, key) > (*h, k));
        let base = self.base.places(self.base.links_from(number, from)).filter_map(|place| self.base_link(place));
        let base = base.filter(|link| self.is_current(link)).map(|link| (self.base.hash(link.record().key), link));
        let base = base.filter(|(hash, link)| is_next(*hash, link.record().key)).take(page.limit + 1);
        let changed = self.overlay.iter().filter(|(domain, ..)| *domain == number);
        let changed = changed.filter_map(|(_, _, slot)| Link::at(self, slot.link.as_ref()?, 0));
        let changed = changed.map(|link| (self.base.hash(link.record().key), link));
        let mut links: Vec<_> =
            base.chain(changed.filter(|(hash, link)| is_next(*hash, link.record().key))).collect();
        links.sort_unstable_by_key(|(hash, link)| (*hash, link.record().key));
        let next = (links.len() > page.limit).then(|| links.get(page.limit.checked_sub(1)?)).flatten();
        let next = next.map(|(_, link)| self.cursor(link.record().key));
        links.truncate(page.limit);
        Ok((links.iter().map(|(_, link)| show(link)).collect(), next))
    }

    fn cursor(&self, key: &[u8]) -> String {
        let order = self.base.header().key;
        URL_SAFE_NO_PAD.encode([&blake3::hash(&order).as_bytes()[..4], key].concat())
    }

    /// Hash and slashtag behind which a page begins.
    fn read_cursor(&self, cursor: &str) -> Result<Option<(u64, Vec<u8>)>, BadCursor> {
        if cursor.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| BadCursor)?;
        let (order, key) = bytes.split_at_checked(4).ok_or(BadCursor)?;
        if *order != blake3::hash(&self.base.header().key).as_bytes()[..4] {
            return Err(BadCursor);
        }
        Ok(Some((self.base.hash(key), key.to_owned())))
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
