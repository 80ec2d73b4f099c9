//! The spool: local durable storage between enrichment and delivery.
//!
//! ```text
//! workers ─► journal ─► packer ─► outbox ─► (delivery)
//!
//! {dir}/lock                           locked by the process that owns the spool                (builder)
//! {dir}/identity                       part of all keys that the spool makes                    (identity)
//! {dir}/journal/{number}.journal       events, until all of their feeds have packed them        (journal)
//! {dir}/journal.note                   extent of the open segment                               (journal)
//! {dir}/state, state.previous          how far each feed is packed; objects of the last round   (state)
//! {dir}/build/                         objects of the round in progress                         (pack)
//! {dir}/outbox/{feed}/{key}            finished objects, byte for byte as in the sink           (outbox)
//! {dir}/delivered/{hour}/{feed}/…      delivered objects, for `spool.retain_secs`               (outbox)
//! {dir}/records/{hour}.{part}.records  what manifests and rollups need to know of objects       (record)
//! {dir}/replay/{feed}/{key}            objects that an operator sends again                     (replay)
//! {dir}/quarantine/                    damaged parts of the journal, states and objects         (recovery, outbox)
//! {dir}/drop/{feed}                    asks to drop the objects of a feed without configuration (unclaimed)
//! {dir}/time                           up to when the clock is trusted                          (time)
//! {dir}/stats.sqlite                   counts, and how far the journal is counted               (crate::stats)
//! ```
//! Two threads own it. The journal's thread writes the events of about 100 milliseconds at a time to the disk, and then
//! releases their clicks in the rings. The packer's thread makes objects of the events, feed by feed, and counts them.
//!
//! Invariants, whatever fails and at any moment:
//! - an event is in a ring or in the journal until it is in an object, and in the object until a sink acknowledged it;
//! - the boundaries of an object, and with them its key, are decided and durable before it is sent, so that a repeated
//!   upload has the same key and the same bytes;
//! - damage to the state or the journal stops no start: the state is rebuilt, and what is lost or may be doubled is
//!   logged and counted;
//! - a disk that is full or fails delays events and loses none: the rings fill up to their bound, where drops are
//!   counted.
//!
//! Feeds come and go while it runs: see [`change`].
//!
//! The operator's tools ([`inspect`], [`export`], [`replay`]) read a spool from outside, whether a process runs on it
//! or not.

pub mod aggregate;
mod builder;
pub mod change;
pub mod disk;
mod error;
pub mod export;
mod feed;
pub mod identity;
pub mod inspect;
pub mod journal;
pub mod metrics;
pub mod outbox;
pub mod pack;
pub mod record;
pub mod recovery;
pub mod replay;
mod running;
pub mod state;
pub mod stored;
mod time;
pub mod unclaimed;

pub use builder::{RecoveredSpool, SpoolBuilder};
pub use change::{FeedChange, Limits};
pub use error::SpoolError;
pub use feed::FeedSpec;
pub use outbox::Outbox;
pub use running::Spool;

#[cfg(test)]
mod tests;
