//! The location of a client address, from a City, Enterprise or Country database of `MaxMind`, or of another vendor
//! with the same structure, such as DB-IP. A Country database gives the country, and nothing else.
//!
//! The region is the first of a place's subdivisions, the largest: England, not Essex; Catalonia, not Barcelona. Both
//! are codes of ISO 3166-2, but the first is present whenever the second is, means the same in every country, and
//! reveals less: it is what events contain of visitors who opted out.
//!
//! A reload swaps in a new database; after a failed one the previous database stays active. Each worker caches the
//! locations that it has decoded, by their offset in the database: many addresses share one.

use std::{net::IpAddr, path::Path, sync::Arc};

use ahash::RandomState;
use arc_swap::ArcSwapOption;
use hashbrown::{HashMap, hash_map::Entry};
use maxminddb::Reader;
use serde::Deserialize;

use crate::{
    event::{Code, Location},
    files::mmdb::{DatabaseError, DatabaseKind},
};

/// Decoded locations that each worker caches, about 150 bytes each.
const CACHED_LOCATIONS: usize = 16_384;

const GEOIP: DatabaseKind = DatabaseKind {
    what: "GeoIP",
    types: &["City", "Enterprise", "Country"],
    needed: "a City, Enterprise or Country database",
};

/// The current database; without one, no event has a location.
#[derive(Default)]
pub struct GeoStore {
    current: ArcSwapOption<Database>,
}

/// A City, Enterprise or Country database.
pub struct Database {
    reader: Reader<Vec<u8>>,
}

impl GeoStore {
    /// Makes another database the current one.
    pub fn publish(&self, database: Database) {
        self.current.store(Some(Arc::new(database)));
    }

    /// When the current database was built, in seconds since the Unix epoch; 0 without one.
    pub fn built_at_secs(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |database| database.built_at_secs())
    }
}

impl Database {
    /// Reads a database as a whole.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub fn read(file: &Path) -> Result<Self, DatabaseError> {
        Ok(Self { reader: GEOIP.open(file)? })
    }

    /// When it was built, in seconds since the Unix epoch.
    pub fn built_at_secs(&self) -> u64 {
        self.reader.metadata().build_epoch
    }
}

/// One worker's view of the database, with a cache.
pub struct Locator {
    store: Arc<GeoStore>,
    current: Option<Arc<Database>>,
    /// By offset; `None` for a record without a location.
    decoded: HashMap<usize, Option<Location>, RandomState>,
}

impl Locator {
    pub fn new(store: Arc<GeoStore>) -> Self {
        Self { store, current: None, decoded: HashMap::default() }
    }

    /// The location of an address; `None` when the database has none.
    pub fn locate(&mut self, address: IpAddr) -> Option<&Location> {
        let current = self.store.current.load();
        if current.as_ref().map(Arc::as_ptr) != self.current.as_ref().map(Arc::as_ptr) {
            self.current.clone_from(&current);
            self.decoded.clear();
        }
        let found = self.current.as_ref()?.reader.lookup(address).ok()?;
        let place = found.offset()?;
        if self.decoded.len() == CACHED_LOCATIONS {
            self.decoded.clear();
        }
        let location = match self.decoded.entry(place) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let location = decode(&found.decode().ok()??);
                free.insert(Some(location).filter(|location| *location != Location::default()))
            }
        };
        location.as_ref()
    }
}

/// The part of a record that is read. Vendors differ in the rest, where an unexpected type would fail the record.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    country: Coded<'a>,
    #[serde(borrow)]
    subdivisions: Vec<Coded<'a>>,
    #[serde(borrow)]
    city: City<'a>,
    location: Point,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Coded<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct City<'a> {
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Point {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

fn decode(record: &Record<'_>) -> Location {
    let country =
        record.country.iso_code.filter(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphabetic()));
    let region = record.subdivisions.first().and_then(|largest| largest.iso_code);
    Location {
        country: country.and_then(|code| Code::read(code.as_bytes())),
        region: region.and_then(|code| Code::read(code.as_bytes())),
        city: record.city.names.en.filter(|name| !name.is_empty()).map(str::to_owned),
        latitude: record.location.latitude.filter(|degrees| degrees.abs() <= 90.0),
        longitude: record.location.longitude.filter(|degrees| degrees.abs() <= 180.0),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ipnet::IpNet;
    use mmdb_writer::Writer;
    use serde_json::{Value, json};

    use super::*;

    fn store(file: &Path) -> Result<Arc<GeoStore>, DatabaseError> {
        let store = GeoStore::default();
        store.publish(Database::read(file)?);
        Ok(Arc::new(store))
    }

    /// The location that a database of this type has of its only network.
    fn located(kind: &str, record: &Value) -> Result<Option<Location>, DatabaseError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("geoip.mmdb");
        let mut writer = Writer::builder(kind).description(&[("en", "Test")]).build();
        writer.insert("203.0.113.0/24".parse::<IpNet>().unwrap(), record).unwrap();
        fs::write(&file, writer.to_bytes().unwrap()).unwrap();
        let mut locator = Locator::new(store(&file)?);
        assert_eq!(locator.locate([198, 51, 100, 1].into()), None);
        Ok(locator.locate([203, 0, 113, 9].into()).cloned())
    }

    #[test]
    fn the_region_is_the_largest_subdivision() {
        let record = json!({
            "country": {"iso_code": "GB", "geoname_id": 1},
            "subdivisions": [{"iso_code": "ENG"}, {"iso_code": "ESS"}],
            "city": {"names": {"en": "Harlow", "de": "Harlau"}},
            "location": {"latitude": 51.78, "longitude": 0.13, "accuracy_radius": 20},
            "traits": {"user_type": "residential"}
        });
        let whole = Location {
            country: Code::read(b"gb"),
            region: Code::read(b"eng"),
            city: Some("Harlow".into()),
            latitude: Some(51.78),
            longitude: Some(0.13),
        };
        for kind in
            ["GeoLite2-City", "GeoIP2-Enterprise", "GeoIP2-Precision-Enterprise", "DBIP-Location (compat=City)"]
        {
            assert_eq!(located(kind, &record).unwrap(), Some(whole.clone()), "{kind}");
        }
    }

    #[test]
    fn a_country_database_gives_the_country() {
        let record = json!({"country": {"iso_code": "PT"}, "registered_country": {"iso_code": "ES"}});
        for kind in ["GeoLite2-Country", "GeoIP2-Country", "DBIP-Country-Lite"] {
            let expected = Location { country: Code::read(b"pt"), ..Location::default() };
            assert_eq!(located(kind, &record).unwrap(), Some(expected), "{kind}");
        }
    }

    #[test]
    fn a_region_without_a_code_and_wrong_values_are_left_out() {
        let record = json!({
            "country": {"iso_code": "DE"},
            "subdivisions": [{"names": {"en": "Bavaria"}}],
            "city": {"names": {"en": "Munich"}}
        });
        let expected = Location { country: Code::read(b"de"), city: Some("Munich".into()), ..Location::default() };
        assert_eq!(located("DBIP-City-Lite", &record).unwrap(), Some(expected));
        let wrong = json!({
            "country": {"iso_code": "DEU"},
            "subdivisions": [{"iso_code": "DE-BY"}],
            "location": {"latitude": 91.0, "longitude": -181.0}
        });
        assert_eq!(located("GeoLite2-City", &wrong).unwrap(), None);
    }

    #[test]
    fn a_database_of_another_type_is_rejected_by_name() {
        let record = json!({"autonomous_system_number": 64_496});
        let error = located("GeoLite2-ASN", &record).unwrap_err().to_string();
        assert!(error.contains("geoip.mmdb is of type GeoLite2-ASN; use a City, Enterprise or Country"), "{error}");
    }
}
