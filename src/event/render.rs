//! Renders an event of the journal as one feed asks for it: without some fields, or in the older shape.
//!
//! The journal holds every event once, in the form that [`ClickEvent::write`](super::ClickEvent::write) gives it. A
//! feed that asks for something else pays for it when its objects are made; all others copy. This enters only the
//! objects on the way to a field that changes, and copies the rest as it is. Events of the previous release, which hold
//! maps already, pass through it.
//!
//! Invariants: rendering what was rendered changes nothing; any bytes give an event or `None`, and what gives `None` is
//! not delivered, as it would have what the feed leaves out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    clickstream::{self, Change},
    scan::Scanner,
};

/// Shape of events.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `click/1`, as `clickedge generate schema` describes it.
    #[default]
    Click,
    /// An older shape: queries, tags and scripts are objects keyed by name or id, and `os.version` is a slug such as
    /// `android-10`. For receivers that parse it already. Names in it come from visitors: most table engines cannot
    /// read all of it.
    Clickstream,
}

/// How the events of a feed differ from those of the journal.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rendering {
    plan: Plan,
}

/// What to do with the members of an object; those that it does not name are copied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Plan(Vec<(Box<str>, Step)>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Omit,
    /// Enter the object. It is left out when nothing remains of it.
    Enter(Plan),
    Change(Change),
}

impl Rendering {
    /// `omitted` are paths of fields, such as `client.location`.
    pub fn new(shape: Shape, omitted: &[String]) -> Self {
        let mut plan = Plan::default();
        if shape == Shape::Clickstream {
            for (path, change) in clickstream::CHANGES {
                plan.add(path, Step::Change(*change));
            }
        }
        for path in omitted {
            plan.add(path, Step::Omit);
        }
        Self { plan }
    }

    /// The event as the feed asks for it: itself, or what is in `buffer` afterwards. `None` when these bytes are no
    /// event.
    pub fn apply<'b>(&self, event: &'b [u8], buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        if self.plan.0.is_empty() {
            return Some(event);
        }
        buffer.clear();
        let mut scanner = Scanner::new(event);
        object(&mut scanner, &self.plan, buffer)?;
        scanner.is_at_end().then_some(&buffer[..])
    }
}

impl Plan {
    /// Adds a step at a path. What is omitted already stays so.
    fn add(&mut self, path: &str, step: Step) {
        let (name, below) = path.split_once('.').map_or((path, None), |(name, below)| (name, Some(below)));
        let known = self.0.iter_mut().find(|(known, _)| **known == *name).map(|(_, step)| step);
        match (known, below) {
            (Some(Step::Enter(plan)), Some(below)) => plan.add(below, step),
            (Some(Step::Omit), _) | (Some(Step::Change(_)), Some(_)) => {}
            (Some(known), None) => *known = step,
            (None, None) => self.0.push((name.into(), step)),
            (None, Some(below)) => {
                let mut plan = Self::default();
                plan.add(below, step);
                self.0.push((name.into(), Step::Enter(plan)));
            }
        }
    }

    /// The step for a member, by its key between quotes.
    fn step(&self, key: &[u8]) -> Option<&Step> {
        let key = key.get(1..key.len().saturating_sub(1))?;
        self.0.iter().find(|(name, _)| name.as_bytes() == key).map(|(_, step)| step)
    }
}

/// Copies an object by a plan.
fn object(scanner: &mut Scanner<'_>, plan: &Plan, out: &mut Vec<u8>) -> Option<()> {
    scanner.expect(b'{')?;
    let mut separator = b'{';
    let mut name: &[u8] = b"";
    while scanner.peek()? != b'}' {
        let key = scanner.string()?;
        scanner.expect(b':')?;
        let before = out.len();
        out.push(separator);
        out.extend_from_slice(key);
        out.push(b':');
        let start = out.len();
        match (plan.step(key), scanner.peek()?) {
            (Some(Step::Omit), _) => {
                scanner.value()?;
                out.truncate(before);
            }
            (Some(Step::Enter(plan)), b'{') => {
                object(scanner, plan, out)?;
                if out[start..] == *b"{}" {
                    out.truncate(before);
                }
            }
            (Some(Step::Change(Change::Parameters)), b'[') => clickstream::parameters(scanner, out)?,
            (Some(Step::Change(Change::Labels)), b'[') => clickstream::labels(scanner, out)?,
            (Some(Step::Change(Change::Slug)), b'"') => clickstream::slug(name, scanner.string()?, out),
            _ => {
                let value = scanner.value()?;
                out.extend_from_slice(value);
                if key == b"\"name\"" {
                    name = value;
                }
            }
        }
        if out.len() > before {
            separator = b',';
        }
        scanner.comma(b'}')?;
    }
    scanner.pass();
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
    Some(())
}

#[cfg(test)]
mod tests;
