//! What a link may do, as plain types: how it is named ([`key`]), where it leads ([`destination`], [`path`],
//! [`placeholder`]) and how it behaves ([`policy`]).
//!
//! A noun next to the flow: pure, imports no stage.

pub mod destination;
pub mod hsts;
pub mod key;
pub mod path;
pub mod placeholder;
pub mod policy;

pub use key::{BadKey, Host};
pub use policy::{Case, DomainPolicy, Forward, ForwardPath, Policy};
