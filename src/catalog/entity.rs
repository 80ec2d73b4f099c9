//! A branded link in the form of its REST entity: the fields that this edge reads. All others are ignored.

pub mod lenient;
pub mod time;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::link::Forward;
use lenient::{CreatedAt, NamedList, ScriptList};

/// One link of the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkEntity {
    #[serde(deserialize_with = "lenient::text")]
    pub id: String,
    #[serde(deserialize_with = "lenient::text")]
    pub slashtag: String,
    pub destination: String,
    #[serde(default)]
    pub created_at: CreatedAt,
    #[serde(deserialize_with = "lenient::domain")]
    pub domain: DomainEntity,
    #[serde(default, deserialize_with = "lenient::creator")]
    pub creator: Option<CreatorEntity>,
    #[serde(default, deserialize_with = "lenient::workspace")]
    pub workspace: Option<WorkspaceEntity>,
    #[serde(default)]
    pub tags: NamedList,
    #[serde(default)]
    pub scripts: ScriptList,
    #[serde(default, deserialize_with = "lenient::forward")]
    pub forward_parameters: Option<ForwardEntity>,
    /// `active` (the default), `expired`, or any other word for a disabled link.
    #[serde(default, deserialize_with = "lenient::status")]
    pub status: Option<String>,
    /// Status of the answer: 301, 302 (the default), 303, 307 or 308.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub http_status: Option<u16>,
    // What few links have is read as it is, and checked in `policy.rs`.
    #[serde(default)]
    pub forward_path: Option<Value>,
    #[serde(default)]
    pub active_from: Option<Value>,
    #[serde(default)]
    pub active_until: Option<Value>,
    // Exports have one name of it or several.
    #[serde(default)]
    pub expires_at: Option<Value>,
    #[serde(default)]
    pub expired_at: Option<Value>,
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

pub struct DomainEntity {
    pub id: Option<String>,
    pub full_name: String,
}

pub struct CreatorEntity {
    pub id: Option<String>,
    pub full_name: Option<String>,
    /// It is there, and cannot be read.
    pub left_out: bool,
}

pub struct WorkspaceEntity {
    pub id: String,
    pub name: Option<String>,
}

/// A tag or a script.
#[derive(Debug)]
pub struct NamedEntity {
    pub id: String,
    pub name: Option<String>,
}

/// `forwardParameters`: a switch, the side that wins, or the keys.
#[derive(Clone)]
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

/// Tags or scripts as in the event: sorted by id, each id once, with the id for a missing name.
pub fn named_map(entities: &[NamedEntity]) -> BTreeMap<&str, &str> {
    entities.iter().map(|entity| (entity.id.as_str(), entity.name.as_deref().unwrap_or(&entity.id))).collect()
}
