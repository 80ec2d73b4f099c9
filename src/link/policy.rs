//! Policies of links and domains: how a link is matched, and what is forwarded to its destination.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the case of a slashtag matters.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// `/Spring` and `/spring` are two links.
    #[default]
    Sensitive,
    /// `/Spring` and `/spring` are one link.
    Insensitive,
}

/// Forwarding of the query of the short link.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Forward {
    /// The query is not forwarded.
    #[default]
    Off,
    /// It is added to the destination; where both have a key, the visitor's values win.
    Incoming,
    /// It is added to the destination; where both have a key, the destination's values win.
    Destination,
}
