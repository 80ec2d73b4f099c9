//! The binary: all of it is in the library.

use std::process::ExitCode;

/// Raw clicks are made on one thread and dropped on another: jemalloc keeps that cheap.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    clickedge::cli::run()
}
