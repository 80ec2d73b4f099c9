use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    catalog::{
        ApplyError, Catalog, CatalogStore, InstallError, LoadError, Lookup,
        change::{BadCursor, Change, Condition, Entry, Operation, Page, Position, Refused, Shown},
        change_log::{ChangeLog, Identity},
        compile::Compiler,
        snapshot::{
            file::{self, NewFile},
            header,
        },
        source,
    },
    config,
    link::Host,
};

/// A store with a state folder, after a start.
struct Edge {
    store: CatalogStore,
    config: config::Catalog,
    dir: Arc<TempDir>,
}

impl Edge {
    fn start(base: &str) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), base)
    }

    fn start_in(dir: Arc<TempDir>, base: &str) -> Self {
        let config = config::Catalog { state_dir: Some(dir.path().into()), ..config::Catalog::default() };
        let store = CatalogStore::of(source::load(base.as_bytes(), &config).unwrap().0, &config);
        store.open_log().unwrap();
        Self { store, config, dir }
    }

    /// The same edge after its process was killed.
    fn restart(self, base: &str) -> Self {
        let Self { store, dir, .. } = self;
        drop(store);
        Self::start_in(dir, base)
    }

    fn change(&self, changes: &[Change]) -> (Vec<Result<u64, Refused>>, Vec<Entry>, Position) {
        let prepared = self.store.prepare(changes);
        let (entries, to) = (prepared.entries.clone(), prepared.to);
        let outcomes = self.store.commit(prepared).unwrap().expect("no one else changes it");
        (outcomes.into_iter().map(|outcome| outcome.map(|accepted| accepted.revision)).collect(), entries, to)
    }

    fn put(&self, link: &Value) -> Result<u64, Refused> {
        self.change(&[put(link)]).0.remove(0)
    }

    fn destination(&self, domain: &str, slashtag: &str) -> Option<String> {
        let catalog = self.store.load();
        match catalog.find(&Host::parse(domain.as_bytes()).unwrap(), slashtag.as_bytes()) {
            Ok(Lookup::Found(link, _)) => Some(link.destination().to_owned()),
            _ => None,
        }
    }

    fn list(&self, domain: &str, limit: usize) -> Vec<Shown> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let (page, next) = self.store.list(domain, Page { after: &after, limit }).unwrap();
            assert!(page.len() <= limit);
            all.extend(page);
            let Some(next) = next else { return all };
            after = next;
        }
    }
}

fn change(operation: Operation) -> Change {
    Change { operation, condition: Condition::Always }
}

fn put(link: &Value) -> Change {
    change(Operation::PutLink { link: link.to_string() })
}

fn delete(domain: &str, slashtag: &str) -> Change {
    change(Operation::DeleteLink { domain: domain.into(), slashtag: slashtag.into() })
}

fn put_domain(domain: &Value) -> Change {
    change(Operation::PutDomain { domain: domain.to_string() })
}

fn link(domain: &str, slashtag: &str, destination: &str) -> Value {
    json!({"id": format!("id-{slashtag}"), "slashtag": slashtag, "destination": destination,
           "domain": {"fullName": domain}})
}

fn lines<'v>(values: impl IntoIterator<Item = &'v Value>) -> String {
    values.into_iter().fold(String::new(), |lines, value| lines + &value.to_string() + "\n")
}

#[test]
fn a_link_is_shown_so_that_it_is_the_same_link_when_it_is_put_again() {
    let plain = link("go.brand.com", "Spring/Sale", "https://www.example.com/");
    let full = json!({
        "id": "l-1", "slashtag": "café", "destination": "https://www.example.com/a?b=1", "status": "expired",
        "createdAt": "2026-03-01T09:30:00.000Z", "httpStatus": 308, "forwardParameters": ["utm_*", "gclid"],
        "domain": {"id": "d-1", "fullName": "go.brand.com"}, "creator": {"id": "u-1", "fullName": "Ana Lima"},
        "workspace": {"id": "w-1", "name": "Marketing"}, "tags": [{"id": "t-1", "name": "One"}, {"id": "t-2"}],
        "scripts": [{"id": "s-1", "name": "Pixel", "value": "<script>1</script>"}],
        "activeFrom": "2026-01-01T00:00:00Z", "expiresAt": "2099-01-01T00:00:00Z", "maxClicks": 3, "noIndex": true,
        "fallback": "https://www.example.com/over", "clickIdParameter": "cid",
        "rules": [{"name": "de", "when": {"country": ["DE"]}, "destination": "https://www.example.de/"}],
        "variants": [{"name": "a", "destination": "https://a.example/"}, {"name": "b", "destination": "https://b.example/"}],
    });
    let odd = json!({"id": 7, "slashtag": "x", "destination": "https://www.example.com", "createdAt": "2026-03-01",
        "domain": "go.brand.com", "status": "paused", "forwardParameters": true, "workspace": {"id": "w"}});
    let edge = Edge::start("");
    for link in [plain, full, odd] {
        edge.put(&link).unwrap();
        let slashtag = link["slashtag"].as_str().unwrap();
        let shown = edge.store.show_link("go.brand.com", slashtag).unwrap();
        let again = edge.store.prepare(&[put(&serde_json::from_str(&shown.json).unwrap())]);
        assert!(
            again.entries.is_empty() && again.outcomes[0].as_ref().unwrap().unchanged,
            "{link} is shown as {}",
            shown.json
        );
    }
}

#[test]
fn a_put_link_is_there_at_once_and_after_a_kill_and_a_deleted_one_is_gone() {
    let base = lines(&[
        link("go.brand.com", "spring", "https://old.example/"),
        link("go.brand.com", "gone", "https://x.example/"),
    ]);
    let edge = Edge::start(&base);
    edge.put(&link("go.brand.com", "spring", "https://new.example/")).unwrap();
    edge.put(&link("new.brand.com", "first", "https://first.example/")).unwrap();
    assert_eq!(edge.change(&[delete("go.brand.com", "gone")]).0, [Ok(3)]);
    let edge = edge.restart(&base);
    assert_eq!(edge.destination("go.brand.com", "/spring").as_deref(), Some("https://new.example/"));
    assert_eq!(edge.destination("new.brand.com", "/first").as_deref(), Some("https://first.example/"));
    assert_eq!(edge.destination("go.brand.com", "/gone"), None);
    assert_eq!((edge.store.position().revision, edge.store.load().links(), edge.store.load().domains()), (3, 2, 2));
}

#[test]
fn a_change_is_refused_with_the_reason_and_nothing_changes() {
    let edge = Edge::start(&lines(&[link("go.brand.com", "spring", "https://www.example.com/")]));
    let before = edge.store.position();
    let etag = edge.store.show_link("go.brand.com", "spring").unwrap().etag;
    let with =
        |condition: Condition| Change { condition, ..put(&link("go.brand.com", "spring", "https://b.example/")) };
    let refused = |change: Change| edge.change(&[change]).0.remove(0).unwrap_err();
    assert_eq!(refused(with(Condition::Absent)), Refused::ConditionFailed { etag: Some(etag.clone()) });
    assert_eq!(
        refused(with(Condition::Matches(vec!["\"0\"".into()]))),
        Refused::ConditionFailed { etag: Some(etag.clone()) }
    );
    assert_eq!(refused(delete("go.brand.com", "autumn")), Refused::NotFound { what: "link" });
    let bad = link("go.brand.com", "spring", "javascript:alert(1)");
    assert!(matches!(refused(put(&bad)), Refused::Invalid { field: Some(field), .. } if field == "destination"));
    let domain = put_domain(&json!({"kind": "domain", "fullName": "go.brand.com", "case": "insensitive"}));
    assert!(matches!(refused(domain), Refused::Conflict { reason } if reason.contains("`case`")));
    let gone = change(Operation::DeleteDomain { domain: "go.brand.com".into() });
    assert!(matches!(refused(gone), Refused::Conflict { .. }));
    assert_eq!(edge.store.position(), before);
    assert_eq!(edge.change(&[with(Condition::Matches(vec!["\"0\"".into(), etag]))]).0, [Ok(1)]);
}

#[test]
fn a_domain_is_changed_with_its_aliases_and_deleted_once_it_has_no_links() {
    let edge = Edge::start(&lines(&[link("go.brand.com", "spring", "https://www.example.com/")]));
    let domain =
        |aliases: &[&str]| put_domain(&json!({"kind": "domain", "fullName": "go.brand.com", "aliases": aliases}));
    edge.change(&[domain(&["a.brand.com", "b.brand.com"])]).0.remove(0).unwrap();
    assert!(edge.destination("a.brand.com", "/spring").is_some());
    edge.change(&[domain(&["b.brand.com"])]).0.remove(0).unwrap();
    assert!(
        edge.destination("a.brand.com", "/spring").is_none() && edge.destination("b.brand.com", "/spring").is_some()
    );
    edge.change(&[delete("b.brand.com", "spring")]).0.remove(0).unwrap();
    edge.change(&[change(Operation::DeleteDomain { domain: "go.brand.com".into() })]).0.remove(0).unwrap();
    assert_eq!((edge.store.load().domains(), edge.store.position().hash), (0, Catalog::empty().position().hash));
    edge.put(&link("go.brand.com", "spring", "https://again.example/")).unwrap();
    assert_eq!(edge.destination("go.brand.com", "/spring").as_deref(), Some("https://again.example/"));
    assert_eq!(edge.list("go.brand.com", 9).len(), 1);
}

#[test]
fn changes_of_another_edge_follow_without_a_gap_or_are_not_taken() {
    let (from, to) = (Edge::start(""), Edge::start(""));
    let (_, first, at_first) = from.change(&[put(&link("a.example", "1", "https://x.example/"))]);
    let (_, second, at_second) = from.change(&[put(&link("a.example", "2", "https://x.example/"))]);
    assert!(matches!(to.store.apply(&second, at_second), Err(ApplyError::Gap { ours: 0, first: 2 })));
    to.store.apply(&first, at_first).unwrap();
    to.store.apply(&first, at_first).unwrap();
    assert!(matches!(to.store.apply(&second, at_first), Err(ApplyError::Hash { .. })));
    assert_eq!(to.store.position(), at_first);
    let both = [first, second].concat();
    to.store.apply(&both, at_second).unwrap();
    assert_eq!(to.store.position(), from.store.position());
    assert_eq!(to.restart("").store.position(), at_second);
}

/// A snapshot file of these links.
fn snapshot(dir: &TempDir, text: &str, generation: u64, revision: u64) -> std::path::PathBuf {
    snapshot_of(dir, text, (generation, revision), [0; 16])
}

fn snapshot_of(dir: &TempDir, text: &str, (generation, revision): (u64, u64), log: Identity) -> std::path::PathBuf {
    let config = config::Catalog::default();
    let mut compiler = Compiler::new(&config);
    source::add_domains(&mut compiler, text.as_bytes(), 1, |_| ()).unwrap();
    source::Links::new(&mut compiler).add_all(text.as_bytes(), 1, |_| ()).unwrap();
    let path = dir.path().join(format!("{generation}.snapshot"));
    let mut file = NewFile::create(&path).unwrap();
    let (mut header, ..) = compiler.write(file.sections().unwrap(), header::SIZE as u64).unwrap();
    header.log = log;
    file.finish(header, Position { generation, revision, ..Position::default() }, 1).unwrap();
    path
}

#[test]
fn a_snapshot_replaces_what_it_contains_and_keeps_later_changes() {
    let files = tempfile::tempdir().unwrap();
    let edge = Edge::start("");
    edge.put(&link("a.example", "1", "https://old.example/")).unwrap();
    edge.put(&link("a.example", "2", "https://kept.example/")).unwrap();
    let log = ChangeLog::peek(edge.dir.path()).unwrap().identity;
    let path = snapshot_of(&files, &lines(&[link("a.example", "1", "https://new.example/")]), (5, 1), log);
    let position = edge.store.install(&path, false).unwrap();
    assert_eq!((position.generation, position.revision), (5, 2));
    assert_eq!(edge.destination("a.example", "/1").as_deref(), Some("https://new.example/"));
    assert_eq!(edge.destination("a.example", "/2").as_deref(), Some("https://kept.example/"));
    let older = snapshot(&files, &lines(&[link("a.example", "1", "https://x.example/")]), 4, 9);
    assert!(matches!(edge.store.install(&older, false), Err(InstallError::Older { new: 4, current: 5 })));
    edge.store.install(&older, true).unwrap();
    assert_eq!(edge.destination("a.example", "/1").as_deref(), Some("https://x.example/"));
    assert!(edge.destination("a.example", "/2").is_some(), "the numbers of another log say nothing of this one");
    assert_eq!(edge.put(&link("a.example", "3", "https://x.example/")), Ok(3), "the log goes on from its own number");
}

#[test]
fn a_long_log_keeps_what_later_changes_need() {
    let domain = |name: &str, aliases: &[&str], schemes: &[&str]| {
        put_domain(&json!({"kind": "domain", "fullName": name, "aliases": aliases, "schemes": schemes}))
    };
    let base = lines(&[json!({"kind": "domain", "fullName": "y.example", "aliases": ["a.example"]})]);
    let edge = Edge::start(&base);
    let changes = [
        domain("x.example", &[], &["tel"]),
        put(&link("x.example", "call", "tel:1")),
        domain("x.example", &[], &[]),
        domain("y.example", &[], &[]),
        domain("x.example", &["a.example"], &[]),
        domain("y.example", &["b.example"], &[]),
        put(&link("x.example", "call2", "https://x.example/1")),
    ];
    assert!(edge.change(&changes).0.iter().all(Result::is_ok));
    for round in 0..3_000 {
        let batch: Vec<_> = (0..4)
            .map(|n| put(&link("x.example", &format!("l{n}"), &format!("https://x.example/{round}"))))
            .collect();
        edge.change(&batch);
    }
    let before = edge.store.position();
    let log = ChangeLog::peek(edge.dir.path()).unwrap();
    assert!(log.entries.len() < 9_000, "{} entries", log.entries.len());
    let edge = edge.restart(&base);
    assert_eq!(edge.store.position(), before);
    assert!(edge.destination("a.example", "/call").is_some());
}

#[test]
fn damaged_truncated_and_foreign_snapshots_are_rejected_and_the_current_one_stays() {
    let files = tempfile::tempdir().unwrap();
    let text = lines(&(0..50).map(|n| link("a.example", &format!("s{n}"), "https://x.example/")).collect::<Vec<_>>());
    let path = snapshot(&files, &text, 1, 0);
    let whole = std::fs::read(&path).unwrap();
    let edge = Edge::start(&text);
    let before = edge.store.position();
    let bad = files.path().join("bad.snapshot");
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&bad, bytes).unwrap();
        // Of the header, some bytes are for later use and covered by its hash as well.
        assert!(edge.store.install(&bad, true).is_err() && file::verify(&bad, |_| ()).is_err(), "byte {at}");
        std::fs::write(&bad, &whole[..at]).unwrap();
        assert!(edge.store.install(&bad, true).is_err() && file::read(&bad).is_err(), "{at} bytes");
    }
    assert_eq!((edge.store.position(), edge.list("a.example", 7).len()), (before, 50));
    assert_eq!(std::fs::read_dir(edge.dir.path()).unwrap().count(), 2, "log and lock");
    edge.store.install(&path, false).unwrap();
    assert_eq!((edge.store.position().hash, edge.list("a.example", 7).len()), (before.hash, 50));
    assert_eq!(std::fs::read_dir(edge.dir.path()).unwrap().count(), 3, "the private copy as well");
}

#[test]
fn a_cursor_of_another_catalog_is_refused() {
    let files = tempfile::tempdir().unwrap();
    let edge = Edge::start(&lines(&[link("a.example", "1", "https://x.example/")]));
    for bad in ["x", "!", "AAAA", "AAAAAAAAAA", "AAAAAAAAAAAAAAAA"] {
        assert_eq!(edge.store.list("a.example", Page { after: bad, limit: 1 }), Err(BadCursor), "{bad}");
    }
    assert_eq!(edge.store.list("b.example", Page { after: "", limit: 1 }), Ok((Vec::new(), None)));
    assert!(file::header(&files.path().join("none")).is_err());
}

#[test]
fn domains_are_copied_once_for_a_group_of_changes() {
    let edge = Edge::start(&lines(&[link("go.brand.com", "spring", "https://x.example/")]));
    let mut next = Catalog::clone(&edge.store.load());
    let mut revision = 0;
    let mut make = |change: Change, next: &mut Catalog| {
        revision += 1;
        next.change(&change.operation, &change.condition, revision, &edge.config).map(drop)
    };
    make(put(&link("new.example", "a", "https://x.example/")), &mut next).unwrap();
    let domains = Arc::as_ptr(&next.domains);
    for n in 0..20 {
        make(put(&link(&format!("d{n}.example"), "a", "https://x.example/")), &mut next).unwrap();
        let named =
            |aliases: Value| json!({"kind": "domain", "fullName": format!("e{n}.example"), "aliases": aliases});
        make(put_domain(&named(json!([format!("f{n}.example"), format!("*.e{n}.example")]))), &mut next).unwrap();
        make(put_domain(&named(json!([]))), &mut next).unwrap();
        make(change(Operation::DeleteDomain { domain: format!("e{n}.example") }), &mut next).unwrap();
        make(put(&link("bad.example", "a", "javascript:1")), &mut next).unwrap_err();
    }
    assert_eq!((Arc::as_ptr(&next.domains), next.domains()), (domains, 22));
    assert!(next.hosts().all(|host| !host.starts_with('e') && !host.starts_with('f')), "names are forgotten");
}

#[test]
fn a_link_that_is_not_put_leaves_its_domain_as_it_was() {
    let edge = Edge::start(&lines(&[link("go.brand.com", "spring", "https://x.example/")]));
    let mut named = link("go.brand.com", "spring", "https://y.example/");
    (named["domain"]["id"], named["forwardPath"]) = (json!("d-1"), json!("append"));
    let refused = [
        put(&link("new.example", "a", "javascript:1")),
        Change { condition: Condition::Present, ..put(&link("new.example", "a", "https://x.example/")) },
        Change { condition: Condition::Absent, ..put(&named) },
    ];
    let mut next = Catalog::clone(&edge.store.load());
    for change in refused {
        next.change(&change.operation, &change.condition, 1, &edge.config).map(drop).unwrap_err();
    }
    let domain = next.domains.of_host("go.brand.com").unwrap().1;
    assert_eq!((next.domains(), domain.path_depth, domain.id()), (1, 0, None));
    assert!(next.domains.named("new.example").is_none() && next.domains.all.len() == 1);
    let made = next.change(&put(&named).operation, &Condition::Always, 1, &edge.config).unwrap();
    assert!(made.operation.is_some());
    let domain = next.domains.of_host("go.brand.com").unwrap().1;
    assert_eq!((domain.path_depth, domain.id().as_deref()), (1, Some("d-1")));
}

#[test]
fn a_domain_is_named_by_an_alias_as_well() {
    let domain = json!({"kind": "domain", "fullName": "go.brand.com", "aliases": ["b.example", "*.brand.com"]});
    let edge = Edge::start(&lines(&[domain, link("go.brand.com", "spring", "https://x.example/")]));
    assert_eq!(edge.store.show_domain("b.example"), edge.store.show_domain("go.brand.com"));
    assert!(edge.store.show_domain("b.example").is_some() && edge.store.show_domain("x.brand.com").is_none());
    assert_eq!(edge.list("b.example", 9).len(), 1);
    let own = put_domain(&json!({"kind": "domain", "fullName": "b.example"}));
    let refused = edge.change(&[own]).0.remove(0).unwrap_err();
    let Refused::Invalid { field: Some(field), reason } = refused else { panic!("{refused:?}") };
    assert!(field == "fullName" && reason.contains("an alias of the domain \"go.brand.com\""), "{reason}");
    edge.change(&[delete("b.example", "spring")]).0.remove(0).unwrap();
    let (outcomes, entries, _) = edge.change(&[change(Operation::DeleteDomain { domain: "b.example".into() })]);
    assert!(outcomes[0].is_ok());
    assert_eq!(entries[0].operation, Operation::DeleteDomain { domain: "go.brand.com".into() }, "by its own name");
}

#[test]
fn a_domain_whose_last_link_is_deleted_is_known_after_the_log_is_written_again() {
    let edge = Edge::start("");
    edge.put(&link("new.example", "a", "https://x.example/")).unwrap();
    edge.change(&[delete("new.example", "a")]).0.remove(0).unwrap();
    let busy =
        (0..10_010).map(|n| put(&link("busy.example", &format!("{}", n % 2), &format!("https://{n}.example/"))));
    edge.change(&busy.collect::<Vec<_>>());
    let log = ChangeLog::peek(edge.dir.path()).unwrap();
    assert!(log.entries.len() < 10, "it was written again: {} entries", log.entries.len());
    let edge = edge.restart("");
    assert!(edge.store.show_domain("new.example").is_some());
    assert_eq!((edge.store.load().links(), edge.store.load().domains()), (2, 2));
}

#[test]
fn a_reload_that_cannot_read_the_log_is_rejected_and_the_former_catalog_stays() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut edge = Edge::start_in(Arc::clone(&dir), "");
    edge.config.file = dir.path().join("links.ndjson");
    edge.store.configure(&edge.config);
    std::fs::write(&edge.config.file, lines(&[link("a.example", "file", "https://x.example/")])).unwrap();
    edge.put(&link("a.example", "own", "https://x.example/")).unwrap();
    let (catalog, _) = edge.store.read().unwrap();
    let path = dir.path().join("changes.log");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() = b' ';
    bytes.extend_from_slice(b"\n");
    std::fs::write(&path, bytes).unwrap();
    for accept in [false, true] {
        edge.store.set_accept(accept);
        let error = edge.store.read().err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, LoadError::Changes { .. }), "{text}");
        assert!(text.contains("catalog.state_dir") && text.contains("line 2") && text.contains("restart"), "{text}");
    }
    edge.store.publish(catalog);
    assert!(edge.destination("a.example", "/own").is_some() && edge.destination("a.example", "/file").is_none());
}

#[test]
fn a_snapshot_whose_domains_are_invalid_does_not_become_the_private_copy() {
    let files = tempfile::tempdir().unwrap();
    let edge = Edge::start("");
    let good = snapshot(&files, &lines(&[link("a.example", "1", "https://x.example/")]), 1, 0);
    edge.store.install(&good, false).unwrap();
    let domain = json!({"kind": "domain", "fullName": "a.example", "httpStatus": 307});
    let later = snapshot(&files, &lines(&[domain, link("a.example", "2", "https://x.example/")]), 2, 0);
    let mut bytes = std::fs::read(&later).unwrap();
    let at = bytes.windows(3).rposition(|part| part == b"307").unwrap();
    bytes[at..at + 3].copy_from_slice(b"999");
    let mut header = header::Header::read(&bytes).unwrap();
    header.checksum = *blake3::hash(&bytes[header::SIZE..]).as_bytes();
    bytes[..header::SIZE].copy_from_slice(&header.to_bytes());
    std::fs::write(&later, bytes).unwrap();
    assert!(file::verify(&later, |_| ()).is_ok(), "only this version rejects it");
    let error = edge.store.install(&later, false).unwrap_err().to_string();
    assert!(error.contains("a.example") && error.contains("httpStatus"), "{error}");
    assert_eq!(file::header(&edge.dir.path().join(file::PRIVATE)).unwrap(), file::header(&good).unwrap());
    assert_eq!(std::fs::read_dir(edge.dir.path()).unwrap().count(), 3, "log, lock and the former copy");
    assert!(edge.destination("a.example", "/1").is_some());
}

type Model = BTreeMap<(String, String), Value>;

fn operations() -> impl Strategy<Value = Vec<(u8, u8, u8, u8)>> {
    proptest::collection::vec((0..4_u8, 0..3_u8, 0..12_u8, 0..4_u8), 0..60)
}

fn one(model: &mut Model, (kind, domain, slashtag, value): (u8, u8, u8, u8)) -> Change {
    let (domain, slashtag) = (format!("d{domain}.example"), format!("Tag{slashtag}"));
    let key = (domain.clone(), slashtag.clone());
    if kind == 0 {
        model.remove(&key);
        return delete(&domain, &slashtag);
    }
    let mut link = link(&domain, &slashtag, &format!("https://www.example.com/{value}"));
    if value == 3 {
        link["maxClicks"] = json!(5);
        link["tags"] = json!([{"id": "t", "name": slashtag}]);
    }
    model.insert(key, link.clone());
    put(&link)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changes_end_in_the_same_catalog_as_a_file_with_the_same_links(
        base in operations(), changes in operations(), sizes in proptest::collection::vec(1..9_usize, 60),
    ) {
        let mut model = Model::new();
        for operation in base {
            one(&mut model, operation);
        }
        let base = lines(model.values());
        let (edge, replica) = (Edge::start(&base), Edge::start(&base));
        let mut changes = changes.into_iter().peekable();
        for size in sizes {
            let batch: Vec<_> = changes.by_ref().take(size).map(|operation| one(&mut model, operation)).collect();
            let (_, entries, to) = edge.change(&batch);
            replica.store.apply(&entries, to).unwrap();
        }
        let fresh = source::load(lines(model.values()).as_bytes(), &edge.config).unwrap().0;
        let restarted = edge.restart(&base);
        for other in [&restarted, &replica] {
            prop_assert_eq!(other.store.position().hash, fresh.position().hash);
            prop_assert_eq!(other.store.load().links(), model.len());
            prop_assert_eq!(other.store.load().all_links().count(), model.len());
            let limited = model.values().filter(|link| !link["maxClicks"].is_null()).count();
            prop_assert_eq!(other.store.load().limited().count(), limited);
        }
        for number in 0..3 {
            let domain = format!("d{number}.example");
            let mut expected: Vec<_> = model.keys().filter(|(host, _)| *host == domain).map(|(_, tag)| tag.clone()).collect();
            for limit in [1, 3, 100] {
                let listed = restarted.list(&domain, limit);
                let mut listed: Vec<_> = listed.iter().map(|shown| {
                    serde_json::from_str::<Value>(&shown.json).unwrap()["slashtag"].as_str().unwrap().to_owned()
                }).collect();
                listed.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(&listed, &expected);
            }
            for tag in 0..12 {
                let key = (domain.clone(), format!("Tag{tag}"));
                let expected = model.get(&key).map(|link| link["destination"].as_str().unwrap().to_owned());
                prop_assert_eq!(restarted.destination(&domain, &format!("/Tag{tag}")), expected);
            }
        }
    }
}
