use std::{
    fs,
    time::{Duration, UNIX_EPOCH},
};

use mmdb_writer::Writer;
use serde::Serialize;
use serde_json::json;

use super::*;

/// Its number has the type that databases give it.
#[derive(Serialize)]
struct System {
    #[serde(skip_serializing_if = "Option::is_none")]
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: &'static str,
}

fn database(kind: &str, networks: &[(&str, impl Serialize)]) -> Vec<u8> {
    let built = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let mut writer = Writer::builder(kind).description(&[("en", "Test")]).build_epoch(built).build();
    for (network, record) in networks {
        writer.insert(network.parse::<IpNet>().unwrap(), record).unwrap();
    }
    writer.to_bytes().unwrap()
}

/// Networks from an ASN database, a hosting list and an anonymizer list; what is empty is not configured.
fn networks(asn: &[u8], hosting: &str, anonymizer: &str) -> Result<Networks, NetworksError> {
    let dir = tempfile::tempdir().unwrap();
    let files = [("asn.mmdb", asn), ("hosting.txt", hosting.as_bytes()), ("anonymizer.txt", anonymizer.as_bytes())];
    let [asn_file, hosting_networks_file, anonymizer_networks_file] = files.map(|(name, content)| {
        let file = dir.path().join(name);
        fs::write(&file, content).unwrap();
        (!content.is_empty()).then_some(file)
    });
    let config =
        config::Enrich { asn_file, hosting_networks_file, anonymizer_networks_file, ..config::Enrich::default() };
    Networks::read(&config)
}

fn of(networks: &Networks, address: &str) -> Option<Network> {
    networks.of(address.parse().unwrap())
}

#[test]
fn of_a_hosting_and_an_anonymizer_network_the_anonymizer_wins() {
    let hosting = "# ours\n192.0.2.0/24\n2001:db8::/32 # v6\n198.51.100.0/24\n";
    let networks = networks(b"", hosting, "198.51.100.64/26\n203.0.113.7\n").unwrap();
    for (address, expected) in [
        ("192.0.2.1", Some(Network::Hosting)),
        ("::ffff:192.0.2.1", Some(Network::Hosting)),
        ("2001:db8::1", Some(Network::Hosting)),
        ("198.51.100.63", Some(Network::Hosting)),
        ("198.51.100.64", Some(Network::Anonymizer)),
        ("198.51.100.127", Some(Network::Anonymizer)),
        ("198.51.100.128", Some(Network::Hosting)),
        ("203.0.113.7", Some(Network::Anonymizer)),
        ("203.0.113.8", None),
        ("192.0.3.1", None),
        ("2001:db9::1", None),
    ] {
        assert_eq!(of(&networks, address), expected, "{address}");
    }
}

#[test]
fn an_asn_database_has_the_networks_of_providers() {
    let system = |number: u32, name: &'static str| System {
        autonomous_system_number: Some(number),
        autonomous_system_organization: name,
    };
    let records = [
        ("192.0.2.0/24", system(24940, "Hetzner Online GmbH")),
        ("198.51.100.0/25", system(3320, "Deutsche Telekom AG")),
        ("198.51.100.128/25", system(13335, "Cloudflare")),
        ("2001:db8:1::/48", system(16509, "Amazon")),
        ("2001:db8:2::/48", system(15169, "Google")),
        ("203.0.113.0/24", System { autonomous_system_number: None, autonomous_system_organization: "unknown" }),
    ];
    for kind in ["GeoLite2-ASN", "GeoIP2-ISP", "DBIP-ASN-Lite (compat=GeoLite2-ASN)"] {
        let networks = networks(&database(kind, &records), "", "192.0.2.128/25").unwrap();
        assert_eq!(networks.asn_built_secs(), 1_790_000_000);
        assert_eq!(networks.len(), 3);
        for (address, expected) in [
            ("192.0.2.1", Some(Network::Hosting)),
            ("192.0.2.200", Some(Network::Anonymizer)),
            ("2001:db8:1::1", Some(Network::Hosting)),
            ("2001:db8:2::1", None),
            ("198.51.100.1", None),
            ("198.51.100.200", None),
            ("203.0.113.1", None),
            ("8.8.8.8", None),
        ] {
            assert_eq!(of(&networks, address), expected, "{kind}: {address}");
        }
    }
}

#[test]
fn without_files_nothing_is_known() {
    let networks = networks(b"", "", "").unwrap();
    assert!(networks.is_empty() && networks.asn_built_secs() == 0);
    assert_eq!(of(&networks, "192.0.2.1"), None);
}

#[test]
fn a_line_without_a_network_rejects_the_list() {
    for (text, expected) in [
        ("192.0.2.0/24\n\n192.0.2.0/33\n", "hosting.txt, line 3: `192.0.2.0/33` is no network; write"),
        ("example.com\n", "hosting.txt, line 1: `example.com` is no network; write"),
        ("192.0.2.0/24 198.51.100.0/24\n", "hosting.txt, line 1: `192.0.2.0/24 198.51.100.0/24` is no network"),
        ("0.0.0.0/0\n", "hosting.txt, line 1: `0.0.0.0/0` is every address; write"),
        ("::/0\n", "hosting.txt, line 1: `::/0` is every address"),
    ] {
        let error = networks(b"", text, "").err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_database_of_another_kind_is_rejected() {
    let city = database("GeoLite2-City", &[("192.0.2.0/24", json!({"country": {"iso_code": "DE"}}))]);
    let empty = database("GeoLite2-ASN", &[("192.0.2.0/24", json!({"asn": "AS24940"}))]);
    let whole = database(
        "GeoLite2-ASN",
        &[("192.0.2.0/24", System { autonomous_system_number: Some(1), autonomous_system_organization: "x" })],
    );
    for (content, expected) in [
        (&city[..], "asn.mmdb is of type GeoLite2-City; use an ASN or ISP database"),
        (&empty[..], "asn.mmdb has no `autonomous_system_number` in it"),
        (&whole[..whole.len() / 2], "asn.mmdb is damaged: "),
        (b"nothing", "asn.mmdb is damaged: "),
    ] {
        let error = networks(content, "", "").err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
