//! The location of a client address, from a City, Enterprise or Country database of `MaxMind`, or of another vendor
//! with the same structure, such as DB-IP. A Country database gives the country, and nothing else.
//!
//! Some vendors, and tools that make databases of tables, write flat records: `country_code`, `city_name`, `latitude`
//! at the top level, as text or numbers. They are read by their usual names (`geo/record.rs`); a load warns of them,
//! and names what cannot be read.
//!
//! The region is the first of a place's subdivisions, the largest: England, not Essex; Catalonia, not Barcelona. Both
//! are codes of ISO 3166-2, but the first is present whenever the second is, means the same in every country, and
//! reveals less: it is what events contain of visitors who opted out.
//!
//! A reload swaps in a new database; after a failed one the previous database stays active. Each worker caches the
//! locations that it has decoded, by their offset in the database: many addresses share one.

pub mod found;
mod record;

use std::{net::IpAddr, path::Path, sync::Arc};

use ahash::RandomState;
use arc_swap::ArcSwapOption;
use hashbrown::{HashMap, hash_map::Entry};
use maxminddb::{LookupResult, Reader, WithinOptions};

use self::record::{Record, Shape};
use crate::{
    event::Location,
    files::mmdb::{DatabaseError, DatabaseKind},
};

/// Decoded locations that each worker caches, about 150 bytes each.
const CACHED_LOCATIONS: usize = 16_384;

/// Networks whose records are looked at when a database is read.
const SAMPLED_NETWORKS: usize = 1_000;

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
    /// What an operator should know about its records.
    warning: Option<String>,
}

impl GeoStore {
    /// Makes another database the current one.
    pub fn publish(&self, database: Database) {
        self.current.store(Some(Arc::new(database)));
    }

    /// Events have no location from now on.
    pub fn clear(&self) {
        self.current.store(None);
    }

    /// The location of an address, for a thread that asks seldom.
    pub fn locate(&self, address: IpAddr) -> Option<Location> {
        let current = self.current.load();
        let found = current.as_ref()?.reader.lookup(address).ok()?;
        location(&found)
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
        let reader = GEOIP.open(file)?;
        let warning = shape(&reader).warning(&reader.metadata().database_type);
        Ok(Self { reader, warning })
    }

    /// Why events lack a location, or part of it, if the records have another form than those of its type.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// When it was built, in seconds since the Unix epoch.
    pub fn built_at_secs(&self) -> u64 {
        self.reader.metadata().build_epoch
    }
}

/// What the first records have.
fn shape(reader: &Reader<Vec<u8>>) -> Shape {
    let mut shape = Shape::default();
    for network in reader.networks(WithinOptions::default()).into_iter().flatten().take(SAMPLED_NETWORKS).flatten() {
        if let Ok(Some(record)) = network.decode() {
            shape.add(&record);
        }
    }
    shape
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
            Entry::Vacant(free) => free.insert(location(&found)),
        };
        location.as_ref()
    }
}

/// The location in a record; `None` when it has none.
fn location(found: &LookupResult<'_, Vec<u8>>) -> Option<Location> {
    let location = found.decode::<Record<'_>>().ok()??.location();
    Some(location).filter(|location| *location != Location::default())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ipnet::IpNet;
    use mmdb_writer::Writer;
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Code;

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
        let seldom = locator.store.locate([203, 0, 113, 9].into());
        assert_eq!(seldom.as_ref(), locator.locate([203, 0, 113, 9].into()));
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

    /// What is warned of at a load.
    fn warning(kind: &str, records: &[Value]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("geoip.mmdb");
        let mut writer = Writer::builder(kind).description(&[("en", "Test")]).build();
        for (i, record) in records.iter().enumerate() {
            writer.insert(format!("203.0.{i}.0/24").parse::<IpNet>().unwrap(), record).unwrap();
        }
        fs::write(&file, writer.to_bytes().unwrap()).unwrap();
        Database::read(&file).unwrap().warning().map(str::to_owned)
    }

    #[test]
    fn a_flat_record_is_read_by_the_usual_names() {
        let whole = Location {
            country: Code::read(b"us"),
            region: Code::read(b"ca"),
            city: Some("Mountain View".into()),
            latitude: Some(37.5),
            longitude: Some(-122.25),
        };
        for record in [
            json!({"country": "US", "country_name": "United States", "region": "California", "region_code": "CA",
                "city": "Mountain View", "lat": "37.5", "lng": "-122.25", "timezone": "America/Los_Angeles"}),
            json!({"country_code": "US", "country": "United States", "region_code": "US-CA", "region": "California",
                "city_name": "Mountain View", "latitude": 37.5, "longitude": -122.25, "zip_code": 94043}),
            json!({"country_iso_code": "us", "state_code": "CA", "city": {"name": "x", "names": {"en": "Mountain View"}},
                "latitude": "37.5", "lon": "-122.25"}),
        ] {
            assert_eq!(located("acme-City", &record).unwrap(), Some(whole.clone()), "{record}");
        }
        let country = Location { country: Code::read(b"de"), ..Location::default() };
        for record in [
            json!({"country": "Germany", "country_code": "DE", "latitude": "north", "region_code": "Bavaria"}),
            json!({"country": "DE", "city": "", "city_name": 7, "lat": [1], "lng": {"x": 1}, "location": "here"}),
            json!({"country": "DE", "subdivisions": "BY", "latitude": "91"}),
        ] {
            assert_eq!(located("acme-Country", &record).unwrap(), Some(country.clone()), "{record}");
        }
    }

    #[test]
    fn a_load_warns_of_flat_records_and_names_what_is_missing() {
        let flat = json!({"city_name": "Porto", "country_code": "PT", "latitude": "41.1", "longitude": "-8.6"});
        let text = warning("mmdbctl-City", &[flat]).unwrap();
        assert!(
            text.starts_with("the records of this mmdbctl-City database are flat (fields city_name, country_code,")
        );
        assert!(text.contains("; read from them: country, city, coordinates; missing: region"), "{text}");

        let other = json!({"loc": "41.1,-8.6", "ort": "Porto"});
        let text = warning("acme-City", &[other]).unwrap();
        assert!(text.contains("no location: their fields are loc, ort"), "{text}");
        assert!(text.contains("country.iso_code") && text.contains("country_code"), "{text}");

        let nested = json!({"country": {"iso_code": "PT"}});
        assert_eq!(warning("GeoLite2-City", &[json!({}), nested]), None);
        assert_eq!(warning("GeoLite2-City", &[]), None);
    }

    #[test]
    fn a_database_of_another_type_is_rejected_by_name() {
        let record = json!({"autonomous_system_number": 64_496});
        let error = located("GeoLite2-ASN", &record).unwrap_err().to_string();
        assert!(error.contains("geoip.mmdb is of type GeoLite2-ASN; use a City, Enterprise or Country"), "{error}");
    }
}
