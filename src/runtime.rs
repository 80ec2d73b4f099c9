//! What the process and the machine provide, without any knowledge of clicks: time, threads that panic, failpoints,
//! the service manager, file systems, and the class of an error.
//!
//! The ground floor: imports nothing of this crate.

pub mod class;
pub mod clock;
pub mod failpoint;
pub mod filesystem;
pub mod hour;
pub mod mapped_file;
pub mod panic_watch;
pub mod priority;
pub mod retry;
pub mod systemd;
pub mod unix_time;
pub mod words;

pub use class::{Class, Classified};
pub use hour::Hour;
pub use panic_watch::PanicWatch;
pub use unix_time::UnixTime;
pub use words::Words;
