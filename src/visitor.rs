//! Who asks: agent, bot, referrer, network, place and language of a visitor.
//!
//! Each part is worked out on its own and on demand, from the facts of a click and from the operator's lists. The
//! redirect and the workers call the same functions, so they cannot disagree.
//!
//! A noun next to the flow: it imports no stage, and does no I/O except through [`files`](crate::files) when a list is
//! loaded.

pub mod agent;
pub mod bot;
pub mod geo;
pub mod language;
pub mod network;
pub mod referrer;
mod sources;

pub use sources::{SourceError, Sources};

/// Compiles the built-in tables of agent strings, so that no click waits for it.
///
/// # Errors
/// When a table does not compile: a bug.
pub fn warm_up() -> Result<(), aho_corasick::BuildError> {
    bot::warm_up()?;
    agent::warm_up()
}
