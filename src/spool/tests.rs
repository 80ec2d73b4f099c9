//! The spool against models of a disk and of a store of counts ([`durability`], [`counting`], [`states`],
//! [`losses`]), and rollups on a real disk.

mod counting;
mod durability;
mod losses;
mod model_count_store;
mod model_disk;
mod rollups;
mod states;
mod world;
