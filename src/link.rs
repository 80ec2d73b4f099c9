//! What a link may do, as plain types: how it is named ([`key`]) and how it behaves ([`policy`]).
//!
//! A noun next to the flow: pure, imports no stage.

pub mod key;
pub mod policy;

pub use key::{BadKey, Host};
pub use policy::{Case, Forward};
