//! Policies of links and domains: how a link is matched, and what is forwarded to its destination.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    page::{Card, Files, Pages, Scripts},
    password::PasswordHash,
    placeholder::Address,
    rule::Rules,
    variant::Variants,
};

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
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Forward {
    /// The query is not forwarded.
    #[default]
    Off,
    /// It is added to the destination; where both have a key, the visitor's values win.
    Incoming,
    /// It is added to the destination; where both have a key, the destination's values win.
    Destination,
    /// It is added to the destination; where both have a key, the values of both stay.
    Both,
    /// Like `incoming`, and only of keys that begin with `utm_`.
    Utm,
}

/// What happens to a path behind the slashtag.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum ForwardPath {
    /// It is another slashtag, which the domain may lack.
    #[default]
    Reject,
    /// It is appended to the destination's path.
    Append,
    /// It is not forwarded.
    Ignore,
}

/// What a link may say beyond its destination. Most links have none of it.
#[derive(Default)]
pub struct Policy {
    pub forward_path: ForwardPath,
    /// The only keys of a query that are forwarded; all where this is empty. One may end in `*`.
    pub forward_only: Box<[Box<str>]>,
    /// When the link begins to work, in seconds since the Unix epoch.
    pub active_from: Option<i64>,
    /// When it ends to work, in seconds since the Unix epoch.
    pub active_until: Option<i64>,
    /// How many clicks of people are redirected.
    pub max_clicks: Option<u64>,
    /// What a visitor has to know.
    pub password: Option<PasswordHash>,
    /// Where visitors go who come too early, too late, or after the last click.
    pub fallback: Option<Address>,
    /// The parameter in which the id of the click travels to the destination.
    pub click_id_parameter: Option<Box<str>>,
    /// Who gets another destination than the link's own.
    pub rules: Rules,
    /// Several destinations in place of the link's own.
    pub variants: Option<Variants>,
    /// What people run before they arrive.
    pub scripts: Option<Scripts>,
    /// What bots of social networks show of the link.
    pub card: Option<Card>,
    /// Whether search engines may not list the short link.
    pub no_index: bool,
}

impl Policy {
    /// Whether another visitor, or the same one later, may get another answer, so that no answer can stand for the
    /// next.
    pub fn is_personal(&self) -> bool {
        !self.rules.is_empty()
            || self.variants.is_some()
            || self.max_clicks.is_some()
            || self.password.is_some()
            || self.click_id_parameter.is_some()
    }
}

/// What a domain may say beyond its name.
#[derive(Default)]
pub struct DomainPolicy {
    /// Where a request without a slashtag goes.
    pub root: Option<Address>,
    /// Where a request for an unknown link goes.
    pub not_found: Option<Address>,
    /// Where a request for an expired link goes, or for one that is used up.
    pub expired: Option<Address>,
    /// What follows a slashtag to see where it leads.
    pub preview_suffix: Option<Box<str>>,
    /// Whether a slashtag is looked up once more without the punctuation at its end.
    pub trim_punctuation: bool,
    /// Its own pages for 404, 410 and passwords.
    pub pages: Pages,
    /// Its files, such as `robots.txt`.
    pub files: Files,
}
