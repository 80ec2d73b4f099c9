//! What a link may do, as plain types: how it is named ([`key`]), where it leads ([`destination`], [`path`],
//! [`placeholder`]), how it behaves ([`policy`]), for whom it leads elsewhere ([`rule`], [`variant`]), by what an
//! [`asker`] says of the visitor, which pages it and its domain answer with ([`page`]), and its [`password`].
//!
//! A noun next to the flow: pure, imports no stage.

pub mod accept_language;
pub mod asker;
pub mod destination;
mod field;
pub mod hsts;
pub mod key;
pub mod page;
pub mod password;
pub mod path;
pub mod placeholder;
pub mod policy;
pub mod rule;
pub mod variant;

pub use asker::Asker;
pub use key::{BadKey, Host};
pub use policy::{Case, DomainPolicy, Forward, ForwardPath, Policy};
pub use rule::{Rule, Rules, Target};
pub use variant::{Variant, Variants};

/// Checks a destination, and returns it as `Location` will have it, or what is wrong with it.
pub type Check<'a> = &'a dyn Fn(&str) -> Result<Box<str>, String>;
