//! Priorities of threads.

/// Of work that is in no hurry at all, as nice value.
pub const LOWEST: i32 = 19;

/// Of work that must not hold up redirects, and still gets its part of a busy processor.
pub const LOW: i32 = 10;

/// Lets threads that wait for this core go first, redirects above all. Long work of low priority calls it between its
/// pieces, because the system does not interrupt it at once for every thread that wakes up.
pub fn give_way() {
    std::thread::yield_now();
}

/// Lowers the priority of the calling thread, and of threads that it starts from now on. `nice` is from 0, as it is
/// without, to 19. Where the system does not allow it, the priority stays.
pub fn lower(nice: i32) {
    // Without a process id it is the calling thread, on Linux.
    _ = rustix::process::setpriority_process(None, nice);
}
