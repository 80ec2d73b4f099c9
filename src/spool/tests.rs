//! The spool against models of a disk and of a store of counts ([`durability`], [`counting`], [`manifests`],
//! [`states`], [`losses`], [`remainders`], [`unrendered`]), the sizes of its objects, and rollups on a real disk.

mod counting;
mod durability;
mod losses;
mod manifests;
mod model_count_store;
mod model_disk;
mod remainders;
mod rollups;
mod sizes;
mod states;
mod unrendered;
pub(super) mod world;
