use std::time::Instant;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

const NOW: &str = "2030-02-01T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A certificate for `name` that ends on that day of 2030, and its key.
fn made(name: &str, month: u8, day: u8) -> [String; 2] {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2029, 1, 1), date_time_ymd(2030, month, day));
    let key = KeyPair::generate().unwrap();
    [params.self_signed(&key).unwrap().pem(), key.serialize_pem()]
}

/// Writes a pair, the way that renewals do: next to it, and renamed.
fn write(dir: &Path, certificate: &str, key: &str, [chain, private]: &[String; 2]) {
    use std::os::unix::fs::PermissionsExt;
    for (name, text) in [(certificate, chain), (key, private)] {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = dir.join(".new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, path).unwrap();
    }
}

fn folder() -> (TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path().into());
    (dir, folder)
}

/// Reads, publishes, and returns the name of the certificate of each pair.
fn load(folder: &Folder) -> (BTreeMap<String, String>, Arc<Contents>) {
    let contents = folder.publish(folder.read(now()).unwrap());
    let name = |entry: &Entry| entry.pair.inspected.names[0].clone();
    (contents.entries.iter().map(|(of, entry)| (of.clone(), name(entry))).collect(), contents)
}

fn names<const N: usize>(expected: [(&str, &str); N]) -> BTreeMap<String, String> {
    expected.map(|(of, name)| (of.to_owned(), name.to_owned())).into()
}

#[test]
fn every_usual_form_of_a_pair_is_read_and_nothing_else() {
    let (dir, folder) = folder();
    let pair = |name: &str| made(name, 6, 1);
    write(dir.path(), "go.brand.com.pem", "go.brand.com.key", &pair("a.example"));
    write(dir.path(), "b.crt", "b.key", &pair("b.example"));
    write(dir.path(), "c/fullchain.pem", "c/privkey.pem", &pair("c.example"));
    write(dir.path(), ".hidden.pem", ".hidden.key", &pair("d.example"));
    write(dir.path(), ".hidden/fullchain.pem", ".hidden/privkey.pem", &pair("e.example"));
    write(dir.path(), "other/file.pem", "other/file.key", &pair("f.example"));
    fs::write(dir.path().join("README"), "not a certificate").unwrap();
    // As certbot has it: links into an archive.
    write(dir.path(), ".archive/1.pem", ".archive/1.key", &pair("g.example"));
    fs::create_dir(dir.path().join("g")).unwrap();
    for (file, link) in [("1.pem", "fullchain.pem"), ("1.key", "privkey.pem")] {
        std::os::unix::fs::symlink(dir.path().join(".archive").join(file), dir.path().join("g").join(link)).unwrap();
    }
    let (found, contents) = load(&folder);
    let expected = [("b", "b.example"), ("c/", "c.example"), ("g/", "g.example"), ("go.brand.com", "a.example")];
    assert_eq!(found, names(expected));
    assert_eq!((contents.rejected(), contents.warnings(now())), (vec![], vec![]));
    assert_eq!(contents.default_pair().unwrap().inspected.names, ["b.example"], "the first by name");
    write(dir.path(), "default.pem", "default.key", &pair("z.example"));
    assert_eq!(load(&folder).1.default_pair().unwrap().inspected.names, ["z.example"]);
}

#[test]
fn a_pair_that_is_rejected_keeps_its_previous_version_and_no_other_from_being_renewed() {
    let (dir, folder) = folder();
    write(dir.path(), "a.pem", "a.key", &made("a.example", 6, 1));
    write(dir.path(), "b.pem", "b.key", &made("b.example", 6, 1));
    write(dir.path(), "c.pem", "c.key", &made("c.example", 6, 1));
    load(&folder);
    fs::write(dir.path().join("a.pem"), "half a certif").unwrap();
    write(dir.path(), "b.pem", "b.key", &made("b2.example", 6, 1));
    // A certificate without its key, and one that is over.
    write(dir.path(), "new.pem", "new.txt", &made("new.example", 6, 1));
    write(dir.path(), "over.pem", "over.key", &made("over.example", 1, 31));
    fs::remove_file(dir.path().join("c.key")).unwrap();
    for _ in 0..2 {
        let (found, contents) = load(&folder);
        assert_eq!(found, names([("a", "a.example"), ("b", "b2.example"), ("c", "c.example")]));
        let rejected = contents.rejected();
        assert_eq!(rejected.len(), 4, "{rejected:?}");
        for (line, (name, reason, stays)) in rejected.iter().zip([
            ("`a`", "a.pem is not a PEM file", true),
            ("`c`", "cannot read", true),
            ("`new`", "new.key: No such file", false),
            ("`over`", "expired on 2030-01-31", false),
        ]) {
            assert!(line.contains(name) && line.contains(reason), "{line}");
            assert_eq!(line.ends_with("its previous version stays active"), stays, "{line}");
        }
    }
    // Both of its files are gone.
    fs::remove_file(dir.path().join("c.pem")).unwrap();
    write(dir.path(), "a.pem", "a.key", &made("a2.example", 6, 1));
    assert_eq!(load(&folder).0, names([("a", "a2.example"), ("b", "b2.example")]));
}

#[test]
fn only_files_that_have_changed_are_read_again() {
    let (dir, folder) = folder();
    for name in ["a", "b"] {
        write(dir.path(), &format!("{name}.pem"), &format!("{name}.key"), &made("x.example", 6, 1));
    }
    let (_, before) = load(&folder);
    write(dir.path(), "b.pem", "b.key", &made("y.example", 6, 1));
    let (_, after) = load(&folder);
    let same = |name: &str| Arc::ptr_eq(&before.entries[name].pair, &after.entries[name].pair);
    assert!(same("a") && !same("b"));
}

#[test]
fn a_folder_that_is_suddenly_empty_or_missing_changes_nothing() {
    let (dir, folder) = folder();
    assert!(matches!(folder.read(now()), Err(FolderError::Empty { .. })));
    write(dir.path(), "a.pem", "b.key", &made("a.example", 6, 1));
    let error = folder.read(now()).unwrap_err();
    assert!(error.to_string().starts_with("none of the 2 pairs in the folder"), "{error}");
    write(dir.path(), "a.pem", "a.key", &made("a.example", 6, 1));
    load(&folder);
    let kept = dir.path().with_extension("kept");
    fs::rename(dir.path(), &kept).unwrap();
    let missing = folder.read(now()).unwrap_err();
    assert_eq!(missing.class(), Class::NoInput);
    fs::create_dir(dir.path()).unwrap();
    let empty = folder.read(now()).unwrap_err();
    assert!(empty.to_string().contains("has no pair") && empty.class() == Class::NoInput, "{empty}");
    assert_eq!(folder.state().current.entries.len(), 1);
    fs::remove_dir_all(kept).unwrap();
}

#[test]
fn a_change_is_seen_once_it_has_lasted() {
    let (dir, folder) = folder();
    write(dir.path(), "a.pem", "a.key", &made("a.example", 6, 1));
    load(&folder);
    assert_eq!([folder.has_changed(), folder.has_changed()], [false; 2]);
    write(dir.path(), "a.pem", "x", &made("b.example", 6, 1));
    assert!(!folder.has_changed());
    write(dir.path(), "b.pem", "b.key", &made("b.example", 6, 1));
    assert!(!folder.has_changed(), "it goes on");
    assert!(folder.has_changed());
    // Read, with one that is rejected: not read again until it changes.
    assert_eq!(load(&folder).1.rejected().len(), 1);
    assert_eq!([folder.has_changed(), folder.has_changed()], [false; 2]);
    fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!([folder.has_changed(), folder.has_changed()], [false, true]);
    folder.read(now()).unwrap_err();
    assert_eq!([folder.has_changed(), folder.has_changed()], [false; 2], "it is reported once");
    fs::create_dir(dir.path()).unwrap();
}

#[test]
fn what_needs_attention_is_a_line_for_each_kind_however_many_there_are() {
    let (dir, folder) = folder();
    let certificate = made("soon.example", 2, 5);
    for n in 0..30 {
        write(dir.path(), &format!("soon-{n:02}.pem"), &format!("soon-{n:02}.key"), &certificate);
        fs::write(dir.path().join(format!("bad-{n:02}.pem")), "x").unwrap();
    }
    write(dir.path(), "a.pem", "a.key", &made("a.example", 2, 3));
    write(dir.path(), "b.pem", "b.key", &made("b.example", 6, 1));
    fs::set_permissions(dir.path().join("b.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (_, contents) = load(&folder);
    let rejected = contents.rejected();
    assert_eq!(rejected.len(), LISTED + 1);
    assert!(rejected[LISTED].starts_with("10 more pairs are rejected"), "{rejected:?}");
    let warnings = contents.warnings(now());
    let [soon, open] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(soon.starts_with("31 certificates expire within 14 days, the first in 2 days"), "{soon}");
    assert!(
        soon.contains("a.pem (a.example), ")
            && soon.contains("soon-00.pem (soon.example), ")
            && soon.ends_with(" and 11 more"),
        "{soon}"
    );
    assert!(open.contains("1 private keys") && open.contains("b.key"), "{open}");
    // Those that expire while they are active stay active.
    let later = "2030-03-01T00:00:00Z".parse().unwrap();
    let contents = folder.read(later).unwrap();
    assert_eq!(contents.entries.len(), 32);
    assert!(contents.warnings(later)[0].starts_with("31 certificates have expired; renew them: "));
}

/// The figures are printed; `cargo test --features full -- --nocapture`.
#[test]
fn hundreds_of_pairs_load_in_a_moment_and_again_in_less() {
    let (dir, folder) = folder();
    let pairs: usize = std::env::var("CERTIFICATES").map_or(300, |pairs| pairs.parse().unwrap());
    let files = made("x.example", 6, 1);
    for n in 0..pairs {
        write(dir.path(), &format!("{n}.pem"), &format!("{n}.key"), &files);
    }
    let began = Instant::now();
    assert_eq!(load(&folder).0.len(), pairs);
    let first = began.elapsed();
    let began = Instant::now();
    assert_eq!(load(&folder).0.len(), pairs);
    let again = began.elapsed();
    let began = Instant::now();
    assert!(!folder.has_changed());
    println!("{pairs} pairs: read {first:?}, again {again:?}, looked at {:?}", began.elapsed());
    assert!(again * 2 < first, "read {first:?}, again {again:?}");
}
