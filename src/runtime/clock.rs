//! The clock: the one place where every stage reads the time.
//!
//! Two times of day: [`unix_micros`] is what the machine says. It may jump by years, and come back. [`trusted_micros`]
//! follows it only as far as it moved plausibly ([`trusted`]): it decides what is deleted because it is old. What ends
//! an hour goes by [`passed_micros`], which believes the clock sooner.

mod steady;
pub mod trusted;

use std::{
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use steady::SteadyTime;
use trusted::{Note, TrustedTime};

static TRUSTED: Mutex<Option<TrustedTime>> = Mutex::new(None);
static STEADY: Mutex<Option<SteadyTime>> = Mutex::new(None);

/// Microseconds since the Unix epoch, UTC.
pub fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros() as u64)
}

/// Seconds since the Unix epoch, UTC.
pub fn unix_secs() -> u64 {
    unix_micros() / 1_000_000
}

/// [`unix_secs`] as of the last tick of the kernel, some milliseconds ago at most: cheaper to read.
pub fn coarse_secs() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or(0, |now| now.tv_sec().max(0) as u64)
}

/// [`unix_micros`], as far as it is trusted. Use it to decide what is too old to keep.
pub fn trusted_micros() -> u64 {
    with_trusted(TrustedTime::read)
}

/// The time up to which everything has passed: trusted time, or what the clock has said for at least five minutes. Use
/// it to close what is over, where closing too early repairs itself.
pub fn passed_micros() -> u64 {
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let (wall, up) = (unix_micros(), up_micros());
    let believed = steady.get_or_insert_with(|| SteadyTime::new(wall, up)).read(wall, up);
    believed.max(trusted_micros()).min(wall)
}

/// Continues with the trusted time of an earlier process. Without a note the time of day is trusted as it is.
pub fn resume_trusted(note: Option<Note>) {
    let Some(note) = note.filter(Note::is_plausible) else { return };
    *TRUSTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(TrustedTime::resume(note));
}

/// What the next process needs for [`resume_trusted`].
pub fn trusted_note() -> Note {
    with_trusted(|time, wall, up| {
        time.read(wall, up);
        time.note()
    })
}

/// The current time, for comparing it with dates and for showing it.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A point in time that never goes back, for measuring durations.
pub fn monotonic() -> Instant {
    Instant::now()
}

fn with_trusted<T>(read: impl FnOnce(&mut TrustedTime, u64, u64) -> T) -> T {
    let mut time = TRUSTED.lock().unwrap_or_else(PoisonError::into_inner);
    let (wall, up) = (unix_micros(), up_micros());
    read(time.get_or_insert_with(|| TrustedTime::new(wall, up)), wall, up)
}

/// Microseconds since the machine was started, time asleep included. No setting of the clock changes it.
pub fn up_micros() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |up| up.tv_sec() as u64 * 1_000_000 + up.tv_nsec() as u64 / 1_000)
}
