//! What a link may do, as plain types: how it is named ([`key`]), how it behaves ([`policy`]), and the pages that it
//! answers with ([`page`]).
//!
//! A noun next to the flow: pure, imports no stage.

pub mod key;
pub mod page;
pub mod policy;

pub use key::{BadKey, Host};
pub use policy::{Case, Forward};
