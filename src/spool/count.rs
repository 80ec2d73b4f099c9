//! How many events an object holds, as only its content tells; and with that, whether it is whole.

use std::io::{self, BufRead, BufReader};

use flate2::bufread::GzDecoder;

/// Number of lines of a finished object.
///
/// # Errors
/// When it is no whole gzip file.
pub fn count_events(bytes: &[u8]) -> io::Result<u64> {
    let mut input = BufReader::with_capacity(64 * 1024, GzDecoder::new(bytes));
    let mut events = 0;
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok(events);
        }
        events += memchr::memchr_iter(b'\n', chunk).count() as u64;
        let length = chunk.len();
        input.consume(length);
    }
}
