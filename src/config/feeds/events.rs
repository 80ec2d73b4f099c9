//! Which clicks a feed has, and what of them: `only` and `fields`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{diagnostics::nearest, findings::Findings},
    event::fields::{self, BadField},
};

/// Which clicks of its workspaces a feed takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Clicks whose `client.agent.type` is `human`.
    Human,
    /// Clicks whose `client.agent.type` is `bot`.
    Bot,
    /// Clicks without `quality.invalid`: those of people, unless they are invalid traffic.
    Valid,
}

/// What the events of a feed leave out.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fields {
    /// Paths of fields in the event, such as `client.location` or `referral.path`, with everything below them. The end
    /// of a path is enough (`location`) if no other field ends so. What is in every event (`id`, `schema`, `timestamp`)
    /// cannot be left out, nor what the schema requires of the object around it.
    pub omit: Vec<String>,
}

impl Fields {
    /// The whole paths.
    pub fn paths(&self) -> Vec<String> {
        if self.omit.is_empty() {
            return Vec::new();
        }
        let fields = fields::Fields::of_schema();
        self.omit.iter().filter_map(|name| fields.optional(name).ok()).map(str::to_owned).collect()
    }

    pub(super) fn rules(&self, feed: &str, findings: &mut Findings) {
        if self.omit.is_empty() {
            return;
        }
        let fields = fields::Fields::of_schema();
        for (i, name) in self.omit.iter().enumerate() {
            let Err(bad) = fields.optional(name) else { continue };
            let (message, remedy) = explained(name, bad, &fields);
            findings.error(format!("{feed}.fields.omit[{i}]"), message, remedy);
        }
    }
}

fn explained(name: &str, bad: BadField, fields: &fields::Fields) -> (String, String) {
    match bad {
        BadField::Required { path, owner: None } => {
            (format!("is {name:?}, and every event has `{path}`"), "remove it".to_owned())
        }
        BadField::Required { path, owner: Some(owner) } => (
            format!("is {name:?}, and every `{owner}` has `{path}`"),
            format!("leave out the whole of it, \"{owner}\", or remove it"),
        ),
        BadField::Ambiguous(paths) => {
            let paths: Vec<String> = paths.iter().map(|path| format!("\"{path}\"")).collect();
            (format!("is {name:?}, and several fields end so"), format!("write one of {}", paths.join(", ")))
        }
        BadField::Unknown => {
            // Of `locaton` the nearest is the end of a path.
            let ends = |path| std::iter::successors(Some(path), |path: &&str| Some(path.split_once('.')?.1));
            let known: Vec<&str> = fields.paths().flat_map(ends).collect();
            let remedy = match nearest(name, &known) {
                Some(near) => format!("did you mean \"{near}\"? `clickedge generate schema` prints all fields"),
                None => "`clickedge generate schema` prints all fields".to_owned(),
            };
            (format!("is {name:?}, and events have no such field"), remedy)
        }
    }
}
