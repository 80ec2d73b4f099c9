//! clickedge answers clicks on branded links at the edge, and delivers every click to the customer who owns the link.
//!
//! The one way data flows; every stage is one module, and imports nothing to its right:
//!
//! ```text
//! client ─► listener ─► redirect ─► capture ═ring═► enrich ─► spool ─► deliver ─► S3 | dir
//!                        ▲             RAM                     disk     per feed
//!                      catalog
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`listener`] | sockets, certificates by server name |
//! | [`redirect`] | what a request gets; a plugin for any Pingora proxy |
//! | [`capture`] | the raw click, the client address as a type, the queues |
//! | [`enrich`] | workers that turn raw clicks into click events |
//! | [`spool`] | open objects, the outbox, what an earlier process left behind |
//! | [`deliver`] | sinks and retries, one task a feed |
//! | [`event`] | the public contract |
//! | [`catalog`], [`config`], [`telemetry`], [`clock`] | beside the flow; they import no stage |
//! | [`pipeline`] | wires the stages, owns start and shutdown order |
//! | [`server`], [`admin`], [`cli`] | the process around it |
//!
//! Four places where the code differs from a plainer picture, and why:
//! - `redirect` hands its clicks to `capture` and imports its types: anything between the two would cost every click
//!   an indirect call.
//! - `enrich` sends to the spool through a channel that the spool owns; the batch type is `enrich`'s, so that the
//!   arrow still points to the right.
//! - Events go from the workers straight into open objects on disk. A journal between the two, which makes a click
//!   survive `SIGKILL`, has its place in `spool` and is not there yet.
//! - Bots have no session: a prefetch would otherwise start the visit that the person's own click then only joins.

pub mod admin;
pub mod capture;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod enrich;
pub mod event;
pub mod listener;
pub mod pipeline;
pub mod redirect;
pub mod server;
pub mod spool;
pub mod telemetry;

pub use pipeline::Pipeline;
pub use redirect::Redirector;
