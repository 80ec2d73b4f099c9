//! From client address to location, through a `MaxMind` City database.
//!
//! The database is read into memory, never mapped: a mapped file that somebody replaces in place kills the process.
//! A reload swaps a new one in; a broken file leaves the old one in service. Each worker keeps the locations that it
//! has decoded, by their place in the database: many addresses share one.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use ahash::RandomState;
use arc_swap::ArcSwapOption;
use hashbrown::HashMap;
use maxminddb::{MaxMindDbError, Reader, geoip2};

use crate::event::Location;

/// Decoded locations that each worker keeps, about 150 bytes each.
const CACHED_LOCATIONS: usize = 16_384;

/// Why a database was not taken.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// It cannot be read, or is no such database.
    #[error("cannot read the GeoIP database {file}: {source}")]
    Read {
        file: String,
        #[source]
        source: MaxMindDbError,
    },
    /// It is a database of another kind.
    #[error("the GeoIP database {file} is of type {found}; a City database is needed")]
    Kind { file: String, found: String },
}

/// The database in service, and the way to put another in its place.
pub struct GeoStore {
    file: Option<PathBuf>,
    current: ArcSwapOption<Database>,
}

struct Database {
    reader: Reader<Vec<u8>>,
}

impl GeoStore {
    /// Opens the configured database; `None` means that no event has a location.
    ///
    /// # Errors
    /// See [`GeoError`].
    pub fn open(file: Option<&Path>) -> Result<Self, GeoError> {
        let database = file.map(read).transpose()?;
        Ok(Self { file: file.map(Into::into), current: ArcSwapOption::from_pointee(database) })
    }

    /// Reads the file again. On an error the database in service stays. False when none is configured.
    ///
    /// # Errors
    /// See [`GeoError`].
    pub fn reload(&self) -> Result<bool, GeoError> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        self.current.store(Some(Arc::new(read(file)?)));
        Ok(true)
    }

    /// When the database in service was built, in seconds since the Unix epoch; 0 without one.
    pub fn built_at_secs(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |database| database.reader.metadata().build_epoch)
    }
}

fn read(file: &Path) -> Result<Database, GeoError> {
    let name = || file.display().to_string();
    let reader = Reader::open_readfile(file).map_err(|source| GeoError::Read { file: name(), source })?;
    let kind = &reader.metadata().database_type;
    if !kind.contains("City") && !kind.contains("Enterprise") {
        return Err(GeoError::Kind { file: name(), found: kind.clone() });
    }
    // Walks the whole tree and every record once: a file that is cut or scrambled is found now, not at some click.
    reader.verify().map_err(|source| GeoError::Read { file: name(), source })?;
    Ok(Database { reader })
}

/// One worker's way to locations.
pub struct Locator {
    store: Arc<GeoStore>,
    current: Option<Arc<Database>>,
    decoded: HashMap<usize, Location, RandomState>,
}

impl Locator {
    pub fn new(store: Arc<GeoStore>) -> Self {
        Self { store, current: None, decoded: HashMap::default() }
    }

    /// Where an address lies; `None` when nobody knows.
    pub fn locate(&mut self, address: IpAddr) -> Option<&Location> {
        let current = self.store.current.load();
        if current.as_ref().map(Arc::as_ptr) != self.current.as_ref().map(Arc::as_ptr) {
            self.current.clone_from(&current);
            self.decoded.clear();
        }
        let found = self.current.as_ref()?.reader.lookup(address).ok()?;
        let place = found.offset()?;
        if !self.decoded.contains_key(&place) {
            let location = decode(&found.decode().ok()??);
            if self.decoded.len() == CACHED_LOCATIONS {
                self.decoded.clear();
            }
            self.decoded.insert(place, location);
        }
        self.decoded.get(&place).filter(|location| **location != Location::default())
    }
}

fn decode(city: &geoip2::City<'_>) -> Location {
    let code = |code: Option<&str>| code.map(str::to_ascii_lowercase);
    let country = code(city.country.iso_code)
        .filter(|code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_lowercase()));
    Location {
        country,
        region: code(city.subdivisions.first().and_then(|subdivision| subdivision.iso_code)),
        city: city.city.names.english.map(str::to_owned),
        latitude: city.location.latitude.filter(|degrees| degrees.abs() <= 90.0),
        longitude: city.location.longitude.filter(|degrees| degrees.abs() <= 180.0),
    }
}
