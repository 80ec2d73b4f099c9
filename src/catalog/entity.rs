//! A branded link in the form of its REST entity: the fields that this edge reads. All others are ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

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
    /// Status of the answer: 301, 302 (the default), 307 or 308.
    #[serde(default)]
    pub http_status: Option<u16>,
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

/// A tag or a script. A script's body (`value`, `uri`) is not read: it is never part of an event.
#[derive(Deserialize)]
pub struct NamedEntity {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
}

/// `forwardParameters`: a switch, or the side that wins.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum ForwardEntity {
    Switch(bool),
    Policy(Forward),
}

impl From<ForwardEntity> for Forward {
    fn from(entity: ForwardEntity) -> Self {
        match entity {
            ForwardEntity::Switch(false) => Self::Off,
            ForwardEntity::Switch(true) => Self::Incoming,
            ForwardEntity::Policy(policy) => policy,
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
