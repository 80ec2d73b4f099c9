//! A branded link in the form of its REST entity: the fields that this edge reads. All others are ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::link::Forward;

/// One line of the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkEntity {
    pub id: String,
    pub slashtag: String,
    pub destination: String,
    #[serde(default)]
    pub created_at: Option<String>,
    pub domain: DomainEntity,
    #[serde(default)]
    pub creator: Option<CreatorEntity>,
    #[serde(default)]
    pub workspace: Option<WorkspaceEntity>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub tags: Vec<NamedEntity>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub scripts: Vec<NamedEntity>,
    #[serde(default)]
    pub forward_parameters: Option<ForwardEntity>,
    /// `active` (the default), `expired`, or any other word for a disabled link.
    #[serde(default)]
    pub status: Option<String>,
    /// Status of the answer: 301, 302 (the default), 303, 307 or 308.
    #[serde(default)]
    pub http_status: Option<u16>,
    // What few links have is read as it is, and checked in `policy.rs`.
    #[serde(default)]
    pub forward_path: Option<Value>,
    #[serde(default)]
    pub active_from: Option<Value>,
    #[serde(default, alias = "expiresAt", alias = "expiredAt")]
    pub active_until: Option<Value>,
    #[serde(default)]
    pub max_clicks: Option<Value>,
    #[serde(default)]
    pub password_hash: Option<Value>,
    #[serde(default)]
    pub fallback: Option<Value>,
    #[serde(default)]
    pub click_id_parameter: Option<Value>,
    #[serde(default)]
    pub rules: Option<Value>,
    #[serde(default)]
    pub variants: Option<Value>,
    #[serde(default)]
    pub card: Option<Value>,
    #[serde(default)]
    pub no_index: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainEntity {
    #[serde(default)]
    pub id: Option<String>,
    pub full_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatorEntity {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub full_name: Option<String>,
}

#[derive(Deserialize)]
pub struct WorkspaceEntity {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
}

/// A tag or a script. What a script runs is never part of an event.
#[derive(Deserialize)]
pub struct NamedEntity {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    /// Where a script lies.
    #[serde(default)]
    pub uri: Option<Value>,
    /// The code of a script.
    #[serde(default)]
    pub value: Option<Value>,
}

/// `forwardParameters`: a switch, the side that wins, or the keys.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum ForwardEntity {
    Switch(bool),
    Policy(Forward),
    /// The only keys that are forwarded.
    Only(Vec<String>),
}

impl From<&ForwardEntity> for Forward {
    fn from(entity: &ForwardEntity) -> Self {
        match entity {
            ForwardEntity::Switch(false) => Self::Off,
            ForwardEntity::Switch(true) | ForwardEntity::Only(_) => Self::Incoming,
            ForwardEntity::Policy(policy) => *policy,
        }
    }
}

fn null_is_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NamedEntity>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Tags or scripts as in the event: sorted by id, each id once, with the id for a missing name.
pub fn named_map(entities: &[NamedEntity]) -> BTreeMap<&str, &str> {
    entities.iter().map(|entity| (entity.id.as_str(), entity.name.as_deref().unwrap_or(&entity.id))).collect()
}
