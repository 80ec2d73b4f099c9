//! Named places at which a test lets the process die, as if somebody had pulled the plug there, or lets a thread panic.
//!
//! `CLICKEDGE_DIE_AT=journal_written:3` sends `SIGKILL` to this process when it comes to that place for the third
//! time, `CLICKEDGE_PANIC_AT=enriched:3` panics there. Only builds with debug assertions look: in a release [`point`]
//! is nothing. (What a test lets leak is in `enrich/leak.rs`.)

/// The places, in the order in which a click comes by.
pub const POINTS: [&str; 11] = [
    "captured",
    "enriched",
    "journal_written",
    "journal_synced",
    "counting",
    "counted",
    "sealed",
    "renamed",
    "put_sent",
    "put_acknowledged",
    "deleted",
];

/// Dies or panics here, if this is the place and the time that the environment names.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    armed::point(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    use rustix::process::{Signal, getpid, kill_process};

    struct Trap {
        name: String,
        left: AtomicU64,
    }

    static DEATH: LazyLock<Option<Trap>> = LazyLock::new(|| Trap::of("CLICKEDGE_DIE_AT"));
    static PANIC: LazyLock<Option<Trap>> = LazyLock::new(|| Trap::of("CLICKEDGE_PANIC_AT"));

    impl Trap {
        fn of(variable: &str) -> Option<Self> {
            let text = std::env::var(variable).ok()?;
            let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
            Some(Self { name: name.to_owned(), left: AtomicU64::new(times.parse().unwrap_or(1)) })
        }

        fn springs(trap: Option<&Self>, name: &str) -> bool {
            trap.is_some_and(|trap| trap.name == name && trap.left.fetch_sub(1, Ordering::Relaxed) == 1)
        }
    }

    pub fn point(name: &str) {
        debug_assert!(super::POINTS.contains(&name), "{name} is not in the list");
        if Trap::springs(DEATH.as_ref(), name) {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        assert!(!Trap::springs(PANIC.as_ref(), name), "a test wants a panic here");
    }
}
