//! What a link may do, as plain types: how it is named ([`key`]), how it behaves ([`policy`]), and for whom it leads
//! elsewhere ([`rule`], [`variant`]), by what an [`asker`] says of the visitor.
//!
//! A noun next to the flow: pure, imports no stage.

pub mod asker;
mod field;
pub mod key;
pub mod policy;
pub mod rule;
pub mod variant;

pub use asker::Asker;
pub use key::{BadKey, Host};
pub use policy::{Case, Forward};
pub use rule::{Rule, Rules, Target};
pub use variant::{Variant, Variants};

/// Checks a destination, and returns it as `Location` will have it, or what is wrong with it.
pub type Check<'a> = &'a dyn Fn(&str) -> Result<Box<str>, String>;
