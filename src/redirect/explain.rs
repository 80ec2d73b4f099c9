//! The steps of a decision, for `clickedge lookup --explain`: noted by the code that decides, while it decides.

use serde::Serialize;

use super::{
    Decision, Head, Target,
    decide::{Trace, is_read},
    untracked::Untracked,
};

/// All steps of a decision.
#[derive(Default)]
pub struct Steps {
    pub taken: Vec<Taken>,
    /// `None` when no link was followed.
    pub followed: Option<Followed>,
}

/// A step, and its result.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Taken {
    pub step: &'static str,
    pub result: String,
}

/// The link that was followed, with the names that its event has.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Followed {
    pub id: String,
    pub domain: String,
    pub slashtag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Whether the request is a click, or would be if it were made.
    pub is_click: bool,
}

impl Trace for Steps {
    fn step(&mut self, step: &'static str, result: impl FnOnce() -> String) {
        self.taken.push(Taken { step, result: result() });
    }

    fn leads(&mut self, target: &Target<'_>, by_page: bool, untracked: Option<Untracked>, head: &Head<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.step("destination", || text(&target.location));
        if by_page {
            self.step("page", || "a page leads there".into());
        }
        let is_click = untracked.is_none() && is_read(head.method);
        self.step("click", || match untracked {
            Some(untracked) => format!("no, it is untracked by its {}", untracked.label()),
            None if is_click => "yes".into(),
            None => format!("no, {} is no click", head.method),
        });
        self.followed = Some(Followed {
            id: text(target.link.id()),
            domain: target.link.host().into(),
            slashtag: text(target.link.slashtag()),
            rule: target.rule.into(),
            variant: target.variant.into(),
            is_click,
        });
    }
}

/// What is answered in place of a click, in words.
pub(super) fn of(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Fallback { location, .. } => format!("the fallback {}", String::from_utf8_lossy(location)),
        Decision::NotFound(_) => "there is no such link".into(),
        Decision::Gone(_) => "the link is over".into(),
        Decision::Preview(_) => "a page that shows where the link leads".into(),
        Decision::Password(_) => "a form for the password".into(),
        Decision::File(_) => "a file of the domain".into(),
        Decision::MethodNotAllowed => "the method is not allowed".into(),
        Decision::BadRequest => "the request cannot be understood".into(),
        Decision::Pass | Decision::Click(_) => String::new(),
    }
}
