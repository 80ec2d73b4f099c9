//! Requests by which a certificate authority checks a name (HTTP-01), on every listener and on both ways.
//!
//! One that asks for a challenge of this edge, or of one that shares its folder, is answered before anything else. Any
//! other is a request as usual: the challenge may be that of a server behind this edge.

use crate::{
    listener::request::Request,
    tls::acme::challenge::{Asked, Challenges, PATH},
};

/// What is known of the challenge that the first request of a connection's input asks for.
#[derive(Debug, Default)]
pub enum Looked {
    #[default]
    NotYet,
    Found(String),
    Unknown,
}

/// What a request for a challenge gets.
pub enum Reply {
    /// To be looked up first.
    Look(Asked),
    Key(String),
}

/// What a request gets; `None` when it is a request as usual.
pub fn reply(request: &Request<'_, '_>, challenges: &Challenges, looked: &mut Looked) -> Option<Reply> {
    if !request.target.starts_with(PATH) {
        return None;
    }
    let asked = challenges.asked(request.host()?, request.target)?;
    match std::mem::take(looked) {
        Looked::NotYet => Some(Reply::Look(asked)),
        Looked::Found(key) => Some(Reply::Key(key)),
        Looked::Unknown => None,
    }
}
