//! The `clickedge` binary. Everything is in the library.

use std::process::ExitCode;

/// Raw clicks are allocated on one thread and freed on another, which jemalloc keeps cheap.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Catalog, visits and counts are large tables that are read at random: in huge pages, a lookup does not wait for the
/// page table, too. `_RJEM_MALLOC_CONF` in the environment takes precedence.
#[cfg(feature = "jemalloc")]
#[allow(unsafe_code, reason = "jemalloc looks its settings up by this name, which nothing else has")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8] = b"thp:always\0";

fn main() -> ExitCode {
    clickedge::cli::run()
}
