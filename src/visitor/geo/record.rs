//! A record of a database of locations: nested, as `MaxMind` writes it, or flat, as tools write it that make a database
//! of a table.
//!
//! ```text
//! nested   country.iso_code  subdivisions[0].iso_code  city.names.en  location.latitude  location.longitude
//! flat     country_code      region_code               city           latitude           longitude
//!          country_iso_code  state_code                city_name      lat                longitude, lng, lon
//!          country (if two letters)
//! ```
//! A field of another type than expected counts as absent, and fails nothing.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::event::{Code, Location};

/// Most names of fields that a warning lists.
const MAX_FIELDS: usize = 12;

/// The part of a record that is read.
#[derive(Default)]
pub(super) struct Record<'a> {
    country: Option<&'a str>,
    region: Option<&'a str>,
    city: Option<&'a str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    /// At least one of the above is at the top level.
    flat: bool,
    /// The names of all fields.
    fields: Vec<&'a str>,
}

impl Record<'_> {
    /// The location, as far as it has valid parts.
    pub fn location(&self) -> Location {
        Location {
            country: self.country.and_then(country),
            region: self.region.and_then(|code| Code::read(code.as_bytes())),
            city: self.city.filter(|name| !name.is_empty()).map(str::to_owned),
            latitude: self.latitude.filter(|degrees| degrees.abs() <= 90.0),
            longitude: self.longitude.filter(|degrees| degrees.abs() <= 180.0),
        }
    }
}

fn country(code: &str) -> Option<Code> {
    let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    Code::read(code.as_bytes()).filter(|_| is_code)
}

/// What the records of a database have.
#[derive(Default)]
pub(super) struct Shape {
    nested: bool,
    flat: bool,
    country: bool,
    region: bool,
    city: bool,
    coordinates: bool,
    fields: BTreeSet<String>,
}

impl Shape {
    pub fn add(&mut self, record: &Record<'_>) {
        let location = record.location();
        self.nested |= location != Location::default() && !record.flat;
        self.flat |= record.flat;
        self.country |= location.country.is_some();
        self.region |= location.region.is_some();
        self.city |= location.city.is_some();
        self.coordinates |= location.latitude.is_some() && location.longitude.is_some();
        for field in record.fields.iter().take(MAX_FIELDS - self.fields.len().min(MAX_FIELDS)) {
            self.fields.insert(field.chars().take(40).collect());
        }
    }

    /// The warning about records that are not those of the type.
    pub fn warning(&self, kind: &str) -> Option<String> {
        if self.nested || self.fields.is_empty() {
            return None;
        }
        let fields = self.fields.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let parts = [
            ("country", self.country),
            ("region", self.region),
            ("city", self.city),
            ("coordinates", self.coordinates),
        ];
        let named = |wanted: bool| {
            let names: Vec<_> = parts.iter().filter(|(_, has)| *has == wanted).map(|(name, _)| *name).collect();
            if names.is_empty() { "nothing".into() } else { names.join(", ") }
        };
        if self.flat {
            let (read, missing) = (named(true), named(false));
            return Some(format!(
                "the records of this {kind} database are flat (fields {fields}), not those of its type; read from \
                 them: {read}; missing: {missing}; use a database with `country.iso_code`, `subdivisions`, `city.names` \
                 and `location` for all"
            ));
        }
        Some(format!(
            "the records of this {kind} database have no location: their fields are {fields}; events will lack it; use \
             a database with `country.iso_code` and `city.names`, or with flat fields such as `country_code`, `city`, \
             `latitude` and `longitude`"
        ))
    }
}

impl<'de> Deserialize<'de> for Record<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record<'de>, A::Error> {
        let mut record = Record::default();
        // What a flat field says gives way to what a nested one says.
        let (mut country, mut region, mut city) = (None, None, None);
        let (mut latitude, mut longitude) = (None, None);
        while let Some(key) = map.next_key::<&str>()? {
            record.fields.push(key);
            match key {
                "country" => match map.next_value()? {
                    Field::Map(Nested { iso_code, .. }) => record.country = iso_code,
                    Field::Text(text) if text.len() == 2 => _ = country.get_or_insert(text),
                    _ => {}
                },
                "country_code" | "country_iso_code" => country = text(map.next_value()?).or(country),
                "subdivisions" => {
                    if let Field::First(Some(Nested { iso_code, .. })) = map.next_value()? {
                        record.region = iso_code;
                    }
                }
                "region_code" | "state_code" => region = text(map.next_value()?).and_then(subdivision).or(region),
                "city" => match map.next_value()? {
                    Field::Map(Nested { english, .. }) => record.city = english,
                    value => city = text(value).or(city),
                },
                "city_name" => city = text(map.next_value()?).or(city),
                "location" => {
                    if let Field::Map(Nested { latitude, longitude, .. }) = map.next_value()? {
                        (record.latitude, record.longitude) = (latitude, longitude);
                    }
                }
                "latitude" | "lat" => latitude = degrees(map.next_value()?).or(latitude),
                "longitude" | "lng" | "lon" => longitude = degrees(map.next_value()?).or(longitude),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        record.flat =
            [country, region, city].iter().any(Option::is_some) || latitude.is_some() || longitude.is_some();
        record.country = record.country.or(country);
        record.region = record.region.or(region);
        record.city = record.city.or(city);
        record.latitude = record.latitude.or(latitude);
        record.longitude = record.longitude.or(longitude);
        Ok(record)
    }
}

fn text(field: Field<'_>) -> Option<&str> {
    if let Field::Text(text) = field { Some(text).filter(|text| !text.is_empty()) } else { None }
}

fn degrees(field: Field<'_>) -> Option<f64> {
    match field {
        Field::Number(number) => Some(number),
        Field::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The code of a region without its country: `CA` of `US-CA`. A name is no code.
fn subdivision(code: &str) -> Option<&str> {
    let code = code.rsplit('-').next().unwrap_or(code);
    ((1..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(code)
}

/// A value of any type.
#[derive(Clone, Copy)]
enum Field<'a> {
    Text(&'a str),
    Number(f64),
    Map(Nested<'a>),
    /// The first element of a list, if it is a map.
    First(Option<Nested<'a>>),
    Other,
}

/// A map below a record.
#[derive(Clone, Copy, Default)]
struct Nested<'a> {
    iso_code: Option<&'a str>,
    /// `names.en`
    english: Option<&'a str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(text))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number as f64))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Field<'de>, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field<'de>, A::Error> {
        let first = match seq.next_element()? {
            Some(Field::Map(nested)) => Some(nested),
            _ => None,
        };
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::First(first))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field<'de>, A::Error> {
        let mut nested = Nested::default();
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "iso_code" => nested.iso_code = text(map.next_value()?),
                "en" => nested.english = text(map.next_value()?),
                "names" => {
                    if let Field::Map(names) = map.next_value()? {
                        nested.english = names.english;
                    }
                }
                "latitude" => nested.latitude = degrees(map.next_value()?),
                "longitude" => nested.longitude = degrees(map.next_value()?),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(Field::Map(nested))
    }
}
