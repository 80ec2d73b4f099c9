//! Decides what a request gets, without any input or output: the reference for every way to an answer.

use bytes::Bytes;
use http::Method;

use super::{Head, forward};
use crate::{
    catalog::{Catalog, Link, Lookup, State},
    link::BadKey,
};

/// What a request gets.
pub enum Decision<'a> {
    /// A redirect to the link's destination, `Location` ready to send.
    Redirect { link: Link<'a>, location: Bytes },
    /// The host is not a branded domain: the next filter or the upstream answers.
    Pass,
    /// 404: the domain has no such link, or it is switched off.
    NotFound,
    /// 410: the link has expired.
    Gone,
    /// 405: only `GET` and `HEAD` are for this link.
    MethodNotAllowed,
    /// 400: the host is missing, ambiguous or invalid; or there is a control character in the target.
    BadRequest,
}

/// Decides what a request gets.
pub fn decide<'a>(catalog: &'a Catalog, head: &Head<'_>) -> Decision<'a> {
    let Ok(host) = head.host() else {
        return Decision::BadRequest;
    };
    let link = match catalog.find(&host, head.path) {
        Err(BadKey::TooLong) | Ok(Lookup::Unknown) => return not_found(head.method),
        Err(_) => return Decision::BadRequest,
        Ok(Lookup::NotBranded) => return Decision::Pass,
        Ok(Lookup::Found(link)) => link,
    };
    if head.has_control_in_query() {
        return Decision::BadRequest;
    }
    match link.state() {
        State::Active => {}
        State::Disabled => return not_found(head.method),
        State::Expired => return Decision::Gone,
    }
    if !is_read(head.method) && !matches!(link.status(), 307 | 308) {
        return Decision::MethodNotAllowed;
    }
    let location = forward::location(&link, head.query);
    Decision::Redirect { link, location }
}

/// Whether a method only reads.
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn not_found<'a>(method: &Method) -> Decision<'a> {
    if is_read(method) { Decision::NotFound } else { Decision::MethodNotAllowed }
}
