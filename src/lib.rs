//! clickedge answers clicks on branded links at the edge, and delivers every click to the customer who owns the link.
//!
//! Data flows one way; every stage is one module, and imports nothing to its right:
//!
//! ```text
//! client ─► listener ─► redirect ─► capture ═ring═► enrich ─► spool(journal ─► outbox) ─► deliver ─► S3 | dir |
//!                        ▲            tmpfs                    disk │                     per feed   webhook | NATS
//!                      catalog                                      └─► stats
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`listener`] | sockets, and the front: every connection from accept to close |
//! | [`redirect`] | what a request gets: a synchronous core, and an adapter for any Pingora proxy |
//! | [`capture`] | the rings that outlive the process |
//! | [`enrich`] | workers that turn raw clicks into click events |
//! | [`spool`] | the journal, the packer that makes objects of it, the outbox, recovery, tools for operators |
//! | [`deliver`] | sinks, pace and retries, one task per feed |
//! | [`fleet`] | one catalog on many edges, through a bucket |
//! | [`stats`] | counts of links, domains, workspaces and more: a fold over the journal |
//! | [`click`], [`link`], [`visitor`], [`session`], [`quality`], [`event`], [`object`] | the nouns that several stages need; they import no stage |
//! | [`catalog`], [`config`], [`files`], [`telemetry`], [`tls`], [`runtime`] | what every stage stands on |
//! | [`pipeline`] | wires the stages: start, preflight, reload, drain, gauges |
//! | [`verify`] | proves from outside that a feed is complete |
//! | [`doctor`] | compares a machine with a configuration |
//! | [`server`], [`admin`], [`cli`] | the process around it |
//! | [`manual`] | the manual, whose examples compile |
//!
//! `tests/architecture.rs` has the table of which module may import which, and fails when one does not keep to it.
//!
//! # Features
//!
//! None is on by default: the library alone has everything between the request and the spool, and delivers into
//! folders. A configuration that needs a feature which was not compiled in is rejected, with the name of the feature
//! ([`config::features`]).
//!
//! | feature | what it adds |
//! |---|---|
//! | `s3` | feeds into buckets, and [`fleet`]: one catalog on many edges |
//! | `webhook` | feeds to HTTP endpoints |
//! | `nats` | feeds to streams of NATS; with `s3`, announcements between the edges of a fleet |
//! | `stats` | the store of counts, and with it rollups |
//! | `server` | the process of the binary: [`server`], [`cli`], [`admin`], [`doctor`], [`verify`], the [front](listener), TLS of listeners |
//! | `acme` | certificates that the server obtains by itself; includes `server` |
//! | `isal` | gzip of objects at a third of the time; its build needs `nasm` and autotools |
//! | `full` | all of these |
//! | `jemalloc` | the allocator of the shipped binary |
//!
//! The binary is built with `--features full`, and shipped with `--features full,jemalloc`. Tests need `full`.
//!
//! # Design
//!
//! A click is never in fewer than one place: a ring releases it when the journal has it, the journal when an object
//! holds it, the outbox when the sink has acknowledged it.
//!
//! Where the code differs from a plainer picture, and why:
//! - `redirect` passes its clicks to `capture` and imports its types: anything between the two would cost every click
//!   an indirect call.
//! - The front reads the head of every HTTP/1 request itself, also of those that Pingora's proxy answers, and lends
//!   the connection to the proxy for one request at a time: limits, deadlines and strictness are then the same on both
//!   ways, and the proxy, which would read ahead, never sees a byte of the next request.
//! - Counts of links with a limit of clicks are on the tmpfs of the rings, and copied to the spool's folder by a
//!   thread, not mapped from there: a page of a disk that is being written would stall the redirect.
//! - Rules work out who the visitor is with the functions that the worker uses later. Only the location is handed on
//!   with the click: the rest gives the same result from the same bytes, and the worker may know more of bots.
//! - `listener` defines the trait that `redirect` answers it by, so that the arrow still points to the right.
//! - `enrich` sends to the spool through a channel that the spool owns; the batch type is `enrich`'s, so that the
//!   arrow still points to the right. So is the format of its frames: the journal writes batches as they are.
//! - What the journal has synced is acknowledged to the rings, against the arrow: `pipeline` gives the spool a closure,
//!   so that neither knows the other.
//! - A change of the feeds goes the way of the events, through the journal and the packer, and changes the routing
//!   last: each stage then meets the first event of a new feed with everything prepared, and a crash leaves no event
//!   whose feed is unknown. Numbers of feeds are only ever added, so that nothing on its way changes its meaning.
//! - A feed's lane outlives its configuration, against the plainer way of ending one task and starting another: what
//!   waits stays in one queue, and no object is on its way to two sinks.
//! - Each frame of the journal names the click and the ring that it came from: after a crash, that alone shows which
//!   clicks of the rings are in the journal already. Frames name feeds by a number, and the header of their segment
//!   says what it means: feeds come and go with the configuration, segments stay.
//! - A key of the layout `sequence` has the feed's name in its folder, `{feed}-{pop}-{spool}/{seq}`, not only edge and
//!   spool: a feed that gets another name, or takes over the place of another, would begin with keys that exist.
//! - Objects are made in rounds, and the rename of the spool's `state` commits all of a round at once. A rename of each
//!   object would need a sync for each, and thousands of feeds have thousands of objects.
//! - The worker writes next to an event what it counts for, as a tally, and the packer's thread adds it up, from memory
//!   as it comes or else from the journal: parsing events to count them would cost more than everything else that the
//!   spool does, and counters that workers share would not survive a crash. The position up to which the journal is
//!   counted is stored with the counts, in one transaction, and nowhere else.
//! - The visit that a click belongs to is noted in its ring, against the arrow, before its event goes on: a click that
//!   the next process reads again belongs to the same visit, whatever the table of visits holds by then.
//! - Streams of HTTP/2 are accepted by the front, too, so that what Pingora rejects before its proxy is counted.
//! - X25519 comes from AWS-LC, and everything else of TLS from ring: a third of a handshake for one more C library.
//! - Edges of a fleet share certificates through a folder, with a lock that ends by itself. A certificate for each edge
//!   would need an address for each, because behind one address a certificate authority may ask any of them.
//! - The catalog writes to disk, as no other noun does: the private copy of a snapshot and the change log are a part of
//!   its state, and a change is current only once it is logged.
//! - A link is found by a table of offsets, and not by a perfect hash: that executes less and waits longer, for three
//!   cache misses behind each other.
//! - `fleet` stands between `deliver`, whose client of buckets it uses, and `pipeline`. It needs no `JetStream`: the
//!   bucket has everything, and a message that is lost costs the time to the next look.
//! - Revisions are numbers of one change log, and a snapshot names the log: the same number of another edge means
//!   another change. In a fleet the bucket numbers changes for all.
//! - Bots have no session: a prefetch would otherwise start the visit that the person's own click then only joins.
//! - A process that hands over ends its workers and its spool first, and its connections last: what it still answers is
//!   captured in its rings, which its successor reads while they are written. A successor has rings of its own from the
//!   beginning, so that no click waits for the spool. A stop writes no last objects: what is in the journal is packed
//!   by the next process, as after a crash.
//! - Threads share a socket that the process has inherited, from a predecessor or from systemd, instead of opening
//!   others next to it: connections would wait in these before the process accepts, and end with it if it fails.
//! - `quality` stands below `visitor`: the attacks in an agent string are detected once per agent, and remembered with
//!   what the visitor's agent is.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "full"),
    allow(dead_code, reason = "parts that several features share have functions that one feature alone calls")
)]

#[cfg(feature = "server")]
pub mod admin;
pub mod capture;
pub mod catalog;
#[cfg(feature = "server")]
pub mod cli;
pub mod click;
pub mod config;
pub mod deliver;
#[cfg(feature = "server")]
pub mod doctor;
pub mod enrich;
pub mod event;
pub mod files;
pub mod fleet;
pub mod link;
pub mod listener;
pub mod manual;
pub mod object;
pub mod pipeline;
pub mod quality;
pub mod redirect;
pub mod runtime;
#[cfg(feature = "server")]
pub mod server;
pub mod session;
pub mod spool;
pub mod stats;
pub mod telemetry;
pub mod tls;
#[cfg(feature = "server")]
pub mod verify;
pub mod visitor;

pub use catalog::Catalog;
pub use config::Config;
pub use deliver::{Sink, SinkError, Stored};
pub use object::Object;
pub use pipeline::{Builder, Pipeline};
pub use redirect::{Client, Hook, Redirector};
