//! The clock: the one place where every stage reads the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, UTC.
pub fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros() as u64)
}

/// Seconds since the Unix epoch, UTC.
pub fn unix_secs() -> u64 {
    unix_micros() / 1_000_000
}

/// A point in time that never goes back, for measuring how long something took.
pub fn monotonic() -> Instant {
    Instant::now()
}
