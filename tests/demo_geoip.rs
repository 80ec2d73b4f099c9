//! The demo's GeoIP database is what this file makes of `PLACES`, and nothing else.
//!
//! After a change here: `UPDATE_DEMO=1 cargo test --features full --test integration demo_geoip::`.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use ipnet::IpNet;
use maxminddb::{Reader, geoip2};
use mmdb_writer::Writer;
use serde::Serialize;

struct Place {
    network: &'static str,
    country: &'static str,
    region: (&'static str, &'static str),
    city: &'static str,
    at: (f64, f64),
}

/// Loopback, so that a click from this machine has a location, and the ranges that are set aside for documentation
/// (RFC 5737, RFC 3849). The places are real, the addresses are assigned to no network.
const PLACES: &[Place] = &[
    Place {
        network: "127.0.0.0/8",
        country: "IE",
        region: ("L", "Leinster"),
        city: "Dublin",
        at: (53.3498, -6.2603),
    },
    Place {
        network: "192.0.2.0/24",
        country: "US",
        region: ("CA", "California"),
        city: "San Francisco",
        at: (37.7749, -122.4194),
    },
    Place {
        network: "198.51.100.0/24",
        country: "DE",
        region: ("BE", "Land Berlin"),
        city: "Berlin",
        at: (52.52, 13.405),
    },
    Place {
        network: "203.0.113.0/24",
        country: "JP",
        region: ("13", "Tokyo"),
        city: "Tokyo",
        at: (35.6762, 139.6503),
    },
    Place {
        network: "2001:db8::/32",
        country: "BR",
        region: ("SP", "Sao Paulo"),
        city: "São Paulo",
        at: (-23.5505, -46.6333),
    },
];

#[derive(Serialize)]
struct Record {
    city: Named,
    country: Coded,
    location: Location,
    subdivisions: [Coded; 1],
}

#[derive(Serialize)]
struct Named {
    names: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct Coded {
    iso_code: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    names: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct Location {
    latitude: f64,
    longitude: f64,
}

fn database() -> Vec<u8> {
    let mut writer = Writer::builder("clickedge-demo-City")
        .description(&[("en", "Demo: loopback and documentation ranges only")])
        .build_epoch(UNIX_EPOCH + Duration::from_secs(1_767_225_600))
        .build();
    for place in PLACES {
        let record = Record {
            city: Named { names: [("en", place.city)].into() },
            country: Coded { iso_code: place.country, names: BTreeMap::new() },
            location: Location { latitude: place.at.0, longitude: place.at.1 },
            subdivisions: [Coded { iso_code: place.region.0, names: [("en", place.region.1)].into() }],
        };
        writer.insert(place.network.parse::<IpNet>().unwrap(), &record).unwrap();
    }
    writer.to_bytes().unwrap()
}

#[test]
fn the_shipped_database_is_made_from_this_table() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo/geoip.mmdb");
    let made = database();
    if std::env::var_os("UPDATE_DEMO").is_some() {
        fs::write(&file, &made).unwrap();
    }
    assert!(fs::read(&file).unwrap() == made, "conf/demo/geoip.mmdb is out of date, see this file's header");
}

#[test]
fn every_place_is_found_and_nothing_else() {
    let reader = Reader::from_source(database()).unwrap();
    reader.verify().unwrap();
    let city = |address: &str| {
        let found = reader.lookup(address.parse::<IpAddr>().unwrap()).unwrap();
        let city: Option<geoip2::City<'_>> = found.decode().unwrap();
        city.and_then(|city| city.city.names.english).map(str::to_owned)
    };
    assert_eq!(city("127.200.3.4").as_deref(), Some("Dublin"));
    assert_eq!(city("203.0.113.255").as_deref(), Some("Tokyo"));
    assert_eq!(city("2001:db8:1::1").as_deref(), Some("São Paulo"));
    assert_eq!(city("8.8.8.8"), None);
}
