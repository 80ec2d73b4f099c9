//! Who asks: agent, bot, referrer, network, place and language of a visitor.
//!
//! Each part is worked out on its own and only when it is wanted, from the facts of a click and from lists that an
//! operator keeps. The redirect and the workers call the same functions, so they cannot disagree.
//!
//! A noun next to the flow: imports no stage.

pub mod agent;
pub mod bot;
pub mod geo;
pub mod language;
pub mod metrics;
pub mod network;
pub mod referrer;
mod sources;

pub use sources::Sources;
