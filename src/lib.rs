//! clickedge answers clicks on branded links at the edge, and delivers every click to the customer who owns the link.
//!
//! The one way data flows; every stage is one module, and imports nothing to its right:
//!
//! ```text
//! client ─► listener ─► redirect ─► capture ═ring═► enrich ─► spool(journal ─► outbox) ─► deliver ─► S3 | dir
//!                        ▲            tmpfs                    disk │                     per feed
//!                      catalog                                      └─► stats
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`listener`] | sockets, certificates by server name |
//! | [`redirect`] | what a request gets; a plugin for any Pingora proxy |
//! | [`capture`] | the raw click, the client address as a type, the rings that outlive the process |
//! | [`enrich`] | workers that turn raw clicks into click events |
//! | [`spool`] | the journal, the packer that makes objects of it, the outbox, recovery; what an operator sees of it |
//! | [`deliver`] | sinks, pace and retries, one task a feed |
//! | [`stats`] | counts of links, domains, workspaces and more: a fold over the journal; rollups |
//! | [`event`], [`manifest`] | the public contracts |
//! | [`catalog`], [`config`], [`telemetry`], [`clock`] | beside the flow; they and [`stats`] import no stage |
//! | [`query`], [`quality`] | queries, decoded; the judge of clicks. Redirect and workers both ask them, so they stand beside the flow, too |
//! | [`networks`] | what is known of the network of an address |
//! | [`list`], [`mmdb`] | lists and databases that an operator keeps: how they are read, what is said of a broken one |
//! | [`reloaded`] | what is read from files and replaced as a whole |
//! | [`alarm`], [`fault`] | tells that a thread has panicked; the places at which a test lets the process die |
//! | [`verify`] | proves from outside that a feed is complete |
//! | [`pipeline`] | wires the stages, owns start and shutdown order |
//! | [`server`], [`admin`], [`cli`] | the process around it |
//! | [`manual`] | the operator's manual, chapter by chapter |
//!
//! A click is never in fewer than one place: a ring lets go of it when the journal has it, the journal when an object
//! holds it, the outbox when the sink has acknowledged it.
//!
//! Places where the code differs from a plainer picture, and why:
//! - `redirect` hands its clicks to `capture` and imports its types: anything between the two would cost every click
//!   an indirect call.
//! - `enrich` sends to the spool through a channel that the spool owns; the batch type is `enrich`'s, so that the
//!   arrow still points to the right.
//! - What the journal has synced goes back to the rings, against the arrow: `pipeline` hands the spool a closure, so
//!   that neither knows the other.
//! - Each frame of the journal says which click of which ring it came from: after a crash, that alone tells which
//!   clicks of the rings are in the journal already. Frames name feeds by a number, and the header of their segment
//!   says what it means: feeds come and go with the configuration, segments stay.
//! - Objects are made in rounds, and the rename of the spool's `state` commits all of a round at once. A rename of each
//!   object would need a sync for each, and thousands of feeds have thousands of objects.
//! - What an event counts for is written into the journal by the worker, as a tally, and read there once more by the
//!   packer's thread ([`spool::counting`]): parsing events to count them would cost more than everything else that the
//!   spool does, and counters that workers share would not survive a crash. How far the journal is counted stands with the
//!   counts, in the store, and nowhere else.
//! - Which visit a click belongs to is noted in its ring, against the arrow, before its event goes on: a click that the
//!   next process sees again belongs to the same visit, whatever the table of visits knows by then.
//! - Bots have no session: a prefetch would otherwise start the visit that the person's own click then only joins.

pub mod admin;
pub mod capture;
pub mod catalog;
pub mod cli;
pub mod click;
pub mod config;
pub mod deliver;
pub mod enrich;
pub mod event;
pub mod files;
pub mod link;
pub mod listener;
pub mod manual;
pub mod object;
pub mod pipeline;
pub mod quality;
pub mod redirect;
pub mod runtime;
pub mod server;
pub mod session;
pub mod spool;
pub mod stats;
pub mod telemetry;
pub mod verify;
pub mod visitor;

pub use pipeline::Pipeline;
pub use redirect::Redirector;
