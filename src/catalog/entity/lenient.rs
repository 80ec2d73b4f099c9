//! Reads the values of a link as exports of databases write them: numbers as text, text as numbers, absent values as
//! null or empty text, times in the forms of SQL.
//!
//! A value that only informs (`createdAt`, `creator`, tags, scripts) never takes a link down: what cannot be read of it
//! is left out, and marked as such.

use std::{fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor, value::StrDeserializer},
};

use serde_json::Value;

use super::{CreatorEntity, DomainEntity, ForwardEntity, NamedEntity, WorkspaceEntity, time};
use crate::link::Forward;

/// Any JSON value, reduced to what a field can mean.
#[derive(Debug, PartialEq)]
pub enum Scalar {
    /// `null`.
    Absent,
    Text(String),
    /// A number in decimal digits.
    Number(String),
    Bool(bool),
    /// An array, or an object that stands for no single value.
    Other,
}

impl Scalar {
    /// The text, or the digits of the number; empty text is absent.
    pub fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text).filter(|text| !text.is_empty()),
            Self::Absent | Self::Bool(_) | Self::Other => None,
        }
    }

    fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Text(text) => text.is_empty(),
            Self::Number(_) | Self::Bool(_) | Self::Other => false,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Absent)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(fraction(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
                Ok(Scalar::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
            /// Extended JSON has `{"$oid":"…"}`, `{"$date":"…"}` and `{"$numberLong":"…"}` for one value.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                let mut found = Scalar::Other;
                while let Some(name) = map.next_key::<String>()? {
                    if name.starts_with('$') && found == Scalar::Other {
                        found = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

/// A number that is not whole. One beyond 2^53 has lost digits, and could be another's id.
fn fraction(value: f64) -> Scalar {
    if value.abs() < 9_007_199_254_740_992.0 { Scalar::Number(value.to_string()) } else { Scalar::Other }
}

/// A text or a number.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Scalar::deserialize(deserializer)? {
        Scalar::Text(text) | Scalar::Number(text) => Ok(text),
        Scalar::Absent | Scalar::Bool(_) | Scalar::Other => Err(D::Error::custom("expected a text")),
    }
}

/// A text or a number, or nothing.
pub fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Scalar::deserialize(deserializer)? {
        value if value.is_absent() => Ok(None),
        Scalar::Text(text) | Scalar::Number(text) => Ok(Some(text)),
        Scalar::Absent | Scalar::Bool(_) | Scalar::Other => Err(D::Error::custom("expected a text")),
    }
}

/// A whole number, also as text, or nothing.
pub fn optional_number<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    let value = Scalar::deserialize(deserializer)?;
    if value.is_absent() {
        return Ok(None);
    }
    let digits = value.into_text().unwrap_or_default();
    let digits = digits.trim();
    // Some programs know no whole numbers.
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    let number = digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match number.map(N::try_from) {
        Some(Ok(number)) => Ok(Some(number)),
        _ => Err(D::Error::custom("expected a whole number")),
    }
}

/// `true` or `false`, also as text or as 1 and 0, or nothing.
pub fn optional_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value = Scalar::deserialize(deserializer)?;
    if value.is_absent() {
        return Ok(None);
    }
    truth(&value).map(Some).ok_or_else(|| D::Error::custom("expected true or false"))
}

fn truth(value: &Scalar) -> Option<bool> {
    match value {
        Scalar::Bool(value) => Some(*value),
        Scalar::Text(text) | Scalar::Number(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" => Some(false),
            _ => None,
        },
        Scalar::Absent | Scalar::Other => None,
    }
}

/// A time in any of the forms of [`time::parse`], or nothing.
pub fn optional_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    let value = Scalar::deserialize(deserializer)?;
    if value.is_absent() {
        return Ok(None);
    }
    let time = value.into_text().and_then(|text| time::parse(&text));
    time.map(Some).ok_or_else(|| D::Error::custom(format!("expected {}", time::EXAMPLE)))
}

/// A switch, the side that wins, or a list of keys; or nothing.
pub fn forward<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ForwardEntity>, D::Error> {
    let value = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(value) => value,
        OneOrMany::Many(all) => {
            let names = all.into_iter().map(|(name, _)| name.unwrap_or_default()).collect();
            return Ok(Some(ForwardEntity::Only(names)));
        }
        OneOrMany::Named(..) => Scalar::Other,
    };
    if value.is_absent() {
        return Ok(None);
    }
    if let Some(value) = truth(&value) {
        return Ok(Some(ForwardEntity::Switch(value)));
    }
    let word = value.into_text().unwrap_or_default().trim().to_ascii_lowercase();
    let word: StrDeserializer<'_, D::Error> = word.as_str().into_deserializer();
    Forward::deserialize(word).map(|policy| Some(ForwardEntity::Policy(policy)))
}

/// The word for a link that is answered.
pub const ACTIVE: &str = "active";
/// The word for a link that is switched off.
pub const DISABLED: &str = "disabled";
/// The word for a link that was answered once.
pub const EXPIRED: &str = "expired";

/// One of [`ACTIVE`], [`DISABLED`] and [`EXPIRED`] for any word that services use for them, in any case; another word
/// as it is.
pub fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Scalar::deserialize(deserializer)?;
    if value.is_absent() {
        return Ok(None);
    }
    let word = match value {
        Scalar::Bool(true) => ACTIVE.to_owned(),
        Scalar::Bool(false) => DISABLED.to_owned(),
        Scalar::Text(word) | Scalar::Number(word) => word,
        Scalar::Absent | Scalar::Other => return Err(D::Error::custom("expected `active`, `disabled` or `expired`")),
    };
    let known = match word.trim().to_ascii_lowercase().as_str() {
        ACTIVE | "enabled" | "live" | "on" | "online" | "ok" | "published" | "true" | "1" => ACTIVE,
        EXPIRED | "ended" => EXPIRED,
        DISABLED | "inactive" | "off" | "offline" | "paused" | "suspended" | "blocked" | "archived" | "deleted"
        | "trashed" | "draft" | "unpublished" | "false" | "0" => DISABLED,
        _ => return Ok(Some(word)),
    };
    Ok(Some(known.to_owned()))
}

/// `createdAt` for the event: RFC 3339 in UTC.
#[derive(Debug, Default)]
pub struct CreatedAt {
    value: Option<String>,
    /// The value is no time.
    pub left_out: Option<String>,
}

impl CreatedAt {
    /// The time, if there is one.
    pub fn as_deref(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

impl<'de> Deserialize<'de> for CreatedAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Scalar::deserialize(deserializer)?;
        if value.is_absent() {
            return Ok(Self::default());
        }
        let text = value.into_text().unwrap_or_else(|| "(no text)".to_owned());
        if time::is_rfc_3339_utc(&text) {
            return Ok(Self { value: Some(text), left_out: None });
        }
        Ok(match time::parse(&text) {
            Some(time) => Self { value: Some(time.to_string()), left_out: None },
            None => Self { value: None, left_out: Some(text) },
        })
    }
}

/// Tags or scripts.
#[derive(Debug, Default)]
pub struct NamedList {
    entities: Vec<NamedEntity>,
    /// Some of them have neither an id nor a name.
    pub left_out: bool,
}

impl Deref for NamedList {
    type Target = [NamedEntity];

    fn deref(&self) -> &[NamedEntity] {
        &self.entities
    }
}

impl NamedList {
    fn add(&mut self, id: Option<String>, name: Option<String>) {
        match id.or_else(|| name.clone()) {
            Some(id) => self.entities.push(NamedEntity { id, name }),
            None => self.left_out = true,
        }
    }
}

impl<'de> Deserialize<'de> for NamedList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut list = Self::default();
        match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(Scalar::Text(names)) => {
                names.split(',').map(str::trim).filter(|name| !name.is_empty()).for_each(|name| {
                    list.add(Some(name.to_owned()), None);
                });
            }
            OneOrMany::One(value) => list.left_out = !value.is_absent(),
            OneOrMany::Named(id, name) => list.add(id, name),
            OneOrMany::Many(all) => all.into_iter().for_each(|(id, name)| list.add(id, name)),
        }
        Ok(list)
    }
}

/// The scripts of a link: what events show of them, and what they run.
#[derive(Debug, Default)]
pub struct ScriptList {
    pub named: NamedList,
    pub raw: Value,
}

impl<'de> Deserialize<'de> for ScriptList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(deserializer)?;
        let named = NamedList::deserialize(&raw).map_err(D::Error::custom)?;
        Ok(Self { named, raw })
    }
}

/// The domain of a link: an object with `fullName`, or the host alone.
pub fn domain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DomainEntity, D::Error> {
    match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(Scalar::Text(full_name)) => Ok(DomainEntity { id: None, full_name }),
        OneOrMany::Named(id, Some(full_name)) => Ok(DomainEntity { id, full_name }),
        _ => Err(D::Error::custom("expected an object with `fullName`, such as {\"fullName\":\"go.example.com\"}")),
    }
}

/// Who created a link. A creator that cannot be read has neither id nor name.
pub fn creator<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CreatorEntity>, D::Error> {
    let entity = |id, full_name, left_out| Some(CreatorEntity { id, full_name, left_out });
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(value) if value.is_absent() => None,
        OneOrMany::One(Scalar::Text(name)) => entity(None, Some(name), false),
        OneOrMany::One(Scalar::Number(id)) => entity(Some(id), None, false),
        OneOrMany::Named(id, name) => entity(id, name, false),
        OneOrMany::Many(all) if all.is_empty() => None,
        OneOrMany::One(_) | OneOrMany::Many(_) => entity(None, None, true),
    })
}

/// The workspace of a link; nothing without an id.
pub fn workspace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WorkspaceEntity>, D::Error> {
    let (id, name) = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(value) if value.is_absent() => return Ok(None),
        OneOrMany::One(Scalar::Text(id) | Scalar::Number(id)) => (Some(id), None),
        OneOrMany::Named(id, name) => (id, name),
        OneOrMany::Many(all) if all.is_empty() => return Ok(None),
        OneOrMany::One(_) | OneOrMany::Many(_) => {
            return Err(D::Error::custom("expected an object with `id`, or a text"));
        }
    };
    Ok(id.map(|id| WorkspaceEntity { id, name }))
}

/// What has an id and a name, or several of these.
enum OneOrMany {
    One(Scalar),
    Named(Option<String>, Option<String>),
    Many(Vec<(Option<String>, Option<String>)>),
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    #[serde(alias = "_id")]
    Id,
    FullName,
    Name,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyForm;
        impl<'de> Visitor<'de> for AnyForm {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(Scalar::Absent))
            }
            fn visit_bool<E>(self, value: bool) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(Scalar::Bool(value)))
            }
            fn visit_i64<E>(self, value: i64) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(Scalar::Number(value.to_string())))
            }
            fn visit_u64<E>(self, value: u64) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(Scalar::Number(value.to_string())))
            }
            fn visit_f64<E>(self, value: f64) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(fraction(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(Scalar::Text(value.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(element) = seq.next_element()? {
                    all.push(match element {
                        OneOrMany::One(value) => (value.into_text(), None),
                        OneOrMany::Named(id, name) => (id, name),
                        OneOrMany::Many(_) => (None, None),
                    });
                }
                Ok(OneOrMany::Many(all))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OneOrMany, A::Error> {
                let [mut id, mut name, mut full_name] = [Scalar::Absent, Scalar::Absent, Scalar::Absent];
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Id => id = map.next_value()?,
                        Key::FullName => full_name = map.next_value()?,
                        Key::Name => name = map.next_value()?,
                        Key::Other => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(OneOrMany::Named(id.into_text(), full_name.into_text().or(name.into_text())))
            }
        }
        deserializer.deserialize_any(AnyForm)
    }
}
