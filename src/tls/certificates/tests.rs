use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rcgen::{Certificate, KeyPair};

use super::*;
use crate::{config, runtime::clock};

const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];
const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];

/// An RSA key of 2048 bits, made for these tests.
const RSA_KEY: &str = include_str!("../../../tests/common/rsa.key");

fn write(dir: &Path, label: &str, certificate: &Certificate, key: &KeyPair) -> config::Certificate {
    let file = |kind: &str, text: String| -> PathBuf {
        let path = dir.join(format!("{label}.{kind}"));
        fs::write(&path, text).unwrap();
        path
    };
    config::Certificate {
        certificate_file: file("pem", certificate.pem()),
        key_file: file("key", key.serialize_pem()),
    }
}

fn pair_of(key: &KeyPair, names: &[&str]) -> Arc<Pair> {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(key).unwrap();
    let files = write(dir.path(), "pair", &certificate, key);
    Arc::new(pair::read(&files, clock::now()).unwrap())
}

fn ecdsa(names: &[&str]) -> Arc<Pair> {
    pair_of(&KeyPair::generate().unwrap(), names)
}

fn rsa(names: &[&str]) -> Arc<Pair> {
    pair_of(&KeyPair::from_pem(RSA_KEY).unwrap(), names)
}

fn of(pairs: &[&Arc<Pair>]) -> Certificates {
    Certificates::of(pairs.iter().copied(), pairs.first().copied())
}

/// Which of the pairs is found.
fn found(certificates: &Certificates, pairs: &[&Arc<Pair>], name: &str, schemes: &[SignatureScheme]) -> usize {
    let name = Some(name).filter(|name| !name.is_empty());
    let found = certificates.find(name, schemes).unwrap();
    pairs.iter().position(|pair| Arc::ptr_eq(pair, found)).unwrap()
}

#[test]
fn each_name_finds_its_certificate_and_wildcards_reach_one_label() {
    let (one, two) = (ecdsa(&["go.brand.com"]), ecdsa(&["*.links.example"]));
    let pairs = [&one, &two];
    let certificates = of(&pairs);
    for (name, expected) in [
        ("GO.brand.com", 0),
        ("a.links.example", 1),
        ("A.LINKS.example", 1),
        ("a.b.links.example", 0),
        ("links.example", 0),
        ("other.example", 0),
        ("", 0),
        ("com", 0),
        (&*"a.".repeat(200), 0),
    ] {
        assert_eq!(found(&certificates, &pairs, name, ECDSA), expected, "{name}");
    }
}

#[test]
fn a_client_gets_the_kind_of_key_that_it_can_verify_and_the_cheaper_one_of_two() {
    let (rsa_a, ecdsa_a) = (rsa(&["a.brand.example"]), ecdsa(&["a.brand.example"]));
    let (ecdsa_all, rsa_all, rsa_b) =
        (ecdsa(&["*.brand.example"]), rsa(&["*.brand.example"]), rsa(&["b.brand.example"]));
    let ecdsa_c = ecdsa(&["c.brand.example"]);
    let pairs = [&rsa_a, &ecdsa_a, &ecdsa_all, &rsa_all, &rsa_b, &ecdsa_c];
    let certificates = of(&pairs);
    for (name, schemes, expected) in [
        ("a.brand.example", ECDSA, 1),
        ("a.brand.example", RSA, 0),
        ("x.brand.example", ECDSA, 2),
        ("x.brand.example", RSA, 3),
        // The name itself comes before the cheaper key.
        ("b.brand.example", ECDSA, 4),
        ("b.brand.example", RSA, 4),
        ("c.brand.example", ECDSA, 5),
        // And a key that the client can verify before the name itself.
        ("c.brand.example", RSA, 3),
        // The default has both kinds.
        ("other.test", ECDSA, 1),
        ("other.test", RSA, 0),
        ("", ECDSA, 1),
        ("", RSA, 0),
    ] {
        assert_eq!(found(&certificates, &pairs, name, schemes), expected, "{name} {schemes:?}");
    }
    let alone = of(&[&ecdsa_c]);
    assert_eq!(found(&alone, &[&ecdsa_c], "c.brand.example", RSA), 0, "the handshake says what is missing");
}

#[test]
fn a_connection_is_for_the_hosts_that_its_certificate_covers() {
    let (first, wild, other) =
        (ecdsa(&["go.brand.com", "go2.brand.com"]), ecdsa(&["*.links.example"]), ecdsa(&["b.com"]));
    let (san, rsa_san) = (ecdsa(&["b.com", "c.com"]), rsa(&["c.com"]));
    let certificates = of(&[&first, &wild, &other, &san, &rsa_san]);
    for (name, host, misdirected) in [
        ("go.brand.com", "go2.brand.com", false),
        ("go.brand.com", "GO2.BRAND.COM", false),
        ("go.brand.com", "a.links.example", true),
        ("go.brand.com", "unknown.example", false),
        ("go.brand.com", "a.b.links.example", false),
        ("a.links.example", "b.links.example", false),
        ("a.links.example", "go.brand.com", true),
        // The default, and what it covers.
        ("unknown.example", "go.brand.com", false),
        ("unknown.example", "a.links.example", true),
        ("unknown.example", "other.example", false),
        // The first one serves the name, the other one covers it.
        ("c.com", "b.com", false),
        ("b.com", "c.com", true),
        ("go.brand.com", "", false),
        ("go.brand.com", "[::1]", false),
    ] {
        assert_eq!(certificates.is_misdirected(name, host.as_bytes()), misdirected, "{name} {host}");
    }
    assert!(!certificates.is_misdirected("go.brand.com", b"\xff.example"));
    assert!(!Certificates::default().is_misdirected("a.example", b"b.example"));
}

/// Ten thousand pairs, of which most are the same key under another name: what is measured is the index.
#[test]
fn an_index_of_ten_thousand_is_made_in_a_moment() {
    let pair = ecdsa(&["go.brand.com"]);
    let named = |name: String| {
        let inspected = Inspected { names: vec![name], ..pair.inspected.clone() };
        Arc::new(Pair { certified: Arc::clone(&pair.certified), schemes: pair.schemes.clone(), inspected })
    };
    let pairs: Vec<_> = (0..10_000).map(|n| named(format!("brand-{n}.example"))).collect();
    let began = Instant::now();
    let certificates = Certificates::of(&pairs, pairs.first());
    assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
    for n in [0, 1, 5_000, 9_999] {
        let found = certificates.find(Some(&format!("brand-{n}.example")), ECDSA).unwrap();
        assert!(Arc::ptr_eq(found, &pairs[n]), "{n}");
    }
}
