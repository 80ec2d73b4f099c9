use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::*;

fn file(text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("list");
    fs::write(&file, text).unwrap();
    (dir, file)
}

fn destinations(domains: &str, urls: &str) -> Destinations {
    let ((_kept, domains), (_too, urls)) = (file(domains), file(urls));
    let lists = Destinations::default();
    lists.domains.publish(Domains::read(&domains).unwrap());
    lists.urls.publish(Urls::read(&urls).unwrap());
    lists
}

fn sha256(url: &str) -> String {
    Sha256::digest(url).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[test]
fn a_domain_covers_everything_below_it_and_nothing_else() {
    let list = "\u{feff}# ours\nBad.Example\n\n  evil.test. # why\r\nmünchen.example\n10.0.0.7\n2001:DB8::7\n";
    let list = destinations(list, "");
    for url in [
        "https://bad.example/",
        "http://www.bad.example:8080/x?y#z",
        "https://a.b.c.bad.example/",
        "https://bad.example./",
        "https://evil.test/",
        "https://www.xn--mnchen-3ya.example/",
        "http://10.0.0.7/",
        "http://10.0.0.7:81/",
        "http://[2001:db8::7]:81/",
    ] {
        assert!(list.block(url.as_bytes()), "{url}");
    }
    for url in [
        "https://notbad.example/",
        "https://example/",
        "https://bad.example.org/",
        "https://www.example.com/bad.example",
        "https://www.example.com/?u=https://bad.example/",
        "https://www.example.com/#://bad.example/",
        "http://110.0.0.7/",
        "http://[2001:db8::8]/",
        "",
        "https://",
    ] {
        assert!(!list.block(url.as_bytes()), "{url}");
    }
}

#[test]
fn a_hosts_file_is_a_list_of_domains() {
    let hosts = "127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n0.0.0.0 0.0.0.0\n\
                 0.0.0.0 bad.example\n127.0.0.1\tevil.test\tworse.test # both\n";
    let list = destinations(hosts, "");
    for host in ["bad.example", "evil.test", "worse.test"] {
        assert!(list.block(format!("https://{host}/").as_bytes()), "{host}");
    }
    for host in ["localhost", "0.0.0.0", "127.0.0.1"] {
        assert!(!list.block(format!("https://{host}/").as_bytes()), "{host}");
    }
}

#[test]
fn a_url_is_blocked_with_any_fragment_and_by_an_entry_without_a_query() {
    let list = ["# ours", &sha256("https://www.example.com/bad"), &sha256("https://www.example.com/?id=7"), ""];
    let list = destinations("", &list.join("\n"));
    for url in ["bad", "bad#x", "bad?a=1", "bad?a=1#x?y", "?id=7", "?id=7#top"] {
        assert!(list.block(format!("https://www.example.com/{url}").as_bytes()), "{url}");
    }
    for url in ["", "bad/", "Bad", "?id=8", "?id=7&a=1", "#?id=7"] {
        assert!(!list.block(format!("https://www.example.com/{url}").as_bytes()), "{url}");
    }
}

#[test]
fn a_wrong_line_is_reported_with_its_value_and_a_remedy() {
    for (text, line, value) in [
        ("good.example\nhttp://bad.example/\n", 2, "http://bad.example/"),
        ("bad.example:80", 1, "bad.example:80"),
        ("#\n\n*.bad.example", 3, "*.bad.example"),
        ("||bad.example^", 1, "||bad.example^"),
        ("one.example two.example", 1, "one.example two.example"),
        ("0.0.0.0 a..b", 1, "a..b"),
    ] {
        let (_kept, file) = file(text);
        let error = Domains::read(&file).err().unwrap().to_string();
        let start = format!("{}, line {line}: `{value}` is ", file.display());
        assert!(error.starts_with(&start) && error.contains("; write "), "{error}");
    }
    let hash = sha256("x");
    for text in [hash[1..].to_owned(), format!("{hash}0"), hash.to_uppercase(), format!("{hash} x"), "x".repeat(64)] {
        let (_kept, file) = file(format!("{hash} # good\n{text}"));
        let error = Urls::read(&file).err().unwrap().to_string();
        assert!(error.contains(", line 2: ") && error.contains("is no SHA-256; write 64 lower-case"), "{error}");
    }
    let (_kept, bytes) = file(b"good.example\n\xff\xfe");
    assert!(Domains::read(&bytes).err().unwrap().to_string().contains("line 2: the file is not UTF-8"));
    let missing = Domains::read(Path::new("/nowhere/list")).err().unwrap().to_string();
    assert!(missing.starts_with("cannot read the list /nowhere/list: "), "{missing}");
}

proptest! {
    #[test]
    fn any_file_is_a_list_or_is_rejected_and_any_destination_is_looked_up(text: Vec<u8>, url: Vec<u8>) {
        let (_kept, file) = file(text);
        let _ = Domains::read(&file).map(|domains| domains.cover(&url));
        let _ = Urls::read(&file).map(|urls| urls.hold(&url));
    }
}
