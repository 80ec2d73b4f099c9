//! Who asks: agent, bot, referrer, network, place and language of a visitor, and what events may reveal of them.
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
pub mod metrics;
pub mod network;
pub mod privacy;
pub mod referrer;
pub mod signature;
mod sources;

pub use sources::Sources;

use crate::runtime::{Class, Classified};

/// The built-in tables of agent strings do not compile.
#[derive(Debug, thiserror::Error)]
#[error("internal error: cannot compile the tables of agent strings: {0}; please report this bug")]
pub struct TablesError(#[from] aho_corasick::BuildError);

impl Classified for TablesError {
    fn class(&self) -> Class {
        Class::Internal
    }
}

/// Compiles the built-in tables of agent strings, so that no click waits for it.
///
/// # Errors
/// See [`TablesError`].
pub fn warm_up() -> Result<(), TablesError> {
    bot::warm_up()?;
    agent::warm_up()?;
    Ok(())
}
