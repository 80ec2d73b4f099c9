//! The clock: the one place where every stage reads the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Microseconds since the Unix epoch, UTC.
pub fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros() as u64)
}

/// Seconds since the Unix epoch, UTC.
pub fn unix_secs() -> u64 {
    unix_micros() / 1_000_000
}

/// The current time, for comparing it with dates and for showing it.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A point in time that never goes back, for measuring durations.
pub fn monotonic() -> Instant {
    Instant::now()
}
