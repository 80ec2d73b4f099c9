//! Failpoints: named places at which a test kills the process, as a loss of power would, or lets a thread panic.
//!
//! `CLICKEDGE_DIE_AT=journal_written:3` sends `SIGKILL` to this process when it passes that place for the third time,
//! `CLICKEDGE_PANIC_AT=enriched:3` panics there, and `CLICKEDGE_HOLD_AT=click_read:FILE` holds each thread there for as
//! long as the file exists. Only builds with debug assertions do this: in a release [`fail_point`]
//! is empty. (`enrich/leak.rs` holds what a test leaks on purpose.)

/// The places, in the order in which a click passes them.
pub const FAIL_POINTS: [&str; 11] = [
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

/// Places of a successor, in the order in which it takes over.
pub const HANDOVER_POINTS: [&str; 3] = ["sockets_taken", "accepting", "released"];

/// Places at which a test holds threads.
pub const HOLD_POINTS: [&str; 1] = ["click_read"];

/// Dies, panics or waits here, if the environment names this place and this pass.
#[inline]
pub fn fail_point(name: &'static str) {
    #[cfg(debug_assertions)]
    armed::fail_point(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::{
        path::PathBuf,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
        thread,
        time::Duration,
    };

    use rustix::process::{Signal, getpid, kill_process};

    struct Trap {
        name: String,
        left: AtomicU64,
    }

    static DEATH: LazyLock<Option<Trap>> = LazyLock::new(|| Trap::of("CLICKEDGE_DIE_AT"));
    static PANIC: LazyLock<Option<Trap>> = LazyLock::new(|| Trap::of("CLICKEDGE_PANIC_AT"));

    /// Name of a place, and the file that holds threads there.
    static HOLD: LazyLock<Option<(String, PathBuf)>> = LazyLock::new(|| {
        let text = std::env::var("CLICKEDGE_HOLD_AT").ok()?;
        text.split_once(':').map(|(name, file)| (name.to_owned(), file.into()))
    });

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

    pub fn fail_point(name: &str) {
        let lists: [&[&str]; 3] = [&super::FAIL_POINTS, &super::HANDOVER_POINTS, &super::HOLD_POINTS];
        debug_assert!(lists.iter().any(|list| list.contains(&name)), "{name} is not in the list");
        if let Some((_, file)) = HOLD.as_ref().filter(|(held, _)| held == name) {
            while file.exists() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        if Trap::springs(DEATH.as_ref(), name) {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        assert!(!Trap::springs(PANIC.as_ref(), name), "a test asks for a panic here");
    }
}
