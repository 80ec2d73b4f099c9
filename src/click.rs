//! The click as data: request, answer and client, before anything is derived from them.
//!
//! [`Facts`] borrows everything that a request and its link contribute to an event, as they were at the moment of the
//! answer. [`wire`] writes facts as one run of bytes and reads them back as a [`RawClick`], in the current version and
//! the one before. The client address ([`ClientAddr`]) lives here and nowhere else: it has no textual form.
//!
//! A noun next to the flow: no I/O, imports no stage.

pub mod address;
mod facts;
mod flags;
pub mod id;
pub mod wire;

pub use address::ClientAddr;
pub use facts::{Facts, Protocol, Texts, Visit};
pub use flags::Flags;
pub use id::EventId;
pub use wire::RawClick;
