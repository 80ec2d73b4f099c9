//! The spool against models of a disk and of a store of counts ([`durability`], [`counting`], [`remainders`]), the
//! sizes of its objects, and rollups on a real disk.

mod counting;
mod durability;
mod model_count_store;
mod model_disk;
mod remainders;
mod rollups;
mod sizes;
pub(super) mod world;
