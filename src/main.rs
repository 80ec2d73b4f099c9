//! The `clickedge` binary. Everything is in the library.

use std::process::ExitCode;

/// Raw clicks are allocated on one thread and freed on another, which jemalloc keeps cheap.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    clickedge::cli::run()
}
