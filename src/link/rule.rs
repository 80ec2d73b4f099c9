//! Rules: who gets another destination than the link's own.
//!
//! The first rule whose conditions all hold decides. Everything is checked when a link is read: at match time nothing
//! fails, nothing is compiled, and the time is bounded by [`MAX_RULES`], [`MAX_VALUES`] and the sizes of a request's
//! headers. There are no patterns.
//!
//! | module | content |
//! |---|---|
//! | `when` | the conditions of one rule, cheap ones first |
//! | `language`, `query`, `network`, `place`, `referrer`, `time` | one kind of condition each |
//! | `names` | slugs of systems, devices and browsers, and their usual synonyms |

mod language;
mod names;
mod network;
mod place;
mod query;
mod referrer;
mod time;
mod when;

use serde_json::Value;

use self::when::When;
use super::{
    Check,
    asker::Asker,
    field::Field,
    variant::{self, MAX_NAME, Variants},
};

/// The slugs that the conditions on the agent know, by the name of the condition.
pub fn slugs() -> [(&'static str, &'static [&'static str]); 3] {
    [("os", names::OS), ("device", names::KINDS), ("browser", names::PROGRAMS)]
}

/// Most rules of a link.
pub const MAX_RULES: usize = 100;

/// Most values of one condition.
pub const MAX_VALUES: usize = 300;

const LIST: &str = r#"write a list such as [{"name": "ios", "when": {"os": ["ios"]}, "destination": "https://…"}]"#;
const EITHER: &str = "write either `destination` or `variants`";

/// The rules of a link, in their order.
#[derive(Clone, Debug, Default)]
pub struct Rules(Box<[Rule]>);

/// A rule: where those lead for whom all conditions hold.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique among the rules of a link.
    pub name: Box<str>,
    when: When,
    pub target: Target,
}

/// Where a rule leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// As the check returned it.
    Destination(Box<str>),
    Variants(Variants),
}

impl Rules {
    /// Reads the value of a link's field `rules`. `null` and an empty list are no rules.
    ///
    /// # Errors
    /// A message that names field, value and remedy.
    pub fn parse(json: &Value, check: Check) -> Result<Self, String> {
        if json.is_null() || json.as_array().is_some_and(Vec::is_empty) {
            return Ok(Self::default());
        }
        let mut read: Vec<Rule> = Vec::new();
        for element in Field::new("rules", json).list(MAX_RULES, LIST)? {
            let rule = Rule::read(&element, check)?;
            if read.iter().any(|earlier| earlier.name == rule.name) {
                let name = element.need("name", "")?;
                return Err(name.is_bad("an earlier rule has this name; give each its own"));
            }
            read.push(rule);
        }
        Ok(Self(read.into()))
    }

    /// The first rule whose conditions all hold.
    pub fn first(&self, asker: &mut (impl Asker + ?Sized)) -> Option<&Rule> {
        self.walk(asker, |_, _| ())
    }

    /// As [`first`](Self::first); `step` gets each rule that is tried, with the condition that does not hold.
    pub fn walk(
        &self,
        asker: &mut (impl Asker + ?Sized),
        mut step: impl FnMut(&Rule, Option<&'static str>),
    ) -> Option<&Rule> {
        self.0.iter().find(|rule| {
            let failed = rule.when.first_failed(asker);
            step(rule, failed);
            failed.is_none()
        })
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    /// All destinations that the rules lead to.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        self.iter().flat_map(|rule| rule.target.destinations())
    }
}

impl Rule {
    fn read(field: &Field<'_>, check: Check) -> Result<Self, String> {
        field.object(LIST)?;
        field.has_only(&["name", "when", "destination", "variants"])?;
        let name = field.need("name", "give each rule a name, such as \"ios\"; events have it as `route.rule`")?;
        let name = name.text(MAX_NAME, "write a name, such as \"ios\"")?.into();
        let when = field.need("when", "write for whom it is, such as {\"os\": [\"ios\"]}; {} is everyone")?;
        let when = When::read(&when)?;
        let target = match (field.find("destination"), field.find("variants")) {
            (Some(destination), None) => Target::Destination(variant::destination(&destination, check)?),
            (None, Some(variants)) => Target::Variants(Variants::read(&variants, check)?),
            (Some(_), Some(_)) => return Err(field.problem(&format!("has both targets; {EITHER}"))),
            (None, None) => return Err(field.problem(&format!("leads nowhere; {EITHER}"))),
        };
        Ok(Self { name, when, target })
    }

    /// The names of its conditions, in the order in which they are checked.
    pub fn conditions(&self) -> impl Iterator<Item = &'static str> {
        self.when.names()
    }
}

impl Target {
    /// The destinations that it can lead to.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::Destination(destination) => (Some(&**destination), None),
            Self::Variants(variants) => (None, Some(variants)),
        };
        one.into_iter().chain(several.into_iter().flat_map(Variants::iter).map(|variant| &*variant.destination))
    }
}

#[cfg(test)]
mod tests;
