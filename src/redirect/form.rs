//! Forms with which visitors send the password of a link.

use std::net::IpAddr;

use super::{
    Answer, Head, Moment, Redirector, Request, Settings, asked,
    decide::{self, Decision, Step, Untraced},
    metrics::Outcome,
};
use crate::{
    catalog::Link,
    click::ClientAddr,
    link::{
        page::{self, FormError},
        password::PasswordHash,
    },
    runtime::clock,
};

/// What a form with a password is checked against.
pub(super) struct Lock {
    pub hash: PasswordHash,
    pub client: ClientAddr,
    pub host: Box<str>,
    pub link: Box<[u8]>,
}

impl Redirector {
    /// The lock of a link to which a form with a password is sent; `None` for all other requests.
    pub(super) fn lock(&self, settings: &Settings, head: &Head<'_>, peer: Option<IpAddr>) -> Option<Lock> {
        let catalog = self.catalog.load();
        let Step::Policy(found) = decide::look_up(&catalog, head, &mut Untraced) else { return None };
        let request = Request { head, peer, now: clock::monotonic(), untracked: None, unlocked: None };
        let decision =
            self.apply(settings, &request, &found, (&mut Moment::default(), &mut Vec::new()), &mut Untraced);
        let (Decision::Password(link), Some(hash)) = (decision, &found.policy.password) else { return None };
        let client = settings.trusted.client(peer, &head.forwarded);
        Some(Lock { hash: hash.clone(), client, host: link.host().into(), link: link.id().into() })
    }

    /// The answer to a form with the right password, or with what is wrong with it.
    pub(super) fn answer_form(
        &self,
        settings: &Settings,
        head: &Head<'_>,
        peer: Option<IpAddr>,
        result: Result<&PasswordHash, FormError>,
    ) -> Option<Answer> {
        let error = match result {
            Ok(hash) => {
                let request = Request { head, peer, now: clock::monotonic(), untracked: None, unlocked: Some(hash) };
                return self.answer_request(settings, &request, Moment::default(), &mut Untraced);
            }
            Err(error) => error,
        };
        let catalog = self.catalog.load();
        let Step::Policy(found) = decide::look_up(&catalog, head, &mut Untraced) else { return None };
        let answer = settings.form(head, &found.link, Some(error));
        Some(self.finish(answer, &catalog, head, Some(found.link)))
    }
}

impl Settings {
    /// The page that asks for the password of a link, with what was wrong with the last one.
    pub(super) fn form(&self, head: &Head<'_>, link: &Link<'_>, error: Option<FormError>) -> Answer {
        let page = page::of(link.domain().policy(), |pages| pages.password(&asked(head, link.host()), error));
        let (status, retry_after) = match error {
            None | Some(FormError::Wrong) => (200, None),
            Some(FormError::TooMany { retry_after }) => (429, Some(retry_after.as_secs().max(1))),
            Some(FormError::Busy) => (503, Some(1)),
        };
        let answer = self.answers.page(status, Outcome::Password, page);
        match retry_after {
            Some(secs) => answer.with_retry_after(secs),
            None => answer,
        }
    }
}
